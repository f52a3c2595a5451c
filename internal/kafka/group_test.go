package kafka_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"crier/internal/criertest"
	"crier/internal/kafka"
)

// What was not committed is read again after a crash, by whoever has the
// partition then; what was, is not.
func TestGroupRedelivery(t *testing.T) {
	criertest.Kafkas(t, func(t *testing.T, brokers string) {
		t.Parallel()
		w := newWorld(t, brokers, 2)
		cfg := kafka.GroupConfig{Name: "g", Topics: []string{kafka.Notifications, kafka.Triggers}}
		w.put(kafka.Notifications, 0, numbered("a", 5)...)
		w.put(kafka.Triggers, 1, numbered("b", 5)...)
		g := w.group(cfg)
		first := w.take(g, 10, true)
		if got, want := sorted(values(first)), append(numbered("a", 5), numbered("b", 5)...); !slices.Equal(got, want) {
			t.Errorf("got %v, want %v", got, want)
		}
		w.put(kafka.Notifications, 0, numbered("c", 5)...)
		if got := values(w.take(g, 5, false)); !slices.Equal(got, numbered("c", 5)) {
			t.Errorf("got %v", got)
		}
		g.Close() // nothing was committed
		g = w.group(cfg)
		if got := values(w.take(g, 5, true)); !slices.Equal(got, numbered("c", 5)) {
			t.Errorf("after the crash: got %v", got)
		}
		got, err := w.Committed(t.Context(), "g", kafka.Notifications)
		if err != nil || got[0] != 10 {
			t.Errorf("committed %v, %v", got, err)
		}
		if got, err := w.Committed(t.Context(), "nobody", kafka.Notifications); err != nil || len(got) != 0 {
			t.Errorf("a group that is not there: %v, %v", got, err)
		}
		if err := g.CommitOffsets(t.Context(), kafka.Triggers, map[int32]int64{1: 2}); err != nil {
			t.Error(err)
		}
		if got, err := w.Committed(t.Context(), "g", kafka.Triggers); err != nil || got[1] != 2 {
			t.Errorf("committed %v, %v", got, err)
		}
		if err := g.CommitOffsets(t.Context(), kafka.Triggers, nil); err != nil {
			t.Errorf("nothing to commit: %v", err)
		}
	})
}

// However often a poll is interrupted, and at whatever moment, no record is
// passed over: each comes once and in order.
func TestInterruptedPolls(t *testing.T) {
	t.Parallel()
	w := newWorld(t, criertest.Broker(t), 1)
	g := w.group(kafka.GroupConfig{Name: "g", Topics: []string{kafka.Ticks}})
	const total = 40_000
	var producing sync.WaitGroup
	producing.Go(func() {
		for i := 0; i < total; i += 100 {
			var recs []*kgo.Record
			for k := range 100 {
				recs = append(recs, &kgo.Record{Topic: w.prefix + kafka.Ticks, Value: fmt.Append(nil, i+k)})
			}
			if err := w.raw.ProduceSync(t.Context(), recs...).FirstErr(); err != nil {
				t.Error(err)
				return
			}
		}
	})
	defer producing.Wait()
	next, interrupted := 0, 0
	deadline := time.Now().Add(patience)
	for next < total && time.Now().Before(deadline) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Duration(rand.Int64N(int64(400*time.Microsecond))))
		b, err := g.Poll(ctx, 50)
		cancel()
		if err != nil {
			interrupted++
			if !errors.Is(err, context.DeadlineExceeded) || len(b.Records) != 0 {
				t.Fatalf("%d records and %v", len(b.Records), err)
			}
		}
		for _, r := range b.Records {
			if string(r.Value) != fmt.Sprint(next) {
				t.Fatalf("record %s came where %d was due, after %d interrupted polls", r.Value, next, interrupted)
			}
			next++
		}
		g.Release()
	}
	if next != total {
		t.Errorf("%d of %d records came", next, total)
	}
}

