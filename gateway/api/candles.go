package api

import (
	"context"
	"net/http"
	"sync"
	"time"

	"crier/internal/candle"
	"crier/internal/decimal"
	"crier/internal/event"
	"crier/internal/price"
)

// intervals are the candles' lengths, by their names.
var intervals = map[string]time.Duration{"1s": time.Second, "1m": time.Minute, "1h": time.Hour}

// Candles come in pages of this many unless limit= says otherwise.
const (
	defaultCandles = 500
	maxCandles     = 5000
)

// CandleView is one candle.
type CandleView struct {
	Start  time.Time       `json:"start"`
	Open   decimal.Decimal `json:"open" swaggertype:"string"`
	High   decimal.Decimal `json:"high" swaggertype:"string"`
	Low    decimal.Decimal `json:"low" swaggertype:"string"`
	Close  decimal.Decimal `json:"close" swaggertype:"string"`
	Volume decimal.Decimal `json:"volume" swaggertype:"string"`
	Ticks  int64           `json:"ticks"`
}

// CandlesView is a range of candles of one source.
type CandlesView struct {
	Symbol   string       `json:"symbol"`
	Source   string       `json:"source"`
	Interval string       `json:"interval"`
	Count    int          `json:"count"`
	Results  []CandleView `json:"results"`
}

// Candles shows the newest candles of a range, in order of time. Intervals
// without a tick have none.
//
//	@Summary	Open, high, low and close of a symbol's prices
//	@Tags		prices
//	@Param		symbol		path		string	true	"BTCUSDT"
//	@Param		interval	query		string	false	"1s, 1m (default) or 1h"	Enums(1s, 1m, 1h)
//	@Param		from		query		string	false	"RFC 3339, included"
//	@Param		to			query		string	false	"RFC 3339, not included"
//	@Param		source		query		string	false	"default: the one with the newest tick"
//	@Param		limit		query		int		false	"1 to 5000, default 500: the newest so many"	minimum(1)	maximum(5000)
//	@Success	200			{object}	CandlesView
//	@Failure	400,429,503	{object}	Problem
//	@Router		/prices/{symbol}/candles [get]
func (a *API) Candles(w http.ResponseWriter, r *http.Request) error {
	var v event.Invalid
	q := r.URL.Query()
	out := CandlesView{Symbol: PathVar(r, "symbol"), Interval: q.Get("interval"), Results: []CandleView{}}
	if out.Interval == "" {
		out.Interval = "1m"
	}
	interval := intervals[out.Interval]
	if interval == 0 {
		v.Add("interval", "enum", "must be 1s, 1m or 1h")
	}
	v.CheckSymbol("symbol", out.Symbol)
	out.Source = queryText(&v, r, "source", event.MaxSource)
	rng := candle.Range{Symbol: out.Symbol, Interval: interval, From: queryTime(&v, r, "from", time.Time{}), To: queryTime(&v, r, "to", time.Unix(1<<40, 0)),
		Limit: queryNumber(&v, r, "limit", defaultCandles, maxCandles)}
	if err := v.Err(); err != nil {
		return err
	}
	rng.Source = out.Source
	found, err := a.charts.get(r.Context(), rng, func(ctx context.Context, of *chart) {
		rng := rng
		if rng.Source, of.err = a.candleSource(ctx, rng.Symbol, rng.Source); of.err == nil {
			of.source = rng.Source
			of.list, of.err = a.CandleStore.List(ctx, rng)
		}
	})
	if err != nil {
		return err
	}
	out.Source = found.source
	for _, c := range found.list {
		out.Results = append(out.Results, CandleView{c.Start, c.Open, c.High, c.Low, c.Close, c.Volume, c.Ticks})
	}
	out.Count = len(out.Results)
	return encode(w, http.StatusOK, out)
}

