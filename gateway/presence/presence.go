// Package presence says which of a gateway's connections are in which chat
// rooms.
//
// A connection asks: its request is produced to topic `rooms`, the consumer
// decides in the room's order, and what it decided comes back on `deliveries`
// (welcome, left, refused), which the gateway's tail hands to Directed. A
// gateway's connections count while its lease lives: it is renewed every
// renewEvery, and when that cannot be done within the lease everybody is told
// Lost, because others may have parted them by then. What is lost when a
// connection ends (a request to part, a place in the chat) is mended by
// comparing the database with the connections there are.
//
// Lock order: Presence.mu, then nothing. Handlers are called without it.
package presence

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"crier/internal/event"
	"crier/internal/kafka"
	"crier/internal/lifecycle"
	"crier/internal/room"
)

// Times of the lease. It must have been renewed before LeaseTime is over, with
// something to spare for telling everybody.
const (
	renewEvery   = 2 * time.Second
	renewTimeout = 2 * time.Second
	giveUpAfter  = room.LeaseTime - time.Second
)

// askAgainAfter is when a request to join that was not answered is made again:
// the answer may have been missed.
const askAgainAfter = 5 * time.Second

// Grace is for how long somebody whose stream has ended counts as there: readers
// come back.
const Grace = 5 * time.Second

// Store is the leases and places; *room.Store is one.
type Store interface {
	Hold(ctx context.Context, gateway string) error
	Renew(ctx context.Context, gateway string) error
	Release(ctx context.Context, gateway string) error
	Enter(ctx context.Context, user event.UserID, c room.Connection) (bool, error)
	Leave(ctx context.Context, c room.Connection) error
	Stale(ctx context.Context, gateway string, have []string) ([]event.RoomRequest, error)
}

// Producer writes to Kafka.
type Producer interface {
	Produce(ctx context.Context, recs ...kafka.Record) error
}

// Handler is a connection, as it is told what became of its requests. Methods
// must not block and must not call Presence.
type Handler interface {
	Welcome(d event.Directed)
	Left(d event.Directed)
	Refused(d event.Directed)
	// Lost says that the gateway's lease has ended: the connection is in no room
	// any more.
	Lost()
}

// Presence is safe for concurrent use. Run is its life.
type Presence struct {
	store    Store
	kafka    Producer
	log      *slog.Logger
	renewing *lifecycle.Health
	parting  *lifecycle.Health

	mu      sync.Mutex // guards the rest
	gateway string     // the lease's holder: another one after each loss; "" while there is none
	conns   map[string]*Conn
	leaving map[*Conn]time.Time // streams that have ended, and when they leave
	owed    []*Conn             // connections that have ended
	wake    chan struct{}
}

// New makes a Presence.
func New(store Store, k Producer, log *slog.Logger) *Presence {
	return &Presence{store: store, kafka: k, log: log,
		renewing: lifecycle.NewHealth(log, "renewing the lease of chat connections"), parting: lifecycle.NewHealth(log, "parting connections that have ended"),
		conns: make(map[string]*Conn), leaving: make(map[*Conn]time.Time), wake: make(chan struct{}, 1)}
}

// Conn is one connection that may be in rooms.
type Conn struct {
	p        *Presence
	id       string
	gateway  string
	user     event.UserID
	username string
	chatting bool // it has the person's place in the older chat
	handler  Handler

	rooms   map[string]*inRoom // that it is in, or has asked to join; guarded by Presence.mu
	parting map[string]*inRoom // that it has asked to part from; a room may be in both
	ended   bool
}

type inRoom struct {
	joined bool // it was welcomed
	place  int64
	asked  time.Time
}

// Errors of requests.
var (
	ErrChatting  = errors.New("this person is in the chat already")
	ErrNoLease   = errors.New("the gateway has no lease: Postgres is away")
	ErrJoined    = errors.New("the connection is in the room already")
	ErrNotJoined = errors.New("the connection is not in the room")
)

