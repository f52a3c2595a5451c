package match

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"crier/internal/decimal"
	"crier/internal/event"
)

// standing is where an alert stands with one source, in the model.
type standing struct {
	armed bool
	since *modelTick // the first tick of those that met it without a break
	count int
	best  decimal.Decimal
	again decimal.Decimal // unarmed trailing stop: the price that arms it
	seen  bool
}

// modelTick is a tick with its stream's time.
type modelTick struct {
	Tick
	at time.Time
}

// timed gives each tick its stream's time, which never runs backwards.
func timed(ticks []Tick) []modelTick {
	now := make(map[[2]string]time.Time)
	out := make([]modelTick, len(ticks))
	for i, t := range ticks {
		k := [2]string{t.Symbol, t.Source}
		if t.Time.After(now[k]) || now[k].IsZero() {
			now[k] = t.Time
		}
		out[i] = modelTick{t, now[k]}
	}
	return out
}

// opens is the ticks that an alert sees: the last one before its place, for each
// source if it keeps them apart, then all from its place on.
func opens(a *Alert, ticks []modelTick) []int {
	last := make(map[string]int)
	var from []int
	for i := range ticks {
		t := &ticks[i]
		if t.Symbol != a.Symbol || a.Source != "" && t.Source != a.Source {
			continue
		}
		source := t.Source
		if a.level() {
			source = ""
		}
		if t.Offset < a.Place {
			last[source] = i
		} else {
			from = append(from, i)
		}
	}
	var out []int
	for _, i := range last {
		out = append(out, i)
	}
	slices.Sort(out)
	return append(out, from...)
}

// percentAt is how far tick i is from its window's low or high: looked up in all
// the ticks there are.
func percentAt(r *event.Rule, ticks []modelTick, i int) decimal.Decimal {
	unit := event.Bucket(r.Window)
	bucket := func(at time.Time) int64 { return floorDiv(at.UnixNano(), int64(unit)) }
	t := &ticks[i]
	low, high := t.Price, t.Price
	for j := range i {
		u := &ticks[j]
		if u.Symbol == t.Symbol && u.Source == t.Source && bucket(u.at) >= bucket(t.at.Add(-r.Window)) {
			if u.Price.Cmp(low) < 0 {
				low = u.Price
			}
			if u.Price.Cmp(high) > 0 {
				high = u.Price
			}
		}
	}
	var p decimal.Percent
	if r.Condition == event.PercentDown {
		return p.Fall(high, t.Price)
	}
	return p.Change(low, t.Price)
}

// model is the definition, written as plainly as it can be: which ticks of a
// whole partition fire an alert that holds from a place.
func model(a Alert, ticks []modelTick) []int64 {
	var fired []int64
	var lastFired time.Time
	stands := make(map[string]*standing)
	for _, i := range opens(&a, ticks) {
		t := &ticks[i]
		source := t.Source
		if a.level() {
			source = ""
		}
		s := stands[source]
		if s == nil {
			s = &standing{armed: !a.Rule.Condition.Edge()}
			stands[source] = s
		}
		if !s.tick(&a.Rule, ticks, i) {
			continue
		}
		if !a.ExpiresAt.IsZero() && !t.Recorded.Before(a.ExpiresAt) || t.Recorded.Before(a.Snoozed) {
			continue
		}
		if len(fired) > 0 && (!a.Every || t.Recorded.Before(lastFired.Add(a.Cooldown))) {
			continue
		}
		fired = append(fired, t.Offset)
		lastFired = t.Recorded
	}
	return fired
}

