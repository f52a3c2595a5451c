package match

import (
	"time"

	"crier/internal/decimal"
)

// StateID names what is saved: an alert on one source of its symbol, or, where
// AlertID is negative, the best price that trailing stops of the source share.
type StateID struct {
	AlertID        int64
	Symbol, Source string
}

// State is where an alert stands that its stream's last tick and windows do not
// tell: saved with the offset it is as of, and given back after a restart.
type State struct {
	StateID
	Revision int64
	Armed    bool
	Streak   bool      // it has been met by every tick
	Since    time.Time // since then, by the stream's time
	First    int64     // the number of the first of them in its stream
	Best     decimal.Decimal
	Group    int64 // whose best price is its own; of a group that was taken in, by which; 0: none
}

// note has an instance saved that is not as it was.
func (p *Partition) note(in *instance) {
	if !in.dirty || in.listed || !p.extras.at(in.extra).remembers() {
		return
	}
	in.listed = true
	p.dirty = append(p.dirty, in.number)
}

// Dirty is what has changed since the last call, as of Next, and what is no
// more. It is to be written as a whole, together with Next: the removed last.
func (p *Partition) Dirty() (changed []State, removed []StateID) {
	changed = p.merged
	for _, n := range p.touched {
		g := p.groups.at(n)
		if !g.dirty {
			continue // it is no more, or has been said
		}
		g.dirty = false
		st := p.streams[g.stream]
		changed = append(changed, State{StateID: StateID{-g.id, st.symbol.name, st.source}, Best: g.best.decimal()})
	}
	for _, n := range p.dirty {
		in := p.instances.at(n)
		if !in.dirty || !in.listed || in.stream == noStream {
			continue
		}
		in.dirty, in.listed = false, false
		changed = append(changed, p.state(in))
	}
	// What was removed may be there again, as a newer revision.
	again := make(map[StateID]bool, len(changed))
	for i := range changed {
		again[changed[i].StateID] = true
	}
	for _, id := range p.removed {
		if !again[id] || id.AlertID < 0 {
			removed = append(removed, id)
		}
	}
	p.merged, p.touched, p.dirty, p.removed = nil, p.touched[:0], p.dirty[:0], nil
	return changed, removed
}

func (p *Partition) state(in *instance) State {
	e := p.extras.at(in.extra)
	s, st := p.table.at(e.slot), p.streams[in.stream]
	out := State{StateID: StateID{s.id, st.symbol.name, st.source}, Revision: int64(s.revision), Armed: in.armed, Streak: in.streak, Best: in.best.decimal()}
	if in.streak {
		if out.First = in.since; !e.counts {
			out.Since, out.First = time.Unix(0, in.since).UTC(), 0
		}
	}
	if in.group != 0 {
		out.Group = p.groups.at(in.group - 1).id
	}
	return out
}

// Load begins the filling of an index with the alerts there are, with what was
// saved as of its start. Put then only collects; Loaded puts all in order.
func (p *Partition) Load(alerts int, saved []State) {
	p.loading = true
	p.table.grow(alerts*8/7 + alerts/64 + 64)
	p.saved = make(map[StateID]State, len(saved))
	for _, s := range saved {
		p.saved[s.StateID] = s
		if s.AlertID < 0 {
			st := p.stream(p.symbol(s.Symbol), s.Source, true)
			st.groupSeq = max(st.groupSeq, -s.AlertID)
		}
	}
}

// Loaded ends what Load began.
func (p *Partition) Loaded() {
	for _, st := range p.streams {
		st.price.seal()
		for _, w := range st.windows {
			w.rise.seal()
			w.fall.seal()
		}
	}
	p.loading = false
	for id := range p.saved {
		if !p.inUse(id) {
			p.removed = append(p.removed, id)
		}
	}
	p.saved = nil
}

func (p *Partition) inUse(id StateID) bool {
	if id.AlertID < 0 {
		_, ok := p.symbol(id.Symbol).streams[id.Source].groupIDs[-id.AlertID]
		return ok
	}
	n, ok := p.table.get(id.AlertID)
	return ok && p.table.at(n).is(extendedBit)
}

// restore puts an alert back that was matched up to start.
func (p *Partition) restore(a *Alert) {
	streams := p.streamsOf(a)
	n, e := p.register(a)
	if e == nil {
		s := p.table.at(n)
		target := keyOf(a.Rule.Target)
		if s.is(edgeBit) {
			p.beginPlain(a, n, streams, nil)
		} else {
			p.addEdge(streams[0], n, target, true)
		}
		return
	}
	number := p.table.at(n).number()
	for _, st := range streams {
		in := p.instance(number, st)
		s, ok := p.saved[StateID{a.ID, a.Symbol, st.source}]
		switch {
		case ok && s.Revision == a.Revision:
			p.recallState(in, e, st, &s)
		case st.hasLast && !e.remembers():
			v := e.valueOf(st)
			in.armed = !e.edge() || e.cleared(v)
		}
		p.soon(st, in.number)
	}
}

func (p *Partition) recallState(in *instance, e *extra, st *stream, s *State) {
	in.armed, in.streak, in.best, in.dirty, in.listed = s.Armed, s.Streak, keyOf(s.Best), false, false
	if s.Streak {
		if in.since = s.First; !e.counts {
			in.since = s.Since.UnixNano()
		}
	}
	if s.Group == 0 {
		return
	}
	// What the group was called is forgotten in the same writing.
	in.dirty = true
	p.note(in)
	id := s.Group
	for {
		g, ok := p.saved[StateID{-id, s.Symbol, s.Source}]
		if !ok {
			return
		}
		if g.Group == 0 {
			in.best = keyOf(g.Best)
			return
		}
		id = g.Group
	}
}

// wants are the streams whose windows must be known before an alert is put, and
// are not.
func (p *Partition) wants(a *Alert) []Want {
	if !a.Rule.Condition.Windowed() {
		return nil
	}
	var out []Want
	for _, st := range p.streamsOf(a) {
		if st.history == nil && st.hasLast {
			out = append(out, wantOf(st))
		}
	}
	return out
}

// Wants are the streams whose buckets SeedBuckets must be given before an alert
// that Put answered with Windows is put again.
func (p *Partition) Wants(a *Alert) []Want { return p.wants(a) }

// SeedBuckets tells what is known of a stream up to Next: its seconds of the
// last hour and its minutes of the last week, in order.
func (p *Partition) SeedBuckets(symbol, source string, seconds, minutes []Bucket) {
	st := p.stream(p.symbol(symbol), source, true)
	st.history = &history{seconds: seconds, minutes: minutes}
	// What was computed of less is forgotten; nobody waits on it.
	if len(st.windows) == 0 {
		st.windows = nil
	}
}

// Last returns the newest tick of each symbol and source that came at offset
// since or later, with its stream's clock.
func (p *Partition) Last(since int64, fn func(t *Tick, c Clock)) {
	for _, st := range p.streams {
		if st.source != anySource && st.hasLast && st.last.Offset >= since {
			fn(&st.last, Clock{time.Unix(0, st.tau).UTC(), st.seq})
		}
	}
}
