package hub

import (
	"context"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"crier/internal/event"
)

// round is how often ticks are sent at most: one write a viewer holds the newest
// of all its symbols. Ten a second is faster than people read and slow enough for
// ten thousand viewers on one machine; where it is not, pace makes it less.
const round = 100 * time.Millisecond

// MaxRate is the highest number of tick writes a second that a stream may ask for.
const MaxRate = int(time.Second / round)

// MaxFollowed is how many symbols one stream may follow.
const MaxFollowed = 200

// tickFeed is what streams with the same symbols and rate share: one frame.
type tickFeed struct {
	key     string
	symbols []string
	every   time.Duration            // between two writes, at least
	at      time.Time                // of the last one
	subs    map[*Subscriber]struct{} // those that have had everything
	late    map[*Subscriber]struct{} // those that were busy: they get the newest of all symbols
	sent    int64                    // version up to which subs have had ticks
}

// ticker holds the newest tick of each symbol, and who follows which.
type ticker struct {
	mu      sync.Mutex // guards all; no other lock is taken under it but a sink's own
	newest  map[string]*newestTick
	sources map[string]time.Time // when a tick of the source was last read
	version int64
	feeds   map[string]*tickFeed
	pace    pace
	skipped int64          // times that a stream was passed over
	due     []event.UserID // users with counts to be sent
	dueMu   sync.Mutex     // guards due; taken after any other
	wake    chan struct{}  // there is something to send in rounds
}

type newestTick struct {
	tick     event.Tick
	recorded time.Time
	restored bool // read from Postgres, not from the tail
	version  int64
	event    *Event // made when first wanted
}

func (t *ticker) init() {
	t.newest, t.feeds, t.sources = make(map[string]*newestTick), make(map[string]*tickFeed), make(map[string]time.Time)
	t.wake = make(chan struct{}, 1)
	t.pace.rest() // the rate that it may have, until it has one
}

// begin has rounds begin, if there are none.
func (t *ticker) begin() {
	select {
	case t.wake <- struct{}{}:
	default:
	}
}

func (t *ticker) counts(user event.UserID) {
	t.dueMu.Lock()
	defer t.dueMu.Unlock()
	t.due = append(t.due, user)
	t.begin()
}

// maxSources bounds how many sources of ticks are told apart.
const maxSources = 100

// maxSymbols bounds the symbols whose newest tick is kept; ticks of further ones
// reach nobody's stream. A few hundred bytes each.
const maxSymbols = 100_000

// Tick brings the newest tick of a symbol, recorded in Kafka at that time.
func (h *Hub) Tick(tick event.Tick, recorded time.Time) {
	t := &h.ticks
	t.mu.Lock()
	defer t.mu.Unlock()
	t.put(tick, recorded)
}

func (t *ticker) put(tick event.Tick, recorded time.Time) {
	if t.newest[tick.Symbol] == nil && len(t.newest) >= maxSymbols {
		return
	}
	t.version++
	t.newest[tick.Symbol] = &newestTick{tick: tick, recorded: recorded, version: t.version}
	if _, known := t.sources[tick.Source]; known || len(t.sources) < maxSources {
		t.sources[tick.Source] = recorded
	}
}

// TickIfNone is Tick for what was read from Postgres: it gives way to what the
// tail has brought.
func (h *Hub) TickIfNone(tick event.Tick, recorded time.Time) {
	t := &h.ticks
	t.mu.Lock()
	defer t.mu.Unlock()
	if known := t.newest[tick.Symbol]; known != nil && (!known.restored || known.recorded.After(recorded)) {
		return
	}
	t.put(tick, recorded)
	if n := t.newest[tick.Symbol]; n != nil {
		n.restored = true
	}
}

// TicksLost says that the tail may have missed ticks: what it has brought before gives way,
// as what was read from Postgres does, to what was recorded later.
func (h *Hub) TicksLost() {
	t := &h.ticks
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, n := range t.newest {
		n.restored = true
	}
}

// Sources are the sources of ticks, with when one was last recorded.
func (h *Hub) Sources() map[string]time.Time {
	t := &h.ticks
	t.mu.Lock()
	defer t.mu.Unlock()
	return maps.Clone(t.sources)
}

// Newest is the newest tick of each symbol, by symbol.
func (h *Hub) Newest() []event.Tick {
	t := &h.ticks
	t.mu.Lock()
	defer t.mu.Unlock()
	out := make([]event.Tick, 0, len(t.newest))
	for _, n := range t.newest {
		out = append(out, n.tick)
	}
	slices.SortFunc(out, func(a, b event.Tick) int { return strings.Compare(a.Symbol, b.Symbol) })
	return out
}

