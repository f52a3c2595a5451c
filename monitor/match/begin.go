package match

import (
	"cmp"
	"slices"
	"time"

	"crier/internal/event"
)

// register gives an alert its slot, and an extra if it needs one.
func (p *Partition) register(a *Alert) (n uint32, e *extra) {
	sym := p.symbol(a.Symbol)
	sym.live++
	meta := sym.number
	switch a.Rule.Condition {
	case event.CrossesAbove:
		meta |= edgeBit
	case event.CrossesBelow:
		meta |= edgeBit | fallingBit
	case event.Below:
		meta |= fallingBit
	}
	if a.Source == "" {
		meta |= anyBit
	}
	if a.plain() {
		return p.table.put(slot{a.ID, uint32(a.Revision), meta}), nil
	}
	number, e := p.extras.take()
	n = p.table.put(slot{a.ID, uint32(a.Revision), number | extendedBit})
	r := &a.Rule
	*e = extra{slot: n, symbol: sym.number, condition: numbered[r.Condition], every: a.Every, level: a.level(), hysteresis: r.Hysteresis.Sign() > 0,
		target: keyOf(r.Target), high: keyOf(r.High), gap: keyOf(r.Hysteresis), confirm: uint32(r.Confirm.For / time.Millisecond),
		length: uint32(r.Window / time.Second), quiet: a.quiet(), cooldown: int64(a.Cooldown)}
	if r.Confirm.Ticks > 0 {
		e.confirm, e.counts = uint32(r.Confirm.Ticks), true
	}
	if !a.ExpiresAt.IsZero() {
		e.expires = later(beginning, a.ExpiresAt)
	}
	if a.Source == "" && !e.level {
		sym.everywhere[number] = struct{}{}
	}
	return n, e
}

// streamsOf are the streams that an alert asks: the symbol's as a whole, the one
// of its source, or every source's.
func (p *Partition) streamsOf(a *Alert) []*stream {
	s := p.symbol(a.Symbol)
	switch {
	case a.Source != "":
		return []*stream{p.stream(s, a.Source, true)}
	case a.level():
		return []*stream{s.any}
	}
	return s.order
}

// instance puts an extra on a stream, as one that has seen no tick.
func (p *Partition) instance(number uint32, st *stream) *instance {
	e := p.extras.at(number)
	n, in := p.instances.take()
	*in = instance{number: n, extra: number, stream: st.number, next: e.first, timerAt: noTimer, coolAt: noTimer, armed: !e.edge(), dirty: true}
	e.first = n + 1
	p.note(in)
	if e.windowed() {
		st.track(e.window())
	}
	return in
}

// begin lets an alert hold from here: nothing came since its place but the last
// ticks before it.
func (p *Partition) begin(a *Alert, emit func(Match)) {
	streams := slices.Clone(p.streamsOf(a))
	n, e := p.register(a)
	if e == nil {
		p.beginPlain(a, n, streams, emit)
		return
	}
	number := p.table.at(n).number()
	slices.SortFunc(streams, func(x, y *stream) int { return cmp.Compare(x.last.Offset, y.last.Offset) })
	for _, st := range streams {
		in := p.instance(number, st)
		if !st.hasLast {
			p.soon(st, in.number)
			continue
		}
		v, best := e.valueOf(st), in.best
		if e.condition == trailing {
			in.best = v
		}
		if p.advance(in, e, v, st.tau, st.seq) && !p.fire(e, &st.last, st.beforeLast(), e.reference(st, best), emit) {
			return
		}
		in.seenAt = st.last.Offset + 1
		p.arrange(in, e, st, v)
	}
}

func (st *stream) beforeLast() *Tick {
	if !st.hasPrior {
		return nil
	}
	before := st.prior
	return &before
}

func (p *Partition) beginPlain(a *Alert, n uint32, streams []*stream, emit func(Match)) {
	s := p.table.at(n)
	target := keyOf(a.Rule.Target)
	if s.is(edgeBit) {
		if len(streams) == 0 {
			sym := p.byNumber[s.number()]
			sym.held = append(sym.held, heldEdge{target, n})
		}
		for _, st := range streams {
			p.addEdge(st, n, target, st.hasLast && onOtherSide(s, keyOf(st.last.Price), target))
		}
		return
	}
	st := streams[0]
	if st.hasLast && a.Rule.Met(st.last.Price, st.last.Price) {
		m := Match{ID: a.ID, Revision: a.Revision, Tick: st.last, Before: st.beforeLast()}
		p.propose(n)
		emit(m)
		return
	}
	p.addEdge(st, n, target, true)
}

// onOtherSide says whether a price lets a plain edge be met next.
func onOtherSide(s *slot, v, target key) bool {
	if s.is(fallingBit) {
		return target.less(v)
	}
	return v.less(target)
}

// past is a tick that was applied already, as its stream had it then.
type past struct {
	tick     *Tick
	st       *stream
	tau, seq int64
	low      [2]extremes // of its second and its minute up to it, where known
}

// PutWith is Put for an alert whose deciding ticks were read again: those of its
// symbol from HistoryFrom up to Next, in order, and before them the last one of
// each source that has none there before the alert's place.
func (p *Partition) PutWith(a Alert, ticks []Tick, emit func(Match)) {
	if !p.replace(&a) {
		return
	}
	list := make([]past, 0, len(ticks))
	tau, seen := make(map[*stream]int64), make(map[*stream]int64)
	s := p.symbol(a.Symbol)
	for i := range ticks {
		t := &ticks[i]
		if t.Offset >= p.next {
			break
		}
		st := p.stream(s, t.Source, a.Source == t.Source && a.Source != "")
		if st == nil && !a.level() {
			continue
		}
		if _, ok := tau[st]; !ok {
			tau[st] = beginning
		}
		tau[st] = later(tau[st], t.Time)
		seen[st]++
		list = append(list, past{tick: t, st: st, tau: tau[st], seq: seen[st]})
	}
	for i := range list {
		if q := &list[i]; q.st != nil {
			q.seq += q.st.seq - seen[q.st]
		}
	}
	p.settle(&a, list, emit)
}

