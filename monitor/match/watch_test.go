package match

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"crier/internal/event"
)

// What a dry run follows one alert with says the same as the definition.
func TestWatchSaysWhatTheModelSays(t *testing.T) {
	fired := 0
	for seed := range uint64(2000) {
		w := &world{rng: rand.New(rand.NewPCG(seed, 2)), alerts: make(map[int64]*Alert)}
		w.step = steps3[seed%3]
		for range 80 {
			w.tick()
		}
		a := w.create(1)
		a.Place = 0
		if a.Every && w.rng.IntN(2) == 0 {
			a.Cooldown *= 3
		}
		want := model(*a, timed(w.ticks))
		watch := event.Watch{Rule: a.Rule, Source: a.Source, Every: a.Every, Cooldown: a.Cooldown, ExpiresAt: a.ExpiresAt, Snoozed: a.Snoozed}
		var got []int64
		for i := range w.ticks {
			tick := &w.ticks[i]
			if tick.Symbol != a.Symbol {
				continue
			}
			if fires, _ := watch.Tick(&tick.Tick, tick.Recorded); fires {
				got = append(got, tick.Offset)
			}
		}
		fired += len(want)
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Fatalf("seed %d: %+v fired on %v, want %v", seed, *a, got, want)
		}
	}
	if fired < 2000 {
		t.Errorf("only %d fired: the test says little", fired)
	}
}
