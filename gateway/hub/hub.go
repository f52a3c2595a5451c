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
	Message      = "message"
	Ticks        = "tick"
	CountsType   = "counts"
	Resumed      = "resumed"
	Gap          = "gap"
	Bye          = "bye"
)

// Event is something sent to streams. It is encoded once for each kind of
// stream, by whichever sink asks first. A sink may not keep it: its memory may
// be another event's next.
type Event struct {
	Type string
	ID   int64  // the place in the inbox or topic; 0: none
	Data []byte // JSON on one line; not to be changed
	// Cursor becomes the reader's where ID is 0 and this is not "".
	Cursor string
	// Of a message: its topic, its kind there, and who said it.
	Topic, Kind, Author string

	// parts are what it consists of, if it is a round of ticks: their frames, one
	// behind the other, are its own.
	parts []*Event

	single  bool // for one stream: nobody else will ask for its encoding
	encoded [encodings]atomic.Pointer[[]byte]
}

// Encodings of an event.
const (
	SSE     = iota
	SSEBody // without the id
	WebSocket
	Acknowledged // the older protocols of gateway/compat
	Chat
	encodings
)

// Encoded is the event's frame for one kind of stream, made by make at first.
func (e *Event) Encoded(kind int, make func(*Event) []byte) []byte {
	if e.single {
		return make(e)
	}
	if p := e.encoded[kind].Load(); p != nil {
		return *p
	}
	var b []byte
	if len(e.parts) == 0 {
		b = make(e)
	}
	for _, part := range e.parts {
		b = append(b, part.Encoded(kind, make)...)
	}
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
	// SendAt is Send for a stream that follows durable topics: cursor is its place
	// in all of them, and the inbox, with the event.
	SendAt(e *Event, cursor string) bool
	// SendPage hands over events of one inbox or topic that a reader has missed, as
	// few frames as possible, and returns how many of them were taken, from the
	// first on; fewer than all is what false is for Send. The reader's cursor with
	// each is its ID between before and after.
	SendPage(events []*Event, before, after string) int
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

// Source is the inboxes, those of topics among them.
type Source interface {
	// After reads up to limit notifications of an owner with places above after,
	// in order.
	After(ctx context.Context, owner event.UserID, after int64, limit int) ([]*Event, error)
	// Heads reads where inboxes stand; owners without one are absent.
	Heads(ctx context.Context, owners []event.UserID) (map[event.UserID]Head, error)
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
	// LagFunc says for how long the writers have had something to do without a
	// pause; ticks are sent less often when that is long. nil: it never is. It is
	// set before SendTicks and must not block.
	LagFunc func() time.Duration

	source Source
	seed   maphash.Seed
	shards [shardCount]shard
	ticks  ticker
	catch  catcher
	pages  pages

	subscribers atomic.Int64
	delivered   atomic.Int64
	repeats     atomic.Int64
	holes       atomic.Int64
	recalled    atomic.Int64
}

type shard struct {
	mu      sync.Mutex
	users   map[event.UserID]*audience // and topics, by their owners' names
	event   Event                      // what Deliver sends, used again for each
	recent  recent
	without int // how many of users have no stream
}

// audience is the streams on this gateway that get what one user's inbox, or one
// topic, gets.
type audience struct {
	user    event.UserID
	subs    []*member
	highest int64 // place that is known to be committed
	counts  event.Counts
	// counts that were not yet sent, because others were a moment ago
	countsDue  bool
	countsSent time.Time

	newest int64     // number of its newest slot in the shard's recent
	left   time.Time // when its last stream left, while it has none
}

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

// set makes it what `deliveries` says was stored for an owner, whatever it was.
func (e *Event) set(owner event.UserID, d *Stored, streams int) {
	e.Type, e.ID, e.Data, e.Cursor = Notification, d.ID, d.Data, ""
	e.Topic, e.Kind, e.Author = "", "", ""
	if topic, ok := owner.Topic(); ok {
		e.Type, e.Topic, e.Kind, e.Author = Message, topic, d.Kind, d.Author
	}
	e.single = streams == 1
	for i := range e.encoded {
		if e.encoded[i].Load() != nil {
			e.encoded[i].Store(nil)
		}
	}
}

func (h *Hub) shard(user event.UserID) *shard {
	return &h.shards[maphash.String(h.seed, string(user))%shardCount]
}

// Stored is what `deliveries` says of a notification, or of a topic's message.
type Stored struct {
	ID           int64  // its place
	Data         []byte // what readers get; not to be changed
	Kind, Author string // a message's: its kind in its topic, and who said it
}

// Event is it as something sent to streams.
func (d *Stored) Event(owner event.UserID) *Event {
	e := new(Event)
	e.set(owner, d, 0)
	return e
}

// Deliver brings what was stored for an owner, whose name comes as it stands in
// the record. Called by the tail of `deliveries`, in the order of its partition;
// repeats are dropped, holes filled. Nobody connected: nothing is done.
func (h *Hub) Deliver(owner []byte, d Stored) (streams int) {
	sh := &h.shards[maphash.Bytes(h.seed, owner)%shardCount] // as shard has it
	sh.mu.Lock()
	defer sh.mu.Unlock()
	a := sh.users[event.UserID(owner)]
	if a == nil {
		return 0
	}
	ev := &sh.event
	ev.set(a.user, &d, len(a.subs))
	if ev.ID <= a.highest {
		h.repeats.Add(1)
	}
	a.highest = max(a.highest, ev.ID)
	sh.recent.put(a, &d)
	for _, m := range a.subs {
		if m.state != live || ev.ID <= m.last {
			continue
		}
		if ev.ID > m.last+1 {
			h.holes.Add(1)
			m.fallBehind()
			continue
		}
		if m.send(ev) {
			m.last = ev.ID
			h.delivered.Add(1)
			streams++
		} else {
			m.state = stalled
		}
	}
	ev.Data = nil // it holds all that was fetched beside it
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
		a.newest = noSlot // the account may be gone
		for _, m := range a.subs {
			if s := m.stream; session == "" || s.session == session {
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

// Connections is how many streams of a user are open here.
func (h *Hub) Connections(user event.UserID) int {
	sh := h.shard(user)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if a := sh.users[user]; a != nil {
		return len(a.subs)
	}
	return 0
}

// Stats are figures for metrics.
type Stats struct {
	Subscribers, Delivered, Repeats, Holes, CatchingUp int64
	Recalled                                           int64 // of Delivered, from what was delivered a moment ago
}

// Stats counts since the start.
func (h *Hub) Stats() Stats {
	h.catch.mu.Lock()
	defer h.catch.mu.Unlock()
	return Stats{h.subscribers.Load(), h.delivered.Load(), h.repeats.Load(), h.holes.Load(), int64(len(h.catch.queue)), h.recalled.Load()}
}
