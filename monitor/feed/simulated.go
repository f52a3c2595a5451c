package feed

import (
	"context"
	"math"
	"math/rand/v2"
	"strconv"
	"time"

	"crier/internal/decimal"
	"crier/internal/event"
	"crier/internal/lifecycle"
)

// SimulatedName is the source of simulated ticks.
const SimulatedName = "simulated"

// SimulatedFeed invents prices: a random walk for each symbol, in whole steps of
// its price, from a seed, so that the same seed gives the same prices.
type SimulatedFeed struct {
	symbols []string
	seed    uint64
	Every   time.Duration // between two ticks of one symbol
}

// NewSimulated makes a simulation; with seed 0 it takes one from the clock.
func NewSimulated(symbols []string, seed uint64) *SimulatedFeed {
	if seed == 0 {
		seed = uint64(time.Now().UnixNano())
	}
	return &SimulatedFeed{symbols: symbols, seed: seed, Every: 200 * time.Millisecond}
}

// Name is `simulated`.
func (f *SimulatedFeed) Name() string { return SimulatedName }

// firstPrices are where well-known symbols begin, with the digits they are
// quoted with; others begin at 100.00.
var firstPrices = map[string]struct {
	units int64
	scale int
}{
	"BTCUSDT": {9_644_000, 2}, "ETHUSDT": {370_000, 2}, "SOLUSDT": {23_500, 2}, "XRPUSDT": {19_000, 4}, "DOGEUSDT": {42_000, 5},
}

// walk is one symbol's price, in steps of 10^-scale.
type walk struct {
	symbol string
	units  int64
	scale  int
	count  int64
	rng    *rand.Rand
}

// next moves the price by about 0.02 % and returns the tick.
func (w *walk) next(at time.Time) event.Tick {
	step := int64(math.Round(w.rng.NormFloat64() * float64(w.units) * 0.0002))
	w.units = max(1, w.units+step)
	w.count++
	size := decimal.FromUnits(1+w.rng.Int64N(100_000), 4)
	return event.Tick{Symbol: w.symbol, Price: decimal.FromUnits(w.units, w.scale), Size: &size, Time: at, Source: SimulatedName, ID: strconv.FormatInt(w.count, 10)}
}

func (f *SimulatedFeed) walks() []*walk {
	walks := make([]*walk, len(f.symbols))
	for i, s := range f.symbols {
		first, ok := firstPrices[s]
		if !ok {
			first.units, first.scale = 10_000, 2
		}
		walks[i] = &walk{symbol: s, units: first.units, scale: first.scale, rng: rand.New(rand.NewPCG(f.seed, uint64(i)))}
	}
	return walks
}

// Run emits a tick of each symbol every f.Every, spread evenly.
func (f *SimulatedFeed) Run(ctx context.Context, emit func(event.Tick) error) error {
	walks := f.walks()
	if len(walks) == 0 {
		<-ctx.Done()
		return nil
	}
	gap := f.Every / time.Duration(len(walks))
	for i := 0; ; i++ {
		if lifecycle.Sleep(ctx, gap) != nil {
			return nil
		}
		if err := emit(walks[i%len(walks)].next(time.Now())); err != nil {
			return err
		}
	}
}
