package api

import (
	"context"
	"net/http"
	"time"

	"crier/internal/alert"
	"crier/internal/decimal"
	"crier/internal/event"
)

// referencesMost bounds the alerts of one answer: the newest ones.
const referencesMost = 200

// Reference is what a percentage or a trailing stop is measured from now, by the
// source of its symbol's newest tick.
type Reference struct {
	AlertID int64  `json:"alert_id" example:"12"`
	Source  string `json:"source" example:"binance"`
	// Reference is the lowest or highest price of the window, or the best price since
	// the alert is active.
	Reference decimal.Decimal `json:"reference" swaggertype:"string" example:"66000"`
	// FiresAt is the price that meets the alert while the reference is the same.
	FiresAt decimal.Decimal `json:"fires_at" swaggertype:"string" example:"69300"`
}

// References shows from what one's percentages and trailing stops are measured.
//
//	@Summary		From what percentages and trailing stops are measured
//	@Description	Of one's newest 200 active alerts of percent_up, percent_down and trailing_stop, those whose symbol has ticked. It changes with the prices.
//	@Tags			alerts
//	@Success		200	{object}	Page{results=[]Reference}
//	@Security		bearer
//	@Router			/alerts/references [get]
func (a *API) References(w http.ResponseWriter, r *http.Request) error {
	ctx := r.Context()
	list, err := a.Alerts.Measured(ctx, Who(r).UserID, referencesMost, time.Now())
	if err != nil {
		return err
	}
	newest := make(map[string]event.Tick)
	for _, t := range a.Hub.Newest() {
		newest[t.Symbol] = t
	}
	bests, err := a.Alerts.Bests(ctx, list)
	if err != nil {
		return err
	}
	out := []Reference{}
	windows := windowCache{api: a, known: make(map[windowKey]*priceRange)}
	for _, one := range list {
		tick, ticked := newest[one.Symbol]
		source := one.Source
		if source == "" {
			source = tick.Source
		}
		if source == "" {
			continue
		}
		if ticked && tick.Source != source {
			ticked = false
		}
		ref := Reference{AlertID: one.ID, Source: source}
		var math decimal.Percent
		if one.Condition == event.TrailingStop {
			best, ok := bests[alert.StateKey{AlertID: one.ID, Source: source}]
			if ticked && best.Cmp(tick.Price) < 0 {
				best, ok = tick.Price, true
			}
			if !ok {
				continue
			}
			ref.Reference, ref.FiresAt = best, short(math.Below(best, one.Target))
			out = append(out, ref)
			continue
		}
		prices, err := windows.get(ctx, windowKey{one.Symbol, source, one.Window}, tick, ticked)
		if err != nil {
			return err
		}
		if prices == nil {
			continue
		}
		if one.Condition == event.PercentDown {
			ref.Reference, ref.FiresAt = prices.high, short(math.Below(prices.high, one.Target))
		} else {
			ref.Reference, ref.FiresAt = prices.low, short(math.AtLeastAbove(prices.low, one.Target))
		}
		out = append(out, ref)
	}
	return encode(w, http.StatusOK, Page{Count: int64(len(out)), Results: out})
}

// short is d without zeros at its end: the calculation has 18 digits after the point.
func short(d decimal.Decimal) decimal.Decimal { return decimal.FromKey(d.Key()) }

type windowKey struct {
	symbol, source string
	length         time.Duration
}

type priceRange struct{ low, high decimal.Decimal }

// windowCache keeps what was read of windows for one request, in which many alerts
// may look at the same one.
type windowCache struct {
	api   *API
	known map[windowKey]*priceRange
}

// get is the range of prices in a window that ends at the source's newest tick, nil if
// there are none. The candles are written with each batch, so the newest tick, which
// the gateway has had at once, is added.
func (c *windowCache) get(ctx context.Context, key windowKey, tick event.Tick, ticked bool) (*priceRange, error) {
	if found, ok := c.known[key]; ok {
		return found, nil
	}
	var until time.Time
	if ticked {
		until = tick.Time
	}
	low, high, ok, err := c.api.CandleStore.Bounds(ctx, key.symbol, key.source, event.Bucket(key.length), key.length, until)
	if err != nil {
		return nil, err
	}
	var out *priceRange
	switch {
	case ok:
		out = &priceRange{low, high}
	case ticked:
		out = &priceRange{tick.Price, tick.Price}
	}
	if out != nil && ticked {
		if tick.Price.Cmp(out.low) < 0 {
			out.low = tick.Price
		}
		if tick.Price.Cmp(out.high) > 0 {
			out.high = tick.Price
		}
	}
	c.known[key] = out
	return out, nil
}