// Connect makes a connection of somebody. With chatting it takes the person's
// one place in the older chat, or returns ErrChatting.
func (p *Presence) Connect(ctx context.Context, user event.UserID, username string, chatting bool, h Handler) (*Conn, error) {
	p.mu.Lock()
	c := &Conn{p: p, id: event.NewID(), gateway: p.gateway, user: user, username: username, chatting: chatting, handler: h, rooms: make(map[string]*inRoom), parting: make(map[string]*inRoom)}
	if c.gateway == "" {
		p.mu.Unlock()
		return nil, ErrNoLease
	}
	p.conns[c.id] = c
	p.mu.Unlock()
	if !chatting {
		return c, nil
	}
	ok, err := p.store.Enter(ctx, user, room.Connection{ID: c.id, Gateway: c.gateway})
	if err == nil && !ok {
		err = ErrChatting
	}
	if err != nil {
		p.mu.Lock()
		delete(p.conns, c.id)
		p.mu.Unlock()
		return nil, err
	}
	return c, nil
}

// ID is the connection's, as the database and the consumer know it.
func (c *Conn) ID() string { return c.id }

// Username is the name that the connection is known by in rooms.
func (c *Conn) Username() string { return c.username }

// InRoom says whether the connection is in a room, or will be when what it has
// asked for was done.
func (c *Conn) InRoom(name string) bool {
	c.p.mu.Lock()
	defer c.p.mu.Unlock()
	return c.rooms[name] != nil
}

// Parting says whether the connection has asked to part from a room and not yet
// been told.
func (c *Conn) Parting(name string) bool {
	c.p.mu.Lock()
	defer c.p.mu.Unlock()
	return c.parting[name] != nil
}

// Join asks for the connection to be in a room. The answer comes to the handler.
func (c *Conn) Join(ctx context.Context, name string) error {
	c.p.mu.Lock()
	if c.ended || c.rooms[name] != nil {
		c.p.mu.Unlock()
		return ErrJoined
	}
	c.rooms[name] = &inRoom{asked: time.Now()}
	c.p.mu.Unlock()
	if err := c.ask(ctx, event.RoomRequest{Type: event.RoomJoin, Room: name}); err != nil {
		// It may have been written all the same: it is asked for again, and answered
		// once.
		return fmt.Errorf("asking to join: %w", err)
	}
	return nil
}

// Part asks for the connection to leave a room.
func (c *Conn) Part(ctx context.Context, name string) error {
	c.p.mu.Lock()
	in := c.rooms[name]
	if in == nil || c.parting[name] != nil || c.ended {
		c.p.mu.Unlock()
		return ErrNotJoined
	}
	delete(c.rooms, name)
	c.parting[name] = in
	in.asked = time.Now()
	c.p.mu.Unlock()
	if err := c.ask(ctx, event.RoomRequest{Type: event.RoomPart, Room: name}); err != nil {
		return fmt.Errorf("asking to part: %w", err)
	}
	return nil
}

// Say asks for something to be said in a room that the connection is in, or has
// asked to join before.
func (c *Conn) Say(ctx context.Context, r event.RoomRequest) error {
	if !c.InRoom(r.Room) {
		return ErrNotJoined
	}
	return c.ask(ctx, r)
}

// askTimeout bounds the wait for Kafka's acknowledgement.
const askTimeout = 10 * time.Second

func (c *Conn) ask(ctx context.Context, r event.RoomRequest) error {
	ctx, cancel := context.WithTimeoutCause(context.WithoutCancel(ctx), askTimeout, fmt.Errorf("no acknowledgement from Kafka within %v", askTimeout))
	defer cancel()
	return c.p.kafka.Produce(ctx, c.record(r))
}

// record is a request as one of this connection's.
func (c *Conn) record(r event.RoomRequest) kafka.Record {
	r.UserID, r.Username, r.Connection, r.Gateway = c.user, c.username, c.id, c.gateway
	return kafka.RoomRecord(&r)
}

