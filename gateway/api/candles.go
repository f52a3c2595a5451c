package api

import (
	"context"
	"net/http"
	"sync"
	"time"

	"crier/internal/candle"
	"crier/internal/decimal"
	"crier/internal/event"
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
//	@Param		interval	query		string	false	"1s, 1m (default) or 1h"
//	@Param		from		query		string	false	"RFC 3339, included"
//	@Param		to			query		string	false	"RFC 3339, not included"
//	@Param		source		query		string	false	"default: the one with the newest tick"
//	@Param		limit		query		int		false	"1 to 5000, default 500: the newest so many"
//	@Success	200			{object}	CandlesView
//	@Failure	400			{object}	Problem
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
	var err error
	if out.Source, err = a.candleSource(r.Context(), out.Symbol, out.Source); err != nil {
		return err
	}
	rng.Source = out.Source
	list, err := a.CandleStore.List(r.Context(), rng)
	if err != nil {
		return err
	}
	for _, c := range list {
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
	last, err := a.Prices.All(ctx)
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

// dayBefore remembers the prices of a day before, which change slowly and which
// every visitor of the page asks for.
type dayBefore struct {
	mu     sync.Mutex // guards all; held while it asks, so that one does
	read   time.Time
	prices map[[2]string]decimal.Decimal
}

// dayAge is how long they are believed.
const dayAge = 10 * time.Second

func (d *dayBefore) get(ctx context.Context, store *candle.Store) (map[[2]string]decimal.Decimal, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if time.Since(d.read) < dayAge {
		return d.prices, nil
	}
	prices, err := store.DayBefore(ctx)
	if err != nil {
		return nil, err
	}
	d.prices, d.read = prices, time.Now()
	return prices, nil
}
