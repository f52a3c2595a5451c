package kafka_test

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"crier/internal/criertest"
	"crier/internal/kafka"
)

func (w *world) tail(topics ...string) *kafka.Tail {
	w.t.Helper()
	tail, err := w.Tail(w.t.Context(), topics...)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(tail.Close)
	return tail
}

// until polls until enough says so, and returns what came.
func (w *world) until(tail *kafka.Tail, enough func(recs []kafka.Record, lost []string) bool) (recs []kafka.Record, lost []string) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), patience)
	defer cancel()
	var last error
	for !enough(recs, lost) {
		l, err := tail.Poll(ctx, func(batch iter.Seq[*kafka.Record]) {
			for r := range batch {
				recs = append(recs, *r)
			}
		})
		if ctx.Err() != nil {
			w.t.Fatalf("%v, lost %v, then nothing within %v: %v", values(recs), lost, patience, last)
		}
		last = err
		lost = append(lost, l...)
	}
	return recs, lost
}

// A tail reads everything that is produced once it was made, nothing from
// before, and a partition that is added later from its beginning.
func TestTail(t *testing.T) {
	criertest.Kafkas(t, func(t *testing.T, brokers string) {
		t.Parallel()
		w := newWorld(t, brokers, 2)
		for p := range int32(2) {
			w.put(kafka.Deliveries, p, "old")
			w.put(kafka.Signals, p, "old")
		}
		tail := w.tail(kafka.Deliveries, kafka.Signals)
		for p := range int32(2) { // before the first Poll
			w.put(kafka.Deliveries, p, fmt.Sprint("d", p))
			w.put(kafka.Signals, p, fmt.Sprint("s", p))
		}
		got, lost := w.until(tail, func(r []kafka.Record, _ []string) bool { return len(r) >= 4 })
		if !slices.Equal(sorted(values(got)), []string{"d0", "d1", "s0", "s1"}) || len(lost) != 0 {
			t.Errorf("got %v, lost %v", values(got), lost)
		}
		if _, err := w.admin().CreatePartitions(t.Context(), 1, w.prefix+kafka.Deliveries); err != nil {
			t.Fatal(err)
		}
		raw := w.client()
		criertest.Eventually(t, patience, "the new partition takes a record", func() bool {
			raw.ForceMetadataRefresh() // the broker that it asked may not have known it yet
			return raw.ProduceSync(t.Context(), &kgo.Record{Topic: w.prefix + kafka.Deliveries, Partition: 2, Value: []byte("added")}).FirstErr() == nil
		})
		got, lost = w.until(tail, func(r []kafka.Record, _ []string) bool { return len(r) >= 1 })
		if !slices.Equal(values(got), []string{"added"}) || got[0].Partition != 2 || len(lost) != 0 {
			t.Errorf("got %v, lost %v", values(got), lost)
		}
	})
}

// A tail that has lost its place says so, and goes on: records below were
// deleted, or the topic was made anew.
func TestTailLosesItsPlace(t *testing.T) {
	criertest.Kafkas(t, func(t *testing.T, brokers string) {
		for _, c := range []struct {
			name    string
			deleted int
			lose    func(t *testing.T, w *world)
		}{
			{"records deleted", 20, func(t *testing.T, w *world) {
				w.put(kafka.Deliveries, 0, numbered("x", 20)...)
				offsets := kadm.Offsets{}
				offsets.Add(kadm.Offset{Topic: w.prefix + kafka.Deliveries, Partition: 0, At: 18})
				if _, err := w.admin().DeleteRecords(t.Context(), offsets); err != nil {
					t.Fatal(err)
				}
			}},
			{"topic made again", 0, func(_ *testing.T, w *world) { w.makeAgain(kafka.Deliveries, 1) }},
		} {
			t.Run(c.name, func(t *testing.T) {
				t.Parallel()
				w := newWorld(t, brokers, 1)
				w.put(kafka.Deliveries, 0, numbered("old", 5)...)
				tail := w.tail(kafka.Deliveries, kafka.Signals)
				c.lose(t, w)
				// It may have been quick enough to read what was then deleted.
				read, lost := w.until(tail, func(r []kafka.Record, lost []string) bool {
					return len(lost) > 0 || len(r) == c.deleted && c.deleted > 0
				})
				if len(read) == 0 && !slices.Contains(lost, kafka.Deliveries) {
					t.Errorf("lost %v", lost)
				}
				raw := w.client()
				if err := raw.ProduceSync(t.Context(), &kgo.Record{Topic: w.prefix + kafka.Deliveries, Value: []byte("new")}).FirstErr(); err != nil {
					t.Fatal(err)
				}
				w.put(kafka.Signals, 0, "signal")
				got, _ := w.until(tail, func(r []kafka.Record, _ []string) bool { return len(r) >= 2 })
				if s := sorted(values(got)); !slices.Equal(s, []string{"new", "signal"}) {
					t.Errorf("got %v", s)
				}
			})
		}
	})
}