// tick says whether the rule is met, for good, at tick i.
func (s *standing) tick(r *event.Rule, ticks []modelTick, i int) bool {
	t := &ticks[i]
	v := t.Price
	if r.Condition.Windowed() {
		v = percentAt(r, ticks, i)
	}
	var stop decimal.Decimal
	var p decimal.Percent
	trailing := r.Condition == event.TrailingStop
	if trailing {
		if !s.armed {
			if v.Cmp(s.again) < 0 {
				return false
			}
			s.armed, s.best, s.count, s.since = true, v, 0, nil
		}
		if !s.seen || v.Cmp(s.best) > 0 {
			s.best, s.seen = v, true
		}
		stop = p.Below(s.best, r.Target)
	}
	if !r.Met(v, stop) || trailing && s.best.Sign() <= 0 {
		s.since, s.count = nil, 0
		if !trailing && r.Cleared(v) {
			s.armed = true
		}
		return false
	}
	if s.since == nil {
		s.since = t
	}
	s.count++
	if r.Confirm.For > 0 && t.at.Sub(s.since.at) < r.Confirm.For || s.count < r.Confirm.Ticks {
		return false
	}
	switch {
	case trailing:
		s.best, s.since, s.count = v, nil, 0
		if r.Hysteresis.Sign() > 0 {
			s.armed, s.again = false, p.AtLeastAbove(v, r.Hysteresis)
		}
		return true
	case !r.Armed():
		return true
	}
	was := s.armed
	s.armed = false
	return was
}

// world is a partition's log, a store of alerts and of what the index saves as
// Postgres and the consumer would keep them, and a matcher that is restarted at
// random.
type world struct {
	rng      *rand.Rand
	step     time.Duration // between ticks
	ticks    []Tick        // offsets may have holes, as markers leave them
	end      int64
	alerts   map[int64]*Alert
	proposed map[int64][]Match // acknowledged triggers, in order
	p        *Partition
	ready    []Alert

	// As of the last commit:
	committed int64
	saved     map[StateID]State
}

var steps3 = []time.Duration{time.Second, 5 * time.Second, 4 * time.Minute}

var start = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func (w *world) tick() {
	if w.rng.IntN(10) == 0 {
		w.end++ // a marker takes an offset too
	}
	at := time.Duration(w.end)*w.step + time.Duration(w.rng.Int64N(int64(6*w.step))) - 3*w.step
	price := decimal.FromUnits(int64(w.rng.IntN(20)), 0)
	if w.rng.IntN(8) == 0 {
		price = decimal.FromUnits(int64(w.rng.IntN(20))*1e12+1, 12) // finer than the index's steps
	}
	if w.rng.IntN(30) == 0 {
		price = price.Neg()
	}
	w.ticks = append(w.ticks, Tick{
		Tick: event.Tick{Symbol: string(rune('A' + w.rng.IntN(3))), Price: price,
			Source: []string{"x", "y"}[w.rng.IntN(2)], Time: start.Add(at)},
		Offset: w.end, Recorded: start.Add(time.Duration(w.end) * time.Second),
	})
	w.end++
}

// ids are the alerts', in order, so that a seed always does the same.
func (w *world) ids() []int64 { return slices.Sorted(maps.Keys(w.alerts)) }

func (w *world) emit(m Match) { w.proposed[m.ID] = append(w.proposed[m.ID], m) }

// decided is what the consumer makes of the proposals, in order.
func (w *world) decided(id int64) []int64 {
	a := w.alerts[id]
	var out []int64
	seen := make(map[int64]bool)
	var last time.Time
	for _, m := range w.proposed[id] {
		switch {
		case m.Revision != a.Revision, seen[m.Tick.Offset], !a.Every && len(out) > 0:
			continue
		case a.Every && len(out) > 0 && m.Tick.Recorded.Before(last.Add(a.Cooldown)):
			continue
		}
		seen[m.Tick.Offset] = true
		last = m.Tick.Recorded
		out = append(out, m.Tick.Offset)
	}
	return out
}

// history is the symbol's ticks as Kafka has them.
func (w *world) history(a *Alert) []Tick {
	var out []Tick
	for _, t := range w.ticks {
		if t.Symbol == a.Symbol && t.Offset < w.p.Next() {
			out = append(out, t)
		}
	}
	return out
}

func (w *world) put(a Alert) {
	switch w.p.Put(a, w.emit) {
	case Windows:
		w.seedBuckets(&a)
		w.put(a)
	case History:
		w.p.PutWith(a, w.history(&a), w.emit)
	}
	w.settle()
}

