package hub

import (
	"context"
	"encoding/json"
	"errors"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"time"

	"crier/internal/event"
)

// Stream is what a request for a stream asked for, after it was let in. It is
// the same for every kind of stream.
type Stream struct {
	UserID  event.UserID // "": not signed in, ticks only
	Session string
	Ends    time.Time // when its token ends; zero: never
	Follows []string  // symbols
	Topics  []string  // durable topics
	Rate    int       // writes of ticks a second
	Place   Placing
	// Presence is the stream's part in chat rooms; nil: it has none.
	Presence Presence
}

// Presence is a stream's part in chat rooms, besides following what is said
// there.
type Presence interface {
	// Begin joins the rooms that the request named. bye is how to end the stream
	// when it can no longer be said to be there.
	Begin(ctx context.Context, bye func(reason string))
	Join(ctx context.Context, room string) error
	Part(ctx context.Context, room string) error
	// End is called once, when the connection has ended. It does not block.
	End()
}

// Placing is where a stream begins.
type Placing struct {
	Head Head
	// From is the place that the reader has; Reconnect says that it said so.
	From      int64
	Reconnect bool
	// GapReason says why what the reader asked for, GapFrom, could not be
	// honoured; "" if it could.
	GapReason string
	GapFrom   string
	// CutReason says why the reader's last connection was cut, if it was.
	CutReason string
	Topics    []TopicPlace
	TopicGaps []TopicGap
}

// TopicGap says why what a reader asked for of a topic could not be honoured.
type TopicGap struct {
	Topic, Reason string
	From          int64
}

// Cursor is the text of where the stream begins.
func (p *Placing) Cursor() string {
	c := event.Cursor{Inbox: p.From}
	if len(p.Topics) > 0 {
		c.Topics = make(map[string]int64, len(p.Topics))
	}
	for _, t := range p.Topics {
		c.Topics[t.Topic] = t.Has
	}
	return c.String()
}

// Reasons of a gap.
const (
	GapUnreadable = "unreadable"
	GapAhead      = "ahead"
	GapPruned     = "pruned"
)

// Place decides where a stream begins whose reader sent cursor, "" for none, in
// an inbox that stands at head and has been pruned up to prunedTo.
func Place(cursor string, head Head, prunedTo int64) Placing {
	p := Placing{Head: head, From: head.Last}
	if cursor == "" {
		return p
	}
	p.Reconnect, p.GapFrom = true, cursor
	c, err := event.ParseCursor(cursor)
	switch {
	case err != nil:
		p.GapReason, p.GapFrom = GapUnreadable, event.CleanText(cursor[:min(len(cursor), 100)])
	case c.Inbox > head.Last:
		p.GapReason = GapAhead
	case c.Inbox < prunedTo:
		p.GapReason = GapPruned
	default:
		p.From = c.Inbox
	}
	return p
}

// PlaceTopic decides where the stream begins in a durable topic, which stands at
// last and has been pruned up to prunedTo. A reader whose cursor does not know
// the topic gets what comes from now on; cursor 0 is the beginning of all.
func (p *Placing) PlaceTopic(topic, cursor string, last, prunedTo int64) {
	at := TopicPlace{Topic: topic, Has: last, Last: last}
	if c, err := event.ParseCursor(cursor); err == nil {
		has, known := c.Topics[topic]
		if cursor == "0" {
			has, known = prunedTo, true
		}
		switch {
		case !known:
		case has > last:
			p.TopicGaps = append(p.TopicGaps, TopicGap{topic, GapAhead, has})
		case has < prunedTo:
			p.TopicGaps = append(p.TopicGaps, TopicGap{topic, GapPruned, has})
		default:
			at.Has = has
		}
	}
	p.Topics = append(p.Topics, at)
}

// Opening is what a stream begins with: ready, and gap if there is one.
func (st *Stream) Opening(now time.Time) []*Event {
	p := &st.Place
	body := map[string]any{"server_time": now.UTC()}
	ready := &Event{Type: Ready}
	if st.UserID != "" {
		body["user_id"], body["session"], body["last_id"] = st.UserID, st.Session, p.Head.Last
		body["counts"] = p.Head.Counts
		ready.Cursor = p.Cursor()
	}
	if len(st.Topics) > 0 {
		body["topics"] = st.Topics
	}
	ready.Data = mustJSON(body)
	out := []*Event{ready}
	if p.GapReason != "" {
		out = append(out, &Event{Type: Gap, Data: mustJSON(map[string]any{"from": p.GapFrom, "reason": p.GapReason})})
	}
	for _, g := range p.TopicGaps {
		out = append(out, g.Event())
	}
	return out
}

