package consumer

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"crier/internal/event"
	"crier/internal/inbox"
	"crier/internal/kafka"
	"crier/internal/lifecycle"
	"crier/internal/room"
	"crier/internal/user"
)

// kindMention is the kind of the notification of who was named in a room.
const kindMention = "mention"

// roomKinds are the kinds of what requests place in a room.
var roomKinds = map[string]string{
	event.RoomJoin: event.KindJoined, event.RoomPart: event.KindParted, event.RoomSay: event.KindSaid, event.RoomCustom: event.KindCustom,
	event.RoomEdit: event.KindEdited, event.RoomDelete: event.KindDeleted, event.RoomClose: event.KindClosed,
}

// decideRooms decides what a batch asks of rooms, and makes the items of what is
// to be placed: the room's event, then the notifications of who is named in it.
func (c *Consumer) decideRooms(ctx context.Context, tx pgx.Tx, units []unit, now time.Time) (*room.Decisions, error) {
	var requests []*event.RoomRequest
	var of []*unit
	for i := range units {
		if units[i].chat != nil {
			requests, of = append(requests, units[i].chat), append(of, &units[i])
		}
	}
	decisions, err := room.Decide(ctx, tx, requests)
	if err != nil || len(requests) == 0 {
		return decisions, err
	}
	originals, err := amended(ctx, tx, requests)
	if err != nil {
		return nil, err
	}
	named, err := mentioned(ctx, tx, requests)
	if err != nil {
		return nil, err
	}
	for i, u := range of {
		d, r := &decisions.List[i], requests[i]
		u.decision, u.items = d, nil
		if d.Verdict == room.Refuse || d.Verdict == room.Ignore {
			continue
		}
		item := roomItem(u.rec, r)
		if r.Type == event.RoomEdit || r.Type == event.RoomDelete {
			original, ok := originals[messageKey{event.UserID(event.RoomPrefix + r.Room), r.MessageID}]
			if !ok || original.Author != string(r.UserID) || original.Kind != event.KindSaid {
				d.Verdict = room.Nothing // somebody else's, or gone; if it was done before, that is recalled
			}
			u.original = &original
		}
		item.Recall = d.Verdict == room.Nothing
		u.items = append(u.items, item)
		if r.Type == event.RoomSay && d.Verdict == room.Place {
			u.items = append(u.items, mentions(u.rec, r, named)...)
		}
	}
	return decisions, c.limitMentions(ctx, tx, of, now)
}

// limitMentions drops the mentions that are beyond their senders' budgets; the messages
// stay. A batch that is read again may drop one that is stored already: it is in the
// inbox all the same, where a gateway that misses its delivery finds it.
func (c *Consumer) limitMentions(ctx context.Context, tx pgx.Tx, units []*unit, now time.Time) error {
	var list []inbox.Mention
	for _, u := range units {
		for i := range u.items {
			if it := &u.items[i]; it.Kind == kindMention {
				list = append(list, inbox.Mention{From: u.chat.UserID, To: it.UserID})
			}
		}
	}
	if len(list) == 0 {
		return nil
	}
	within, err := inbox.SpendMentions(ctx, tx, list, now)
	if err != nil {
		return err
	}
	n := 0
	for _, u := range units {
		u.items = slices.DeleteFunc(u.items, func(it inbox.Item) bool {
			if it.Kind != kindMention {
				return false
			}
			n++
			if !within[n-1] {
				c.metrics.mentionsDropped.Inc()
			}
			return !within[n-1]
		})
	}
	return nil
}

func roomItem(rec *kafka.Record, r *event.RoomRequest) inbox.Item {
	id := r.EventID
	if id == "" {
		id = rec.Origin().EventID("")
	}
	sender, key, hash := said(r)
	content := event.Said{Username: r.Username, Command: r.Command, Payload: r.Payload, MessageID: r.MessageID}
	return inbox.Item{
		UserID: event.TopicOwner(event.RoomPrefix + r.Room), EventID: id, Sender: sender, Key: key, Hash: hash, Kind: roomKinds[r.Type], Body: r.Body, Payload: content.JSON(),
		Priority: "normal", Origin: rec.Origin(), Author: string(r.UserID),
	}
}

