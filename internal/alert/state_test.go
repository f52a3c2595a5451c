package alert_test

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"crier/internal/alert"
	"crier/internal/decimal"
	"crier/internal/event"
)

func ptr[T any](v T) *T { return &v }

// Every change of every state does what the package's truth table says: what
// changes when the alert fires gives it a new revision, a new place and makes it
// not taken, so that the matcher takes notice; nothing else does.
func TestUpdate(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1000)
	target := price(t, "1.5")
	expiry := after(time.Hour)
	changes := []struct {
		name   string
		c      alert.Change
		always bool // makes it hold anew in every state but paused
		active bool // only in state created
		field  func(a alert.Alert) any
		want   any
	}{
		{"target", alert.Change{Target: &target}, true, true, func(a alert.Alert) any { return a.Target.String() }, "1.5"},
		{"condition", alert.Change{Condition: ptr(event.Below)}, true, true, func(a alert.Alert) any { return a.Condition }, event.Below},
		{"source", alert.Change{Source: ptr("binance")}, true, true, func(a alert.Alert) any { return a.Source }, "binance"},
		{"state", alert.Change{State: ptr(alert.Created)}, true, true, func(a alert.Alert) any { return a.State }, alert.Created},
		{"cooldown", alert.Change{Cooldown: ptr(5 * time.Minute)}, false, true, func(a alert.Alert) any { return a.Cooldown }, 5 * time.Minute},
		{"repeat", alert.Change{Repeat: ptr(alert.Every), Cooldown: ptr(time.Second)}, false, true, func(a alert.Alert) any { return a.Repeat }, alert.Every},
		{"expiry", alert.Change{ExpiresAt: &expiry}, false, true, func(a alert.Alert) any { return a.ExpiresAt.UTC() }, expiry},
		{"no expiry", alert.Change{ClearExpiry: true}, false, true, func(a alert.Alert) any { return a.ExpiresAt == nil }, true},
		{"note", alert.Change{Note: ptr("look")}, false, false, func(a alert.Alert) any { return a.Note }, "look"},
		{"email", alert.Change{Email: ptr("a@b.example")}, false, false, func(a alert.Alert) any { return a.Email }, "a@b.example"},
		{"nothing", alert.Change{}, false, false, func(a alert.Alert) any { return a.Symbol }, "BTCUSDT"},
	}
	for _, state := range []alert.State{alert.Created, alert.Triggered, alert.Paused} {
		for _, c := range changes {
			t.Run(fmt.Sprintf("%s %s", state, c.name), func(t *testing.T) {
				made := w.create(alert.Alert{ExpiresAt: ptr(after(time.Minute))})
				w.set(made.ID, state)
				got, err := w.Update(t.Context(), ann, made.ID, c.c, place(500), now)
				if err != nil {
					t.Fatal(err)
				}
				if read := w.get(made.ID); read.Revision != got.Revision || read.State != got.State || read.Place != got.Place || read.Taken != got.Taken {
					t.Errorf("answered %+v, stored %+v", got, read)
				}
				if v := c.field(got); v != c.want {
					t.Errorf("%s is %v, want %v", c.name, v, c.want)
				}
				wantState := state
				if c.always && (state != alert.Paused || c.name == "state") {
					wantState = alert.Created
				}
				anew := c.always || c.active && state == alert.Created
				wantPlace := made.Place
				if anew {
					wantPlace = place(500)
				}
				if got.State != wantState || (got.Revision > made.Revision) != anew || got.Taken == anew || got.Place != wantPlace {
					t.Errorf("state %s revision %d taken %v place %v; want state %s, anew %v", got.State, got.Revision, got.Taken, got.Place, wantState, anew)
				}
				if wantState == alert.Created && got.TriggeredAt != nil {
					t.Error("it still says when it triggered")
				}
			})
		}
	}
}

// Pausing stops an alert by a new revision; paused once more it stays as it is.
func TestPause(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1000)
	made := w.create(alert.Alert{})
	for range 2 {
		got, err := w.Update(t.Context(), ann, made.ID, alert.Change{State: ptr(alert.Paused)}, place(500), now)
		if err != nil || got.State != alert.Paused || got.Revision != made.Revision+1 {
			t.Errorf("%+v, %v", got, err)
		}
	}
}

// What is not one's own, or deleted, is not found; deleting keeps firings.
func TestDeleteAndOwnership(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1000)
	made := w.create(alert.Alert{})
	w.fire(1, trigger(made, 100, now))
	for _, c := range []struct {
		name string
		user event.UserID
		want error
	}{{"another's", "2", alert.ErrNotFound}, {"one's own", ann, nil}, {"deleted", ann, alert.ErrNotFound}} {
		if err := w.Delete(t.Context(), c.user, made.ID); !errors.Is(err, c.want) {
			t.Errorf("deleting %s: %v, want %v", c.name, err, c.want)
		}
	}
	if _, err := w.Get(t.Context(), ann, made.ID, now); !errors.Is(err, alert.ErrNotFound) {
		t.Errorf("reading a deleted one: %v", err)
	}
	if _, err := w.Update(t.Context(), ann, made.ID, alert.Change{}, place(1), now); !errors.Is(err, alert.ErrNotFound) {
		t.Errorf("changing a deleted one: %v", err)
	}
	if list, count, _, err := w.Firings(t.Context(), ann, made.ID, 0, 10); err != nil || len(list) != 1 || count != 1 {
		t.Errorf("its firings: %v, %d, %v", list, count, err)
	}
	if _, _, _, err := w.Firings(t.Context(), "2", made.ID, 0, 10); !errors.Is(err, alert.ErrNotFound) {
		t.Errorf("another's firings: %v", err)
	}
}