// Event tells of the gap.
func (g TopicGap) Event() *Event {
	return &Event{Type: Gap, Data: mustJSON(map[string]any{"from": strconv.FormatInt(g.From, 10), "reason": g.Reason, "topic": g.Topic})}
}

// Resumed is what a reader that came back is told when it has everything, nil
// for one that is new or has had a gap.
func (p *Placing) Resumed(replayed int) *Event {
	if !p.Reconnect || p.GapReason != "" {
		return nil
	}
	body := map[string]any{"from": p.Cursor(), "replayed": replayed}
	if p.CutReason != "" {
		body["reason"] = p.CutReason
	}
	return &Event{Type: Resumed, Data: mustJSON(body)}
}

// Reasons for which the server ends a stream, as bye and resumed name them.
const (
	TokenExpired = "token_expired"
	LoggedOut    = "logged_out"
	DrainingNow  = "draining"
	TooSlow      = "slow"
	PresenceLost = "presence_lost" // others may have seen its reader part
)

// ByeEvent is what a stream is told before it is ended.
func ByeEvent(reason string, retry time.Duration) *Event {
	return &Event{Type: Bye, Data: mustJSON(map[string]any{"reason": reason, "retry_ms": retry.Milliseconds()})}
}

func mustJSON(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic("a map of plain values did not encode: " + err.Error())
	}
	return b
}

// MaxTopics is how many durable topics one stream may follow: its cursor goes
// with every event.
const MaxTopics = 100

// Errors of ParseTopics.
var (
	ErrTopicName  = errors.New("must be names such as news, room:friends or ticks:BTCUSDT")
	ErrTopicCount = errors.New("at most " + strconv.Itoa(MaxFollowed) + " symbols and " + strconv.Itoa(MaxTopics) + " topics can be followed by one stream")
)

// ParseTopics reads the names of topics to follow, and returns symbols and
// durable topics, each once.
func ParseTopics(names []string) (symbols, topics []string, err error) {
	for _, name := range names {
		var v event.Invalid
		symbol, ticks := strings.CutPrefix(name, event.TicksPrefix)
		switch {
		case name == "":
		case ticks:
			if v.CheckSymbol("topics", symbol); !slices.Contains(symbols, symbol) {
				symbols = append(symbols, symbol)
			}
		default:
			if v.CheckDurableTopic("topics", name); !slices.Contains(topics, name) {
				topics = append(topics, name)
			}
		}
		if v.Err() != nil {
			return nil, nil, ErrTopicName
		}
	}
	if len(symbols) > MaxFollowed || len(topics) > MaxTopics {
		return nil, nil, ErrTopicCount
	}
	return symbols, topics, nil
}

// ByeAll ends every stream, telling each to come back after a time of its own
// within spread, and returns how many there were.
func (h *Hub) ByeAll(reason string, spread time.Duration) int {
	// Each comes back after a time of its own.
	retry := func() time.Duration { return time.Duration(rand.Int64N(int64(spread) + 1)) }
	var byes []func()
	count := 0
	for i := range h.shards {
		sh := &h.shards[i]
		sh.mu.Lock()
		for _, a := range sh.users {
			for _, m := range a.subs {
				s := m.stream
				if m != &s.inbox {
					continue
				}
				count++
				if bye := s.farewell(reason, retry()); bye != nil {
					byes = append(byes, bye)
				}
			}
		}
		sh.mu.Unlock()
	}
	h.ticks.mu.Lock()
	for _, f := range h.ticks.feeds {
		for _, group := range [2]map[*Subscriber]struct{}{f.subs, f.late} {
			for s := range group {
				if s.user == "" {
					count++
					byes = append(byes, func() { s.sink.Bye(reason, retry()) })
				}
			}
		}
	}
	h.ticks.mu.Unlock()
	for _, bye := range byes {
		bye()
	}
	return count
}
