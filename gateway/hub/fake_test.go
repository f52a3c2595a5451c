package hub

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"crier/internal/event"
)

// inboxes is a Source in memory: what was committed, and what was deleted.
type inboxes struct {
	mu      sync.Mutex
	last    map[event.UserID]int64
	missing map[event.UserID]map[int64]bool // tombstones
	counts  map[event.UserID]event.Counts
	ended   []string
	failing func() bool // asked before each read
	reads   int
}

func newInboxes() *inboxes {
	return &inboxes{last: make(map[event.UserID]int64), missing: make(map[event.UserID]map[int64]bool), counts: make(map[event.UserID]event.Counts)}
}

var errAway = errors.New("the inbox is away")

func (s *inboxes) begin() error {
	s.reads++
	if s.failing != nil && s.failing() {
		return errAway
	}
	return nil
}

// commit gives n more places to a user and returns the last one.
func (s *inboxes) commit(user event.UserID, n int64) int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.last[user] += n
	return s.last[user]
}

// remove leaves a tombstone.
func (s *inboxes) remove(user event.UserID, ids ...int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.missing[user] == nil {
		s.missing[user] = make(map[int64]bool)
	}
	for _, id := range ids {
		s.missing[user][id] = true
	}
}

func (s *inboxes) head(user event.UserID) Head {
	s.mu.Lock()
	defer s.mu.Unlock()
	return Head{Last: s.last[user], Counts: s.counts[user]}
}

func (s *inboxes) After(_ context.Context, user event.UserID, after int64, limit int) ([]*Event, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.begin(); err != nil {
		return nil, err
	}
	var out []*Event
	for id := after + 1; id <= s.last[user] && len(out) < limit; id++ {
		if !s.missing[user][id] {
			d := Stored{ID: id, Data: data(user, id)}
			out = append(out, d.Event(user))
		}
	}
	return out, nil
}

func (s *inboxes) Heads(_ context.Context, users []event.UserID) (map[event.UserID]Head, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.begin(); err != nil {
		return nil, err
	}
	out := make(map[event.UserID]Head)
	for _, u := range users {
		if last, ok := s.last[u]; ok {
			out[u] = Head{Last: last, Counts: s.counts[u]}
		}
	}
	return out, nil
}

func (s *inboxes) Ended(_ context.Context, sessions []string) ([]string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.begin(); err != nil {
		return nil, err
	}
	var out []string
	for _, x := range sessions {
		if slices.Contains(s.ended, x) {
			out = append(out, x)
		}
	}
	return out, nil
}

func data(user event.UserID, id int64) []byte {
	return fmt.Appendf(nil, `{"id":%d,"user":%q}`, id, user)
}

// reader is a Sink with room for so many events until it is drained.
type reader struct {
	mu       sync.Mutex
	sub      *Subscriber
	room     int // -1: endless
	refused  bool
	busy     bool
	events   []*Event
	cursors  []string
	caughtUp []int
	byes     []string
	retries  []time.Duration
}

func newReader() *reader { return &reader{room: -1} }

func (r *reader) Send(e *Event) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.room == 0 {
		r.refused = true
		return false
	}
	if r.room > 0 {
		r.room--
	}
	r.events = append(r.events, &Event{Type: e.Type, ID: e.ID, Data: e.Data, Cursor: e.Cursor, Topic: e.Topic, Kind: e.Kind, Author: e.Author, parts: e.parts})
	return true
}

// SendAt notes the cursor with the event.
func (r *reader) SendAt(e *Event, cursor string) bool {
	if !r.Send(e) {
		return false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.cursors = append(r.cursors, cursor)
	return true
}

// SendPage takes one after the other, as far as there is room.
func (r *reader) SendPage(events []*Event, before, after string) int {
	for i, e := range events {
		if before == "" && after == "" {
			if !r.Send(e) {
				return i
			}
			continue
		}
		if !r.SendAt(e, before+strconv.FormatInt(e.ID, 10)+after) {
			return i
		}
	}
	return len(events)
}

func (r *reader) Busy() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.busy
}

func (r *reader) CaughtUp(n int) bool {
	if !r.Send(&Event{Type: Resumed}) {
		return false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.caughtUp = append(r.caughtUp, n)
	return true
}

func (r *reader) Bye(reason string, retry time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.byes, r.retries = append(r.byes, reason), append(r.retries, retry)
}

// drain makes room for n more, and says so if something was refused.
func (r *reader) drain(n int) {
	r.mu.Lock()
	refused := r.refused
	r.refused, r.room = false, n
	r.mu.Unlock()
	if refused {
		r.sub.Drained()
	}
}

func (r *reader) setBusy(b bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.busy = b
}

// ids are those of the notifications that came.
func (r *reader) ids() []int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []int64
	for _, e := range r.events {
		if e.Type == Notification {
			out = append(out, e.ID)
		}
	}
	return out
}

// texts are the data of the events of one type that came.
func (r *reader) texts(kind string) []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []string
	for _, e := range r.events {
		if e.Type != kind {
			continue
		}
		if len(e.parts) == 0 {
			out = append(out, string(e.Data))
		}
		for _, part := range e.parts {
			out = append(out, string(part.Data))
		}
	}
	return out
}

// through is 1 … n without those in except.
func through(n int64, except ...int64) []int64 {
	var out []int64
	for id := int64(1); id <= n; id++ {
		if !slices.Contains(except, id) {
			out = append(out, id)
		}
	}
	return out
}

// world is a hub on inboxes in memory, with its workers.
type world struct {
	*Hub
	*inboxes
}

// run starts the hub's goroutines; the returned func ends them and waits. It
// must be called in a synctest bubble before its end.
func newWorld(t *testing.T, workers bool) (*world, func()) {
	t.Helper()
	src := newInboxes()
	w := &world{New(src), src}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	if workers {
		for range w.Workers() {
			wg.Go(func() { _ = w.CatchUp(ctx) })
		}
		wg.Go(func() { _ = w.SendTicks(ctx) })
	}
	return w, func() { cancel(); wg.Wait() }
}

// open subscribes and starts a reader as the gateway does.
func (w *world) open(user event.UserID, session string, has int64, r *reader) *reader {
	r.sub = w.Subscribe(user, session, r)
	head := w.head(user)
	if has < 0 {
		has = head.Last
	}
	r.sub.Start(has, head)
	return r
}
