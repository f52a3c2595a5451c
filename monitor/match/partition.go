package match

import (
	"container/heap"
	"slices"
	"time"

	"crier/internal/decimal"
	"crier/internal/event"
)

// Alert is what the index needs to know of an alert.
type Alert struct {
	ID, Revision int64
	Symbol       string
	Source       string // "": ticks of any source, each source's kept apart
	Rule         event.Rule
	Every        bool // fires again after Cooldown; else once
	Cooldown     time.Duration
	ExpiresAt    time.Time // zero: never
	Snoozed      time.Time // it does not fire on a tick recorded before; zero: it does
	LastFired    time.Time // timestamp of the tick it fired on last; zero: not yet
	Place        int64     // the offset it holds from
	Taken        bool      // everything before the partition's start has been matched
	Proposed     bool      // a trigger of this revision was proposed before: once is enough
}

// plain says that a slot is all that is kept of it.
func (a *Alert) plain() bool {
	r := &a.Rule
	simple := r.Plain() || (r.Condition == event.CrossesAbove || r.Condition == event.CrossesBelow) && r.Confirm.None() && r.Hysteresis.Sign() == 0
	return simple && !a.Every && a.ExpiresAt.IsZero() && a.Snoozed.IsZero()
}

// level says that it asks a symbol's ticks as one, whatever their source.
func (a *Alert) level() bool { return a.Rule.Plain() }

// Tick is a tick with its place and its record's timestamp.
type Tick struct {
	event.Tick
	Offset   int64
	Recorded time.Time
}

// Match says that a tick meets an alert.
type Match struct {
	ID, Revision int64
	Tick         Tick
	Before       *Tick // the tick before it that counts for the alert; nil: not known
	// Reference is the window's low or high, or the best price; nil for other
	// conditions.
	Reference *decimal.Decimal
}

// What a reference in a list refers to, in its two highest bits.
const (
	refMask      uint32 = 1<<30 - 1
	kindMask            = ^refMask
	kindSlot     uint32 = 0
	kindInstance uint32 = 1 << 30
	kindGroup    uint32 = 2 << 30
)

// Partition is the index of one partition. Not safe for concurrent use.
type Partition struct {
	next     int64 // every tick before this offset has been applied
	start    int64 // the first offset that was applied, or would have been
	ring     ring
	symbols  map[string]*symbol
	byNumber []*symbol
	streams  []*stream
	full     bool // symbols without alerts were left out

	table     table
	extras    slab[extra]
	instances slab[instance]
	groups    slab[group]
	percent   decimal.Percent

	pending    pendingHeap
	cooling    timerHeap // instances, by the record's time from which they may fire again
	ready      []Alert   // whose matches up to next have been emitted since the last Ready
	unresolved []Alert   // that came due while their windows were not known
	loading    bool      // between Load and Loaded: lists are put in order at the end

	dirty   []uint32 // instances to be saved
	touched []uint32 // groups to be saved
	merged  []State
	removed []StateID
	saved   map[StateID]State // while loading: what was saved
}

// NewPartition makes the index of a partition whose first tick to be applied is
// the one at offset start or the first after it.
func NewPartition(start int64) *Partition {
	return &Partition{next: start, start: start, symbols: make(map[string]*symbol)}
}

// Next is the offset up to which ticks have been applied.
func (p *Partition) Next() int64 { return p.next }

// Len is the number of alerts that may still fire.
func (p *Partition) Len() int {
	n := 0
	for _, s := range p.byNumber {
		n += s.live
	}
	return n
}

// Symbols is the number of symbols that are kept in mind.
func (p *Partition) Symbols() int { return len(p.byNumber) }

// Clock is what a stream counts by: its time, which never runs backwards, and
// the number of its last tick.
type Clock struct {
	Time  time.Time
	Ticks int64
}

// Seed tells the last tick of a symbol from its source before start, and its
// stream's clock. What was never seeded was never there.
func (p *Partition) Seed(last Tick, c Clock) {
	s := p.symbol(last.Symbol)
	if st := p.stream(s, last.Source, false); st != nil {
		st.seed, st.hasSeed, st.last, st.hasLast = last, true, last, true
		st.tau = max(later(beginning, c.Time), later(beginning, last.Time))
		st.seq, st.seedSeq = c.Ticks, c.Ticks
	}
	if a := s.any; !a.hasSeed || a.seed.Offset < last.Offset {
		a.seed, a.hasSeed, a.last, a.hasLast = last, true, last, true
	}
}

// Need is what the caller has to read before an alert can be put.
type Need uint8