// Follow sets which symbols a stream gets the ticks of, at most rate times a
// second; none ends it. The newest of each is sent in the next round.
func (s *Subscriber) Follow(symbols []string, rate int) {
	t := &s.hub.ticks
	t.mu.Lock()
	defer t.mu.Unlock()
	t.drop(s)
	if len(symbols) == 0 || s.ended {
		return
	}
	symbols = slices.Clone(symbols)
	slices.Sort(symbols)
	symbols = slices.Compact(symbols)
	every := max(1, MaxRate/min(max(rate, 1), MaxRate))
	key := strings.Join(append(symbols, strconv.Itoa(every)), "\x00")
	f := t.feeds[key]
	if f == nil {
		f = &tickFeed{key: key, symbols: symbols, every: time.Duration(every) * round, subs: make(map[*Subscriber]struct{}), late: make(map[*Subscriber]struct{}), sent: t.version}
		t.feeds[key] = f
		t.begin()
	}
	f.late[s] = struct{}{}
	s.feed = f
}

func (t *ticker) remove(s *Subscriber) {
	t.mu.Lock()
	defer t.mu.Unlock()
	s.ended = true
	t.drop(s)
}

func (t *ticker) drop(s *Subscriber) {
	f := s.feed
	if f == nil {
		return
	}
	s.feed = nil
	delete(f.subs, s)
	delete(f.late, s)
	if len(f.subs)+len(f.late) == 0 {
		delete(t.feeds, f.key)
	}
}

// SendTicks is the life of the goroutine that sends ticks and postponed counts;
// it returns when ctx ends. While there is nobody to send them to it sleeps.
func (h *Hub) SendTicks(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-h.ticks.wake:
			h.sendRounds(ctx)
		}
	}
}

// sendRounds goes on until nobody follows a symbol and no counts are due.
func (h *Hub) sendRounds(ctx context.Context) {
	clock := time.NewTicker(round)
	defer clock.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-clock.C:
			h.sendRound()
			h.sendDueCounts(now)
		}
		if h.ticks.rest() {
			return
		}
	}
}

// rest says that there is nothing to send in rounds. What is to be sent after it
// was asked begins them again.
func (t *ticker) rest() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.dueMu.Lock()
	defer t.dueMu.Unlock()
	if len(t.feeds)+len(t.due) > 0 {
		return false
	}
	t.pace.rest()
	return true
}

func (h *Hub) sendRound() {
	var lag time.Duration
	if h.LagFunc != nil {
		lag = h.LagFunc()
	}
	t := &h.ticks
	t.mu.Lock()
	defer t.mu.Unlock()
	now := time.Now()
	if len(t.feeds) == 0 || !t.pace.due(now, lag) {
		return
	}
	sent := false
	for _, f := range t.feeds {
		if now.Add(slack).Sub(f.at) >= f.every {
			if t.send(f) {
				f.at, sent = now, true
			}
		}
	}
	if sent {
		t.pace.handed = time.Now()
	}
}

// send brings a feed's streams up to date: those that have had everything get
// what is new, those that were busy the newest of each symbol. To a sink a round
// is one event. false: there was nothing to send.
func (t *ticker) send(f *tickFeed) (sent bool) {
	var news, all []*Event
	for _, symbol := range f.symbols {
		n := t.newest[symbol]
		if n == nil {
			continue
		}
		if n.version <= f.sent && len(f.late) == 0 {
			continue
		}
		if n.event == nil {
			n.event = &Event{Type: Ticks, Data: n.tick.AppendJSON(nil)}
		}
		all = append(all, n.event)
		if n.version > f.sent {
			news = append(news, n.event)
		}
	}
	f.sent = t.version
	if len(all) == 0 {
		return false
	}
	late := slices.Collect(maps.Keys(f.late)) // those of the rounds before
	if len(news) > 0 {
		ev := joined(news)
		for s := range f.subs {
			if !offer(s.sink, ev) {
				delete(f.subs, s)
				f.late[s] = struct{}{}
			}
		}
	}
	ev := joined(all)
	for _, s := range late {
		if offer(s.sink, ev) {
			delete(f.late, s)
			f.subs[s] = struct{}{}
		}
	}
	t.skipped += int64(len(f.late))
	return true
}

// joined is some ticks as one event.
func joined(ticks []*Event) *Event {
	if len(ticks) == 1 {
		return ticks[0]
	}
	return &Event{Type: Ticks, parts: ticks}
}

func offer(sink Sink, ev *Event) bool { return !sink.Busy() && sink.Send(ev) }

func (h *Hub) sendDueCounts(now time.Time) {
	h.ticks.dueMu.Lock()
	due := h.ticks.due
	h.ticks.due = nil
	h.ticks.dueMu.Unlock()
	for _, user := range due {
		if !h.dueCounts(user, now) {
			h.ticks.counts(user)
		}
	}
}