// seedBuckets is what candles tell: the buckets of everything before Next.
func (w *world) seedBuckets(a *Alert) {
	for _, want := range w.p.Wants(a) {
		var h history
		for _, t := range timed(w.ticks) {
			if t.Offset < w.p.Next() && t.Symbol == want.Symbol && t.Source == want.Source {
				h.add(t.at.UnixNano(), t.Price, t.Offset)
			}
		}
		w.p.SeedBuckets(want.Symbol, want.Source, h.seconds, h.minutes)
	}
}

func (w *world) settle() {
	for _, a := range w.p.Unresolved() {
		w.put(a)
	}
	w.ready = append(w.ready, w.p.Ready()...)
}

// commit saves where the index stands, and takes what is ready.
func (w *world) commit() {
	changed, removed := w.p.Dirty()
	for _, s := range changed {
		w.saved[s.StateID] = s
	}
	for _, id := range removed {
		delete(w.saved, id)
	}
	w.committed = w.p.Next()
	for _, a := range w.ready {
		if now := w.alerts[a.ID]; now != nil && now.Revision == a.Revision {
			now.Taken = true
		}
	}
	w.ready = nil
}

// restart begins a matcher from what was committed.
func (w *world) restart(heard map[int64]bool) {
	w.p, w.ready = NewPartition(w.committed), nil
	lasts := make(map[[2]string]modelTick)
	count := make(map[[2]string]int64)
	for _, t := range timed(w.ticks) {
		if k := [2]string{t.Symbol, t.Source}; t.Offset < w.committed {
			lasts[k] = t
			count[k]++
		}
	}
	for k, t := range lasts {
		w.p.Seed(t.Tick, Clock{t.at, count[k]})
	}
	var saved []State
	for _, s := range w.saved {
		saved = append(saved, s)
	}
	w.p.Load(w.rng.IntN(100), saved)
	var late []Alert
	for _, id := range w.ids() {
		a := w.alerts[id]
		heard[id] = true
		if !a.Every && len(w.decided(id)) > 0 {
			continue // triggered: no longer active
		}
		restarted := *a
		if ms := w.proposed[id]; len(ms) > 0 && ms[len(ms)-1].Revision == a.Revision {
			restarted.Proposed = true
			restarted.LastFired = ms[len(ms)-1].Tick.Recorded
		}
		if !restarted.Taken {
			late = append(late, restarted)
			continue
		}
		w.put(restarted)
	}
	w.p.Loaded()
	for _, a := range late {
		w.put(a)
	}
}

func (w *world) apply(upTo int64) {
	for _, t := range w.ticks {
		if t.Offset >= w.p.Next() && t.Offset < upTo {
			w.p.Apply(t, w.emit)
			w.settle()
		}
	}
	w.p.Advance(upTo, w.emit)
	w.settle()
}

func (w *world) price() decimal.Decimal {
	if w.rng.IntN(10) == 0 {
		return decimal.FromUnits(int64(w.rng.IntN(20))*1e12+int64(w.rng.IntN(3)), 12)
	}
	return decimal.FromUnits(int64(w.rng.IntN(24)-2), 0)
}

func (w *world) rule() event.Rule {
	r := event.Rule{Condition: event.Conditions[w.rng.IntN(len(event.Conditions))], Target: w.price()}
	switch {
	case r.Condition.Band():
		r.High = r.Target.Add(decimal.FromUnits(int64(1+w.rng.IntN(6)), 0))
	case r.Condition.Percent():
		r.Target = decimal.FromUnits(int64(1+w.rng.IntN(900)), 1)
	}
	if r.Condition.Windowed() {
		r.Window = []time.Duration{time.Minute, 90 * time.Second, 2 * time.Hour}[w.rng.IntN(3)]
	}
	switch w.rng.IntN(6) {
	case 0:
		r.Confirm.For = time.Duration(1+w.rng.IntN(5)) * w.step
	case 1:
		r.Confirm.Ticks = 2 + w.rng.IntN(3)
	}
	if w.rng.IntN(4) == 0 {
		r.Hysteresis = decimal.FromUnits(int64(1+w.rng.IntN(40)), 1)
		if half := r.High.Sub(r.Target); r.Condition == event.Exits && r.Hysteresis.Add(r.Hysteresis).Cmp(half) > 0 {
			r.Hysteresis = decimal.FromUnits(5, 1)
		}
	}
	return r
}