// The needs: the ticks that decide it are no longer in memory (PutWith), or the
// windows of its symbol are not (SeedBuckets, then Put again).
const (
	Nothing Need = iota
	History
	Windows
)

// Put sets an alert, or its changed form; the same revision again changes
// nothing but a later LastFired. emit is called with its match if it has one
// among the ticks already applied.
func (p *Partition) Put(a Alert, emit func(Match)) Need {
	if !p.replace(&a) {
		return Nothing
	}
	if a.Proposed && !a.Every {
		p.table.put(slot{a.ID, uint32(a.Revision), proposedBit | deadBit | p.symbol(a.Symbol).number})
		return Nothing
	}
	if len(p.wants(&a)) > 0 {
		return Windows
	}
	if a.Taken && a.Place <= p.start {
		p.restore(&a)
		return Nothing
	}
	if a.Place > p.next {
		s := p.symbol(a.Symbol)
		n := p.table.put(slot{a.ID, uint32(a.Revision), pendingBit | s.number})
		s.live++
		heap.Push(&p.pending, pending{a, n})
		return Nothing
	}
	if a.Place < p.start || p.full && p.symbols[a.Symbol] == nil {
		return History
	}
	s := p.symbol(a.Symbol)
	if !s.any.hasLast || s.any.last.Offset < a.Place {
		p.begin(&a, emit)
		p.ready = append(p.ready, a)
		return Nothing
	}
	past, ok := p.recall(&a)
	if !ok {
		return History
	}
	p.settle(&a, past, emit)
	return Nothing
}

// replace removes an earlier form of the alert; false: this one is no news.
func (p *Partition) replace(a *Alert) bool {
	n, ok := p.table.get(a.ID)
	if !ok {
		return true
	}
	s := p.table.at(n)
	if s.revision > uint32(a.Revision) {
		return false
	}
	if s.revision == uint32(a.Revision) {
		if s.is(extendedBit) && !a.LastFired.IsZero() {
			// The consumer fired it on a later tick than we proposed.
			e := p.extras.at(s.number())
			e.quiet = max(e.quiet, a.quiet())
		}
		return false
	}
	p.drop(n)
	return true
}

// quiet is the record time before which the alert does not fire.
func (a *Alert) quiet() int64 {
	q := int64(beginning)
	if !a.Snoozed.IsZero() {
		q = a.Snoozed.UnixNano()
	}
	if a.Every && !a.LastFired.IsZero() {
		q = max(q, a.LastFired.Add(a.Cooldown).UnixNano())
	}
	return q
}

// Remove takes an alert out, unless a newer revision is in.
func (p *Partition) Remove(id, revision int64) {
	if n, ok := p.table.get(id); ok && int64(p.table.at(n).revision) <= revision {
		p.drop(n)
	}
}

// drop forgets an alert; where it stands in lists it is passed over.
func (p *Partition) drop(n uint32) {
	s := p.table.at(n)
	p.table.forget(s.id)
	if s.is(extendedBit) {
		p.dropExtra(n)
		p.table.release(n)
		return
	}
	sym := p.byNumber[s.number()]
	if !s.is(deadBit) {
		sym.live--
	}
	s.meta |= deadBit
	sym.dead = append(sym.dead, n)
	p.sweepDead(sym)
}

// dropExtra forgets all of an alert but its slot.
func (p *Partition) dropExtra(n uint32) {
	s := p.table.at(n)
	number := s.number()
	e := p.extras.at(number)
	sym := p.byNumber[e.symbol]
	sym.live--
	for i := e.first; i != 0; {
		in := p.instances.at(i - 1)
		st := p.streams[in.stream]
		p.unset(in, e, st)
		if e.remembers() {
			p.removed = append(p.removed, StateID{AlertID: s.id, Symbol: sym.name, Source: st.source})
		}
		group := in.group
		next := in.next
		p.instances.release(in.number)
		in.stream = noStream
		if group != 0 {
			p.setStop(st, group-1)
		}
		i = next
	}
	delete(sym.everywhere, number)
	p.extras.release(number)
	s.meta = s.meta&^(numberMask|extendedBit) | sym.number
}

