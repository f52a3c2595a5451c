package match

import (
	"container/heap"
	"time"
)

// anySource is the stream that has all of a symbol's ticks, whatever their
// source: what only one tick decides is asked of it.
const anySource = "\x00any"

// symbol is what is known of one symbol's ticks and who waits for them.
type symbol struct {
	name    string
	number  uint32
	last    int64 // ring sequence of its newest tick, -1: none since start
	any     *stream
	streams map[string]*stream // by source; at most maxSources that no alert names
	order   []*stream          // the same, as they came
	// extras that ask every source on its own: a new source makes an instance of
	// each.
	everywhere map[uint32]struct{}
	held       []heldEdge // plain edges of any source before there is a source
	dead       []uint32   // slots that may still stand in lists
	live       int        // alerts
}

type heldEdge struct {
	target key
	slot   uint32
}

// maxSources is how many sources of one symbol are told apart. Ticks of further
// ones count where any tick does, and for alerts that name them.
const maxSources = 16

// maxSymbols is how many symbols without an alert are kept in mind. What the
// last tick of a further one was is read from Kafka when an alert asks.
const maxSymbols = 100_000

// stream is one source of a symbol.
type stream struct {
	symbol *symbol
	source string
	number uint32
	last   Tick // its newest tick, if hasLast
	prior  Tick // the one before, if hasPrior
	seed   Tick // its last tick before start, if hasSeed

	hasLast, hasPrior, hasSeed bool

	tau int64 // its time in Unix nanoseconds, which never runs backwards
	seq int64 // ticks so far

	seedSeq int64

	price   series
	windows map[time.Duration]*window
	history *history // nil while nobody has a window on it

	timers   timerHeap // instances to look at again at a tick whose time is at or after
	counts   timerHeap // the same, by number of ticks
	groups   []uint32  // trailing stops, by falling best price
	groupIDs map[int64]uint32
	groupSeq int64
}

func (p *Partition) symbol(name string) *symbol {
	s := p.symbols[name]
	if s == nil {
		s = &symbol{name: name, number: uint32(len(p.byNumber)), last: -1, streams: make(map[string]*stream), everywhere: make(map[uint32]struct{})}
		s.any = p.newStream(s, anySource)
		p.symbols[name] = s
		p.byNumber = append(p.byNumber, s)
	}
	return s
}

func (p *Partition) newStream(s *symbol, source string) *stream {
	st := &stream{symbol: s, source: source, number: uint32(len(p.streams)), tau: beginning, groupIDs: make(map[int64]uint32)}
	p.streams = append(p.streams, st)
	return st
}

// stream is the symbol's stream of a source; nil: there are too many, and no
// alert names it.
func (p *Partition) stream(s *symbol, source string, named bool) *stream {
	st := s.streams[source]
	if st == nil {
		if !named && len(s.order) >= maxSources {
			return nil
		}
		st = p.newStream(s, source)
		s.streams[source] = st
		s.order = append(s.order, st)
		p.joined(s, st)
	}
	return st
}

// joined lets a new source meet those that ask every source on its own. It has
// had no tick: edges wait to be armed.
func (p *Partition) joined(s *symbol, st *stream) {
	if len(s.order) == 1 {
		for _, h := range s.held {
			p.addEdge(st, h.slot, h.target, false)
		}
		s.held = nil
	} else {
		s.order[0].eachEdge(p, func(n uint32, target key) { p.addEdge(st, n, target, false) })
	}
	for n := range s.everywhere {
		e := p.extras.at(n)
		if e.windowed() {
			st.track(e.window())
		}
		in := p.instance(n, st)
		in.armed = !e.edge()
		p.soon(st, in.number)
	}
}

// eachEdge calls fn with each living plain edge of any source.
func (st *stream) eachEdge(p *Partition, fn func(slot uint32, target key)) {
	type found struct {
		slot   uint32
		target key
	}
	var list []found
	look := func(k key, ref uint32, armedSide bool) {
		if ref&kindMask != kindSlot {
			return
		}
		s := p.table.at(ref & refMask)
		if s.is(edgeBit) && s.is(anyBit) && !s.is(deadBit) {
			list = append(list, found{ref & refMask, targetOf(s, k, armedSide)})
		}
	}
	st.price.up.each(func(k key, ref uint32) { look(k, ref, !p.table.at(ref&refMask).is(fallingBit)) })
	st.price.down.each(func(k key, ref uint32) { look(k.neg(), ref, p.table.at(ref&refMask).is(fallingBit)) })
	for _, f := range list {
		fn(f.slot, f.target)
	}
}

// targetOf is a plain edge's target, told from the key under which it stands:
// armed, or waiting to be.
func targetOf(s *slot, k key, armed bool) key {
	switch {
	case armed:
		return k
	case s.is(fallingBit):
		return k.prev()
	}
	return k.next()
}

// track makes a stream keep what windows are made of, and the window.
func (st *stream) track(length time.Duration) *window {
	if st.windows == nil {
		st.windows = make(map[time.Duration]*window)
	}
	if st.history == nil {
		st.history = new(history)
	}
	w := st.windows[length]
	if w == nil {
		w = newWindow(length, st.history)
		if st.hasLast && len(w.lows) > 0 {
			w.measure(st.tau, st.last.Price)
		}
		st.windows[length] = w
	}
	return w
}

// arrive takes a tick into the stream; its thresholds are swept afterwards.
func (st *stream) arrive(t *Tick) {
	st.prior, st.hasPrior = st.last, st.hasLast
	st.last, st.hasLast = *t, true
	st.tau = later(st.tau, t.Time)
	st.seq++
	if st.history == nil {
		return
	}
	st.history.add(st.tau, t.Price, t.Offset)
	for _, w := range st.windows {
		w.advance(st.tau, t.Price)
	}
}

// lastTime is the latest that Unix nanoseconds can say, in 2262.
var lastTime = time.Unix(0, 1<<63-1)

// later is a stream's time after a tick of that time: it never runs backwards.
func later(tau int64, at time.Time) int64 {
	if at.After(lastTime) {
		at = lastTime
	}
	return max(tau, at.UnixNano())
}

// beginning is the time of a stream before its first tick.
const beginning = -1 << 63

// timer wakes an instance once its stream's time, or count, is at.
type timer struct {
	at       int64
	instance uint32
}

type timerHeap []timer

func (h timerHeap) Len() int           { return len(h) }
func (h timerHeap) Less(i, j int) bool { return h[i].at < h[j].at }
func (h timerHeap) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *timerHeap) Push(x any)        { *h = append(*h, x.(timer)) }
func (h *timerHeap) Pop() any {
	last := (*h)[len(*h)-1]
	*h = (*h)[:len(*h)-1]
	return last
}

// soon has an instance looked at with its stream's next tick.
func (p *Partition) soon(st *stream, instance uint32) {
	p.at(&st.timers, p.instances.at(instance), dueNow)
}

const dueNow = -1 << 63

// at sets an instance's timer, of which it has one: an earlier one that stands
// already is looked at then and set anew.
func (p *Partition) at(h *timerHeap, in *instance, when int64) {
	if in.timerAt != noTimer && in.timerAt <= when {
		return
	}
	in.timerAt = when
	heap.Push(h, timer{when, in.number})
}

const (
	noTimer  = 1<<63 - 1
	noStream = 1<<32 - 1 // of an instance that is no more
)

// Want names a stream whose windows the index needs to know, and its time.
type Want struct {
	Symbol, Source string
	Time           time.Time
}

func wantOf(st *stream) Want { return Want{st.symbol.name, st.source, time.Unix(0, st.tau).UTC()} }
