package hub

import (
	"context"
	"hash/maphash"
	"sync"
	"sync/atomic"
	"time"

	"crier/internal/event"
)

// Types of what is sent to streams.
const (
	Ready        = "ready"
	Notification = "notification"
	Ticks        = "tick"
	CountsType   = "counts"
	Resumed      = "resumed"
	Gap          = "gap"
	Bye          = "bye"
)

// Event is something sent to streams. It is encoded once for each kind of
// stream, by whichever sink asks first.
type Event struct {
	Type string
	ID   int64  // the place in the inbox; 0: none
	Data []byte // JSON on one line; not to be changed
	// Cursor becomes the reader's where ID is 0 and this is not "".
	Cursor string

	encoded [3]atomic.Pointer[[]byte]
}

// Encodings of an event.
const (
	SSE = iota
	WebSocket
	Acknowledged // the older protocol of gateway/compat
)

// Encoded is the event's frame for one kind of stream, made by make at first.
func (e *Event) Encoded(kind int, make func(*Event) []byte) []byte {
	if p := e.encoded[kind].Load(); p != nil {
		return *p
	}
	b := make(e)
	e.encoded[kind].Store(&b)
	return b
}

// Sink is a connection. Methods are called with the hub's locks held, and
// notifications, counts and ticks at the same time; they must not block and
// must not call the hub.
type Sink interface {
	// Send hands over an event; false: the connection is full or has ended. A
	// full one calls Subscriber.Drained when there is room again.
	Send(*Event) bool
	// Busy says that more is waiting for the connection than a tick is worth.
	Busy() bool
	// CaughtUp is called when a stream that was started behind has everything,
	// with the number of notifications it was sent; false as of Send, and then it
	// is called again.
	CaughtUp(replayed int) bool
	// Bye says why the stream ends and when to come back, and ends it. It is
	// called without locks, and more than once.
	Bye(reason string, retry time.Duration)
}

// Source is the inboxes.
type Source interface {
	// After reads up to limit notifications of a user with places above after,
	// in order.
	After(ctx context.Context, user event.UserID, after int64, limit int) ([]*Event, error)
	// Heads reads where inboxes stand; users without one are absent.
	Heads(ctx context.Context, users []event.UserID) (map[event.UserID]Head, error)
	// Ended returns which of the sessions have ended.
	Ended(ctx context.Context, sessions []string) ([]string, error)
}

// Head is where an inbox stands.
type Head struct {
	Last   int64
	Counts event.Counts
}

// shardCount spreads users over locks; many more than processors.
const shardCount = 64

// Hub is safe for concurrent use. Start runs its workers, Stop ends them.
type Hub struct {
	source Source
	seed   maphash.Seed
	shards [shardCount]shard
	ticks  ticker
	catch  catcher

	subscribers atomic.Int64
	delivered   atomic.Int64
	repeats     atomic.Int64
	holes       atomic.Int64
}

type shard struct {
	mu    sync.Mutex
	users map[event.UserID]*audience
}

// audience is one user's streams on this gateway.
type audience struct {
	user    event.UserID
	subs    []*Subscriber
	highest int64 // place that is known to be committed
	counts  event.Counts
	// counts that were not yet sent, because others were a moment ago
	countsDue  bool
	countsSent time.Time
}

// Subscriber is one stream. It is made by Subscribe and ended by Unsubscribe.
type Subscriber struct {
	hub     *Hub
	user    event.UserID
	session string
	sink    Sink

	// guarded by the shard's lock
	last     int64 // the place that it has
	state    state
	gone     bool
	replayed int
	starting bool   // CaughtUp is still to be called
	counts   int64  // version of the counts that it was told
	bye      func() // what ended it before it was started

	feed *tickFeed // guarded by the ticker's lock, like ended
	// ended is after Unsubscribe: a connection may end while its reader is still
	// asking for ticks.
	ended bool
}

type state uint8

const (
	waiting state = iota // subscribed, not started: only the highest place is noted
	live
	behind  // a worker reads for it
	stalled // behind, and its sink is full: a worker goes on when it is drained
)

// New makes a hub.
func New(source Source) *Hub {
	h := &Hub{source: source, seed: maphash.MakeSeed()}
	for i := range h.shards {
		h.shards[i].users = make(map[event.UserID]*audience)
	}
	h.ticks.init()
	h.catch.cond = sync.NewCond(&h.catch.mu)
	return h
}

func (h *Hub) shard(user event.UserID) *shard {
	return &h.shards[maphash.String(h.seed, string(user))%shardCount]
}

// Subscribe begins to note what arrives for a user. Nothing is sent before
// Start. user "" is somebody who did not sign in, and gets ticks only.
func (h *Hub) Subscribe(user event.UserID, session string, sink Sink) *Subscriber {
	s := &Subscriber{hub: h, user: user, session: session, sink: sink}
	h.subscribers.Add(1)
	if user == "" {
		return s
	}
	sh := h.shard(user)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	a := sh.users[user]
	if a == nil {
		a = &audience{user: user}
		sh.users[user] = a
	}
	a.subs = append(a.subs, s)
	return s
}