// A tail of a topic that is not there is an error, and one of a broker that is
// away too.
func TestTailErrors(t *testing.T) {
	t.Parallel()
	w := newWorld(t, criertest.Broker(t), 0)
	if _, err := w.Tail(t.Context(), kafka.Deliveries); err == nil || !strings.Contains(err.Error(), w.prefix+kafka.Deliveries) {
		t.Errorf("%v", err)
	}
	w.cfg.Brokers = []string{criertest.FreeAddr(t)}
	away := w.open()
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if _, err := away.Tail(ctx, kafka.Deliveries); err == nil {
		t.Error("no error without a broker")
	}
	if err := away.Ping(ctx); err == nil {
		t.Error("no error without a broker")
	}
}

// A range is read again exactly: from its first to before its last offset, also
// where it begins below what is kept, ends with markers or aborted records, or
// is empty.
func TestReread(t *testing.T) {
	criertest.Kafkas(t, func(t *testing.T, brokers string) {
		t.Parallel()
		w := newWorld(t, brokers, 2)
		w.put(kafka.Ticks, 1, numbered("a", 5)...)           // 0 … 4
		w.transact(kafka.Ticks, 1, kgo.TryCommit, "k0")      // 5, marker 6
		w.transact(kafka.Ticks, 1, kgo.TryAbort, "x0", "x1") // 7, 8, marker 9
		offsets := kadm.Offsets{}
		offsets.Add(kadm.Offset{Topic: w.prefix + kafka.Ticks, Partition: 1, At: 2})
		if _, err := w.admin().DeleteRecords(t.Context(), offsets); err != nil {
			t.Fatal(err)
		}
		for _, c := range []struct {
			from, to int64
			want     []string
		}{
			{0, 10, []string{"a2", "a3", "a4", "k0"}}, {3, 5, []string{"a3", "a4"}}, {3, 4, []string{"a3"}}, {5, 6, []string{"k0"}}, {5, 7, []string{"k0"}},
			{6, 10, nil}, {7, 10, nil}, {7, 9, nil}, {9, 10, nil}, {8, 9, nil}, {0, 2, nil}, {4, 4, nil}, {6, 3, nil}, {10, 99, nil}, {4, 99, []string{"a4", "k0"}},
		} {
			if got := values(w.reread(kafka.Ticks, 1, c.from, c.to)); !slices.Equal(got, c.want) {
				t.Errorf("from %d to %d: %v, want %v", c.from, c.to, got, c.want)
			}
		}
		count := 0
		if err := w.Reread(t.Context(), kafka.Ticks, 1, 0, 10, func(kafka.Record) bool { count++; return count < 2 }); err != nil || count != 2 {
			t.Errorf("stopped after %d records, %v", count, err)
		}
		end, err := w.EndOf(t.Context(), kafka.Ticks, "BTCUSDT")
		want := map[int32]int64{0: 0, 1: 10}
		if p := kafka.Partition([]byte("BTCUSDT"), 2); err != nil || end.Partition != p || end.Offset != want[p] || end.TopicID == "" {
			t.Errorf("end %+v, %v", end, err)
		}
	})
}

// A topic that is deleted and made again while it is being read again is an error
// and not a wait without end.
func TestRereadOfATopicMadeAgain(t *testing.T) {
	t.Parallel()
	criertest.Kafkas(t, func(t *testing.T, brokers string) {
		w := newWorld(t, brokers, 1)
		large := make([]byte, 900_000) // that does not compress
		for range 36 {                 // more than two fetches
			_, _ = rand.Read(large)
			w.put(kafka.Ticks, 0, string(large))
		}
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		var once sync.Once
		err := w.Reread(ctx, kafka.Ticks, 0, 0, 36, func(kafka.Record) bool {
			once.Do(func() { w.makeAgain(kafka.Ticks, 1) })
			return true
		})
		if !errors.Is(err, kerr.UnknownTopicID) {
			t.Errorf("%v", err)
		}
	})
}
