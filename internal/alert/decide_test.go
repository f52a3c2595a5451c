package alert_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"crier/internal/alert"
	"crier/internal/event"
)

func contextWithin(t *testing.T, d time.Duration) (context.Context, context.CancelFunc) {
	t.Helper()
	return context.WithTimeout(t.Context(), d)
}

func said(list []alert.Decision) string {
	s := ""
	for _, d := range list {
		switch d.Verdict {
		case alert.Fire:
			s += fmt.Sprintf("fire#%d ", d.Firing)
		case alert.Again:
			s += fmt.Sprintf("again#%d=%d ", d.Firing, d.NotificationID)
		default:
			s += "drop:" + d.Reason + " "
		}
	}
	return s
}

// Whatever is proposed, an alert fires as its state allows: once, or every time
// after its cooldown, numbered 1, 2, 3; what was decided is decided the same
// again.
func TestDecide(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1000)
	type proposals = []event.Trigger
	minutes := func(n int) time.Time { return after(time.Duration(n) * time.Minute) }
	every := alert.Alert{Repeat: alert.Every, Cooldown: 10 * time.Minute}
	for _, c := range []struct {
		name    string
		alert   alert.Alert
		change  func(a alert.Alert)
		batches func(a alert.Alert) []proposals
		want    []string
		firings int
		state   alert.State
	}{
		{"once", alert.Alert{}, nil, func(a alert.Alert) []proposals {
			return []proposals{{trigger(a, 100, now), trigger(a, 101, minutes(1))}, {trigger(a, 102, minutes(2))}}
		}, []string{"fire#1 drop:triggered ", "drop:triggered "}, 1, alert.Triggered},
		{"once, read again", alert.Alert{}, nil, func(a alert.Alert) []proposals {
			return []proposals{{trigger(a, 100, now)}, {trigger(a, 100, now), trigger(a, 101, now)}}
		}, []string{"fire#1 ", "again#1=1 drop:triggered "}, 1, alert.Triggered},
		{"twice in a batch", alert.Alert{}, nil, func(a alert.Alert) []proposals {
			return []proposals{{trigger(a, 100, now), trigger(a, 100, now)}}
		}, []string{"fire#1 drop:repeated "}, 1, alert.Triggered},
		{"every, cooling", every, nil, func(a alert.Alert) []proposals {
			return []proposals{
				{trigger(a, 100, minutes(0)), trigger(a, 101, minutes(9)), trigger(a, 102, minutes(10))},
				{trigger(a, 103, minutes(19)), trigger(a, 104, minutes(25))},
			}
		}, []string{"fire#1 drop:cooling fire#2 ", "drop:cooling fire#3 "}, 3, alert.Created},
		{"every, another tick at the offset of one that was lost", every, nil, func(a alert.Alert) []proposals {
			return []proposals{{trigger(a, 100, now)}, {trigger(a, 100, minutes(20)), trigger(a, 100, now)}}
		}, []string{"fire#1 ", "fire#2 again#1=1 "}, 2, alert.Created},
		{"every, read again", every, nil, func(a alert.Alert) []proposals {
			return []proposals{
				{trigger(a, 100, minutes(0)), trigger(a, 102, minutes(10))},
				{trigger(a, 100, minutes(0)), trigger(a, 101, minutes(9)), trigger(a, 102, minutes(10)), trigger(a, 104, minutes(25))},
			}
		}, []string{"fire#1 fire#2 ", "again#1=1 drop:cooling again#2=2 fire#3 "}, 3, alert.Created},
		{"expired", alert.Alert{ExpiresAt: ptr(minutes(5))}, nil, func(a alert.Alert) []proposals {
			return []proposals{{trigger(a, 101, minutes(5)), trigger(a, 102, minutes(6))}, {trigger(a, 100, minutes(5).Add(-time.Millisecond))}}
		}, []string{"drop:expired drop:expired ", "fire#1 "}, 1, alert.Triggered},
		{"changed", alert.Alert{}, func(a alert.Alert) {
			_, _ = w.Update(t.Context(), ann, a.ID, alert.Change{State: ptr(alert.Created)}, place(1), now)
		}, func(a alert.Alert) []proposals {
			newer := a
			newer.Revision++
			return []proposals{{trigger(a, 100, now), trigger(newer, 101, now)}}
		}, []string{"drop:changed fire#1 "}, 1, alert.Triggered},
		{"paused", alert.Alert{}, func(a alert.Alert) {
			_, _ = w.Update(t.Context(), ann, a.ID, alert.Change{State: ptr(alert.Paused)}, place(1), now)
		}, func(a alert.Alert) []proposals { return []proposals{{trigger(a, 100, now)}} }, []string{"drop:paused "}, 0, alert.Paused},
		{"deleted", alert.Alert{}, func(a alert.Alert) { _ = w.Delete(t.Context(), ann, a.ID) },
			func(a alert.Alert) []proposals { return []proposals{{trigger(a, 100, now)}} }, []string{"drop:deleted "}, 0, ""},
		{"another's, and nobody's", alert.Alert{}, nil, func(a alert.Alert) []proposals {
			stolen, nobody := a, a
			stolen.UserID, nobody.ID = "2", 1<<40
			return []proposals{{trigger(stolen, 100, now), trigger(nobody, 100, now)}}
		}, []string{"drop:unknown drop:unknown "}, 0, alert.Created},
		{"nothing", alert.Alert{}, nil, func(alert.Alert) []proposals { return []proposals{{}} }, []string{""}, 0, alert.Created},
	} {
		t.Run(c.name, func(t *testing.T) {
			made := w.create(c.alert)
			if c.change != nil {
				c.change(made)
			}
			next := int64(1)
			for i, p := range c.batches(made) {
				list := w.fire(next, p...)
				if got := said(list); got != c.want[i] {
					t.Errorf("batch %d: %s, want %s", i, got, c.want[i])
				}
				for _, d := range list {
					if d.Verdict == alert.Fire {
						next++
					}
				}
			}
			if c.state != "" {
				got := w.get(made.ID)
				if got.State != c.state || got.Firings != c.firings || (got.TriggeredAt != nil) != (c.firings > 0) {
					t.Errorf("state %s after %d firings, want %s after %d", got.State, got.Firings, c.state, c.firings)
				}
			}
			list, count, more, err := w.Firings(t.Context(), ann, made.ID, 0, 2)
			if err != nil || int(count) != c.firings || len(list) != min(2, c.firings) || more != (c.firings > 2) {
				t.Errorf("firings %v of %d, more %v, %v", list, count, more, err)
			}
			for i, f := range list {
				if f.Firing != c.firings-i || f.NotificationID != int64(f.Firing) || f.TopicID != topicID || f.Partition != 3 || f.Price.String() != "70000.50" {
					t.Errorf("firing %d: %+v", i, f)
				}
			}
		})
	}
}

