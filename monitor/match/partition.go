package match

import (
	"container/heap"
	"time"

	"crier/internal/decimal"
	"crier/internal/event"
)

// Alert is what the index needs to know of an alert.
type Alert struct {
	ID, Revision int64
	UserID       event.UserID
	Symbol       string
	Source       string // "": ticks of any source
	Condition    event.Condition
	Target       decimal.Decimal
	Every        bool // fires again after Cooldown; else once
	Cooldown     time.Duration
	ExpiresAt    time.Time // zero: never
	LastFired    time.Time // timestamp of the tick it fired on last; zero: not yet
	Place        int64     // the offset it holds from
	Taken        bool      // everything before the partition's start has been matched
	Proposed     bool      // a trigger of this revision was proposed before: once is enough
}

// Tick is a tick with its place and its record's timestamp.
type Tick struct {
	event.Tick
	Offset   int64
	Recorded time.Time
}

// Match is an alert that a tick meets.
type Match struct {
	Alert *Alert
	Tick  Tick
}

// Partition is the index of one partition. Not safe for concurrent use.
type Partition struct {
	next    int64 // every tick before this offset has been applied
	start   int64 // the first offset that was applied, or would have been
	reached int64 // what the group had committed: see Ready
	ring    ring
	symbols map[string]*symbol
	alerts  map[int64]*entry
	pending pendingHeap
	cooling coolingHeap
	ready   []Alert // whose matches up to next have been emitted since the last Ready

	unresolved []Alert // that came due without their symbol's last tick in memory
}

// entry is an alert in the index. dead ones are skipped where they still stand
// in a heap.
type entry struct {
	alert Alert
	dead  bool
	// proposed: a once alert that has been emitted; it stays known so that a
	// change of state that is no new revision does not set it again.
	proposed bool
}

// symbol is what is known of one symbol's ticks and who waits for them.
type symbol struct {
	books map[string]*book // by source; "" for alerts of any source
	last  int64            // ring sequence of its newest tick, -1: none since start
	lasts map[string]int64 // the same by source
	// seeds are its last ticks before start, by source; those in unknown are not
	// known, and those in neither were never there.
	seeds   map[string]*Tick
	unknown map[string]bool
}

// NewPartition makes the index of a partition whose first tick to be applied is
// the one at offset start or the first after it; committed is what its group
// had committed, which is later than start when alerts were not yet taken.
func NewPartition(start, committed int64) *Partition {
	return &Partition{next: start, start: start, reached: committed, symbols: make(map[string]*symbol), alerts: make(map[int64]*entry)}
}

// Next is the offset up to which ticks have been applied.
func (p *Partition) Next() int64 { return p.next }

// Len is the number of alerts that may still fire.
func (p *Partition) Len() int { return len(p.alerts) }

// Seed tells the last tick of a symbol from its source before start. What was
// never seeded was never there.
func (p *Partition) Seed(last Tick) { p.symbol(last.Symbol).seeds[last.Source] = &last }

// Unknown says that a symbol has ticks of this source, but not which was the
// last before start.
func (p *Partition) Unknown(name, source string) { p.symbol(name).unknown[source] = true }

func (p *Partition) symbol(name string) *symbol {
	s := p.symbols[name]
	if s == nil {
		s = &symbol{books: make(map[string]*book), last: -1, lasts: make(map[string]int64), seeds: make(map[string]*Tick), unknown: make(map[string]bool)}
		p.symbols[name] = s
	}
	return s
}

// Put sets an alert, or its changed form; the same revision again changes
// nothing but a later LastFired. emit is called with its match if it has one
// among the ticks already applied. needsHistory: the ticks that decide it are
// no longer in memory; the caller reads them and calls PutWith.
func (p *Partition) Put(a Alert, emit func(Match)) (needsHistory bool) {
	if !p.replace(&a) {
		return false
	}
	if a.Proposed && !a.Every {
		p.alerts[a.ID] = &entry{alert: a, proposed: true, dead: true}
		return false
	}
	if a.Taken && a.Place <= p.start {
		p.add(&entry{alert: a})
		return false
	}
	if a.Place > p.next {
		e := &entry{alert: a}
		p.alerts[a.ID] = e
		heap.Push(&p.pending, e)
		return false
	}
	history, ok := p.recall(&a)
	if !ok {
		return true
	}
	p.settle(a, history, emit)
	return false
}

// PutWith is Put for an alert whose deciding ticks were read again: the last
// one of its symbol and source before its place, and all from its place up to
// Next, in order.
func (p *Partition) PutWith(a Alert, history []Tick, emit func(Match)) {
	if p.replace(&a) {
		p.settle(a, history, emit)
	}
}

// replace removes an earlier form of the alert; false: this one is no news.
func (p *Partition) replace(a *Alert) bool {
	old := p.alerts[a.ID]
	if old == nil {
		return true
	}
	if old.alert.Revision > a.Revision {
		return false
	}
	if old.alert.Revision == a.Revision {
		if a.LastFired.After(old.alert.LastFired) {
			old.alert.LastFired = a.LastFired
			if a.Every && !old.dead {
				// The consumer fired it on a later tick than we proposed.
				p.drop(old)
				p.add(&entry{alert: *a})
			}
		}
		return false
	}
	p.drop(old)
	return true
}

