package consumer

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"crier/internal/alert"
	"crier/internal/event"
	"crier/internal/inbox"
	"crier/internal/kafka"
	"crier/internal/postgres"
	"crier/internal/problem"
	"crier/internal/room"
	"crier/internal/schedule"
)

// Headers that the gateway puts on what it produces: who sent it, and the
// event id that the sender was told.
const (
	HeaderSender  = "sender"
	HeaderEventID = "event_id"
)

// unit is one record on its way through a batch.
type unit struct {
	rec     *kafka.Record
	notify  *event.Notification
	trigger int // index among the batch's triggers, -1 for a notification
	fault   error
	code    string

	later *schedule.Send // it waits until it is due, or is one to everyone
	kept  schedule.Kept
	page  bool // of a send to everyone: its producer is answered at the end of all

	chat     *event.RoomRequest // of a room: what is asked for, and what was decided
	decision *room.Decision
	original *event.Stored // what an edit or a deletion is about
	history  []event.RoomMessage

	items    []inbox.Item // what it puts into inboxes, and what became of each
	outcomes []inbox.Outcome
}

// settle stores records and tells of what follows from them; it is a storeFunc.
func (c *Consumer) settle(ctx context.Context, recs []kafka.Record) (tell func(context.Context) error, err error) {
	units, err := c.storeRecords(ctx, recs)
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context) error {
		if err := c.produce(ctx, units); err != nil {
			return err
		}
		c.cfg.FailFunc("consumer.after-produce")
		return nil
	}, nil
}

// maxPartBytes bounds what the records of one transaction become when each of
// their recipients gets a copy.
const maxPartBytes = 64 << 20

// bearable is how many of the records go into one transaction, at least one. How
// many recipients a record has is guessed from above without reading it.
func bearable(recs []kafka.Record) int {
	sum := 0
	for i := range recs {
		copies := 1
		if bytes.Contains(recs[i].Value, []byte(`"user_ids"`)) {
			copies = min(bytes.Count(recs[i].Value, []byte{','})+1, event.MaxRecipients)
		}
		sum += len(recs[i].Value) * copies
		if sum > maxPartBytes && i > 0 {
			return i
		}
	}
	return len(recs)
}

// storeRecords stores records in one transaction. When Postgres refuses the data,
// halves are tried on their own, down to the one record. The units stand in the
// order of the records.
func (c *Consumer) storeRecords(ctx context.Context, recs []kafka.Record) ([]unit, error) {
	units, triggers := parse(recs, time.Now())
	c.cfg.FailFunc("consumer.before-store")
	start := time.Now()
	err := c.store(ctx, units, triggers)
	switch {
	case err == nil:
	case postgres.DataFault(err) && len(recs) > 1:
		half := len(recs) / 2
		first, err := c.storeRecords(ctx, recs[:half])
		if err != nil {
			return nil, err
		}
		second, err := c.storeRecords(ctx, recs[half:])
		return append(first, second...), err
	case postgres.DataFault(err):
		units[0].refuse(err)
	default:
		return nil, err
	}
	c.metrics.batch.Observe(float64(len(recs)))
	c.metrics.store.Observe(time.Since(start).Seconds())
	c.cfg.FailFunc("consumer.after-store")
	return units, nil
}

// refuse notes that the database refuses what the record holds.
func (u *unit) refuse(err error) {
	u.fault, u.code = errors.New("the database refuses this record: "+err.Error()), "refused"
	u.items, u.outcomes, u.later, u.decision = nil, nil, nil, nil
}

func parse(recs []kafka.Record, now time.Time) ([]unit, []event.Trigger) {
	units := make([]unit, len(recs))
	var triggers []event.Trigger
	for i := range recs {
		u := &units[i]
		u.rec, u.trigger = &recs[i], -1
		if recs[i].Topic == kafka.Triggers {
			t, err := event.ParseTrigger(recs[i].Value)
			if err != nil {
				u.fault = err
				continue
			}
			u.trigger = len(triggers)
			triggers = append(triggers, t)
			continue
		}
		if recs[i].Topic == kafka.Rooms {
			r, err := event.ParseRoomRequest(recs[i].Value)
			if u.chat, u.fault = &r, err; err != nil {
				u.chat = nil
			}
			continue
		}
		n, err := event.ParseNotification(recs[i].Value)
		if n.IdempotencyKey == "" {
			n.IdempotencyKey = cloudEventKey(&recs[i])
		}
		u.notify, u.fault = &n, err
		switch {
		case err != nil:
		case n.Everyone || n.DueAt().After(now):
			if u.fault = n.CheckTimes(now); u.fault == nil {
				u.later = sendOf(u.rec, &n, now)
			}
		default:
			u.items = itemsOf(u.rec, &n)
		}
	}
	return units, triggers
}

