package feed

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"crier/internal/event"
)

const trades = "time_ms,trade_id,symbol,side,price,quantity\n" +
	"1700000000000,1,A,buy,1.50,2\n1700000000500,2,B,sell,7,1\n1700000001000,3,A,buy,1.60,0.1\n1700000003000,4,A,buy,1.55,3\n"

const minutes = "close_time,symbol,open,high,low,close,volume,trades\n" +
	"2026-05-01 12:00:59.999000+00:00,A,10,14,9,12,1,1\n2026-05-01 12:01:59.999000+00:00,A,12,13,8,11,1,1\n2026-05-01 12:02:59.999000+00:00,A,11,11,11,11,1,1\n"

func file(t *testing.T, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "rec.csv")
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func run(t *testing.T, f Feed, emit func(event.Tick) error) error {
	t.Helper()
	return f.Run(t.Context(), emit)
}

func said(ticks []event.Tick) []string {
	var out []string
	for _, x := range ticks {
		out = append(out, fmt.Sprintf("%s=%s#%s", x.Symbol, x.Price, x.ID))
	}
	return out
}

// Both forms of a recording become ticks in order; a minute that rose, or stayed,
// goes through its low first, one that fell through its high, fifteen seconds
// apart and the last at its close.
func TestReplayForms(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, content string
		want          []string
		times         []string // of the first ticks
	}{
		{"trades", trades, []string{"A=1.50#1", "B=7#2", "A=1.60#3", "A=1.55#4"}, []string{"2023-11-14T22:13:20Z", "2023-11-14T22:13:20.5Z"}},
		{"minutes", minutes, []string{
			"A=10#2026-05-01T12:00:59Z/open", "A=9#2026-05-01T12:00:59Z/low", "A=14#2026-05-01T12:00:59Z/high", "A=12#2026-05-01T12:00:59Z/close",
			"A=12#2026-05-01T12:01:59Z/open", "A=13#2026-05-01T12:01:59Z/high", "A=8#2026-05-01T12:01:59Z/low", "A=11#2026-05-01T12:01:59Z/close",
			"A=11#2026-05-01T12:02:59Z/open", "A=11#2026-05-01T12:02:59Z/low", "A=11#2026-05-01T12:02:59Z/high", "A=11#2026-05-01T12:02:59Z/close",
		}, []string{"2026-05-01T12:00:14.999Z", "2026-05-01T12:00:29.999Z", "2026-05-01T12:00:44.999Z", "2026-05-01T12:00:59.999Z"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			var got []event.Tick
			f := &ReplayFeed{Path: file(t, c.content)}
			if err := run(t, f, func(x event.Tick) error { got = append(got, x); return nil }); err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(said(got), c.want) {
				t.Errorf("got %v, want %v", said(got), c.want)
			}
			for i, at := range c.times {
				if s := got[i].Time.Format(time.RFC3339Nano); s != at || got[i].Source != "replay:rec.csv" {
					t.Errorf("tick %d is of %s from %s, want %s", i, s, got[i].Source, at)
				}
			}
		})
	}
}

// A replay goes at its speed, and stops at once when it is told to.
func TestReplaySpeed(t *testing.T) {
	t.Parallel()
	path := file(t, trades)
	for speed, want := range map[float64]time.Duration{1: 3 * time.Second, 10: 300 * time.Millisecond, 0.5: 6 * time.Second, 0: 0} {
		synctest.Test(t, func(t *testing.T) {
			began := time.Now()
			if err := run(t, &ReplayFeed{Path: path, Speed: speed}, func(event.Tick) error { return nil }); err != nil {
				t.Error(err)
			}
			if d := time.Since(began); d != want {
				t.Errorf("at speed %v it took %v, want %v", speed, d, want)
			}
			ctx, cancel := context.WithCancel(t.Context())
			n := 0
			err := (&ReplayFeed{Path: path, Speed: speed}).Run(ctx, func(event.Tick) error {
				if n++; n == 2 {
					cancel()
				}
				return nil
			})
			if err != nil || n != 2 {
				t.Errorf("stopped after two: %d ticks, %v", n, err)
			}
		})
	}
}