// Start lets the stream run: it has everything up to place has, the inbox stood
// at head when it was read after Subscribe.
func (s *Subscriber) Start(has int64, head Head) {
	if s.user == "" {
		return
	}
	if bye := s.start(has, head); bye != nil {
		bye()
	}
}

func (s *Subscriber) start(has int64, head Head) (bye func()) {
	sh := s.hub.shard(s.user)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	a := sh.users[s.user]
	if s.gone || a == nil {
		return nil
	}
	a.highest = max(a.highest, head.Last)
	if head.Counts.Version > a.counts.Version {
		a.counts = head.Counts
	}
	s.last, s.starting, s.counts = has, true, head.Counts.Version
	if s.last >= a.highest {
		s.becomeLive(a)
	} else {
		s.fallBehind()
	}
	return s.bye
}

// becomeLive says that the stream has everything, and tells it the counts that
// changed meanwhile.
func (s *Subscriber) becomeLive(a *audience) {
	if s.starting && !s.sink.CaughtUp(s.replayed) {
		s.state = stalled
		return
	}
	s.state, s.starting = live, false
	s.catchUpCounts(a)
}

func (s *Subscriber) catchUpCounts(a *audience) {
	if s.counts < a.counts.Version {
		s.hub.sendCounts(a, time.Now())
	}
}

// farewell is how the hub ends a stream: at once, or as soon as it is started,
// because before that there is no connection to say it on. Called with the
// shard's lock held; what it returns, without.
func (s *Subscriber) farewell(reason string, retry time.Duration) func() {
	bye := func() { s.sink.Bye(reason, retry) }
	if s.state != waiting {
		return bye
	}
	s.bye = bye
	return nil
}

func (s *Subscriber) fallBehind() {
	s.state = behind
	s.hub.catch.push(s)
}

// Unsubscribe ends the stream's part in the hub. It may be called twice.
func (s *Subscriber) Unsubscribe() {
	s.hub.ticks.remove(s)
	if s.user == "" {
		if !s.gone {
			s.gone = true
			s.hub.subscribers.Add(-1)
		}
		return
	}
	sh := s.hub.shard(s.user)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if s.gone {
		return
	}
	s.gone = true
	s.hub.subscribers.Add(-1)
	a := sh.users[s.user]
	for i, other := range a.subs {
		if other == s {
			a.subs = append(a.subs[:i], a.subs[i+1:]...)
			break
		}
	}
	if len(a.subs) == 0 {
		delete(sh.users, s.user)
	}
}

// Last is the place that the stream has.
func (s *Subscriber) Last() int64 {
	sh := s.hub.shard(s.user)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	return s.last
}

// Drained is called by a sink that was full and has room again.
func (s *Subscriber) Drained() {
	if s.user == "" {
		return
	}
	sh := s.hub.shard(s.user)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	a := sh.users[s.user]
	switch {
	case s.gone || a == nil:
	case s.state == stalled:
		s.fallBehind()
	case s.state == live: // what it refused were counts, or ticks
		s.catchUpCounts(a)
	}
}

// Deliver brings a notification that was stored. Called by the tail of
// `deliveries`, in the order of its partition; repeats are dropped, holes
// filled. Nobody connected: nothing is done, not even a copy of data.
func (h *Hub) Deliver(user event.UserID, id int64, data []byte) (streams int) {
	sh := h.shard(user)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	a := sh.users[user]
	if a == nil {
		return 0
	}
	if id <= a.highest {
		h.repeats.Add(1)
	}
	a.highest = max(a.highest, id)
	ev := &Event{Type: Notification, ID: id, Data: data}
	for _, s := range a.subs {
		if s.state != live || id <= s.last {
			continue
		}
		if id > s.last+1 {
			h.holes.Add(1)
			s.fallBehind()
			continue
		}
		if s.sink.Send(ev) {
			s.last = id
			h.delivered.Add(1)
			streams++
		} else {
			s.state = stalled
		}
	}
	return streams
}

// Lost is called when the tail may have missed deliveries: every connected
// user's inbox is looked at. Check does the same, and more, at leisure.
func (h *Hub) Lost(ctx context.Context) error { return h.check(ctx, false) }

// EndSession ends the streams of one of a user's sessions; "" is all of them.
func (h *Hub) EndSession(user event.UserID, session, reason string) {
	sh := h.shard(user)
	sh.mu.Lock()
	var byes []func()
	if a := sh.users[user]; a != nil {
		for _, s := range a.subs {
			if session == "" || s.session == session {
				if bye := s.farewell(reason, 0); bye != nil {
					byes = append(byes, bye)
				}
			}
		}
	}
	sh.mu.Unlock()
	for _, bye := range byes {
		bye()
	}
}

// Stats are figures for metrics.
type Stats struct {
	Subscribers, Delivered, Repeats, Holes, CatchingUp int64
}

// Stats counts since the start.
func (h *Hub) Stats() Stats {
	h.catch.mu.Lock()
	defer h.catch.mu.Unlock()
	return Stats{h.subscribers.Load(), h.delivered.Load(), h.repeats.Load(), h.holes.Load(), int64(len(h.catch.queue))}
}
