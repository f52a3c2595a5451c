package hub

import (
	"encoding/json"
	"errors"
	"math/rand/v2"
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
	Rate    int       // writes of ticks a second
	Place   Placing
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

// Opening is what a stream begins with: ready, and gap if there is one.
func (st *Stream) Opening(now time.Time) []*Event {
	p := &st.Place
	body := map[string]any{"server_time": now.UTC()}
	ready := &Event{Type: Ready}
	if st.UserID != "" {
		body["user_id"], body["session"], body["last_id"] = st.UserID, st.Session, p.Head.Last
		body["counts"] = p.Head.Counts
		ready.Cursor = strconv.FormatInt(p.From, 10)
	}
	ready.Data = mustJSON(body)
	if p.GapReason == "" {
		return []*Event{ready}
	}
	return []*Event{ready, {Type: Gap, Data: mustJSON(map[string]any{"from": p.GapFrom, "reason": p.GapReason})}}
}

// Resumed is what a reader that came back is told when it has everything, nil
// for one that is new or has had a gap.
func (p *Placing) Resumed(replayed int) *Event {
	if !p.Reconnect || p.GapReason != "" {
		return nil
	}
	body := map[string]any{"from": strconv.FormatInt(p.From, 10), "replayed": replayed}
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

// Errors of ParseTopics.
var (
	ErrTopicName        = errors.New("must be names such as ticks:BTCUSDT, separated by commas")
	ErrTopicUnsupported = errors.New("only ticks:SYMBOL can be followed in this version")
	ErrTopicCount       = errors.New("at most " + strconv.Itoa(MaxFollowed) + " topics can be followed by one stream")
)

// ParseTopics reads the names of topics to follow, and returns the symbols.
func ParseTopics(names []string) ([]string, error) {
	var symbols []string
	for _, name := range names {
		if name == "" {
			continue
		}
		symbol, ok := strings.CutPrefix(name, "ticks:")
		if !ok {
			return nil, ErrTopicUnsupported
		}
		var v event.Invalid
		v.CheckSymbol("topics", symbol)
		if v.Err() != nil {
			return nil, ErrTopicName
		}
		symbols = append(symbols, symbol)
	}
	if len(symbols) > MaxFollowed {
		return nil, ErrTopicCount
	}
	return symbols, nil
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
			for _, s := range a.subs {
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
