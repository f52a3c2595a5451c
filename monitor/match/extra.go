package match

import (
	"time"

	"crier/internal/event"
)

// extra is what is kept of an alert beyond its slot where one price alone does
// not decide, or where it fires more than once or not for ever.
type extra struct {
	slot       uint32
	symbol     uint32
	first      uint32 // its first instance + 1; 0: none
	confirm    uint32 // milliseconds, or ticks where counts
	length     uint32 // of its window, in seconds
	condition  uint8
	counts     bool
	every      bool
	level      bool // asks any source at once, like a plain one
	hysteresis bool
	target     key
	high       key
	gap        key   // hysteresis
	quiet      int64 // Unix nanoseconds of the record before which it does not fire
	cooldown   int64
	expires    int64 // 0: never
}

// instance is an extra on one stream: where it stands, and what it waits for.
type instance struct {
	number  uint32
	extra   uint32
	stream  uint32
	next    uint32 // the extra's next instance + 1
	armed   bool
	streak  bool // met by every tick since
	dirty   bool // not saved as it is
	listed  bool // among those to be saved
	hasUp   bool
	hasDown bool
	dead    bool
	group   uint32
	since   int64 // where the streak began: the stream's time, or for counts the tick's number
	best    key   // of a trailing stop; unarmed, the price that arms it again
	upKey   key
	downKey key
	timerAt int64 // of its timer, in nanoseconds or ticks
	coolAt  int64
	seenAt  int64 // offset of the tick it was last looked at with
}

const (
	above uint8 = iota
	below
	crossesAbove
	crossesBelow
	percentUp
	percentDown
	enters
	exits
	trailing
)

var numbered = map[event.Condition]uint8{
	event.Above: above, event.Below: below, event.CrossesAbove: crossesAbove, event.CrossesBelow: crossesBelow, event.PercentUp: percentUp,
	event.PercentDown: percentDown, event.Enters: enters, event.Exits: exits, event.TrailingStop: trailing,
}

func (e *extra) edge() bool {
	return e.condition == crossesAbove || e.condition == crossesBelow || e.condition == enters || e.condition == exits
}

func (e *extra) windowed() bool  { return e.condition == percentUp || e.condition == percentDown }
func (e *extra) falling() bool   { return e.condition == below || e.condition == crossesBelow }
func (e *extra) confirmed() bool { return e.confirm > 0 }

func (e *extra) window() time.Duration { return time.Duration(e.length) * time.Second }

// clock is what its streak is measured by, and hold how much of it there must be.
func (e *extra) clock(tau, seq int64) int64 {
	if e.counts {
		return seq
	}
	return tau
}

func (e *extra) hold() int64 {
	if e.counts {
		return int64(e.confirm) - 1
	}
	return int64(e.confirm) * int64(time.Millisecond)
}

// arms says whether it fires only after having been cleared.
func (e *extra) arms() bool { return e.edge() || e.hysteresis }

// remembers says whether where it stands follows from more than its stream's
// last tick and windows: then it is saved.
func (e *extra) remembers() bool { return e.hysteresis || e.confirmed() || e.condition == trailing }

func (e *extra) event() event.Condition {
	for c, n := range numbered {
		if n == e.condition {
			return c
		}
	}
	return ""
}

// met says whether a value meets it; for a trailing stop, with the best price.
func (p *Partition) met(e *extra, v, best key) bool {
	switch e.condition {
	case below, crossesBelow:
		return !e.target.less(v)
	case enters:
		return !v.less(e.target) && !e.high.less(v)
	case exits:
		return v.less(e.target) || e.high.less(v)
	case trailing:
		return best.positive() && !p.stop(best, e.target).less(v)
	}
	return !v.less(e.target)
}

// stop is where a trailing stop fires: that many percent below the best price.
func (p *Partition) stop(best, percent key) key {
	return keyOf(p.percent.Below(best.decimal(), percent.decimal()))
}

// Thresholds behind which an unarmed one is armed again.
func (e *extra) clearBelow() key { return minKey(e.target.prev(), e.target.sub(e.gap)) }
func (e *extra) clearAbove(of key) key {
	return maxKey(of.next(), of.add(e.gap))
}

// cleared says whether a value arms it.
func (e *extra) cleared(v key) bool {
	switch e.condition {
	case below, crossesBelow:
		return !v.less(e.clearAbove(e.target))
	case enters:
		return !e.clearBelow().less(v) || !v.less(e.clearAbove(e.high))
	case exits:
		return !v.less(e.target.add(e.gap)) && !e.high.sub(e.gap).less(v)
	}
	return !e.clearBelow().less(v)
}

// valueOf is what an extra looks at, for a stream's newest tick.
func (e *extra) valueOf(st *stream) key {
	if e.windowed() {
		return keyOf(st.windows[e.window()].value(e.event()))
	}
	return keyOf(st.last.Price)
}

func (e *extra) seriesOf(st *stream) *series {
	if e.windowed() {
		return st.windows[e.window()].seriesOf(e.event())
	}
	return &st.price
}