// cloudEventKey is the idempotency key of a CloudEvent in binary mode, "" for other
// records: source and id together identify an event (CloudEvents 1.0, "id"). It is a
// hash, because the two together may be longer than a key.
func cloudEventKey(rec *kafka.Record) string {
	if len(rec.Headers) == 0 {
		return ""
	}
	source, id := rec.Header("ce_source"), rec.Header("ce_id")
	if source == "" || id == "" {
		return ""
	}
	sum := sha256.Sum256([]byte(source + "\x00" + id))
	return "ce:" + hex.EncodeToString(sum[:])
}

// senderOf says who sent a record: whom the gateway has let in, or else what its
// producer calls itself.
func senderOf(rec *kafka.Record, n *event.Notification) string {
	if s := rec.Header(HeaderSender); s != "" {
		return s
	}
	return "source:" + n.Source
}

// itemsOf are the inbox items of a notification, one for each recipient.
func itemsOf(rec *kafka.Record, n *event.Notification) []inbox.Item {
	sender := senderOf(rec, n)
	var hash []byte
	if n.IdempotencyKey != "" {
		hash = n.ContentHash()
	}
	origin := rec.Origin()
	recipients := n.Recipients()
	items := make([]inbox.Item, len(recipients))
	for i, user := range recipients {
		id := rec.Header(HeaderEventID)
		switch {
		case id != "" && len(recipients) == 1:
		case n.IdempotencyKey != "":
			id = event.EventIDOf(sender, n.IdempotencyKey, user)
		case len(recipients) == 1:
			id = origin.EventID("")
		default:
			id = origin.EventID(string(user))
		}
		items[i] = inbox.Item{
			UserID: user, EventID: id, Kind: n.Kind, Title: n.Title, Body: n.Body, URL: n.URL, Payload: n.Payload, Priority: n.Priority,
			Sender: sender, Key: n.IdempotencyKey, Hash: hash, Origin: origin, Ends: n.EndsAt(), Collapse: n.CollapseKey,
		}
	}
	return items
}

// store is the transaction: triggers are decided, places given, firings
// recorded.
func (c *Consumer) store(ctx context.Context, units []unit, triggers []event.Trigger) error {
	return c.storeWith(ctx, units, triggers, nil)
}

// storeWith is store with something more to be done in the transaction.
func (c *Consumer) storeWith(ctx context.Context, units []unit, triggers []event.Trigger, also func(pgx.Tx, time.Time) error) error {
	now := time.Now()
	return c.db.Tx(ctx, func(tx pgx.Tx) error {
		if also != nil {
			if err := also(tx, now); err != nil {
				return err
			}
		}
		if err := keepLater(ctx, tx, units, now); err != nil {
			return err
		}
		decisions, err := alert.Decide(ctx, tx, triggers)
		if err != nil {
			return err
		}
		rooms, err := c.decideRooms(ctx, tx, units, now)
		if err != nil {
			return err
		}
		var items []inbox.Item
		for i := range units {
			u := &units[i]
			if u.trigger >= 0 {
				u.items = nil
				if d := decisions.List[u.trigger]; d.Verdict == alert.Fire {
					u.items = []inbox.Item{firedItem(u.rec, triggers[u.trigger], d)}
				}
			}
			items = append(items, u.items...)
		}
		if err := c.openInboxes(ctx, tx, items); err != nil {
			return err
		}
		outcomes, err := inbox.Put(ctx, tx, now, items)
		if err != nil {
			return err
		}
		ids := make([]int64, len(triggers))
		for i := range units {
			u := &units[i]
			u.outcomes, outcomes = outcomes[:len(u.items)], outcomes[len(u.items):]
			if u.trigger >= 0 && len(u.outcomes) == 1 {
				ids[u.trigger] = u.outcomes[0].Stored.ID
			}
		}
		if err := decisions.Record(ctx, tx, ids, now); err != nil {
			return err
		}
		if err := c.recordRooms(ctx, tx, units, rooms, now); err != nil {
			return err
		}
		if err := c.carry(ctx, tx, now, units, decisions); err != nil {
			return err
		}
		return c.recall(ctx, tx, units, triggers, decisions)
	})
}

