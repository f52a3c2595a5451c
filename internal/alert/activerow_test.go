package alert_test

import (
	"fmt"
	"testing"
	"time"

	"crier/internal/alert"
	"crier/internal/event"
)

// What the matcher loads in binary form is what everybody else reads.
func TestActiveIsWhatIsStored(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1000)
	made := make(map[int64]alert.Alert)
	for i, s := range []string{"0", "1", "-1", "10000", "9999.9999", "70000.50", "0.00000001", "-0.5", "123456789012345678.123456789012345678", "100000000", "0.0001", "12345.000"} {
		a := alert.Alert{UserID: ann, Symbol: "A", Condition: event.Above, Target: price(t, s), Repeat: alert.Once, Place: place(7)}
		if i%3 == 1 {
			a.Condition, a.High, a.Hysteresis, a.Confirm = event.Enters, price(t, s).Add(price(t, "1.25")), price(t, "0.001"), event.Confirm{Ticks: 3}
		}
		if i%3 == 2 {
			a.Repeat, a.Cooldown, a.Source, a.ExpiresAt, a.Snoozed = alert.Every, time.Minute, "kraken", ptr(after(time.Hour)), ptr(after(1500*time.Microsecond))
			a.Condition, a.Window, a.Confirm = event.PercentUp, time.Hour, event.Confirm{For: 90 * time.Second}
		}
		out, err := w.Create(t.Context(), a, now)
		if err != nil {
			t.Fatal(err)
		}
		made[out.ID] = out
	}
	_, err := w.Active(t.Context(), func(a *alert.Alert) error {
		want := made[a.ID]
		delete(made, a.ID)
		text := func(a alert.Alert) string {
			at := func(p *time.Time) string {
				if p == nil {
					return "-"
				}
				return p.UTC().Format(time.RFC3339Nano)
			}
			return fmt.Sprintf("%d %d %s %q %s %+v %s %v %s %s %s %v %v %s", a.ID, a.Revision, a.Symbol, a.Source, a.Condition, a.Rule(), a.Repeat, a.Cooldown, at(a.ExpiresAt),
				at(a.Snoozed), at(a.LastFiredAt), a.Place, a.Taken, a.State)
		}
		if got, want := text(*a), text(want); got != want {
			t.Errorf("loaded %s\nstored %s", got, want)
		}
		return nil
	})
	if err != nil || len(made) > 0 {
		t.Errorf("%d were not loaded: %v", len(made), err)
	}
}
