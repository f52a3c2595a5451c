package event

import (
	"time"

	"crier/internal/decimal"
)

// Watch follows one rule over ticks of one symbol, one after the other, as
// docs/alerts.md defines it: what an alert that was made before the first of them
// would have fired on. The matcher's index does the same for millions at once.
// Not safe for concurrent use.
type Watch struct {
	Rule       Rule
	Source     string // "": every source, each on its own
	Every      bool
	Cooldown   time.Duration
	MaxFirings int // 0: no limit
	ExpiresAt  time.Time
	Snoozed    time.Time

	sources map[string]*watched
	fired   int
	last    time.Time // record time of the last firing
	percent decimal.Percent
}

// watched is where the rule stands with one source.
type watched struct {
	armed  bool
	begun  bool
	streak int
	since  time.Time // stream time at the streak's beginning
	now    time.Time // stream time
	best   decimal.Decimal
	lows   []turn
	highs  []turn
}

// turn is a bucket's extreme that may yet count.
type turn struct {
	bucket int64
	price  decimal.Decimal
}

// Done says that it will not fire any more.
func (w *Watch) Done() bool {
	return w.fired > 0 && (!w.Every || w.MaxFirings > 0 && w.fired >= w.MaxFirings)
}

// Tick shows it the next tick, recorded then, and says whether it fires.
// reference is what the change is measured from: a window's low or high, or the
// best price; nil for other conditions.
func (w *Watch) Tick(t *Tick, recorded time.Time) (fires bool, reference *decimal.Decimal) {
	if w.Done() || w.Source != "" && t.Source != w.Source {
		return false, nil
	}
	source := t.Source
	if w.Rule.Plain() {
		source = ""
	}
	if w.sources == nil {
		w.sources = make(map[string]*watched)
	}
	s := w.sources[source]
	if s == nil {
		s = &watched{armed: !w.Rule.Condition.Edge()}
		w.sources[source] = s
	}
	met, reference := w.met(s, t)
	if !met || !w.ExpiresAt.IsZero() && !recorded.Before(w.ExpiresAt) || recorded.Before(w.Snoozed) {
		return false, nil
	}
	if w.fired > 0 && recorded.Before(w.last.Add(w.Cooldown)) {
		return false, nil
	}
	w.fired++
	w.last = recorded
	return true, reference
}

// met moves on by one tick and says whether the rule is met, confirmed and armed.
func (w *Watch) met(s *watched, t *Tick) (bool, *decimal.Decimal) {
	r := &w.Rule
	if !s.begun || t.Time.After(s.now) {
		s.now = t.Time
	}
	v, stop := t.Price, decimal.Decimal{}
	var reference *decimal.Decimal
	switch {
	case r.Condition.Windowed():
		v, reference = w.measure(s, t.Price)
	case r.Condition == TrailingStop:
		if !s.armed {
			if v.Cmp(s.best) < 0 {
				return false, nil
			}
			s.armed, s.best, s.streak = true, v, 0
		}
		if !s.begun || v.Cmp(s.best) > 0 {
			s.best = v
		}
		stop = w.percent.Below(s.best, r.Target)
		best := s.best
		reference = &best
	}
	s.begun = true
	if !r.Met(v, stop) || r.Condition == TrailingStop && s.best.Sign() <= 0 {
		s.streak = 0
		if r.Condition != TrailingStop && r.Cleared(v) {
			s.armed = true
		}
		return false, nil
	}
	if s.streak++; s.streak == 1 {
		s.since = s.now
	}
	if s.now.Sub(s.since) < r.Confirm.For || s.streak < r.Confirm.Ticks {
		return false, nil
	}
	switch {
	case r.Condition == TrailingStop:
		s.streak, s.best = 0, v
		if r.Hysteresis.Sign() > 0 {
			s.armed, s.best = false, w.percent.AtLeastAbove(v, r.Hysteresis)
		}
		return true, reference
	case !r.Armed():
		return true, reference
	}
	armed := s.armed
	s.armed = false
	return armed, reference
}

// measure is how far a price is from its window's low or high, in percent.
func (w *Watch) measure(s *watched, price decimal.Decimal) (decimal.Decimal, *decimal.Decimal) {
	unit := int64(Bucket(w.Rule.Window) / time.Second)
	bucket := floor(s.now.Unix(), unit)
	from := floor(s.now.Add(-w.Rule.Window).Unix(), unit)
	s.lows, s.highs = keepTurns(s.lows, turn{bucket, price}, from, 1), keepTurns(s.highs, turn{bucket, price}, from, -1)
	if w.Rule.Condition == PercentDown {
		high := s.highs[0].price
		return w.percent.Fall(high, price), &high
	}
	low := s.lows[0].price
	return w.percent.Change(low, price), &low
}

func floor(a, b int64) int64 {
	if a < 0 {
		return (a - b + 1) / b
	}
	return a / b
}

// keepTurns adds an extreme to a queue whose elements are better the further back
// they stand, and lets go of what the window has left.
func keepTurns(q []turn, t turn, from int64, sign int) []turn {
	for len(q) > 0 && q[len(q)-1].price.Cmp(t.price)*sign >= 0 {
		q = q[:len(q)-1]
	}
	q = append(q, t)
	for q[0].bucket < from {
		q = q[1:]
	}
	return q
}
