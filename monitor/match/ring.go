package match

import (
	"slices"

	"crier/internal/decimal"
)

// ringSize is how many of a partition's last ticks are kept, so that an alert
// heard of after its place was passed can be decided without reading Kafka
// again: at 10,000 ticks a second more than 3 s, at about 300 bytes each.
const ringSize = 1 << 15

// ring is the last ringSize ticks of a partition; each knows the one of its
// symbol before it.
type ring struct {
	slots []ringSlot
	count int64 // ticks pushed so far; the next one's sequence number
}

type ringSlot struct {
	tick     Tick
	prev     int64 // sequence of the symbol's previous tick, -1: none since start
	st       *stream
	tau, seq int64 // its stream's, with it
	low      [2]extremes
}

// extremes are the lowest and highest prices of a bucket up to a tick.
type extremes struct {
	low, high decimal.Decimal
	known     bool
}

func (r *ring) push(t Tick, prev int64, st *stream) int64 {
	seq := r.count
	r.count++
	s := ringSlot{tick: t, prev: prev, st: st}
	if st != nil {
		s.tau, s.seq = st.tau, st.seq
		if h := st.history; h != nil {
			for i, b := range [2][]Bucket{h.seconds, h.minutes} {
				last := b[len(b)-1]
				s.low[i] = extremes{last.Low, last.High, true}
			}
		}
	}
	if len(r.slots) < ringSize {
		r.slots = append(r.slots, s)
	} else {
		r.slots[seq%ringSize] = s
	}
	return seq
}

// at is a tick by its sequence number; false: overwritten.
func (r *ring) at(seq int64) (*ringSlot, bool) {
	if seq < 0 || seq < r.count-int64(len(r.slots)) {
		return nil, false
	}
	return &r.slots[seq%ringSize], true
}

// recall finds the ticks that decide an alert whose place has been passed: for
// each source the last one before its place, if there was one, and those from its
// place on. false: they are not all in memory.
func (p *Partition) recall(a *Alert) ([]past, bool) {
	s := p.symbol(a.Symbol)
	streams := p.streamsOf(a)
	whole := a.level() && a.Source == ""
	missing := 0 // streams whose last tick before the place is still to be found
	found := make(map[*stream]bool)
	for _, st := range streams {
		if st.hasLast {
			missing++
		}
	}
	var newest []past // newest first
	for seq := s.last; missing > 0 && seq >= 0; {
		sl, ok := p.ring.at(seq)
		if !ok {
			break
		}
		st := sl.st
		if whole {
			st = s.any
		}
		seq = sl.prev
		if st == nil || found[st] || !slices.Contains(streams, st) {
			continue
		}
		if a.Rule.Condition.Windowed() && !sl.low[0].known {
			return nil, false // it came before the windows were followed
		}
		newest = append(newest, past{&sl.tick, sl.st, sl.tau, sl.seq, sl.low})
		if sl.tick.Offset < a.Place {
			found[st] = true
			missing--
		}
	}
	list := make([]past, 0, len(newest)+len(streams))
	for _, st := range streams {
		if !st.hasLast || found[st] {
			continue
		}
		switch {
		case st.last.Offset < a.Place: // older than the ring
			list = append(list, past{tick: &st.last, st: st, tau: st.tau, seq: st.seq, low: st.present()})
		case p.exhausted(s) && st.hasSeed && st.seed.Offset < a.Place:
			if a.Rule.Condition.Windowed() {
				return nil, false
			}
			list = append(list, past{tick: &st.seed, st: st, tau: later(beginning, st.seed.Time), seq: st.seedSeq})
		case p.exhausted(s) && !st.hasSeed:
		default:
			return nil, false
		}
	}
	slices.SortFunc(list, func(x, y past) int { return int(x.tick.Offset - y.tick.Offset) })
	slices.Reverse(newest)
	list = append(list, newest...)
	slices.SortStableFunc(list, func(x, y past) int { return int(x.tick.Offset - y.tick.Offset) })
	return list, true
}

// exhausted says whether the ring holds every tick of the symbol since start.
func (p *Partition) exhausted(s *symbol) bool {
	for seq := s.last; seq >= 0; {
		sl, ok := p.ring.at(seq)
		if !ok {
			return false
		}
		seq = sl.prev
	}
	return true
}

// present is the extremes of a stream's present buckets.
func (st *stream) present() (x [2]extremes) {
	if st.history == nil {
		return x
	}
	for i, b := range [2][]Bucket{st.history.seconds, st.history.minutes} {
		if len(b) > 0 {
			x[i] = extremes{b[len(b)-1].Low, b[len(b)-1].High, true}
		}
	}
	return x
}