// Leave ends the connection's part: at once, or after Grace where it may come
// back as another one. It returns at once; what is to be said is said by Run.
func (c *Conn) Leave(grace bool) {
	p := c.p
	p.mu.Lock()
	defer p.mu.Unlock()
	if c.ended {
		return
	}
	c.ended = true
	if grace && len(c.rooms) > 0 {
		p.leaving[c] = time.Now().Add(Grace)
		return
	}
	p.owed = append(p.owed, c)
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// Directed brings what the consumer says to one connection; false: it is not
// one of this gateway's.
func (p *Presence) Directed(kind, connection string, value []byte) bool {
	p.mu.Lock()
	c := p.conns[connection]
	p.mu.Unlock()
	if c == nil {
		return false
	}
	var d event.Directed
	if err := json.Unmarshal(value, &d); err != nil {
		p.log.Warn("what was said to a connection cannot be read", "error", err)
		return true
	}
	if say := c.settle(kind, d); say != nil {
		say(d)
	}
	return true
}

// settle notes what a connection was told, and returns how to tell it; nil: it
// has heard that before.
func (c *Conn) settle(kind string, d event.Directed) func(event.Directed) {
	c.p.mu.Lock()
	defer c.p.mu.Unlock()
	in, parting := c.rooms[d.Room], c.parting[d.Room]
	if c.ended {
		return nil
	}
	switch {
	case kind == event.Welcome && parting != nil && !parting.joined: // it joined, and parted before it heard
		parting.joined, parting.place = true, d.Place
		return c.handler.Welcome
	case kind == event.Welcome && parting != nil && parting.place == d.Place: // said again
	case kind == event.Welcome && in != nil && !in.joined:
		in.joined, in.place = true, d.Place
		return c.handler.Welcome
	case kind == event.Left && parting != nil:
		delete(c.parting, d.Room)
		return c.handler.Left
	case kind == event.Left && in != nil: // the room is closed
		delete(c.rooms, d.Room)
		return c.handler.Left
	case kind == event.Refused && in != nil && !in.joined:
		delete(c.rooms, d.Room)
		return c.handler.Refused
	}
	return nil
}

// Begin takes the first lease. When Postgres is away Run goes on trying.
func (p *Presence) Begin(ctx context.Context) { p.renew(ctx) }

// Run renews the lease, says what is owed for connections that have ended, and
// mends what was lost. It returns when ctx ends, with the lease released.
func (p *Presence) Run(ctx context.Context) error {
	clock := time.NewTimer(0)
	defer clock.Stop()
	var renewed, tried time.Time // monotonic, from before the request
	for ctx.Err() == nil {
		if now := time.Now(); now.Sub(tried) >= renewEvery || renewed.IsZero() && now.Sub(tried) >= renewEvery/8 {
			tried = now
			if p.renew(ctx) {
				renewed = now
				p.mend(ctx)
			}
		}
		if !renewed.IsZero() && time.Since(renewed) > giveUpAfter {
			p.lose()
			renewed = time.Time{}
		}
		p.settleOwed(ctx)
		wait := renewEvery / 8
		if renewed == tried && p.settled() { // nothing is to be done before the lease is renewed
			wait = time.Until(tried.Add(renewEvery))
		}
		clock.Reset(wait)
		select {
		case <-ctx.Done():
		case <-clock.C:
		case <-p.wake:
		}
	}
	p.release(context.WithoutCancel(ctx))
	return nil
}

// settled says that nobody is about to leave.
func (p *Presence) settled() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.leaving)+len(p.owed) == 0
}

// release gives the lease back, so that the consumers part everybody at once.
func (p *Presence) release(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, renewTimeout)
	defer cancel()
	p.mu.Lock()
	gateway := p.gateway
	p.gateway = ""
	p.mu.Unlock()
	if gateway == "" {
		return
	}
	if err := p.store.Release(ctx, gateway); err != nil {
		p.log.Warn("the lease of chat connections was not given back; it ends by itself", "error", err)
	}
}

