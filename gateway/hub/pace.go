package hub

import "time"

// paces are the times between two rounds of ticks, from the fastest to the
// slowest: ten a second to one.
var paces = [...]time.Duration{round, 2 * round, 3 * round, 4 * round, 6 * round, 10 * round}

// How long rounds must have been written in time before they come more often,
// at first and at most: what falls back just after that waits twice as long, and
// what did not, no longer than at first.
const (
	calmFor     = 3 * time.Second
	calmForMost = 30 * time.Second
)

// lateRounds in a row make rounds come less often. One alone may be the
// collector's, or a neighbour's.
const lateRounds = 2

// reachedOver is the time over which the rate that was reached is counted.
const reachedOver = 2 * time.Second

// pace decides when a round of ticks is due. A round that the writers have not
// finished puts off the next one; when that happens again and again, rounds come
// less often, so that the writers have time for what matters more. They come
// more often again when the writers have long been done by the time that a
// faster round would have been due.
//
// Whether they are done is measured: they have paused since the last round was
// handed over. A viewer whose socket is full is not waited for; that is what
// Sink.Busy is for. Guarded by the ticker's lock.
type pace struct {
	step    int           // of paces
	began   time.Time     // when the last round was begun
	handed  time.Time     // when it was with the sinks, all of it
	putOff  bool          // the next one has had to wait for it
	late    int           // rounds in a row that had to
	checked bool          // whether it would have been done for a faster round is known
	calm    time.Time     // since when rounds have been done so early
	rose    time.Time     // when rounds came more often, if that was the last change
	wants   time.Duration // how long they must have been calm to do so again

	rounds  int64     // so far
	counted int64     // of them, by the time from
	from    time.Time // since when the rate is counted
	reached float64
}

// slack is by how much a clock may be early.
const slack = round / 2

// due says whether a round may begin now, while the writers have had something
// to do for as long as lag.
func (p *pace) due(now time.Time, lag time.Duration) bool {
	if p.from.IsZero() {
		p.from, p.counted, p.calm = now, p.rounds, now
		p.wants = max(p.wants, calmFor)
		p.reached = float64(time.Second) / float64(paces[p.step]) // until it is counted
	}
	if over := now.Sub(p.from); over >= reachedOver {
		p.reached = float64(p.rounds-p.counted) / over.Seconds()
		p.from, p.counted = now, p.rounds
	}
	waited, done := now.Add(slack).Sub(p.began), lag < now.Sub(p.handed)
	if p.step > 0 && !p.checked && waited >= paces[p.step-1] {
		p.checked = true
		if !done {
			p.calm = now
		}
	}
	switch {
	case waited < paces[p.step]:
		return false
	case !done && waited < paces[len(paces)-1]:
		p.putOff = true
		return false
	}
	p.judge(now, waited, !done)
	p.rounds++
	return true
}

// rest says that there will be no rounds for a while: the rate is counted anew
// when there are again.
func (p *pace) rest() {
	p.from, p.late, p.putOff = time.Time{}, 0, false
	p.reached = float64(time.Second) / float64(paces[p.step])
}

// judge changes the pace by how the last round went.
func (p *pace) judge(now time.Time, took time.Duration, unfinished bool) {
	if p.putOff || unfinished {
		p.late++
		p.calm = now
	} else {
		p.late = 0
	}
	switch {
	case p.late >= lateRounds && p.step < len(paces)-1:
		if now.Sub(p.rose) < p.wants {
			p.wants = min(2*p.wants, calmForMost) // it was too early
		}
		p.rose = time.Time{}
		for p.step++; p.step < len(paces)-1 && paces[p.step] < took-slack; p.step++ {
		}
		p.late, p.calm = 0, now
	case p.step > 0 && now.Sub(p.calm) >= p.wants:
		if !p.rose.IsZero() {
			p.wants = calmFor // the last time was not too early
		}
		p.step--
		p.calm, p.rose = now, now
	case p.step == 0 && now.Sub(p.calm) >= p.wants:
		p.wants = calmFor
	}
	p.putOff, p.checked = false, false
	p.began = now
}

// TickStats are figures of the sending of ticks.
type TickStats struct {
	Rounds  int64   // so far
	Late    int64   // times that a stream was passed over because it was busy
	Allowed float64 // rounds a second that there may be now
	Reached float64 // rounds a second that there were, of late
}

// TickStats counts since the start.
func (h *Hub) TickStats() TickStats {
	t := &h.ticks
	t.mu.Lock()
	defer t.mu.Unlock()
	return TickStats{t.pace.rounds, t.skipped, float64(time.Second) / float64(paces[t.pace.step]), t.pace.reached}
}
