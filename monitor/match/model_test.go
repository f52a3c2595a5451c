package match

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"crier/internal/decimal"
	"crier/internal/event"
)

// model is the definition, written as plainly as it can be: which ticks of a
// whole partition fire an alert that holds from a place.
func model(a Alert, ticks []Tick) []int64 {
	var fired []int64
	lastFired := a.LastFired
	try := func(t *Tick) bool {
		if a.Source != "" && t.Source != a.Source {
			return false
		}
		if !a.Condition.Met(t.Price, a.Target) {
			return false
		}
		if !a.ExpiresAt.IsZero() && !t.Recorded.Before(a.ExpiresAt) {
			return false
		}
		if len(fired) > 0 && (!a.Every || t.Recorded.Before(lastFired.Add(a.Cooldown))) {
			return false
		}
		fired = append(fired, t.Offset)
		lastFired = t.Recorded
		return true
	}
	var last *Tick
	for i := range ticks {
		t := &ticks[i]
		if t.Symbol == a.Symbol && t.Offset < a.Place && (a.Source == "" || a.Source == t.Source) {
			last = t
		}
	}
	if last != nil {
		try(last)
	}
	for i := range ticks {
		if ticks[i].Symbol == a.Symbol && ticks[i].Offset >= a.Place {
			try(&ticks[i])
		}
	}
	return fired
}

// world is a partition's log, a store of alerts as Postgres and the consumer
// would keep them, and a matcher that is restarted at random.
type world struct {
	rng       *rand.Rand
	ticks     []Tick // offsets may have holes, as markers leave them
	end       int64
	alerts    map[int64]*Alert
	proposed  map[int64][]Match // acknowledged triggers, in order
	committed int64
	p         *Partition
}

var start = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func (w *world) tick() {
	if w.rng.IntN(10) == 0 {
		w.end++ // a marker takes an offset too
	}
	w.ticks = append(w.ticks, Tick{
		Tick: event.Tick{Symbol: string(rune('A' + w.rng.IntN(3))), Price: decimal.FromUnits(int64(w.rng.IntN(20)), 0),
			Source: []string{"x", "y"}[w.rng.IntN(2)]},
		Offset: w.end, Recorded: start.Add(time.Duration(w.end) * time.Second),
	})
	w.end++
}

func (w *world) emit(m Match) { w.proposed[m.Alert.ID] = append(w.proposed[m.Alert.ID], m) }

// decided is what the consumer makes of the proposals, in order.
func (w *world) decided(id int64) []int64 {
	a := w.alerts[id]
	var out []int64
	seen := make(map[int64]bool)
	var last time.Time
	for _, m := range w.proposed[id] {
		switch {
		case seen[m.Tick.Offset], !a.Every && len(out) > 0:
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

func (w *world) lastBefore(sym, source string, offset int64) *Tick {
	for i := len(w.ticks) - 1; i >= 0; i-- {
		t := &w.ticks[i]
		if t.Offset < offset && t.Symbol == sym && (source == "" || source == t.Source) {
			return t
		}
	}
	return nil
}

func (w *world) history(a *Alert) []Tick {
	var out []Tick
	if t := w.lastBefore(a.Symbol, a.Source, a.Place); t != nil {
		out = append(out, *t)
	}
	for _, t := range w.ticks {
		if t.Symbol == a.Symbol && (a.Source == "" || a.Source == t.Source) && t.Offset >= a.Place && t.Offset < w.p.Next() {
			out = append(out, t)
		}
	}
	return out
}

func (w *world) put(a Alert) {
	if w.p.Put(a, w.emit) {
		w.p.PutWith(a, w.history(&a), w.emit)
	}
	w.settle()
}

// settle takes what is ready: in this world triggers are acknowledged at once.
func (w *world) settle() {
	for _, a := range w.p.Unresolved() {
		w.p.PutWith(a, w.history(&a), w.emit)
	}
	for _, a := range w.p.Ready() {
		w.alerts[a.ID].Taken = true
	}
}

// restart begins a matcher where the contract says: at the lesser of what was
// committed and the lowest place not yet taken.
func (w *world) restart(heard map[int64]bool) {
	at := w.committed
	for _, a := range w.alerts {
		if !a.Taken {
			at = min(at, a.Place)
		}
	}
	w.p = NewPartition(at, w.committed)
	for _, sym := range []string{"A", "B", "C"} {
		for _, source := range []string{"x", "y"} {
			t := w.lastBefore(sym, source, at)
			switch {
			case w.rng.IntN(3) == 0:
				w.p.Unknown(sym, source)
			case t != nil:
				w.p.Seed(*t)
			}
		}
	}
	for id, a := range w.alerts {
		heard[id] = true
		if !a.Every && len(w.decided(id)) > 0 {
			continue // triggered: no longer active
		}
		restarted := *a
		if ms := w.proposed[id]; len(ms) > 0 {
			restarted.Proposed = true
			restarted.LastFired = ms[len(ms)-1].Tick.Recorded
		}
		w.put(restarted)
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

func (w *world) create(id int64) *Alert {
	a := &Alert{ID: id, Revision: 1, UserID: "1", Symbol: string(rune('A' + w.rng.IntN(3))), Condition: event.Above,
		Target: decimal.FromUnits(int64(w.rng.IntN(24)-2), 0), Place: w.end}
	if w.rng.IntN(2) == 0 {
		a.Condition = event.Below
	}
	if w.rng.IntN(4) == 0 {
		a.Source = "y"
	}
	if w.rng.IntN(4) == 0 {
		a.Every, a.Cooldown = true, time.Duration(1+w.rng.IntN(20))*time.Second
	}
	if w.rng.IntN(6) == 0 {
		a.ExpiresAt = start.Add(time.Duration(w.end+int64(w.rng.IntN(60))) * time.Second)
	}
	w.alerts[id] = a
	return a
}

// For random alerts and ticks, heard of late and early, through random
// restarts, exactly what the definition says fires, once each.
func TestEngineFiresWhatTheModelSays(t *testing.T) {
	for seed := range uint64(400) {
		t.Run(fmt.Sprint("seed=", seed), func(t *testing.T) {
			w := &world{rng: rand.New(rand.NewPCG(seed, 1)), alerts: make(map[int64]*Alert), proposed: make(map[int64][]Match)}
			heard := make(map[int64]bool)
			w.p = NewPartition(0, 0)
			for step := range 300 {
				switch w.rng.IntN(8) {
				case 0:
					a := w.create(int64(step + 1))
					if w.rng.IntN(3) > 0 {
						heard[a.ID] = true
						w.put(*a)
					}
				case 1: // the change feed catches up
					for id, a := range w.alerts {
						if !heard[id] {
							heard[id] = true
							w.put(*a)
						}
					}
				case 2:
					if w.rng.IntN(4) == 0 {
						w.restart(heard)
					}
				case 3:
					w.committed = w.p.Next()
				default:
					w.tick()
					if w.rng.IntN(3) > 0 {
						w.apply(w.end)
					}
				}
			}
			w.restart(heard)
			w.apply(w.end)
			for id, a := range w.alerts {
				want := model(*a, w.ticks)
				if got := w.decided(id); fmt.Sprint(got) != fmt.Sprint(want) {
					t.Errorf("alert %+v fired on %v, want %v", *a, got, want)
				}
			}
		})
	}
}
