package hub

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"crier/internal/decimal"
	"crier/internal/event"
)

func tick(symbol string, price int64) event.Tick {
	return event.Tick{Symbol: symbol, Price: decimal.FromUnits(price, 0), Time: time.Unix(price, 0), Source: "test"}
}

// seen are the ticks a reader got, as SYMBOL=PRICE.
func seen(r *reader) []string {
	var out []string
	for _, s := range r.texts(Ticks) {
		t, err := event.ParseTick([]byte(s), time.Now())
		if err != nil {
			out = append(out, err.Error())
			continue
		}
		out = append(out, fmt.Sprintf("%s=%s", t.Symbol, t.Price))
	}
	return out
}

func rounds(n int) { <-time.After(time.Duration(n)*round + round/2) }

func (w *world) follow(r *reader, rate int, symbols ...string) *reader {
	r.sub = w.Subscribe("", "", r)
	r.sub.Start(0, Head{})
	r.sub.Follow(symbols, rate)
	return r
}

// Of many ticks in a round the newest of each symbol is sent, in one go, and of
// symbols without news nothing.
func TestTickRounds(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T, w *world) {
		w.Tick(tick("A", 1), time.Now())
		r := w.follow(newReader(), MaxRate, "B", "A", "A")
		rounds(1)
		for p := int64(2); p < 50; p++ {
			w.Tick(tick("A", p), time.Now())
			w.Tick(tick("C", p), time.Now()) // not followed
		}
		w.Tick(tick("B", 7), time.Now())
		rounds(5)
		w.Tick(tick("B", 8), time.Now())
		rounds(5)
		if got, want := seen(r), []string{"A=1", "A=49", "B=7", "B=8"}; !slices.Equal(got, want) {
			t.Errorf("got %v, want %v", got, want)
		}
		if len(r.events) != 3 {
			t.Errorf("in %d events, want one a round", len(r.events))
		}
	})
}

// The rate is kept: so many writes a second and no more, whatever comes.
func TestTickRate(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ rate, least, most int }{
		{MaxRate, 95, 100}, {1000, 95, 100}, {5, 48, 50}, {2, 19, 20}, {1, 9, 10}, {0, 9, 10},
	} {
		t.Run(fmt.Sprint(c.rate), func(t *testing.T) {
			t.Parallel()
			bubble(t, func(t *testing.T, w *world) {
				r := w.follow(newReader(), c.rate, "A")
				for p := range int64(1000) {
					w.Tick(tick("A", p+1), time.Now())
					<-time.After(10 * time.Millisecond)
				}
				if n := len(seen(r)); n < c.least || n > c.most {
					t.Errorf("%d writes in 10 s, want %d to %d", n, c.least, c.most)
				}
			})
		})
	}
}

// A reader that is busy, or full, gets nothing until it is not, and then the
// newest of each of its symbols once; others go on meanwhile.
func TestTickSlowReader(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		slow func(r *reader)
		fast func(r *reader)
	}{
		{"busy", func(r *reader) { r.setBusy(true) }, func(r *reader) { r.setBusy(false) }},
		{"full", func(r *reader) { r.drain(0) }, func(r *reader) { r.drain(-1) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			bubble(t, func(t *testing.T, w *world) {
				symbols := []string{"A", "B"}
				slow, fast := w.follow(newReader(), MaxRate, symbols...), w.follow(newReader(), MaxRate, symbols...)
				rounds(1)
				c.slow(slow)
				var want []string
				for p := int64(1); p <= 5; p++ {
					w.Tick(tick("A", p), time.Now())
					want = append(want, fmt.Sprintf("A=%d", p))
					rounds(1)
				}
				w.Tick(tick("B", 9), time.Now())
				want = append(want, "B=9")
				rounds(1)
				if got := seen(slow); len(got) != 0 {
					t.Errorf("while slow it got %v", got)
				}
				c.fast(slow)
				rounds(3)
				if got := seen(slow); !slices.Equal(got, []string{"A=5", "B=9"}) {
					t.Errorf("then it got %v, want the newest of each", got)
				}
				if got := seen(fast); !slices.Equal(got, want) {
					t.Errorf("the other got %v, want %v", got, want)
				}
				w.Tick(tick("B", 10), time.Now())
				rounds(2)
				if got := seen(slow); !slices.Equal(got[2:], []string{"B=10"}) {
					t.Errorf("then only news, got %v", got[2:])
				}
			})
		})
	}
}