// After a restart a replay goes on behind the last tick of each symbol that was
// produced, so that each is produced once.
func TestReplayResumes(t *testing.T) {
	t.Parallel()
	path := file(t, trades)
	for stop := range 5 {
		last := make(map[string]string)
		var got []event.Tick
		full := errors.New("Kafka is away")
		resume := func(_ context.Context, source, symbol string) (string, error) {
			if source != "replay:rec.csv" {
				t.Errorf("asked of %s", source)
			}
			return last[symbol], nil
		}
		for round := range 2 {
			err := run(t, &ReplayFeed{Path: path, resume: resume}, func(x event.Tick) error {
				if round == 0 && len(got) == stop {
					return full
				}
				got = append(got, x)
				last[x.Symbol] = x.ID
				return nil
			})
			if round == 0 && stop < 4 && !errors.Is(err, full) || round == 1 && err != nil {
				t.Errorf("round %d: %v", round, err)
			}
		}
		if want := []string{"A=1.50#1", "A=1.55#4", "A=1.60#3", "B=7#2"}; !slices.Equal(sorted(said(got)), want) {
			t.Errorf("stopped after %d: %v", stop, said(got))
		}
	}
}

func sorted(s []string) []string { slices.Sort(s); return s }

// What cannot be read is an error that names the line and the column.
func TestReplayErrors(t *testing.T) {
	t.Parallel()
	for content, want := range map[string]string{
		"":                                    "first line",
		"a,b\n1,2\n":                          "unknown form",
		trades + "x,5,A,buy,1,1\n":            "line 6: time_ms",
		trades + "1,5,A,buy,dear,1\n":         "line 6: price",
		trades + "1,5,A\n":                    "line 6",
		minutes + "yesterday,A,1,1,1,1,1,1\n": "line 5: close_time",
		minutes + "2026-05-01 12:03:59.999+00:00,A,1,x,1,1,1,1\n": "line 5: high",
	} {
		err := run(t, &ReplayFeed{Path: file(t, content)}, func(event.Tick) error { return nil })
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.40q: %v, want %s", content, err, want)
		}
	}
	if err := run(t, &ReplayFeed{Path: "/nowhere"}, nil); err == nil {
		t.Error("a file that is not there")
	}
}

// A simulation is the same for the same seed, stays above nothing, and spreads
// its symbols evenly.
func TestSimulated(t *testing.T) {
	t.Parallel()
	take := func(seed uint64, n int) (got []string) {
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			began := time.Now()
			err := NewSimulated([]string{"BTCUSDT", "ODD"}, seed).Run(ctx, func(x event.Tick) error {
				if x.Price.Sign() <= 0 || x.Size == nil || x.Source != SimulatedName {
					t.Errorf("%+v", x)
				}
				if got = append(got, fmt.Sprintf("%s=%s/%s#%s", x.Symbol, x.Price, x.Size, x.ID)); len(got) == n {
					cancel()
				}
				return nil
			})
			if d, want := time.Since(began), time.Duration(n)*100*time.Millisecond; err != nil || d != want {
				t.Errorf("%d ticks took %v, want %v; %v", n, d, want, err)
			}
		})
		return got
	}
	a, b, c := take(7, 200), take(7, 200), take(8, 200)
	if !slices.Equal(a, b) || slices.Equal(a, c) {
		t.Error("the same seed is not the same, or another one is")
	}
}

// A list of feeds is read, and what is wrong with it named as CRIER_FEEDS.
func TestParse(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, name := range []string{"b.csv", "b@c.csv"} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct{ list, want string }{
		{"", ""}, {"none", ""}, {"binance", "binance"}, {" binance , simulated", "binance simulated"}, {"replay:DIR/b.csv", "replay:b.csv"}, {"replay:DIR/b.csv@max", "replay:b.csv"}, {"replay:DIR/none.csv", "!"},
		{"replay:DIR/b@c.csv@2.5,none", "replay:b@c.csv"},
		{"coinbase,kraken", "coinbase kraken"}, {"simulated,simulated", "!"}, {"nyse", "!"}, {"replay:", "!"}, {"replay:DIR/b.csv@fast", "!"}, {"replay:DIR/b.csv@0", "!"}, {"replay:DIR/b.csv@-1", "!"}, {"replay:DIR/b.csv@NaN", "!"}, {"replay:DIR/b.csv@Inf", "!"}, {"replay:@5", "!"},
	} {
		feeds, err := Parse(strings.ReplaceAll(c.list, "DIR", dir), Config{Symbols: []string{"A"}})
		var names []string
		for _, f := range feeds {
			names = append(names, f.Name())
		}
		if c.want == "!" {
			if err == nil || !strings.Contains(err.Error(), "CRIER_FEEDS") {
				t.Errorf("%s: %v", c.list, err)
			}
		} else if got := strings.Join(names, " "); got != c.want || err != nil {
			t.Errorf("%s: %s, %v", c.list, got, err)
		}
	}
}