// sweepDead clears the lists of a symbol once its dead are more than half of
// its living: so memory stays in proportion to the living.
func (p *Partition) sweepDead(s *symbol) {
	if len(s.dead) < 64 || len(s.dead)*2 < s.live {
		return
	}
	alive := func(ref uint32) bool { return ref&kindMask != kindSlot || !p.table.at(ref&refMask).is(deadBit) }
	for _, st := range append(s.order, s.any) {
		st.price.keep(alive)
	}
	s.held = slices.DeleteFunc(s.held, func(h heldEdge) bool { return p.table.at(h.slot).is(deadBit) })
	for _, n := range s.dead {
		p.table.release(n)
	}
	s.dead = s.dead[:0]
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
// applied before is passed over. It returns the time of the tick's stream; false:
// it was passed over, or its source is one too many to be told apart.
func (p *Partition) Apply(t Tick, emit func(Match)) (at time.Time, ok bool) {
	if t.Offset < p.next {
		return at, false
	}
	p.activate(t.Offset, emit)
	p.rearm(t.Recorded.UnixNano())
	s := p.symbols[t.Symbol]
	if s == nil {
		if len(p.byNumber) >= maxSymbols {
			p.full = true
			p.ring.push(t, -1, nil)
			p.next = t.Offset + 1
			return at, false
		}
		s = p.symbol(t.Symbol)
	}
	st := p.stream(s, t.Source, false)
	s.any.arrive(&t)
	if st != nil {
		st.arrive(&t)
	}
	s.last = p.ring.push(t, s.last, st)
	p.next = t.Offset + 1
	if st != nil {
		p.match(st, emit)
	}
	p.match(s.any, emit)
	p.activate(p.next, emit)
	if st == nil {
		return at, false
	}
	return time.Unix(0, st.tau).UTC(), true
}

// match wakes who waits for a stream's newest tick.
func (p *Partition) match(st *stream, emit func(Match)) {
	v := keyOf(st.last.Price)
	if len(st.groups) > 0 {
		p.lift(st, v)
	}
	// Timers first: one that stands too early for what its instance waits for now
	// is set anew when it runs, and none that is due is left when thresholds are met.
	p.runTimers(st, &st.timers, st.tau, emit)
	p.runTimers(st, &st.counts, st.seq, emit)
	wake := func(k key, ref uint32, rising bool) { p.wake(st, k, ref, rising, emit) }
	st.price.sweep(v, wake)
	for _, w := range st.windows {
		w.rise.sweep(keyOf(w.up), wake)
		w.fall.sweep(keyOf(w.down), wake)
	}
}

func (p *Partition) runTimers(st *stream, h *timerHeap, now int64, emit func(Match)) {
	for len(*h) > 0 && (*h)[0].at <= now {
		t := heap.Pop(h).(timer)
		in := p.instances.at(t.instance)
		if in.timerAt != t.at || in.stream != st.number {
			continue
		}
		in.timerAt = noTimer
		p.look(t.instance, emit)
	}
	if len(*h) == 0 && cap(*h) > 1024 {
		*h = nil // after a load everybody had one
	}
}

// wake looks at who waited at threshold k, which has been taken out of its list.
func (p *Partition) wake(st *stream, k key, ref uint32, rising bool, emit func(Match)) {
	n := ref & refMask
	switch ref & kindMask {
	case kindGroup:
		p.stopped(st, n, keyOf(st.last.Price), func(instance uint32) { p.look(instance, emit) })
		return
	case kindInstance:
		if in := p.instances.at(n); rising {
			in.hasUp = false
		} else {
			in.hasDown = false
		}
		p.look(n, emit)
		return
	}
	s := p.table.at(n)
	if s.is(deadBit) {
		return
	}
	if s.is(edgeBit) && rising == s.is(fallingBit) {
		p.addEdge(st, n, targetOf(s, k, false), true) // it is armed now
		return
	}
	m := Match{ID: s.id, Revision: int64(s.revision), Tick: st.last}
	if st.hasPrior {
		prior := st.prior
		m.Before = &prior
	}
	p.propose(n)
	emit(m)
}

// propose notes that an alert that fires once has been emitted. It stays known,
// so that a change of state that is no new revision does not set it again.
func (p *Partition) propose(n uint32) {
	s := p.table.at(n)
	if s.is(extendedBit) {
		p.dropExtra(n)
	} else {
		p.byNumber[s.number()].live--
	}
	s.meta |= proposedBit | deadBit
}

// addEdge sets a plain edge's threshold: its target, or where it is armed.
func (p *Partition) addEdge(st *stream, n uint32, target key, armed bool) {
	falling := p.table.at(n).is(fallingBit)
	switch {
	case armed && falling:
		st.price.down.add(target.neg(), kindSlot|n, p.loading)
	case armed:
		st.price.up.add(target, kindSlot|n, p.loading)
	case falling:
		st.price.up.add(target.next(), kindSlot|n, p.loading)
	default:
		st.price.down.add(target.prev().neg(), kindSlot|n, p.loading)
	}
}

// look shows an instance its stream's newest tick.
func (p *Partition) look(n uint32, emit func(Match)) {
	in := p.instances.at(n)
	if in.stream == noStream || in.group != 0 {
		return // it is no more, or goes with its group
	}
	st := p.streams[in.stream]
	if in.seenAt == st.last.Offset+1 {
		// It has set a threshold that this very tick meets (a stop below nothing
		// does): that is for the next tick.
		p.soon(st, n)
		return
	}
	in.seenAt = st.last.Offset + 1
	e := p.extras.at(in.extra)
	v := e.valueOf(st)
	best := in.best
	if p.advance(in, e, v, st.tau, st.seq) {
		var prior *Tick
		if st.hasPrior {
			before := st.prior
			prior = &before
		}
		if !p.fire(e, &st.last, prior, e.reference(st, best), emit) {
			return
		}
	}
	p.note(in)
	p.arrange(in, e, st, v)
}

// reference is what the change that met an alert is measured from.
func (e *extra) reference(st *stream, best key) *decimal.Decimal {
	var d decimal.Decimal
	switch {
	case e.windowed():
		d = st.windows[e.window()].reference(e.event())
	case e.condition == trailing:
		d = best.decimal()
	default:
		return nil
	}
	return &d
}

// fire emits a match if the alert's state allows; false: the alert is gone.
func (p *Partition) fire(e *extra, t, before *Tick, reference *decimal.Decimal, emit func(Match)) bool {
	recorded := t.Recorded.UnixNano()
	if e.expires != 0 && recorded >= e.expires {
		n := e.slot
		p.drop(n)
		return false
	}
	if recorded < e.quiet {
		return true
	}
	s := p.table.at(e.slot)
	m := Match{ID: s.id, Revision: int64(s.revision), Tick: *t, Before: before, Reference: reference}
	if e.every {
		e.quiet = recorded + e.cooldown
		emit(m)
		return true
	}
	p.propose(e.slot)
	emit(m)
	return false
}

// cool has an instance looked at again once its alert may fire again.
func (p *Partition) cool(in *instance, e *extra) {
	if in.coolAt != noTimer && in.coolAt <= e.quiet {
		return
	}
	in.coolAt = e.quiet
	heap.Push(&p.cooling, timer{e.quiet, in.number})
}

// rearm wakes instances whose alerts may fire again.
func (p *Partition) rearm(now int64) {
	for len(p.cooling) > 0 && p.cooling[0].at <= now {
		t := heap.Pop(&p.cooling).(timer)
		in := p.instances.at(t.instance)
		if in.stream == noStream || in.coolAt != t.at {
			continue
		}
		in.coolAt = noTimer
		p.soon(p.streams[in.stream], t.instance)
	}
}

// activate lets alerts take part whose place has been reached: before the tick
// at offset at is applied, every tick that was applied stands before theirs.
func (p *Partition) activate(at int64, emit func(Match)) {
	for len(p.pending) > 0 && p.pending[0].alert.Place <= at {
		w := heap.Pop(&p.pending).(pending)
		s := p.table.at(w.slot)
		if s.is(deadBit) || !s.is(pendingBit) || s.id != w.alert.ID || s.revision != uint32(w.alert.Revision) {
			continue
		}
		p.table.forget(s.id)
		p.byNumber[s.number()].live--
		p.table.release(w.slot)
		s.meta = deadBit
		if len(p.wants(&w.alert)) > 0 {
			p.unresolved = append(p.unresolved, w.alert)
			continue
		}
		p.begin(&w.alert, emit)
		p.ready = append(p.ready, w.alert)
	}
}

// pending is an alert whose place lies ahead.
type pending struct {
	alert Alert
	slot  uint32
}

type pendingHeap []pending

func (h pendingHeap) Len() int           { return len(h) }
func (h pendingHeap) Less(i, j int) bool { return h[i].alert.Place < h[j].alert.Place }
func (h pendingHeap) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *pendingHeap) Push(x any)        { *h = append(*h, x.(pending)) }
func (h *pendingHeap) Pop() any {
	last := (*h)[len(*h)-1]
	(*h)[len(*h)-1] = pending{}
	*h = (*h)[:len(*h)-1]
	return last
}

// Ready returns the alerts that have, since the last call, been matched with
// everything applied so far; once their matches are acknowledged and the index
// is saved they are taken.
func (p *Partition) Ready() []Alert {
	r := p.ready
	p.ready = nil
	return r
}

// Unresolved returns alerts that came due while their windows were not known.
func (p *Partition) Unresolved() []Alert {
	u := p.unresolved
	p.unresolved = nil
	return u
}