// said is what tells a message that was sent again from another one: whoever got
// no answer sends it with the same event id, and it is said once.
func said(r *event.RoomRequest) (sender, key string, hash []byte) {
	if r.EventID == "" || r.Type != event.RoomSay && r.Type != event.RoomCustom {
		return "", "", nil
	}
	h := sha256.Sum256([]byte(strings.Join([]string{r.Type, r.Body, r.Command, r.Payload}, "\x00")))
	return "room:" + r.Room + ":" + string(r.UserID), r.EventID, h[:]
}

type messageKey struct {
	owner event.UserID
	id    int64
}

// amended reads the messages that requests edit and delete.
func amended(ctx context.Context, tx pgx.Tx, requests []*event.RoomRequest) (map[messageKey]event.Stored, error) {
	var owners []string
	var ids []int64
	for _, r := range requests {
		if r.Type == event.RoomEdit || r.Type == event.RoomDelete {
			owners, ids = append(owners, event.RoomPrefix+r.Room), append(ids, r.MessageID)
		}
	}
	if len(ids) == 0 {
		return nil, nil
	}
	found, err := inbox.ByID(ctx, tx, owners, ids)
	if err != nil {
		return nil, err
	}
	out := make(map[messageKey]event.Stored, len(found))
	for _, s := range found {
		out[messageKey{s.UserID, s.ID}] = s
	}
	return out, nil
}

// mention is a name as people write it to somebody; names are as accounts may be
// called.
var mention = regexp.MustCompile(`(?:^|[^\w@.])@([a-zA-Z0-9](?:[a-zA-Z0-9_.+-]{0,148}[a-zA-Z0-9_])?)`)

// maxMentions is how many people one message may name.
const maxMentions = 10

func namesIn(body string) []string {
	var out []string
	for _, m := range mention.FindAllStringSubmatch(body, maxMentions) {
		out = append(out, strings.ToLower(m[1]))
	}
	return out
}

// mentioned finds the people that messages name, by name in small letters.
func mentioned(ctx context.Context, tx pgx.Tx, requests []*event.RoomRequest) (map[string]event.UserID, error) {
	var names []string
	for _, r := range requests {
		if r.Type == event.RoomSay {
			names = append(names, namesIn(r.Body)...)
		}
	}
	if len(names) == 0 {
		return nil, nil
	}
	return user.IDsByName(ctx, tx, names)
}

// mentions are the notifications of who is named in a message, but its author.
func mentions(rec *kafka.Record, r *event.RoomRequest, named map[string]event.UserID) []inbox.Item {
	var items []inbox.Item
	done := map[event.UserID]bool{r.UserID: true}
	sender, key, hash := said(r)
	for _, name := range namesIn(r.Body) {
		id, ok := named[name]
		if !ok || done[id] {
			continue
		}
		done[id] = true
		payload, _ := json.Marshal(map[string]string{"room": r.Room, "user_id": string(r.UserID), "username": r.Username}) // strings encode
		items = append(items, inbox.Item{
			UserID: id, EventID: rec.Origin().EventID(string(id)), Sender: sender, Key: key, Hash: hash, Kind: kindMention,
			Title: fmt.Sprintf("%s mentioned you in %s", r.Username, r.Room), Body: r.Body, URL: "/rooms/" + r.Room, Payload: payload,
			Priority: "normal", Origin: rec.Origin(),
		})
	}
	return items
}

