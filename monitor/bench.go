package monitor

import (
	"context"
	"fmt"
	"runtime"
	"strconv"
	"time"

	"crier/internal/alert"
	"crier/internal/decimal"
	"crier/internal/event"
	"crier/internal/postgres"
	"crier/monitor/match"
)

// BenchResult is what `crier bench alerts` measures.
type BenchResult struct {
	TicksPerSecond   float64 `json:"ticks_per_s"`   // hardly any of which fires
	FiringsPerSecond float64 `json:"firings_per_s"` // where each tick fires ten
	BytesPerAlert    float64 `json:"bytes_per_alert"`
	LoadSeconds      float64 `json:"load_s"` // from Postgres into the index
}

// Bench makes n alerts in an empty database, loads them as a starting matcher
// does, and matches ticks with them on one core for so long. said is told what it
// is at.
func Bench(ctx context.Context, db *postgres.DB, n int, each time.Duration, said func(string)) (BenchResult, error) {
	var r BenchResult
	store := alert.New(db, 0)
	said(fmt.Sprintf("making %d alerts in Postgres", n))
	const topicID = "00000000-0000-4000-8000-000000000001"
	if err := store.Fill(ctx, "1", event.Place{TopicID: topicID}, n); err != nil {
		return r, err
	}
	said("loading them")
	before := inUse()
	began := time.Now()
	p, err := benchLoad(ctx, store, topicID, n)
	if err != nil {
		return r, err
	}
	r.LoadSeconds = time.Since(began).Seconds()
	said("matching ticks of which hardly any fires")
	procs := runtime.GOMAXPROCS(1)
	defer runtime.GOMAXPROCS(procs)
	offset := int64(len(benchSymbols))
	none := func(match.Match) {}
	for range 100_000 { // what was loaded is looked at once, and the ring fills
		p.Apply(benchTick(offset), none)
		offset++
	}
	r.BytesPerAlert = float64(inUse()-before) / float64(n)
	began, count := time.Now(), 0
	for ; time.Since(began) < each; count += 1000 {
		for range 1000 {
			p.Apply(benchTick(offset), none)
			offset++
		}
		if ctx.Err() != nil {
			return r, context.Cause(ctx)
		}
	}
	r.TicksPerSecond = float64(count) / time.Since(began).Seconds()
	runtime.KeepAlive(p)
	said("matching ticks that fire ten alerts each")
	r.FiringsPerSecond = benchFirings(n)
	return r, nil
}

var benchSymbols = []string{"BTCUSDT", "ETHUSDT", "SOLUSDT", "XRPUSDT", "DOGEUSDT"}

// benchTick is within half a percent of 100,000.
func benchTick(offset int64) match.Tick {
	at := time.Unix(1_800_000_000, offset*int64(time.Millisecond))
	return match.Tick{Tick: event.Tick{Symbol: benchSymbols[offset%int64(len(benchSymbols))], Price: decimal.FromUnits(100_000_00+offset*7919%997-498, 2), Source: "bench", Time: at},
		Offset: offset, Recorded: at}
}

func benchLoad(ctx context.Context, store *alert.Store, topicID string, n int) (*match.Partition, error) {
	m := &matcher{topicID: topicID}
	p := match.NewPartition(int64(len(benchSymbols)))
	for i := range benchSymbols {
		t := benchTick(int64(i))
		p.Seed(t, match.Clock{Time: t.Time, Ticks: 1})
		p.SeedBuckets(t.Symbol, t.Source, nil, nil)
	}
	p.Load(n, nil)
	_, err := store.Active(ctx, func(a *alert.Alert) error {
		if need := p.Put(m.indexed(a, 0), nil); need != match.Nothing {
			return fmt.Errorf("alert %d was not loaded: %d", a.ID, need)
		}
		return nil
	})
	p.Loaded()
	return p, err
}

// benchFirings is how many of n alerts fire in a second, ten at each tick.
func benchFirings(n int) float64 {
	p := match.NewPartition(0)
	p.Load(n, nil)
	for i := range int64(n) {
		p.Put(match.Alert{ID: i + 1, Revision: 1, Symbol: "X", Rule: event.Rule{Condition: event.Above, Target: decimal.FromUnits(i, 2)}, Taken: true}, nil)
	}
	p.Loaded()
	fired := 0
	began := time.Now()
	for i := int64(0); i*10 < int64(n); i++ {
		at := time.Unix(1_800_000_000, i*int64(time.Millisecond))
		p.Apply(match.Tick{Tick: event.Tick{Symbol: "X", Price: decimal.FromUnits(i*10+9, 2), Source: "bench", Time: at, ID: strconv.FormatInt(i, 10)}, Offset: i, Recorded: at},
			func(match.Match) { fired++ })
	}
	return float64(fired) / time.Since(began).Seconds()
}

// inUse is the heap that is held.
func inUse() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
