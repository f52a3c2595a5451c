package alert_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"crier/internal/alert"
	"crier/internal/decimal"
	"crier/internal/event"
)

// A change of what an alert asks is checked as a whole: what the new condition
// needs must be there, what it does not have must not, and nothing of a refused
// change stays.
func TestChangeOfRule(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1000)
	number := func(s string) *decimal.Decimal { return ptr(price(t, s)) }
	made := w.create(alert.Alert{})
	for _, c := range []struct {
		name string
		c    alert.Change
		want string // the fault's field, or what it asks then
	}{
		{"an edge keeps the target", alert.Change{Condition: ptr(event.CrossesBelow)}, "crosses_below 70000.50"},
		{"a percentage needs its own", alert.Change{Condition: ptr(event.PercentUp)}, "!percent window"},
		{"a percentage", alert.Change{Condition: ptr(event.PercentUp), Percent: number("5"), Window: ptr(time.Hour)}, "percent_up 5 1h0m0s"},
		{"a target does not belong", alert.Change{Target: number("5")}, "!target"},
		{"a trailing stop keeps the percentage", alert.Change{Condition: ptr(event.TrailingStop)}, "trailing_stop 5 0s"},
		{"a band upside down", alert.Change{Condition: ptr(event.Enters), Low: number("10"), High: number("9")}, "!high"},
		{"a band", alert.Change{Condition: ptr(event.Exits), Low: number("9"), High: number("10.5"), Hysteresis: number("0.5")}, "exits 9 10.5"},
		{"too wide a hysteresis", alert.Change{Hysteresis: number("0.76")}, "!hysteresis"},
		{"a window that is no whole number of minutes", alert.Change{Condition: ptr(event.PercentDown), Percent: number("1"), Hysteresis: number("0"), Window: ptr(time.Hour + time.Second)}, "!window"},
	} {
		before := w.get(made.ID)
		_, err := w.Update(t.Context(), ann, made.ID, c.c, place(500), now)
		got := w.get(made.ID)
		var invalid event.Invalid
		if fields, bad := strings.CutPrefix(c.want, "!"); bad {
			names := ""
			if errors.As(err, &invalid) {
				for _, f := range invalid {
					names += f.Field + " "
				}
			}
			if strings.TrimSpace(names) != fields || got.Revision != before.Revision || got.Condition != before.Condition {
				t.Errorf("%s: %v names %q, stored revision %d %s", c.name, err, names, got.Revision, got.Condition)
			}
			continue
		}
		asks := fmt.Sprint(got.Condition, " ", got.Target)
		switch {
		case got.Condition.Band():
			asks += " " + got.High.String()
		case got.Condition.Percent():
			asks += " " + got.Window.String()
		}
		if err != nil || asks != c.want || got.Revision != before.Revision+1 {
			t.Errorf("%s: asks %q, %v", c.name, asks, err)
		}
	}
}

// Setting triggered alerts again cannot pass the limit, and a triggered one cannot
// be paused; a snooze sets it again.
func TestSetAgainWithinTheLimit(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 2)
	first := w.create(alert.Alert{})
	w.set(first.ID, alert.Triggered)
	w.create(alert.Alert{})
	third := w.create(alert.Alert{})
	again := alert.Change{State: ptr(alert.Created)}
	if _, err := w.Update(t.Context(), ann, first.ID, again, place(9), now); !errors.Is(err, alert.ErrLimit) {
		t.Errorf("beyond the limit: %v", err)
	}
	if _, err := w.Update(t.Context(), ann, first.ID, alert.Change{State: ptr(alert.Paused)}, place(9), now); !errors.Is(err, alert.ErrState) {
		t.Errorf("pausing a triggered one: %v", err)
	}
	w.set(third.ID, alert.Triggered)
	until := after(time.Hour)
	got, err := w.Update(t.Context(), ann, first.ID, alert.Change{Snoozed: &until}, place(9), now)
	if err != nil || got.State != alert.Created || got.Snoozed == nil || got.Place != place(9) || got.Taken {
		t.Errorf("snoozed: %+v, %v", got, err)
	}
	if got := said(w.fire(1, trigger(got, 20, now))); got != "drop:snoozed " {
		t.Errorf("while it sleeps: %s", got)
	}
	if got := said(w.fire(1, trigger(got, 21, until))); got != "fire#1 " {
		t.Errorf("afterwards: %s", got)
	}
}

// One that repeats ends with the last firing it may have, and each firing tells
// the alert as it was and what the tick was like.
func TestMaxFirings(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 10)
	a := w.create(alert.Alert{Repeat: alert.Every, Cooldown: time.Second, MaxFirings: 2, Note: "before"})
	at := func(n int) time.Time { return after(time.Duration(n) * time.Minute) }
	first := trigger(a, 1, at(1))
	first.Before, first.Change = &event.TickBefore{Price: price(t, "69999.99"), Time: at(0), Offset: 0}, "+0.01"
	if got := said(w.fire(1, first, trigger(a, 2, at(2)), trigger(a, 3, at(3)))); got != "fire#1 fire#2 drop:triggered " {
		t.Errorf("got %s", got)
	}
	if got := w.get(a.ID); got.State != alert.Triggered || got.Firings != 2 {
		t.Errorf("it is %s after %d firings", got.State, got.Firings)
	}
	list, _, _, err := w.Firings(t.Context(), ann, a.ID, 0, 10)
	if err != nil || len(list) != 2 {
		t.Fatalf("%v, %v", list, err)
	}
	if f := list[1]; f.Before == nil || f.Before.Price.String() != "69999.99" || f.Change != "+0.01" || !strings.Contains(string(f.Alert), `"before"`) || !strings.Contains(string(f.Alert), `"firings": 0`) {
		t.Errorf("the first firing says %+v, alert %s", f, f.Alert)
	}
}