// Following changes what comes; following nothing, or leaving, ends it, and
// nothing is kept for who has left, even if it asks once more.
func TestFollow(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T, w *world) {
		r := w.follow(newReader(), MaxRate, "A")
		w.Tick(tick("A", 1), time.Now())
		w.Tick(tick("B", 1), time.Now())
		rounds(2)
		r.sub.Follow([]string{"B"}, MaxRate)
		rounds(2)
		w.Tick(tick("A", 2), time.Now())
		rounds(2)
		r.sub.Follow(nil, MaxRate)
		w.Tick(tick("B", 2), time.Now())
		rounds(2)
		if got := seen(r); !slices.Equal(got, []string{"A=1", "B=1"}) {
			t.Errorf("got %v", got)
		}
		r.sub.Follow([]string{"A"}, MaxRate)
		r.sub.Unsubscribe()
		r.sub.Follow([]string{"A", "B"}, MaxRate)
		rounds(2)
		w.ticks.mu.Lock()
		defer w.ticks.mu.Unlock()
		if n := len(w.ticks.feeds); n != 0 {
			t.Errorf("%d feeds are kept for nobody", n)
		}
		if got := seen(r); len(got) != 2 {
			t.Errorf("after it left it got %v", got[2:])
		}
	})
}

// What was read from Postgres gives way to what the tail has brought, and to
// what was recorded later; sources are remembered with their last tick, a
// hundred at most.
func TestNewest(t *testing.T) {
	t.Parallel()
	h := New(nil)
	at := time.Unix(1000, 0)
	h.TickIfNone(tick("A", 1), at)
	h.TickIfNone(tick("A", 2), at.Add(-time.Second))
	h.TickIfNone(tick("B", 1), at)
	h.TickIfNone(tick("B", 2), at.Add(time.Second))
	h.Tick(tick("C", 1), at)
	h.TickIfNone(tick("C", 2), at.Add(time.Hour))
	var got []string
	for _, x := range h.Newest() {
		got = append(got, fmt.Sprintf("%s=%s", x.Symbol, x.Price))
	}
	if want := []string{"A=1", "B=2", "C=1"}; !slices.Equal(got, want) {
		t.Errorf("newest %v, want %v", got, want)
	}
	// Where the tail has missed some, what was recorded later is newer.
	h.TicksLost()
	h.TickIfNone(tick("A", 3), at.Add(-time.Second))
	h.TickIfNone(tick("C", 2), at.Add(time.Hour))
	h.Tick(tick("B", 3), at)
	h.TickIfNone(tick("B", 4), at.Add(time.Hour))
	got = nil
	for _, x := range h.Newest() {
		got = append(got, fmt.Sprintf("%s=%s", x.Symbol, x.Price))
	}
	if want := []string{"A=1", "B=3", "C=2"}; !slices.Equal(got, want) {
		t.Errorf("after a loss the newest are %v, want %v", got, want)
	}
	for i := range 1000 {
		x := tick("A", 1)
		x.Source = fmt.Sprint(i)
		h.Tick(x, at)
	}
	if n := len(h.Sources()); n != maxSources {
		t.Errorf("%d sources are remembered, want %d", n, maxSources)
	}
}

// Topics are read from a list; what cannot be followed is named.
func TestParseTopics(t *testing.T) {
	t.Parallel()
	var many, many2, names []string
	for i := range MaxFollowed + 1 {
		many, many2 = append(many, fmt.Sprint("ticks:A", i)), append(many2, fmt.Sprint("A", i))
	}
	for i := range MaxTopics + 1 {
		names = append(names, fmt.Sprint("topic", i))
	}
	for _, c := range []struct {
		in      []string
		symbols []string
		topics  []string
		err     error
	}{
		{nil, nil, nil, nil},
		{[]string{""}, nil, nil, nil},
		{[]string{"ticks:BTCUSDT", "", "ticks:a.b:c/d", "ticks:BTCUSDT"}, []string{"BTCUSDT", "a.b:c/d"}, nil, nil},
		{[]string{"ticks:"}, nil, nil, ErrTopicName},
		{[]string{"ticks:A B"}, nil, nil, ErrTopicName},
		{[]string{"news", "room:Friends-1", "news"}, nil, []string{"news", "room:Friends-1"}, nil},
		{[]string{"News"}, nil, nil, ErrTopicName},
		{[]string{"room:1x"}, nil, nil, ErrTopicName},
		{[]string{"topic:x"}, nil, nil, ErrTopicName},
		{many, nil, nil, ErrTopicCount},
		{many[:MaxFollowed], many2[:MaxFollowed], nil, nil},
		{names[:MaxTopics], nil, names[:MaxTopics], nil},
		{names, nil, nil, ErrTopicCount},
	} {
		symbols, topics, err := ParseTopics(c.in)
		if !slices.Equal(symbols, c.symbols) || !slices.Equal(topics, c.topics) || err != c.err {
			t.Errorf("%.40q: %v, %v, %v; want %v, %v, %v", c.in, symbols, topics, err, c.symbols, c.topics, c.err)
		}
	}
}