// StartAt says where new partitions are read from; markers of transactions are
// brought where they are asked for, so that places can be counted.
func TestStartAtAndMarkers(t *testing.T) {
	criertest.Kafkas(t, func(t *testing.T, brokers string) {
		t.Parallel()
		w := newWorld(t, brokers, 1)
		w.put(kafka.Ticks, 0, numbered("a", 4)...)                       // 0 … 3
		w.transact(kafka.Ticks, 0, kgo.TryCommit, "kept")                // 4, marker 5
		w.transact(kafka.Ticks, 0, kgo.TryAbort, "dropped", "dropped 2") // 6, 7, marker 8
		w.put(kafka.Ticks, 0, "last")                                    // 9
		var asked []int64
		g := w.group(kafka.GroupConfig{Name: "g", Topics: []string{kafka.Ticks}, Markers: true, StartAt: func(_ context.Context, offsets map[string]map[int32]int64) error {
			asked = append(asked, offsets[kafka.Ticks][0])
			offsets[kafka.Ticks][0] = 2
			return nil
		}})
		var got []string
		for _, r := range w.take(g, 6, true) {
			s := fmt.Sprintf("%d:%s", r.Offset, r.Value)
			if r.Marker {
				s = fmt.Sprintf("%d:marker", r.Offset)
			}
			got = append(got, s)
		}
		// A broker answers before it has written the marker, so what is produced next
		// may stand before it.
		want := []string{"2:a2", "3:a3", "4:kept", "5:marker", "8:marker", "9:last"}
		late := []string{"2:a2", "3:a3", "4:kept", "5:marker", "8:last", "9:marker"}
		if !slices.Equal(got, want) && !slices.Equal(got, late) {
			t.Errorf("got %v, want %v", got, want)
		}
		g.Close()
		g = w.group(kafka.GroupConfig{Name: "g", Topics: []string{kafka.Ticks}, StartAt: func(_ context.Context, offsets map[string]map[int32]int64) error {
			asked = append(asked, offsets[kafka.Ticks][0])
			return nil
		}})
		w.put(kafka.Ticks, 0, "new")
		if got := values(w.take(g, 1, false)); !slices.Equal(got, []string{"new"}) || !slices.Equal(asked, []int64{-1, 10}) {
			t.Errorf("got %v, asked of %v", got, asked)
		}
	})
}

// Two members share the partitions; those of one that leaves go to the other,
// which is told.
func TestRebalance(t *testing.T) {
	t.Parallel()
	w := newWorld(t, criertest.Broker(t), 4)
	var mu sync.Mutex
	revoked := 0
	cfg := kafka.GroupConfig{Name: "g", Topics: []string{kafka.Ticks}, Revoked: func(_ context.Context, lost kafka.Assignment) {
		mu.Lock()
		defer mu.Unlock()
		revoked += len(lost[kafka.Ticks])
	}}
	one := w.group(cfg)
	for p := range int32(4) {
		w.put(kafka.Ticks, p, "first")
	}
	w.take(one, 4, true)
	two := w.group(cfg)
	polls, stop := context.WithCancel(t.Context())
	partitions := [2]map[int32]bool{{}, {}}
	var wg sync.WaitGroup
	for i, g := range []*kafka.Group{one, two} {
		wg.Go(func() {
			for polls.Err() == nil {
				b, err := g.Poll(polls, 100)
				if err != nil {
					g.Release()
					continue
				}
				mu.Lock()
				for _, r := range b.Records {
					partitions[i][r.Partition] = true
				}
				mu.Unlock()
				if err := g.Commit(polls, b); err != nil && polls.Err() == nil {
					t.Log(err) // the group moves on: read again
				}
				g.Release()
			}
		})
	}
	criertest.Eventually(t, patience, "both members have records", func() bool {
		for p := range int32(4) {
			w.put(kafka.Ticks, p, "more")
		}
		mu.Lock()
		defer mu.Unlock()
		return len(partitions[1]) == 2 && revoked >= 2
	})
	stop()
	wg.Wait()
}