func (w *world) create(id int64) *Alert {
	a := &Alert{ID: id, Revision: 1, Symbol: string(rune('A' + w.rng.IntN(3))), Rule: w.rule(), Place: w.end}
	w.dress(a)
	w.alerts[id] = a
	return a
}

func (w *world) dress(a *Alert) {
	if w.rng.IntN(3) == 0 {
		a.Source = "y"
	}
	if w.rng.IntN(3) == 0 {
		a.Every, a.Cooldown = true, time.Duration(1+w.rng.IntN(20))*time.Second
	}
	if w.rng.IntN(6) == 0 {
		a.ExpiresAt = start.Add(time.Duration(w.end+int64(w.rng.IntN(60))) * time.Second)
	}
	if w.rng.IntN(8) == 0 {
		a.Snoozed = start.Add(time.Duration(w.end+int64(w.rng.IntN(40))) * time.Second)
	}
}

// change gives an alert another rule and a new place, as an edit does; or takes
// it away.
func (w *world) change(a *Alert) (gone bool) {
	if w.rng.IntN(4) == 0 {
		delete(w.alerts, a.ID)
		return true
	}
	*a = Alert{ID: a.ID, Revision: a.Revision + 1, Symbol: a.Symbol, Rule: w.rule(), Place: w.end}
	w.dress(a)
	return false
}

// For random alerts of every condition with every modifier and random ticks,
// heard of late and early, through random changes, restarts and rebalances (to
// the index they are the same), exactly what the definition says fires, once each.
func TestEngineFiresWhatTheModelSays(t *testing.T) {
	fired := make(map[event.Condition]int)
	for seed := range uint64(1000) {
		if !explore(t, seed, fired) {
			break
		}
	}
	for _, c := range event.Conditions {
		if fired[c] < 50 {
			t.Errorf("%s fired %d times only: the test says little of it", c, fired[c])
		}
	}
}

func explore(t *testing.T, seed uint64, fired map[event.Condition]int) bool {
	return t.Run(fmt.Sprint("seed=", seed), func(t *testing.T) {
		w := &world{rng: rand.New(rand.NewPCG(seed, 1)), alerts: make(map[int64]*Alert), proposed: make(map[int64][]Match), saved: make(map[StateID]State)}
		w.step = steps3[seed%3]
		heard := make(map[int64]bool)
		w.p = NewPartition(0)
		for step := range 300 {
			w.random(int64(step+1), heard)
		}
		w.restart(heard)
		w.apply(w.end)
		ticks := timed(w.ticks)
		for _, id := range w.ids() {
			a := w.alerts[id]
			want := model(*a, ticks)
			fired[a.Rule.Condition] += len(want)
			if got := w.decided(id); fmt.Sprint(got) != fmt.Sprint(want) {
				t.Errorf("alert %+v fired on %v, want %v", *a, got, want)
				return
			}
		}
	})
}

func (w *world) random(id int64, heard map[int64]bool) {
	switch w.rng.IntN(9) {
	case 0:
		a := w.create(id)
		if w.rng.IntN(3) > 0 {
			heard[a.ID] = true
			w.put(*a)
		}
	case 1: // the change feed catches up
		for _, id := range w.ids() {
			if !heard[id] {
				heard[id] = true
				w.put(*w.alerts[id])
			}
		}
	case 2:
		if w.rng.IntN(4) == 0 {
			w.restart(heard)
		}
	case 3:
		w.commit()
	case 4:
		if ids := w.ids(); len(ids) > 0 {
			a := w.alerts[ids[w.rng.IntN(len(ids))]]
			revision := a.Revision
			if w.change(a) {
				w.p.Remove(a.ID, revision+1)
			} else if heard[a.ID] = w.rng.IntN(2) == 0; heard[a.ID] {
				w.put(*a)
			}
		}
	default:
		w.tick()
		if w.rng.IntN(3) > 0 {
			w.apply(w.end)
		}
	}
}