// recordRooms writes what was decided, once the events have their places, and
// reads what newcomers are shown.
func (c *Consumer) recordRooms(ctx context.Context, tx pgx.Tx, units []unit, decisions *room.Decisions, now time.Time) error {
	places := make([]int64, 0, len(decisions.List))
	var amend []inbox.Amendment
	for i := range units {
		u := &units[i]
		if u.decision == nil {
			continue
		}
		var at int64
		if len(u.outcomes) > 0 {
			at = u.outcomes[0].At
			if o := &u.outcomes[0]; o.Status == event.StatusStored && !o.Again {
				amend = append(amend, u.amendment(now)...)
			}
		}
		places = append(places, at)
		if u.decision.At == 0 {
			u.decision.At = at
		}
	}
	if err := decisions.Record(ctx, tx, places); err != nil {
		return err
	}
	if err := inbox.Amend(ctx, tx, amend, now); err != nil {
		return err
	}
	for i := range units {
		u := &units[i]
		if u.decision == nil {
			continue
		}
		if u.chat.Type == event.RoomClose && u.decision.Verdict == room.Place {
			if err := inbox.Clear(ctx, tx, event.RoomPrefix+u.chat.Room, u.decision.At-1, now); err != nil {
				return err
			}
		}
		if u.decision.Welcomes {
			history, err := inbox.Said(ctx, tx, event.RoomPrefix+u.chat.Room, event.KindSaid, u.decision.At+1, event.MaxHistory)
			if err != nil {
				return err
			}
			u.history = make([]event.RoomMessage, len(history))
			for j := range history {
				u.history[j] = event.RoomMessageOf(&history[j])
			}
		}
	}
	return nil
}

// amendment is how a placed event changes the message that it is about.
func (u *unit) amendment(now time.Time) []inbox.Amendment {
	r := u.chat
	a := inbox.Amendment{Topic: event.RoomPrefix + r.Room, ID: r.MessageID}
	switch r.Type {
	case event.RoomEdit:
		var said event.Said
		_ = json.Unmarshal(u.original.Payload, &said) // we wrote it
		now = now.UTC().Truncate(time.Microsecond)
		said.EditedAt = &now
		a.Body, a.Payload = r.Body, said.JSON()
	case event.RoomDelete:
		a.Gone = true
	default:
		return nil
	}
	return []inbox.Amendment{a}
}

// directed is what single connections are told of a request.
func (u *unit) directed() []kafka.Record {
	d, r := u.decision, u.chat
	say := event.Directed{Room: r.Room, Place: d.At, At: time.Now().UTC()}
	if len(u.outcomes) > 0 && u.outcomes[0].Status == event.StatusStored {
		say.At = u.outcomes[0].Stored.CreatedAt
	}
	var out []kafka.Record
	switch {
	case d.Verdict == room.Refuse && r.Connection != "":
		say.Code = d.Code
		out = append(out, directedRecord(event.Refused, room.Connection{ID: r.Connection, Gateway: r.Gateway}, say))
	case d.Welcomes:
		say.Users, say.Messages = d.Users, u.history
		out = append(out, directedRecord(event.Welcome, room.Connection{ID: r.Connection, Gateway: r.Gateway}, say))
	}
	for _, c := range d.Leaves {
		out = append(out, directedRecord(event.Left, c, say))
	}
	return out
}

func directedRecord(kind string, c room.Connection, say event.Directed) kafka.Record {
	value, _ := json.Marshal(say) // texts and numbers encode
	return kafka.Record{Topic: kafka.Deliveries, Key: []byte(event.RoomPrefix + say.Room), Value: value, Headers: []kafka.Header{
		{Key: "topic", Value: []byte(event.RoomPrefix + say.Room)}, {Key: "kind", Value: []byte(kind)},
		{Key: "gateway", Value: []byte(c.Gateway)}, {Key: "connection", Value: []byte(c.ID)}}}
}

// How dead gateways are looked after.
const (
	orphansEvery = time.Second
	orphansBatch = 1000
)

// partOrphans is the life of the goroutine that writes the parts which dead
// gateways owe: the requests of one consumer at a time, until the rooms have
// seen them.
func (c *Consumer) partOrphans(ctx context.Context) error {
	for lifecycle.Sleep(ctx, orphansEvery) == nil {
		list, err := c.rooms.Orphans(ctx, orphansBatch)
		if err == nil && len(list) > 0 {
			recs := make([]kafka.Record, len(list))
			for i := range list {
				recs[i] = kafka.RoomRecord(&list[i])
			}
			err = c.kafka.Produce(ctx, recs...)
		}
		if ctx.Err() == nil {
			c.orphansHealth.Report(err)
		}
	}
	return nil
}