// renew renews the lease, or begins one; false: it could not be done now.
func (p *Presence) renew(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, renewTimeout)
	defer cancel()
	p.mu.Lock()
	gateway := p.gateway
	p.mu.Unlock()
	var err error
	if gateway != "" {
		if err = p.store.Renew(ctx, gateway); err == nil {
			p.renewing.Report(nil)
			return true
		}
		if errors.Is(err, room.ErrLeaseLost) {
			p.lose()
		}
	} else {
		gateway = event.NewID()
		if err = p.store.Hold(ctx, gateway); err == nil {
			p.mu.Lock()
			p.gateway = gateway
			p.mu.Unlock()
			p.renewing.Report(nil)
			return true
		}
	}
	if ctx.Err() == nil || !errors.Is(context.Cause(ctx), lifecycle.ErrStopped) {
		p.renewing.Report(err)
	}
	return false
}

// lose tells everybody that the lease has ended.
func (p *Presence) lose() {
	p.mu.Lock()
	conns := slices.Collect(maps.Values(p.conns))
	p.gateway = ""
	clear(p.conns)
	clear(p.leaving)
	p.owed = nil
	for _, c := range conns {
		c.ended = true
	}
	p.mu.Unlock()
	if len(conns) > 0 {
		p.log.Error("the lease of chat connections has ended; they are closed", "connections", len(conns))
	}
	for _, c := range conns {
		c.handler.Lost()
	}
}

// settleOwed says what is owed for connections that have ended. What fails is
// mended with the next renewal.
func (p *Presence) settleOwed(ctx context.Context) {
	now := time.Now()
	p.mu.Lock()
	owed := p.owed
	p.owed = nil
	for c, at := range p.leaving {
		if !now.Before(at) {
			delete(p.leaving, c)
			owed = append(owed, c)
		}
	}
	var recs []kafka.Record
	for _, c := range owed {
		delete(p.conns, c.id)
		for _, name := range slices.Sorted(maps.Keys(c.rooms)) {
			recs = append(recs, c.record(event.RoomRequest{Type: event.RoomPart, Room: name}))
		}
	}
	p.mu.Unlock()
	if len(owed) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), askTimeout)
	defer cancel()
	var errs []error
	for _, c := range owed {
		if c.chatting {
			errs = append(errs, p.store.Leave(ctx, room.Connection{ID: c.id, Gateway: c.gateway}))
		}
	}
	if len(recs) > 0 {
		errs = append(errs, p.kafka.Produce(ctx, recs...))
	}
	p.parting.Report(errors.Join(errs...))
}

// mend makes requests again that were not answered, and parts what the database
// knows and this gateway does not.
func (p *Presence) mend(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	now := time.Now()
	var recs []kafka.Record
	p.mu.Lock()
	gateway, have := p.gateway, slices.Collect(maps.Keys(p.conns))
	for _, c := range p.conns {
		if c.ended {
			continue
		}
		for name, in := range c.parting {
			if now.Sub(in.asked) >= askAgainAfter {
				in.asked = now
				recs = append(recs, c.record(event.RoomRequest{Type: event.RoomPart, Room: name}))
			}
		}
		for name, in := range c.rooms {
			if !in.joined && now.Sub(in.asked) >= askAgainAfter {
				in.asked = now
				recs = append(recs, c.record(event.RoomRequest{Type: event.RoomJoin, Room: name}))
			}
		}
	}
	p.mu.Unlock()
	if have == nil {
		have = []string{}
	}
	stale, err := p.store.Stale(ctx, gateway, have)
	for i := range stale {
		recs = append(recs, kafka.RoomRecord(&stale[i]))
	}
	if err == nil && len(recs) > 0 {
		err = p.kafka.Produce(ctx, recs...)
	}
	if ctx.Err() == nil {
		p.parting.Report(err)
	}
}

// Ready says whether connections may chat: not without a lease.
func (p *Presence) Ready(ctx context.Context) error { return p.renewing.Ready(ctx) }