// settle decides a new alert on the ticks that were before it was heard of.
func (p *Partition) settle(a Alert, history []Tick, emit func(Match)) {
	e := &entry{alert: a}
	for i := range history {
		if p.tryFire(e, &history[i], emit) && !a.Every {
			break
		}
	}
	p.ready = append(p.ready, a)
	switch {
	case e.proposed:
		p.alerts[a.ID] = e
	case !e.dead: // an expired one is gone
		p.add(e)
	}
}

// add puts an entry where it waits: its book, or the cooling heap.
func (p *Partition) add(e *entry) {
	p.alerts[e.alert.ID] = e
	if e.alert.Every && !e.alert.LastFired.IsZero() {
		heap.Push(&p.cooling, e)
		return
	}
	p.symbol(e.alert.Symbol).book(e.alert.Source).push(e)
}

// Remove takes an alert out, unless a newer revision is in.
func (p *Partition) Remove(id, revision int64) {
	if e := p.alerts[id]; e != nil && e.alert.Revision <= revision {
		p.drop(e)
	}
}

func (p *Partition) drop(e *entry) {
	e.dead = true
	delete(p.alerts, e.alert.ID)
	if s := p.symbols[e.alert.Symbol]; s != nil {
		if b := s.books[e.alert.Source]; b != nil {
			b.died()
		}
	}
}

// Advance says that there is nothing before offset next that was not applied:
// a transaction's marker, or a record that was no tick, has passed.
func (p *Partition) Advance(next int64, emit func(Match)) {
	if next > p.next {
		p.activate(next, emit)
		p.next = next
	}
}

// Apply matches one tick. Ticks come in order of their offsets; one that was
// applied before is passed over.
func (p *Partition) Apply(t Tick, emit func(Match)) {
	if t.Offset < p.next {
		return
	}
	p.activate(t.Offset, emit)
	p.rearm(t.Recorded)
	s := p.symbol(t.Symbol)
	s.last = p.ring.push(t, s.last)
	s.lasts[t.Source] = s.last
	p.next = t.Offset + 1
	for _, source := range [2]string{"", t.Source} {
		if b := s.books[source]; b != nil {
			p.sweep(b, &t, emit)
		}
		if t.Source == "" {
			break
		}
	}
	p.activate(p.next, emit)
}

// sweep emits all alerts of a book that the tick meets.
func (p *Partition) sweep(b *book, t *Tick, emit func(Match)) {
	for {
		e := b.popMet(t.Price)
		if e == nil {
			return
		}
		p.tryFire(e, t, emit)
		if e.alert.Every && !e.dead {
			p.add(e)
		}
	}
}

// tryFire emits the entry if the tick meets it and its state allows.
func (p *Partition) tryFire(e *entry, t *Tick, emit func(Match)) bool {
	a := &e.alert
	switch {
	case e.dead || e.proposed || a.Source != "" && a.Source != t.Source || !a.Condition.Met(t.Price, a.Target):
		return false
	case !a.ExpiresAt.IsZero() && !t.Recorded.Before(a.ExpiresAt):
		p.drop(e)
		return false
	case a.Every && !a.LastFired.IsZero() && t.Recorded.Before(a.LastFired.Add(a.Cooldown)):
		return false
	}
	fired := *a
	emit(Match{Alert: &fired, Tick: *t})
	if a.Every {
		a.LastFired = t.Recorded
		return true
	}
	e.proposed, e.dead = true, true
	return true
}

// activate lets alerts take part whose place has been reached: before the tick
// at offset at is applied, every tick that was applied stands before theirs.
func (p *Partition) activate(at int64, emit func(Match)) {
	for len(p.pending) > 0 && p.pending[0].alert.Place <= at {
		e := heap.Pop(&p.pending).(*entry)
		if e.dead {
			continue
		}
		if last, ok := p.lastOf(&e.alert); ok && last != nil {
			p.tryFire(e, last, emit)
		} else if !ok {
			// Rare: its symbol's last tick lies before what was read since start.
			// The caller resolves it with PutWith.
			p.drop(e)
			p.unresolved = append(p.unresolved, e.alert)
			continue
		}
		p.ready = append(p.ready, e.alert)
		if !e.proposed && !e.dead {
			p.add(e)
		}
	}
}

// rearm puts alerts whose cooldown has passed back into their books.
func (p *Partition) rearm(now time.Time) {
	for len(p.cooling) > 0 && !p.cooling[0].readyAt().After(now) {
		e := heap.Pop(&p.cooling).(*entry)
		if !e.dead {
			p.symbol(e.alert.Symbol).book(e.alert.Source).push(e)
		}
	}
}

// Ready returns the alerts that have, since the last call, been matched with
// everything applied so far; once their matches are acknowledged they are taken.
// There are none before what was committed is reached again: a restart goes on
// from the commit, so an alert taken earlier would miss what lies between.
func (p *Partition) Ready() []Alert {
	if p.next < p.reached {
		return nil
	}
	r := p.ready
	p.ready = nil
	return r
}

// Defer keeps an alert that needs history for Unresolved.
func (p *Partition) Defer(a Alert) { p.unresolved = append(p.unresolved, a) }

// Unresolved returns alerts that came due and whose last tick is not in memory.
func (p *Partition) Unresolved() []Alert {
	u := p.unresolved
	p.unresolved = nil
	return u
}