// A trigger whose notification was not stored leaves the alert as it was.
func TestRecordNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1000)
	made := w.create(alert.Alert{})
	w.tx(func(tx pgx.Tx) error {
		d, err := alert.Decide(t.Context(), tx, []event.Trigger{trigger(made, 100, now)})
		if err != nil {
			return err
		}
		return d.Record(t.Context(), tx, []int64{0}, now)
	})
	if got := w.get(made.ID); got.State != alert.Created || got.Firings != 0 {
		t.Errorf("%+v", got)
	}
	if _, _, _, err := w.Firings(t.Context(), ann, made.ID, 1<<40, 10); err != nil {
		t.Errorf("a page from far above: %v", err)
	}
}

// Two consumers that decide the same triggers at once, as after a rebalance,
// fire each once.
func TestDecideUnderConcurrency(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1000)
	var triggers []event.Trigger
	var made []alert.Alert
	for i := range 20 {
		a := w.create(alert.Alert{Repeat: alert.Every, Cooldown: time.Second})
		made = append(made, a)
		for k := range 3 {
			triggers = append(triggers, trigger(a, int64(100+k), after(time.Duration(k*5+i)*time.Second)))
		}
	}
	var wg sync.WaitGroup
	for k := range 4 {
		wg.Go(func() {
			from := k * 5
			w.fire(int64(1000*(k+1)), triggers[from:]...)
			w.fire(int64(1000*(k+1)), triggers[:from]...)
		})
	}
	wg.Wait()
	for _, a := range made {
		list, _, _, err := w.Firings(t.Context(), ann, a.ID, 0, 10)
		if err != nil {
			t.Fatal(err)
		}
		seen := make(map[int64]bool)
		for i, f := range list {
			if f.Firing != len(list)-i || seen[f.Offset] {
				t.Errorf("alert %d: firing %d on offset %d is out of order or repeated", a.ID, f.Firing, f.Offset)
			}
			seen[f.Offset] = true
		}
		if got := w.get(a.ID); got.Firings != len(list) || len(list) == 0 {
			t.Errorf("alert %d counts %d firings of %d", a.ID, got.Firings, len(list))
		}
	}
}