// advance moves an instance over one tick of its stream, whose value is v, and
// says whether it is met then and there: docs/alerts.md's definition, tick by tick.
// Ticks that cannot change anything need not be shown to it.
func (p *Partition) advance(in *instance, e *extra, v key, tau, seq int64) (fires bool) {
	if e.condition == trailing {
		if !in.armed {
			if v.less(in.best) {
				return false
			}
			in.armed, in.best, in.streak, in.dirty = true, v, false, true
		}
		if in.best.less(v) {
			in.best, in.dirty = v, true
		}
	}
	if !p.met(e, v, in.best) {
		if in.streak {
			in.streak, in.dirty = false, true
		}
		if e.condition != trailing && !in.armed && e.cleared(v) {
			in.armed, in.dirty = true, true
		}
		return false
	}
	if !in.streak {
		in.streak, in.since, in.dirty = true, e.clock(tau, seq), true
	}
	if e.confirmed() && e.clock(tau, seq)-in.since < e.hold() {
		return false
	}
	switch {
	case e.condition == trailing:
		// It begins anew: from here, or once the price has recovered.
		in.streak, in.dirty = false, true
		if in.best = v; e.hysteresis {
			in.armed, in.best = false, keyOf(p.percent.AtLeastAbove(v.decimal(), e.gap.decimal()))
		}
		return true
	case !e.arms():
		return true
	case in.armed:
		in.armed, in.dirty = false, true
		return true
	}
	return false
}

// arrange sets what an instance waits for, its stream's newest value being v.
func (p *Partition) arrange(in *instance, e *extra, st *stream, v key) {
	p.unset(in, e, st)
	if e.condition == trailing {
		p.arrangeTrailing(in, e, st)
		return
	}
	switch {
	case e.arms() && !in.armed:
		p.awaitClear(in, e, st, v)
	case !in.streak:
		p.awaitMet(in, e, st, v)
	case !e.confirmed():
		// Met, a level, and quiet: there is nothing to see before that is over.
		p.cool(in, e)
	default:
		p.awaitUnmet(in, e, st, v)
		if e.clock(st.tau, st.seq)-in.since < e.hold() {
			p.awaitHeld(in, e, st)
		} else {
			p.cool(in, e)
		}
	}
}

// awaitHeld has an instance looked at when its streak is long enough.
func (p *Partition) awaitHeld(in *instance, e *extra, st *stream) {
	h := &st.timers
	if e.counts {
		h = &st.counts
	}
	p.at(h, in, in.since+e.hold())
}

func (p *Partition) setUp(in *instance, e *extra, st *stream, k key) {
	in.hasUp, in.upKey = true, k
	e.seriesOf(st).up.add(k, kindInstance|in.number, false)
}

func (p *Partition) setDown(in *instance, e *extra, st *stream, k key) {
	in.hasDown, in.downKey = true, k
	e.seriesOf(st).down.add(k.neg(), kindInstance|in.number, false)
}

// unset takes an instance's thresholds out.
func (p *Partition) unset(in *instance, e *extra, st *stream) {
	if in.hasUp {
		e.seriesOf(st).up.remove(in.upKey, kindInstance|in.number)
	}
	if in.hasDown {
		e.seriesOf(st).down.remove(in.downKey.neg(), kindInstance|in.number)
	}
	in.hasUp, in.hasDown = false, false
}

func (p *Partition) awaitClear(in *instance, e *extra, st *stream, v key) {
	switch {
	case e.falling():
		p.setUp(in, e, st, e.clearAbove(e.target))
	case e.condition == enters:
		p.setDown(in, e, st, e.clearBelow())
		p.setUp(in, e, st, e.clearAbove(e.high))
	case e.condition == exits:
		if lowest := e.target.add(e.gap); v.less(lowest) {
			p.setUp(in, e, st, lowest)
		} else {
			p.setDown(in, e, st, e.high.sub(e.gap))
		}
	default:
		p.setDown(in, e, st, e.clearBelow())
	}
}

func (p *Partition) awaitMet(in *instance, e *extra, st *stream, v key) {
	switch {
	case e.falling():
		p.setDown(in, e, st, e.target)
	case e.condition == enters && !v.less(e.target):
		p.setDown(in, e, st, e.high)
	case e.condition == exits:
		p.setDown(in, e, st, e.target.prev())
		p.setUp(in, e, st, e.high.next())
	default:
		p.setUp(in, e, st, e.target)
	}
}

func (p *Partition) awaitUnmet(in *instance, e *extra, st *stream, v key) {
	switch {
	case e.falling():
		p.setUp(in, e, st, e.target.next())
	case e.condition == enters:
		p.setDown(in, e, st, e.target.prev())
		p.setUp(in, e, st, e.high.next())
	case e.condition == exits && v.less(e.target):
		p.setUp(in, e, st, e.target)
	case e.condition == exits:
		p.setDown(in, e, st, e.high)
	default:
		p.setDown(in, e, st, e.target.prev())
	}
}