// openInboxes makes the inboxes that begin with their first item: those of
// topics, and of users who are known to an outside identity provider only.
func (c *Consumer) openInboxes(ctx context.Context, tx pgx.Tx, items []inbox.Item) error {
	var owners []event.UserID
	for i := range items {
		owner := items[i].UserID
		_, topic := owner.Topic()
		if _, room := owner.Room(); !room && (topic || c.cfg.ExternalUsers) {
			owners = append(owners, owner)
		}
	}
	if len(owners) == 0 {
		return nil
	}
	return inbox.OpenInboxes(ctx, tx, owners...)
}

// recall finds what earlier firings stored, so that their deliveries can be
// produced again.
func (c *Consumer) recall(ctx context.Context, tx pgx.Tx, units []unit, triggers []event.Trigger, decisions *alert.Decisions) error {
	var users []string
	var ids []int64
	for i := range units {
		u := &units[i]
		if u.trigger < 0 {
			continue
		}
		d := decisions.List[u.trigger]
		c.countVerdict(d)
		if d.Verdict == alert.Again {
			users, ids = append(users, string(triggers[u.trigger].UserID)), append(ids, d.NotificationID)
		}
	}
	if len(ids) == 0 {
		return nil
	}
	found, err := inbox.ByID(ctx, tx, users, ids)
	if err != nil {
		return err
	}
	type key struct {
		user event.UserID
		id   int64
	}
	byID := make(map[key]event.Stored, len(found))
	for _, s := range found {
		byID[key{s.UserID, s.ID}] = s
	}
	for i := range units {
		u := &units[i]
		if u.trigger < 0 {
			continue
		}
		if s, ok := byID[key{triggers[u.trigger].UserID, decisions.List[u.trigger].NotificationID}]; ok {
			u.outcomes = []inbox.Outcome{{Status: event.StatusStored, Stored: s, Again: true}}
		}
	}
	return nil
}

func (c *Consumer) countVerdict(d alert.Decision) {
	switch d.Verdict {
	case alert.Fire:
		c.metrics.triggers.WithLabelValues("fired").Inc()
	case alert.Again:
		c.metrics.triggers.WithLabelValues("again").Inc()
	default:
		c.metrics.triggers.WithLabelValues(d.Reason).Inc()
	}
}

// produceAtOnce is how many recipients' records wait for their acknowledgement
// together.
const produceAtOnce = 500

// produce says what a stored batch says to the gateways, the producers and the
// operators.
func (c *Consumer) produce(ctx context.Context, units []unit) error {
	out := make([]kafka.Record, 0, 2*len(units))
	flush := func() error {
		err := c.kafka.Produce(ctx, out...)
		clear(out)
		out = out[:0]
		return err
	}
	for i := range units {
		u := &units[i]
		if u.fault != nil {
			out = append(out, c.rejected(u, u.fault, u.code)...)
			continue
		}
		if u.later != nil {
			out = append(out, c.keptLater(u)...)
			continue
		}
		refused := 0
		for j := range u.outcomes {
			o := &u.outcomes[j]
			if o.Status == "" {
				continue // it was only asked after
			}
			c.metrics.records.WithLabelValues(u.rec.Topic, o.Status).Inc()
			if o.Status == event.StatusStored && !o.Gone {
				out = append(out, Delivery(&o.Stored))
			}
			if u.trigger >= 0 || u.page || u.chat != nil {
				continue
			}
			out = append(out, result(u, &u.items[j], o))
			// The record is quarantined once, whoever of its recipients is refused.
			if o.Status == event.StatusRejected && o.Code != "expired" {
				if refused++; refused == 1 {
					out = append(out, kafka.DeadLetter(u.rec, o.Code, fmt.Sprintf("for %q: %s", u.items[j].UserID, o.Reason)))
				}
			}
			if len(out) >= 2*produceAtOnce {
				if err := flush(); err != nil {
					return err
				}
			}
		}
		if u.decision != nil {
			out = append(out, u.directed()...)
		}
	}
	return flush()
}