// HistoryFrom is the offset from which ticks must be read again for PutWith:
// the alert's place, or where the bucket begins that it lies in.
func (p *Partition) HistoryFrom(a *Alert) int64 {
	from := a.Place
	if !a.Rule.Condition.Windowed() {
		return from
	}
	for _, st := range p.streamsOf(a) {
		if st.history == nil {
			continue
		}
		buckets := st.history.of(event.Bucket(a.Rule.Window))
		for i := len(buckets) - 1; i >= 0; i-- {
			if buckets[i].First < a.Place {
				from = min(from, buckets[i].First)
				break
			}
		}
	}
	return from
}

// settle decides a new alert on the ticks that were before it was heard of.
func (p *Partition) settle(a *Alert, list []past, emit func(Match)) {
	p.ready = append(p.ready, *a)
	if e := p.settleAll(a, list, emit); e != nil {
		for i := e.first; i != 0; {
			in := p.instances.at(i - 1)
			st := p.streams[in.stream]
			if i = in.next; !st.hasLast {
				p.soon(st, in.number)
				continue
			}
			in.seenAt = st.last.Offset + 1
			p.note(in)
			p.arrange(in, e, st, e.valueOf(st))
		}
	}
}

// opening is where in a list of past ticks each stream's last one before the
// place stands.
func opening(a *Alert, list []past, any *stream) map[*stream]int {
	out := make(map[*stream]int)
	for i := range list {
		if list[i].tick.Offset >= a.Place {
			break
		}
		if a.level() && a.Source == "" {
			out[any] = i
		} else {
			out[list[i].st] = i
		}
	}
	return out
}

// settleAll returns the extra that is still to be arranged, if there is one.
func (p *Partition) settleAll(a *Alert, list []past, emit func(Match)) *extra {
	sym := p.symbol(a.Symbol)
	streams := slices.Clone(p.streamsOf(a))
	n, e := p.register(a)
	last := opening(a, list, sym.any)
	instances, windows := make(map[*stream]*instance), make(map[*stream]*window)
	prior := make(map[*stream]*Tick)
	if e != nil {
		number := p.table.at(n).number()
		for _, st := range streams {
			instances[st] = p.instance(number, st)
		}
	}
	target := keyOf(a.Rule.Target)
	for i := range list {
		q := &list[i]
		st := q.st
		if a.level() && a.Source == "" {
			st = sym.any
		}
		if !slices.Contains(streams, st) {
			continue
		}
		if e != nil && e.windowed() {
			p.replayWindow(e, q, windows)
		}
		first, had := last[st]
		if q.tick.Offset < a.Place && i != first {
			prior[st] = q.tick
			continue
		}
		before := prior[st]
		prior[st] = q.tick
		opens := had && i == first
		switch {
		case e == nil && !p.table.at(n).is(edgeBit):
			if a.Rule.Met(q.tick.Price, q.tick.Price) {
				p.propose(n)
				emit(Match{ID: a.ID, Revision: a.Revision, Tick: *q.tick, Before: before})
				return nil
			}
		case e == nil:
			s := p.table.at(n)
			if !opens && before != nil && onOtherSide(s, keyOf(before.Price), target) && a.Rule.Met(q.tick.Price, q.tick.Price) {
				p.propose(n)
				emit(Match{ID: a.ID, Revision: a.Revision, Tick: *q.tick, Before: before})
				return nil
			}
		default:
			if !p.settleStep(e, instances[st], q, windows[st], opens, before, emit) {
				return nil
			}
		}
	}
	if e != nil {
		return e
	}
	if p.table.at(n).is(edgeBit) {
		p.beginPlain(a, n, streams, emit)
	} else {
		p.addEdge(streams[0], n, target, true)
	}
	return nil
}

// settleStep shows an instance one past tick; false: its alert is gone.
func (p *Partition) settleStep(e *extra, in *instance, q *past, w *window, opens bool, before *Tick, emit func(Match)) bool {
	v := keyOf(q.tick.Price)
	st := p.streams[in.stream]
	tau, seq := q.tau, q.seq
	if w != nil {
		v = keyOf(w.value(e.event()))
	}
	if e.condition == trailing && in.best == (key{}) && in.armed {
		in.best = v
	}
	best := in.best
	if !p.advance(in, e, v, tau, seq) {
		return true
	}
	var ref = e.reference(st, best)
	if w != nil {
		d := w.reference(e.event())
		ref = &d
	}
	return p.fire(e, q.tick, before, ref, emit)
}

// replayWindow takes a past tick into the window as it was then.
func (p *Partition) replayWindow(e *extra, q *past, windows map[*stream]*window) {
	w := windows[q.st]
	unit := int64(event.Bucket(e.window()))
	bucket := floorDiv(q.tau, unit)
	if w == nil {
		w = replayed(e.window(), q.st.history, bucket)
		windows[q.st] = w
	}
	x := q.low[0]
	if unit != int64(1e9) {
		x = q.low[1]
	}
	if x.known {
		w.push(bucket, x.low, x.high)
	}
	w.push(bucket, q.tick.Price, q.tick.Price)
	w.measure(q.tau, q.tick.Price)
}
