package match

// ringSize is how many of a partition's last ticks are kept, so that an alert
// heard of after its place was passed can be decided without reading Kafka
// again: at 10,000 ticks a second more than 6 s, at about 150 bytes each.
const ringSize = 1 << 16

// CommitWithin is how many offsets a partition may be ahead of its commit: the
// newest tick of each symbol must still be in the ring then.
const CommitWithin = ringSize / 2

// ring is the last ringSize ticks of a partition; each knows the one of its
// symbol before it.
type ring struct {
	slots []slot
	count int64 // ticks pushed so far; the next one's sequence number
}

type slot struct {
	tick Tick
	prev int64 // sequence of the symbol's previous tick, -1: none since start
}

func (r *ring) push(t Tick, prev int64) int64 {
	seq := r.count
	r.count++
	if len(r.slots) < ringSize {
		r.slots = append(r.slots, slot{t, prev})
	} else {
		r.slots[seq%ringSize] = slot{t, prev}
	}
	return seq
}

// at is a tick by its sequence number; false: overwritten.
func (r *ring) at(seq int64) (*slot, bool) {
	if seq < 0 || seq < r.count-int64(len(r.slots)) {
		return nil, false
	}
	return &r.slots[seq%ringSize], true
}

// recall finds the ticks that decide an alert whose place has been passed: the
// last one before its place, if there was one, and those from its place on.
// false: they are not all in memory.
func (p *Partition) recall(a *Alert) ([]Tick, bool) {
	s := p.symbol(a.Symbol)
	var newest []Tick // newest first
	for seq := s.last; ; {
		if seq < 0 {
			seed, known := s.seed(a)
			if a.Place < p.start || !known {
				return nil, false
			}
			if seed != nil {
				newest = append(newest, *seed)
			}
			break
		}
		sl, ok := p.ring.at(seq)
		if !ok {
			return nil, false
		}
		if a.of(&sl.tick) {
			newest = append(newest, sl.tick)
			if sl.tick.Offset < a.Place {
				break
			}
		}
		seq = sl.prev
	}
	for i, j := 0, len(newest)-1; i < j; i, j = i+1, j-1 {
		newest[i], newest[j] = newest[j], newest[i]
	}
	return newest, true
}

func (a *Alert) of(t *Tick) bool { return a.Source == "" || a.Source == t.Source }

// lastOf is the newest tick that counts for an alert, nil if there was none.
func (p *Partition) lastOf(a *Alert) (*Tick, bool) {
	s := p.symbol(a.Symbol)
	for seq := s.last; seq >= 0; {
		sl, ok := p.ring.at(seq)
		if !ok {
			return nil, false
		}
		if a.of(&sl.tick) {
			return &sl.tick, true
		}
		seq = sl.prev
	}
	return s.seed(a)
}

// seed is the last tick before start that counts for an alert, nil if there
// was none; false: not known.
func (s *symbol) seed(a *Alert) (last *Tick, known bool) {
	if a.Source != "" {
		return s.seeds[a.Source], !s.unknown[a.Source]
	}
	for _, t := range s.seeds {
		if last == nil || t.Offset > last.Offset {
			last = t
		}
	}
	return last, len(s.unknown) == 0
}

// Last returns the newest tick of each symbol and source applied since offset
// since.
func (p *Partition) Last(since int64) []Tick {
	var out []Tick
	for _, s := range p.symbols {
		for _, seq := range s.lasts {
			if sl, ok := p.ring.at(seq); ok && sl.tick.Offset >= since {
				out = append(out, sl.tick)
			}
		}
	}
	return out
}