// Delivery is the record that tells gateways of a stored notification: key and
// headers are enough to route it, the value is what the browser gets.
func Delivery(s *event.Stored) kafka.Record {
	owner, is := string(s.UserID), "user"
	if topic, ok := s.UserID.Topic(); ok {
		owner, is = topic, "topic"
	}
	rec := kafka.Record{
		Topic: kafka.Deliveries, Key: []byte(owner), Value: s.AppendJSON(make([]byte, 0, 320+len(s.Title)+len(s.Body)+len(s.Payload))),
		Headers: []kafka.Header{
			{Key: is, Value: []byte(owner)},
			{Key: "id", Value: strconv.AppendInt(nil, s.ID, 10)},
			{Key: "kind", Value: []byte(s.Kind)},
		},
	}
	if s.Author != "" {
		rec.Headers = append(rec.Headers, kafka.Header{Key: "author", Value: []byte(s.Author)})
	}
	return rec
}

func result(u *unit, it *inbox.Item, o *inbox.Outcome) kafka.Record {
	r := event.Result{
		Status: o.Status, EventID: it.EventID, UserID: it.UserID, Payload: it.Payload,
		Topic: u.rec.Topic, Partition: u.rec.Partition, Offset: u.rec.Offset,
	}
	if topic, ok := it.UserID.Topic(); ok {
		r.UserID, r.To = "", topic
	}
	if o.Status == event.StatusRejected {
		r.Error, r.Code, r.Payload = o.Reason, o.Code, nil
	} else {
		r.ID, r.EventID = o.Stored.ID, o.Stored.EventID
	}
	return resultRecord(u.rec, r)
}

// Bounds of an answer, so that it fits into a record of `results` whatever it
// answers: a producer may put megabytes into key and headers.
const (
	maxEcho  = 256 << 10 // key and headers; larger ones are not echoed
	maxError = 4 << 10
)

func resultRecord(rec *kafka.Record, r event.Result) kafka.Record {
	r.Error = strings.ToValidUTF8(r.Error[:min(len(r.Error), maxError)], "")
	value, _ := json.Marshal(r) // every member encodes: the payload was checked to be JSON
	out := kafka.Record{Topic: kafka.Results, Key: rec.Key, Value: value, Headers: rec.Headers}
	size := len(rec.Key)
	for _, h := range rec.Headers {
		size += len(h.Key) + len(h.Value)
	}
	if size > maxEcho {
		out.Key, out.Headers = nil, nil
	}
	return out
}

// logRejected logs a record that goes to dead-letters; of a flood of them, one a
// minute of each topic and code, with how many there were besides.
func (c *Consumer) logRejected(rec *kafka.Record, code, reason string) {
	if write, skipped := c.repeats.Next(rec.Topic + " " + code); write {
		c.log.Warn("a record was rejected", "topic", rec.Topic, "partition", rec.Partition, "offset", rec.Offset, "code", code, "reason", reason, "others_since", skipped)
	}
}

// rejected quarantines a record, and tells its producer.
func (c *Consumer) rejected(u *unit, fault error, code string) []kafka.Record {
	p := problem.Of(fault)
	if code == "" {
		code = string(p.Code)
	}
	c.metrics.records.WithLabelValues(u.rec.Topic, event.StatusRejected).Inc()
	c.logRejected(u.rec, code, fault.Error())
	out := []kafka.Record{kafka.DeadLetter(u.rec, code, fault.Error())}
	if u.rec.Topic == kafka.Notifications {
		out = append(out, resultRecord(u.rec, event.Result{
			Status: event.StatusRejected, EventID: u.rec.Origin().EventID(""), Error: fault.Error(), Code: code, Errors: p.Errors,
			Topic: u.rec.Topic, Partition: u.rec.Partition, Offset: u.rec.Offset,
		}))
	}
	return out
}
