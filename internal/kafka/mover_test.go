package kafka_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"crier/internal/criertest"
	"crier/internal/kafka"
)

// mover moves records to the partition of what stands before the colon.
func (w *world) mover(c *kafka.Client, id string) *kafka.Mover {
	w.t.Helper()
	m, err := c.Mover(kafka.MoverConfig{Group: "mover", Topic: kafka.Ticks, TransactionalID: id, KeyFunc: func(r kafka.Record) (string, bool) {
		key, _, ok := strings.Cut(string(r.Value), ":")
		return key, ok
	}})
	if err != nil {
		w.t.Fatal(err)
	}
	return m
}

// homes are the values of each partition that belong there.
func (w *world) homes(partitions int32) []string {
	w.t.Helper()
	var out []string
	for p := range partitions {
		for _, r := range w.all(kafka.Ticks, p) {
			if key, _, ok := strings.Cut(string(r.Value), ":"); ok && kafka.Partition([]byte(key), partitions) == p {
				out = append(out, string(r.Value))
			}
		}
	}
	return out
}

// Misplaced records, keyless ones too, are each moved once to where they belong,
// whenever the mover is stopped or cut off in between; those in place and those
// that cannot be read are left.
func TestMover(t *testing.T) {
	criertest.Kafkas(t, func(t *testing.T, brokers string) {
		t.Parallel()
		const partitions = 3
		w := newWorld(t, brokers, partitions)
		var want []string
		producing, produced := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		for i := range 30 {
			for p := range int32(partitions) {
				v := fmt.Sprintf("S%d:%d/%d", i, i, p)
				want = append(want, v)
				w.put(kafka.Ticks, p, v, "unreadable")
			}
		}
		wg.Go(func() {
			defer produced()
			for i := range 30 {
				w.put(kafka.Ticks, int32(i%partitions), fmt.Sprintf("S%d:late", i))
			}
		})
		for i := range 30 {
			want = append(want, fmt.Sprintf("S%d:late", i))
		}
		for i := 0; producing.Err() == nil || i < 8; i++ { // its life is short
			c := w.open()
			m := w.mover(c, "m")
			ctx, cancel := context.WithTimeout(t.Context(), time.Duration(50+i*60)*time.Millisecond)
			for ctx.Err() == nil {
				if err := m.Step(ctx); err != nil && ctx.Err() == nil {
					t.Log(err)
				}
			}
			cancel()
			if i%2 == 0 {
				m.Close()
			} else {
				go m.Close() // the next comes before it has left
			}
			c.Close()
		}
		wg.Wait()
		m := w.mover(w.Client, "m")
		defer m.Close()
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		var got []string
		for got = w.homes(partitions); len(got) < len(want) && ctx.Err() == nil; got = w.homes(partitions) {
			step, stop := context.WithTimeout(ctx, time.Second)
			if err := m.Step(step); err != nil && step.Err() == nil {
				t.Log(err)
			}
			stop()
		}
		if got, want := sorted(got), sorted(want); !slices.Equal(got, want) {
			t.Errorf("%d records are in place, want %d:\n got %v\nwant %v", len(got), len(want), got, want)
		}
	})
}

// A mover that is stopped in the middle leaves no open transaction: readers go
// on at once.
func TestMoverLeavesNoTransaction(t *testing.T) {
	t.Parallel()
	w := newWorld(t, criertest.Broker(t), 3)
	reader := w.tail(kafka.Ticks)
	for i := range 20 {
		w.put(kafka.Ticks, int32(i%3), fmt.Sprintf("S%d:x", i))
	}
	ctx, cancel := context.WithCancel(t.Context())
	m, err := w.Mover(kafka.MoverConfig{Group: "mover", Topic: kafka.Ticks, TransactionalID: "m", KeyFunc: func(r kafka.Record) (string, bool) {
		cancel() // the program is told to stop
		key, _, _ := strings.Cut(string(r.Value), ":")
		return key, true
	}})
	if err != nil {
		t.Fatal(err)
	}
	for ctx.Err() == nil {
		if err := m.Step(ctx); err != nil {
			t.Error(err)
		}
	}
	m.Close()
	began := time.Now()
	raw := w.client()
	for p := range int32(3) {
		if err := raw.ProduceSync(t.Context(), &kgo.Record{Topic: w.prefix + kafka.Ticks, Partition: p, Value: []byte("end")}).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	ends := 0
	w.until(reader, func(recs []kafka.Record, _ []string) bool {
		ends = 0
		for _, r := range recs {
			if string(r.Value) == "end" {
				ends++
			}
		}
		return ends == 3
	})
	if d := time.Since(began); d > 30*time.Second {
		t.Errorf("readers were held up for %v", d)
	}
}

// A mover that another one with its transactional id has fenced, and one whose
// topic was deleted and made again, goes on with a new session, and moves each
// record once.
func TestMoverOutlivesFencing(t *testing.T) {
	criertest.Kafkas(t, func(t *testing.T, brokers string) {
		t.Parallel()
		const partitions = 3
		w := newWorld(t, brokers, partitions)
		m := w.mover(w.Client, "mover-1")
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		g := criertest.Go(t, func() {
			for ctx.Err() == nil {
				if err := m.Step(ctx); err != nil && ctx.Err() == nil {
					t.Log(err)
				}
			}
			m.Close()
		})
		defer g.Wait()
		defer cancel()
		moved := func(values ...string) {
			t.Helper()
			for p := range int32(partitions) {
				w.put(kafka.Ticks, p, values...)
			}
			criertest.Eventually(t, patience, "what stands wrong is moved", func() bool {
				got := w.homes(partitions)
				for _, v := range values {
					n := 0
					for _, have := range got {
						if have == v {
							n++
						}
					}
					if n < partitions {
						return false
					}
					if n > partitions {
						t.Fatalf("%s stands %d times where it belongs", v, n)
					}
				}
				return true
			})
		}
		moved("A:1", "B:1", "C:1")
		fencing := w.client(kgo.TransactionalID(w.prefix + "mover-1"))
		if err := fencing.BeginTransaction(); err != nil {
			t.Fatal(err)
		}
		if err := fencing.ProduceSync(ctx, &kgo.Record{Topic: w.prefix + kafka.Results, Partition: 0}).FirstErr(); err != nil {
			t.Fatal(err)
		}
		if err := fencing.EndTransaction(ctx, kgo.TryCommit); err != nil {
			t.Fatal(err)
		}
		moved("A:2", "B:2", "C:2")
		w.makeAgain(kafka.Ticks, partitions)
		w.raw = w.client()
		moved("A:3", "B:3", "C:3")
	})
}
