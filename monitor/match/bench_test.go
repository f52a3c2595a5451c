package match

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"testing"
	"time"

	"crier/internal/decimal"
	"crier/internal/event"
)

// mixed is alert number i of a population: levels and crossings once for the most
// part, a twentieth with more to them. Prices lie around 100,000, targets more
// than one percent away.
func mixed(i int64, rng *rand.Rand) Alert {
	away := decimal.FromUnits(1_00+rng.Int64N(20_000_00), 2)
	up, down := decimal.FromUnits(101_000, 0).Add(away), decimal.FromUnits(99_000, 0).Sub(away)
	a := Alert{ID: i, Revision: 1, Symbol: symbols[i%int64(len(symbols))], Taken: true}
	switch n := i % 100; {
	case n < 38:
		a.Rule = event.Rule{Condition: event.Above, Target: up}
	case n < 76:
		a.Rule = event.Rule{Condition: event.Below, Target: down}
	case n < 86:
		a.Rule = event.Rule{Condition: event.CrossesAbove, Target: up}
	case n < 95:
		a.Rule = event.Rule{Condition: event.CrossesBelow, Target: down}
	case n < 96:
		a.Rule = event.Rule{Condition: event.Above, Target: up}
		a.Every, a.Cooldown = true, time.Minute
	case n < 97:
		a.Rule = event.Rule{Condition: event.Exits, Target: down, High: up}
	case n < 98:
		a.Rule = event.Rule{Condition: event.PercentUp, Target: decimal.FromUnits(20+rng.Int64N(1000), 1), Window: time.Hour}
	case n < 99:
		a.Rule = event.Rule{Condition: event.TrailingStop, Target: decimal.FromUnits(20+rng.Int64N(300), 1)}
	default:
		a.Rule = event.Rule{Condition: event.Below, Target: down, Confirm: event.Confirm{For: 10 * time.Second}, Hysteresis: decimal.FromUnits(10, 0)}
	}
	return a
}

var symbols = []string{"BTCUSDT", "ETHUSDT", "SOLUSDT", "XRPUSDT", "DOGEUSDT"}

// calm is a tick around 100,000, within half a percent.
func calm(i int64) Tick {
	at := start.Add(time.Duration(i) * time.Millisecond)
	price := decimal.FromUnits(100_000_00+int64(i*7919%997)-498, 2)
	return Tick{Tick: event.Tick{Symbol: symbols[i%int64(len(symbols))], Price: price, Source: "binance", Time: at}, Offset: i, Recorded: at}
}

func inUse() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

func fill(n int64) *Partition {
	p := NewPartition(int64(len(symbols)))
	for i, s := range symbols {
		t := calm(int64(i))
		t.Symbol = s
		p.Seed(t, Clock{t.Time, 1})
		p.SeedBuckets(s, "binance", nil, nil)
	}
	p.Load(int(n), nil)
	rng := rand.New(rand.NewPCG(1, 1))
	for i := range n {
		p.Put(mixed(i+1, rng), func(Match) {})
	}
	p.Loaded()
	return p
}

// BenchmarkCalm is ticks against many alerts of which hardly any fires.
func BenchmarkCalm(b *testing.B) {
	for _, n := range []int64{1_000_000, 10_000_000} {
		b.Run(fmt.Sprint("alerts=", n), func(b *testing.B) {
			before := inUse()
			p := fill(n)
			emit := func(Match) {}
			i := int64(len(symbols))
			for range 100_000 { // the ring fills, and what was loaded is looked at once
				p.Apply(calm(i), emit)
				i++
			}
			perAlert := float64(inUse()-before) / float64(n)
			b.ReportAllocs()
			b.ResetTimer()
			for b.Loop() {
				p.Apply(calm(i), emit)
				i++
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "ticks/s")
			b.ReportMetric(perAlert, "B/alert")
		})
	}
}

// BenchmarkTenATick is ticks that each meet ten alerts.
func BenchmarkTenATick(b *testing.B) {
	const n = 10_000_000
	var p *Partition
	var i, fired int64
	refill := func() {
		p = NewPartition(0)
		p.Load(n, nil)
		for k := range int64(n) {
			p.Put(Alert{ID: k + 1, Revision: 1, Symbol: "X", Rule: event.Rule{Condition: event.Above, Target: decimal.FromUnits(k, 2)}, Taken: true}, nil)
		}
		p.Loaded()
		i = 0
	}
	refill()
	b.ReportAllocs()
	b.ResetTimer()
	for b.Loop() {
		if i*10 >= n {
			b.StopTimer()
			refill()
			b.StartTimer()
		}
		at := start.Add(time.Duration(i) * time.Millisecond)
		p.Apply(Tick{Tick: event.Tick{Symbol: "X", Price: decimal.FromUnits(i*10+9, 2), Source: "s", Time: at}, Offset: i, Recorded: at}, func(Match) { fired++ })
		i++
	}
	if fired != int64(b.N)*10 {
		b.Fatalf("%d fired on %d ticks", fired, b.N)
	}
	b.ReportMetric(float64(fired)/b.Elapsed().Seconds(), "firings/s")
}

// BenchmarkPut is changes while ten million alerts stand.
func BenchmarkPut(b *testing.B) {
	p := fill(10_000_000)
	rng := rand.New(rand.NewPCG(2, 2))
	id := int64(10_000_001)
	b.ReportAllocs()
	b.ResetTimer()
	for b.Loop() {
		a := mixed(id, rng)
		a.Taken, a.Place = false, p.Next()
		p.Put(a, func(Match) {})
		if id%4 == 0 {
			p.Remove(id-1, 1)
		}
		id++
	}
}