// candleSource is the source named, or the one with the symbol's newest tick.
func (a *API) candleSource(ctx context.Context, symbol, named string) (string, error) {
	if named != "" {
		return named, nil
	}
	last, err := a.last.get(lastAge, func() ([]price.Last, error) { return a.Prices.All(ctx) })
	if err != nil {
		return "", err
	}
	source, newest := "", time.Time{}
	for _, l := range last {
		if l.Symbol == symbol && !l.Recorded.Before(newest) {
			source, newest = l.Source, l.Recorded
		}
	}
	return source, nil
}

func queryTime(v *event.Invalid, r *http.Request, name string, def time.Time) time.Time {
	s := r.URL.Query().Get(name)
	if s == "" {
		return def
	}
	return v.CheckTimeText(name, s)
}

func queryNumber(v *event.Invalid, r *http.Request, name string, def, most int) int {
	s := r.URL.Query().Get(name)
	if s == "" {
		return def
	}
	n, err := decimal.Parse(s)
	if err != nil || n.Cmp(decimal.FromUnits(1, 0)) < 0 || n.Cmp(decimal.FromUnits(int64(most), 0)) > 0 || n.Trunc(0).Cmp(n) != 0 {
		v.Add(name, "range", "must be 1 to "+decimal.FromUnits(int64(most), 0).String())
		return def
	}
	return int(n.Float64())
}

// fresh is a value that every visitor of the page asks for, read again when it is older
// than age. The zero value is ready. It is safe for concurrent use.
type fresh[T any] struct {
	mu    sync.Mutex // guards all; held while it asks, so that one does
	read  time.Time
	value T
}

// How long the prices of a day before, which change slowly, and the last ones are
// believed.
const (
	dayAge  = 10 * time.Second
	lastAge = time.Second
)

func (f *fresh[T]) get(age time.Duration, read func() (T, error)) (T, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if time.Since(f.read) < age {
		return f.value, nil
	}
	value, err := read()
	if err == nil {
		f.value, f.read = value, time.Now()
	}
	return value, err
}

// Candles that are asked for again within candleAge are read once, also when that is at
// the same moment: all visitors of the page look at the same chart. Longer lists than
// cachedCandles are not kept, and no more than cachedCharts.
const (
	candleAge     = time.Second
	cachedCandles = 1000
	cachedCharts  = 64
)

// charts are candles that were read lately. It is safe for concurrent use.
type charts struct {
	mu   sync.Mutex // guards all
	kept map[candle.Range]*chart
}

// chart is the answer to one question; done is closed when it is there.
type chart struct {
	done   chan struct{}
	asked  time.Time
	source string
	list   []candle.Candle
	err    error
}

func newCharts() *charts { return &charts{kept: make(map[candle.Range]*chart)} }

// get returns the chart of a range, which read reads if it is not kept.
func (c *charts) get(ctx context.Context, r candle.Range, read func(ctx context.Context, of *chart)) (*chart, error) {
	c.mu.Lock()
	now := time.Now()
	of := c.kept[r]
	mine := of == nil || now.Sub(of.asked) >= candleAge
	if mine {
		of = &chart{done: make(chan struct{}), asked: now}
		if r.Limit <= cachedCandles {
			c.keep(r, of, now)
		}
	}
	c.mu.Unlock()
	if mine {
		// The others' answer does not hang on this one's client.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), heavyTime)
		defer cancel()
		read(ctx, of)
		close(of.done)
		if of.err != nil {
			c.forget(r, of)
		}
	}
	select {
	case <-of.done:
		return of, of.err
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

func (c *charts) forget(r candle.Range, of *chart) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.kept[r] == of {
		delete(c.kept, r)
	}
}

// keep makes place and remembers a chart. The caller holds the lock.
func (c *charts) keep(r candle.Range, of *chart, now time.Time) {
	if len(c.kept) >= cachedCharts {
		for k, old := range c.kept {
			if now.Sub(old.asked) >= candleAge {
				delete(c.kept, k)
			}
		}
	}
	if len(c.kept) < cachedCharts {
		c.kept[r] = of
	}
}
