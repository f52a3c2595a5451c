package candle

import (
	"testing"
	"time"

	"crier/internal/candle"
	"crier/internal/decimal"
	"crier/internal/event"
)

// Candles hold first, highest, lowest and last price of their interval, each
// source on its own; written ones are begun anew.
func TestMaker(t *testing.T) {
	m := NewMaker("t")
	at := time.Date(2026, 1, 1, 12, 0, 59, 0, time.UTC)
	size := decimal.FromUnits(2, 0)
	for i, p := range []string{"10", "12", "9", "11"} {
		tick := event.Tick{Symbol: "X", Source: "a", Price: decimal.MustParse(p), Size: &size}
		m.Add(&tick, int64(i), at.Add(time.Duration(i)*400*time.Millisecond))
	}
	other := event.Tick{Symbol: "X", Source: "b", Price: decimal.MustParse("99")}
	m.Add(&other, 4, at)
	want := map[string]string{
		"a 1s 12:00:59": "10 12 9 9 6 0-2", "a 1s 12:01:00": "11 11 11 11 2 3-3", "a 1m0s 12:00:00": "10 12 9 9 6 0-2", "a 1m0s 12:01:00": "11 11 11 11 2 3-3",
		"a 1h0m0s 12:00:00": "10 12 9 11 8 0-3", "b 1s 12:00:59": "99 99 99 99 0 4-4", "b 1m0s 12:00:00": "99 99 99 99 0 4-4", "b 1h0m0s 12:00:00": "99 99 99 99 0 4-4",
	}
	for _, c := range m.Pending() {
		name := c.Source + " " + c.Interval.String() + " " + c.Start.Format("15:04:05")
		got := c.Open.String() + " " + c.High.String() + " " + c.Low.String() + " " + c.Close.String() + " " + c.Volume.String() + " " + offsets(c)
		if want[name] != got {
			t.Errorf("%s is %s, want %s", name, got, want[name])
		}
		delete(want, name)
	}
	if len(want) > 0 {
		t.Errorf("missing: %v", want)
	}
	m.Written()
	if m.Len() != 0 {
		t.Errorf("%d left after writing", m.Len())
	}
}

func offsets(c candle.Candle) string {
	return string(rune('0'+c.First)) + "-" + string(rune('0'+c.Last))
}
