package lifecycle

import (
	"bytes"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// A failure that lasts is logged when it begins and once a minute, with a count;
// its end once. Readiness follows the last attempt.
func TestHealth(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		h := NewHealth(slog.New(slog.NewTextHandler(&out, nil)), "reading")
		lines := func() int { return strings.Count(out.String(), "\n") }
		away := errors.New("away")
		h.Report(nil)
		if lines() != 0 || h.Ready(t.Context()) != nil {
			t.Errorf("at first: %v, %s", h.Ready(t.Context()), &out)
		}
		for range 150 {
			h.Report(away, "records", 3)
			time.Sleep(time.Second)
		}
		if n := lines(); n != 3 {
			t.Errorf("%d lines in 150 s: %s", n, &out)
		}
		if !strings.Contains(out.String(), "failures=121 for=2m0s") || !strings.Contains(out.String(), "records=3") {
			t.Error(out.String())
		}
		if err := h.Ready(t.Context()); !errors.Is(err, away) || !strings.Contains(err.Error(), "reading fails since ") {
			t.Errorf("while it lasts: %v", err)
		}
		h.Report(nil)
		h.Report(nil)
		if n := lines(); n != 4 || !strings.Contains(out.String(), "reading works again") || h.Ready(t.Context()) != nil {
			t.Errorf("after it: %v, %s", h.Ready(t.Context()), &out)
		}
		h.Report(away)
		if n := lines(); n != 5 {
			t.Errorf("the next failure is not logged at once: %s", &out)
		}
	})
}

// Of a line that repeats the first is written, and then one a minute with a count;
// other kinds are not held up by it.
func TestRepeats(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := NewRepeats()
		written, counted := 0, 0
		for range 1300 {
			if write, skipped := r.Next("a"); write {
				written++
				counted += skipped
			}
			time.Sleep(100 * time.Millisecond)
		}
		if written != 3 || counted != 1198 {
			t.Errorf("%d lines written, %d counted", written, counted)
		}
		if write, skipped := r.Next("b"); !write || skipped != 0 {
			t.Error("another kind was held up")
		}
		for i := range 10 * maxKinds {
			r.Next(string(rune(i)))
		}
		if n := len(r.kinds); n > maxKinds {
			t.Errorf("%d kinds are kept", n)
		}
	})
}