// A user's active alerts are bounded, those that are triggered or deleted do
// not count, and one that repeats needs a cooldown.
func TestLimits(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 3)
	ids := []int64{w.create(alert.Alert{}).ID, w.create(alert.Alert{}).ID, w.create(alert.Alert{}).ID}
	try := func() error {
		_, err := w.Create(t.Context(), alert.Alert{UserID: ann, Symbol: "A", Condition: event.Above, Target: decimal.FromUnits(1, 0), Repeat: alert.Once, Place: place(1)}, now)
		return err
	}
	if err := try(); !errors.Is(err, alert.ErrLimit) {
		t.Errorf("the fourth: %v", err)
	}
	w.set(ids[0], alert.Paused)
	if err := try(); !errors.Is(err, alert.ErrLimit) {
		t.Errorf("paused ones count: %v", err)
	}
	w.set(ids[0], alert.Triggered)
	if err := try(); err != nil {
		t.Errorf("triggered ones do not: %v", err)
	}
	for _, c := range []alert.Change{{Repeat: ptr(alert.Every)}, {Repeat: ptr(alert.Every), Cooldown: ptr(alert.MinCooldown - 1)}} {
		if _, err := w.Update(t.Context(), ann, ids[1], c, place(1), now); !errors.Is(err, alert.ErrNeedsCooldown) {
			t.Errorf("%+v: %v", c, err)
		}
	}
	if got := w.get(ids[1]); got.Repeat != alert.Once || got.Revision != 1 {
		t.Errorf("a refused change left %+v", got)
	}
}

// Lists show each state as readers see it, page by page.
func TestList(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1000)
	var ids []int64
	for i := range 10 {
		a := alert.Alert{Symbol: []string{"A", "B"}[i%2]}
		if i >= 6 {
			a.ExpiresAt = ptr(after(time.Duration(i) * time.Minute))
		}
		ids = append(ids, w.create(a).ID)
	}
	w.create(alert.Alert{UserID: "2"})
	w.set(ids[0], alert.Triggered)
	w.set(ids[1], alert.Paused)
	w.set(ids[2], alert.Deleted)
	at := after(7 * time.Minute) // 6 and 7 have expired
	pick := func(is ...int) []int64 {
		var out []int64
		for _, i := range is {
			out = append(out, ids[i])
		}
		return out
	}
	for _, c := range []struct {
		name string
		f    alert.Filter
		want []int64
		all  int64
		more bool
	}{
		{"all but deleted", alert.Filter{Limit: 50}, pick(9, 8, 7, 6, 5, 4, 3, 1, 0), 9, false},
		{"created", alert.Filter{Limit: 50, State: alert.Created}, pick(9, 8, 5, 4, 3), 5, false},
		{"expired", alert.Filter{Limit: 50, State: alert.Expired}, pick(7, 6), 2, false},
		{"triggered", alert.Filter{Limit: 50, State: alert.Triggered}, pick(0), 1, false},
		{"paused", alert.Filter{Limit: 50, State: alert.Paused}, pick(1), 1, false},
		{"deleted", alert.Filter{Limit: 50, State: alert.Deleted}, pick(2), 1, false},
		{"a symbol", alert.Filter{Limit: 2, Symbol: "A"}, pick(8, 6), 4, true},
		{"the next page", alert.Filter{Limit: 2, Symbol: "A", Before: ids[6]}, pick(4, 0), 4, false},
		{"from far above", alert.Filter{Limit: 1, Before: 1 << 40}, pick(9), 9, true},
	} {
		list, all, more, err := w.List(t.Context(), ann, c.f, at)
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		var got []int64
		for _, a := range list {
			got = append(got, a.ID)
			if c.f.State != "" && a.State != c.f.State {
				t.Errorf("%s shows %d as %s", c.name, a.ID, a.State)
			}
		}
		if !slices.Equal(got, c.want) || all != c.all || more != c.more {
			t.Errorf("%s: %v of %d, more %v; want %v of %d, %v", c.name, got, all, more, c.want, c.all, c.more)
		}
	}
}

// Prices are exact: what is stored is read as it was written.
func TestExactTargets(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1000)
	for _, s := range []string{"0.1", "70000.50", "-1.5", "0", "123456789012345678.123456789", "0.000000000001"} {
		made, err := w.Create(t.Context(), alert.Alert{UserID: ann, Symbol: "A", Condition: event.Below, Target: price(t, s), Repeat: alert.Every, Cooldown: 1500 * time.Millisecond, Place: place(7)}, now)
		if err != nil {
			t.Errorf("%s: %v", s, err)
			continue
		}
		if got := w.get(made.ID); got.Target.Cmp(price(t, s)) != 0 || got.Cooldown != 1500*time.Millisecond || got.Place != place(7) {
			t.Errorf("%s: read %+v", s, got)
		}
	}
}

// The limit holds against many requests at once.
func TestLimitUnderConcurrency(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 5)
	var wg sync.WaitGroup
	var mu sync.Mutex
	made := 0
	for range 20 {
		wg.Go(func() {
			_, err := w.Create(t.Context(), alert.Alert{UserID: ann, Symbol: "A", Condition: event.Above, Target: decimal.FromUnits(1, 0), Repeat: alert.Once, Place: place(1)}, now)
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				made++
			} else if !errors.Is(err, alert.ErrLimit) {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if made != 5 {
		t.Errorf("%d were made, want 5", made)
	}
}
