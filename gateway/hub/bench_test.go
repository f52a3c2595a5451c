package hub

import (
	"fmt"
	"testing"
	"time"

	"crier/internal/event"
)

// taker is a sink that takes everything, encodes it as a stream would, and
// keeps nothing.
type taker struct{ taken int64 }

func encodeForBench(e *Event) []byte { return append([]byte("data: "), e.Data...) }

func (s *taker) Send(e *Event) bool {
	s.taken += int64(len(e.Encoded(SSE, encodeForBench)))
	return true
}
func (s *taker) SendAt(e *Event, cursor string) bool {
	s.taken += int64(len(cursor))
	return s.Send(e)
}
func (s *taker) SendPage(events []*Event, before, after string) int {
	for _, e := range events {
		s.SendAt(e, before+after)
	}
	return len(events)
}
func (s *taker) Busy() bool                { return false }
func (s *taker) CaughtUp(int) bool         { return true }
func (s *taker) Bye(string, time.Duration) {}

// One notification to the one stream of its user, among 10,000 users.
func BenchmarkDeliverUnicast(b *testing.B) {
	h := New(nil)
	const users = 10_000
	names := make([]event.UserID, users)
	for i := range names {
		names[i] = event.UserID(fmt.Sprint(i))
		h.Subscribe(names[i], "", &taker{}).Start(0, Head{})
	}
	payload := make([]byte, 300)
	b.ReportAllocs()
	b.ResetTimer()
	n := 0
	for b.Loop() {
		if h.Deliver([]byte(names[n%users]), Stored{ID: int64(n/users) + 1, Data: payload}) != 1 {
			b.Fatal("nobody got it")
		}
		n++
	}
}

// One notification to 10,000 streams of one user: encoded once.
func BenchmarkDeliverBroadcast(b *testing.B) {
	h := New(nil)
	const streams = 10_000
	for range streams {
		h.Subscribe("ann", "", &taker{}).Start(0, Head{})
	}
	payload := make([]byte, 300)
	b.ReportAllocs()
	b.ResetTimer()
	id := int64(0)
	for b.Loop() {
		id++
		if h.Deliver([]byte("ann"), Stored{ID: id, Data: payload}) != streams {
			b.Fatal("somebody did not get it")
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(int64(b.N)*streams), "ns/stream")
}

// A delivery for somebody who is not connected here, the commonest of all.
func BenchmarkDeliverNobody(b *testing.B) {
	h := New(nil)
	payload := make([]byte, 300)
	b.ReportAllocs()
	for b.Loop() {
		h.Deliver([]byte("nobody"), Stored{ID: 1, Data: payload})
	}
}

// A round of five symbols' ticks to 10,000 streams.
func BenchmarkTickRound(b *testing.B) {
	h := New(nil)
	symbols := []string{"A", "B", "C", "D", "E"}
	for range 10_000 {
		s := h.Subscribe("", "", &taker{})
		s.Follow(symbols, MaxRate)
	}
	b.ReportAllocs()
	for b.Loop() {
		for _, s := range symbols {
			h.Tick(tick(s, 1), time.Time{})
		}
		h.ticks.mu.Lock()
		for _, f := range h.ticks.feeds {
			if !h.ticks.send(f) { // past the pace, which would have us wait
				b.Fatal("nothing was sent")
			}
		}
		h.ticks.mu.Unlock()
	}
}
