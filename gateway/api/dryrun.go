package api

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"time"

	"crier/internal/alert"
	"crier/internal/candle"
	"crier/internal/decimal"
	"crier/internal/event"
	"crier/internal/kafka"
	"crier/internal/problem"
)

// DryRunRequest is an alert that is not made, and over what it is tried.
type DryRunRequest struct {
	AlertRequest
	Over string          `json:"over" enums:"ticks,1s,1m,1h" example:"1m"` // default: 1m
	From json.RawMessage `json:"from" swaggertype:"string"`                // default: all that is kept
	To   json.RawMessage `json:"to" swaggertype:"string"`
}

// DryFiring is one time that the alert would have fired.
type DryFiring struct {
	Firing    int              `json:"firing"`
	Price     decimal.Decimal  `json:"price" swaggertype:"string"`
	Time      time.Time        `json:"time"`
	Source    string           `json:"source"`
	Reference *decimal.Decimal `json:"reference,omitempty" swaggertype:"string"`
	Partition *int32           `json:"partition,omitempty"` // of the tick, over ticks
	Offset    *int64           `json:"offset,omitempty"`
}

// DryRunAnswer says what the alert would have fired on.
type DryRunAnswer struct {
	Over    string      `json:"over"`
	Ticks   int64       `json:"ticks"` // looked at; a candle is four
	Count   int         `json:"count"`
	Partial bool        `json:"partial"` // there was more than is looked at in one request
	Firings []DryFiring `json:"firings"`
}

// Bounds of a dry run: what is looked at, said, and how long it may take.
const (
	maxDryTicks   = 5_000_000
	maxDryCandles = 100_000
	maxDryFirings = 1000
	maxDryTime    = 20 * time.Second
)

// DryRun tries an alert on what has been.
//
//	@Summary	What an alert would have fired on, over stored candles or retained ticks
//	@Tags		alerts
//	@Param		body	body		DryRunRequest	true	"an alert, and over what: ticks, or candles of 1s, 1m or 1h"
//	@Success	200		{object}	DryRunAnswer
//	@Failure	400		{object}	Problem
//	@Security	bearer
//	@Router		/alerts/dry-run [post]
func (a *API) DryRun(w http.ResponseWriter, r *http.Request) error {
	var in DryRunRequest
	if err := decode(w, r, &in); err != nil {
		return err
	}
	wanted, err := in.alert(Who(r).UserID, time.Unix(0, 0)) // expiries of the past are welcome
	if err != nil {
		return err
	}
	var v event.Invalid
	if in.Over == "" {
		in.Over = "1m"
	}
	interval := intervals[in.Over]
	if interval == 0 && in.Over != "ticks" {
		v.Add("over", "enum", "must be ticks, 1s, 1m or 1h")
	}
	from, to := checkTime(&v, "from", in.From, time.Time{}), checkTime(&v, "to", in.To, time.Unix(1<<40, 0))
	if err := v.Err(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeoutCause(r.Context(), maxDryTime, errors.New("the dry run took too long"))
	defer cancel()
	d := newDryRun(&wanted, in.Over)
	if in.Over == "ticks" {
		err = a.dryTicks(ctx, d, &wanted, from, to)
	} else {
		err = a.dryCandles(ctx, d, &wanted, interval, from, to)
	}
	if err != nil {
		return err
	}
	return encode(w, http.StatusOK, d.answer)
}

// checkTime reads a time; absent is def.
func checkTime(v *event.Invalid, field string, raw json.RawMessage, def time.Time) time.Time {
	if t := v.CheckTime(field, raw); !t.IsZero() {
		return t
	}
	return def
}

// dryRun is a trial under way.
type dryRun struct {
	watch  event.Watch
	answer DryRunAnswer
}

func newDryRun(a *alert.Alert, over string) *dryRun {
	d := &dryRun{watch: event.Watch{Rule: a.Rule(), Source: a.Source, Every: a.Repeat == alert.Every, Cooldown: a.Cooldown, MaxFirings: a.MaxFirings}}
	if a.ExpiresAt != nil {
		d.watch.ExpiresAt = *a.ExpiresAt
	}
	if a.Snoozed != nil {
		d.watch.Snoozed = *a.Snoozed
	}
	d.answer.Over, d.answer.Firings = over, []DryFiring{}
	return d
}

// tick shows the alert a tick; false: enough was seen.
func (d *dryRun) tick(t *event.Tick, recorded time.Time, place *event.Place) bool {
	d.answer.Ticks++
	fires, reference := d.watch.Tick(t, recorded)
	if fires {
		d.answer.Count++
		if f := (DryFiring{Firing: d.answer.Count, Price: t.Price, Time: t.Time, Source: t.Source, Reference: reference}); len(d.answer.Firings) < maxDryFirings {
			if place != nil {
				f.Partition, f.Offset = &place.Partition, &place.Offset
			}
			d.answer.Firings = append(d.answer.Firings, f)
		} else {
			d.answer.Partial = true
		}
	}
	return !d.watch.Done()
}

// dryTicks tries the alert on the ticks that Kafka has.
func (a *API) dryTicks(ctx context.Context, d *dryRun, wanted *alert.Alert, from, to time.Time) error {
	end, err := a.Kafka.EndOf(ctx, kafka.Ticks, wanted.Symbol)
	if err != nil {
		return problem.Wrap(problem.Unavailable, "Kafka did not say where the ticks end.", err)
	}
	begin := max(0, end.Offset-maxDryTicks)
	err = a.Kafka.Reread(ctx, kafka.Ticks, end.Partition, begin, end.Offset, func(r kafka.Record) bool {
		if begin > 0 && r.Offset == begin {
			d.answer.Partial = true
		}
		t, err := event.ParseTick(r.Value, r.Time)
		if err != nil || t.Symbol != wanted.Symbol || t.Time.Before(from) || !t.Time.Before(to) {
			return true
		}
		return d.tick(&t, r.Time, &event.Place{Partition: r.Partition, Offset: r.Offset})
	})
	if err != nil && ctx.Err() == nil {
		return problem.Wrap(problem.Unavailable, "The ticks could not be read.", err)
	}
	d.answer.Partial = d.answer.Partial || ctx.Err() != nil
	return nil
}

// dryCandles tries the alert on candles: each is four ticks, open first and close
// last; of the two between, the one that is nearer to the open comes first.
func (a *API) dryCandles(ctx context.Context, d *dryRun, wanted *alert.Alert, interval time.Duration, from, to time.Time) error {
	source, err := a.candleSource(ctx, wanted.Symbol, wanted.Source)
	if err != nil {
		return err
	}
	list, err := a.CandleStore.List(ctx, candle.Range{Symbol: wanted.Symbol, Source: source, Interval: interval, From: from, To: to, Limit: maxDryCandles})
	if err != nil {
		return err
	}
	d.answer.Partial = len(list) == maxDryCandles
	for i := range list {
		c := &list[i]
		order := [4]decimal.Decimal{c.Open, c.Low, c.High, c.Close}
		if c.Close.Cmp(c.Open) < 0 {
			order = [4]decimal.Decimal{c.Open, c.High, c.Low, c.Close}
		}
		for k, price := range order {
			at := c.Start.Add(time.Duration(k) * interval / 4)
			if !d.tick(&event.Tick{Symbol: c.Symbol, Price: price, Time: at, Source: source}, at, nil) {
				return nil
			}
		}
	}
	return nil
}
