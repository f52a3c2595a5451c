package hub

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"crier/internal/event"
)

const ann event.UserID = "ann"

// bubble runs fn on fake time with a hub and its workers.
func bubble(t *testing.T, fn func(t *testing.T, w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w, stop := newWorld(t, true)
		defer stop()
		fn(t, w)
	})
}

func wantIDs(t *testing.T, what string, r *reader, want []int64) {
	t.Helper()
	if got := r.ids(); !slices.Equal(got, want) {
		t.Errorf("%s: ids %v, want %v", what, got, want)
	}
}

// A live stream gets each place once and in order: repeats are dropped, and a
// hole is filled from the inbox before what is behind it is sent.
func TestOrderRepeatsHoles(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name      string
		committed int64
		deleted   []int64
		deliver   []int64
	}{
		{"in order", 4, nil, []int64{1, 2, 3, 4}},
		{"repeats", 3, nil, []int64{1, 1, 2, 1, 2, 3, 3}},
		{"a hole", 4, nil, []int64{1, 4}},
		{"backwards", 4, nil, []int64{4, 3, 2, 1}},
		{"a hole that comes late", 5, nil, []int64{1, 3, 2, 4, 5}},
		{"only the last is heard of", 700, nil, []int64{700}},
		{"a tombstone", 5, []int64{3}, []int64{1, 2, 4, 5}},
		{"tombstones at the end", 5, []int64{4, 5}, []int64{5}},
		{"nothing but tombstones", 300, through(300), []int64{300}},
		{"tombstones at a page's edge", 600, []int64{256, 257, 512, 513}, []int64{600}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			bubble(t, func(t *testing.T, w *world) {
				r := w.open(ann, "", 0, newReader())
				w.commit(ann, c.committed)
				w.remove(ann, c.deleted...)
				for _, id := range c.deliver {
					w.Deliver([]byte(ann), Stored{ID: id, Data: data(ann, id)})
					synctest.Wait()
				}
				wantIDs(t, "the stream", r, through(c.committed, c.deleted...))
				if r.sub.Last() != c.committed {
					t.Errorf("the stream has %d, want %d", r.sub.Last(), c.committed)
				}
				// It is live again: the next one needs no read.
				reads := w.reads
				w.commit(ann, 1)
				if n := w.Deliver([]byte(ann), Stored{ID: c.committed + 1, Data: data(ann, c.committed+1)}); n != 1 || w.reads != reads {
					t.Errorf("the next: %d streams and %d reads, want 1 and 0", n, w.reads-reads)
				}
			})
		})
	}
}

// Tombstones are skipped without waiting: no time passes between what is before
// and what is behind them.
func TestTombstonesDoNotWait(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T, w *world) {
		r := w.open(ann, "", 0, newReader())
		w.commit(ann, 3)
		w.remove(ann, 1, 2)
		began := time.Now()
		w.Deliver([]byte(ann), Stored{ID: 3, Data: data(ann, 3)})
		synctest.Wait()
		wantIDs(t, "the stream", r, []int64{3})
		if d := time.Since(began); d != 0 {
			t.Errorf("it took %v, want no time", d)
		}
	})
}

// A stream that comes back is told once that it has everything, after what it
// missed and before anything live, also when its outbox is full just then.
func TestCaughtUp(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name      string
		has, last int64
		room      int
		replayed  int
	}{
		{"nothing missed", 5, 5, -1, 0},
		{"some missed", 2, 5, -1, 3},
		{"pages missed", 0, 1000, -1, 1000},
		{"full at the first", 2, 5, 0, 3},
		{"full in between", 2, 5, 2, 3},
		{"full at the very end", 2, 5, 3, 3},
		{"nothing missed and full", 5, 5, 0, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			bubble(t, func(t *testing.T, w *world) {
				w.commit(ann, c.last)
				r := newReader()
				r.room = c.room
				w.open(ann, "", c.has, r)
				synctest.Wait()
				w.commit(ann, 1)
				w.Deliver([]byte(ann), Stored{ID: c.last + 1, Data: data(ann, c.last+1)})
				synctest.Wait()
				r.drain(-1)
				synctest.Wait()
				wantIDs(t, "the stream", r, through(c.last + 1)[c.has:])
				// One that arrives before the stream has caught up is one more.
				if len(r.caughtUp) != 1 || r.caughtUp[0] != c.replayed && r.caughtUp[0] != c.replayed+1 {
					t.Errorf("caught up %v, want once with %d", r.caughtUp, c.replayed)
				}
				if first := r.events[r.caughtUp[0]]; first.Type != Resumed {
					t.Errorf("after %d notifications came %q, want resumed", r.caughtUp[0], first.Type)
				}
			})
		})
	}
}

// Whatever the order in which streams come, fill up, are drained and go, the
// inbox fails and deliveries arrive, are lost or repeated, on several
// goroutines: every stream gets each id once and in order, from its cursor on.
func TestInterleavings(t *testing.T) {
	t.Parallel()
	seeds := 150
	if testing.Short() {
		seeds = 20
	}
	first := rand.Uint64()
	for i := range seeds {
		seed := first + uint64(i)
		if !t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			bubble(t, func(t *testing.T, w *world) { interleave(t, w, seed) })
		}) {
			return
		}
	}
}

type opened struct {
	*reader
	user event.UserID
	has  int64
	gone bool
}

func interleave(t *testing.T, w *world, seed uint64) {
	rng := rand.New(rand.NewPCG(seed, 1))
	users := []event.UserID{"a", "b", "c"}
	tombstones := make(map[event.UserID][]int64)
	var failMu sync.Mutex
	failures := rand.New(rand.NewPCG(seed, 2))
	away := true
	w.failing = func() bool {
		failMu.Lock()
		defer failMu.Unlock()
		return away && failures.IntN(4) == 0
	}
	var streams []*opened
	var delivering sync.WaitGroup
	for range 150 {
		u := users[rng.IntN(len(users))]
		switch k := rng.IntN(20); {
		case k < 9: // more are stored; their deliveries race with the rest
			n := rng.Int64N(5) + 1
			last := w.commit(u, n)
			if rng.IntN(5) == 0 {
				w.remove(u, last)
				tombstones[u] = append(tombstones[u], last)
			}
			lost, twice := rng.IntN(4) == 0, rng.IntN(4) == 0
			delivering.Go(func() {
				for id := last - n + 1; id <= last && !lost; id++ {
					w.Deliver([]byte(u), Stored{ID: id, Data: data(u, id)})
					if twice {
						w.Deliver([]byte(u), Stored{ID: id, Data: data(u, id)})
					}
				}
			})
		case k < 13:
			r := newReader()
			r.room = rng.IntN(12) - 1
			o := &opened{reader: r, user: u}
			r.sub = w.Subscribe(u, "", r)
			head := w.head(u)
			o.has = rng.Int64N(head.Last + 1)
			for range rng.IntN(3) { // between Subscribe and Start
				id := w.commit(u, 1)
				w.Deliver([]byte(u), Stored{ID: id, Data: data(u, id)})
			}
			r.sub.Start(o.has, head)
			streams = append(streams, o)
		case k < 17 && len(streams) > 0:
			streams[rng.IntN(len(streams))].drain(rng.IntN(15) - 1)
		case k < 18 && len(streams) > 0:
			o := streams[rng.IntN(len(streams))]
			o.sub.Unsubscribe()
			o.sub.Unsubscribe()
			o.gone = true
		case k < 19:
			delivering.Go(func() { _ = w.Lost(t.Context()) })
		default:
			synctest.Wait()
		}
	}
	delivering.Wait()
	failMu.Lock()
	away = false
	failMu.Unlock()
	if err := w.Check(t.Context()); err != nil { // what no delivery told of
		t.Fatal(err)
	}
	for range 4 {
		for _, o := range streams {
			o.drain(-1)
		}
		<-time.After(time.Second) // fake time: failed reads are tried again
		synctest.Wait()
	}
	for i, o := range streams {
		var want []int64
		for _, id := range through(w.head(o.user).Last, tombstones[o.user]...) {
			if id > o.has {
				want = append(want, id)
			}
		}
		got := o.ids()
		rising := slices.IsSortedFunc(got, func(a, b int64) int { return int(a - b) }) && len(slices.Compact(slices.Clone(got))) == len(got)
		if !rising {
			t.Fatalf("seed %d, stream %d of %s: not rising: %v", seed, i, o.user, got)
		}
		// One that was deleted may have been delivered before.
		got = slices.DeleteFunc(got, func(id int64) bool { return slices.Contains(tombstones[o.user], id) })
		if o.gone {
			want = want[:min(len(got), len(want))]
		}
		if !slices.Equal(got, want) {
			t.Fatalf("seed %d, stream %d of %s from %d (gone %v):\n got %v\nwant %v", seed, i, o.user, o.has, o.gone, got, want)
		}
		if !o.gone && len(o.caughtUp) != 1 {
			t.Fatalf("seed %d, stream %d: told %d times that it has everything", seed, i, len(o.caughtUp))
		}
	}
}

// A delivery for somebody who is not connected is dropped, and no stream of
// another user gets it.
func TestNobodyConnected(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T, w *world) {
		r := w.open("bob", "", 0, newReader())
		if n := w.Deliver([]byte(ann), Stored{ID: 1, Data: data(ann, 1)}); n != 0 {
			t.Errorf("%d streams got it, want 0", n)
		}
		wantIDs(t, "the other", r, nil)
		r.sub.Unsubscribe()
		if st := w.Stats(); st.Subscribers != 0 {
			t.Errorf("%d subscribers, want 0", st.Subscribers)
		}
		w.wantForgotten(t)
	})
}

// While the inbox cannot be read streams wait and lose nothing; a reader that is
// behind costs live ones nothing.
func TestSourceAway(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T, w *world) {
		w.commit(ann, 10)
		w.failing = func() bool { return true }
		late := w.open(ann, "", 0, newReader())
		now := w.open(ann, "", 10, newReader())
		w.commit(ann, 1)
		w.Deliver([]byte(ann), Stored{ID: 11, Data: data(ann, 11)})
		<-time.After(10 * time.Second)
		wantIDs(t, "the live one", now, []int64{11})
		wantIDs(t, "the late one", late, nil)
		w.mu.Lock()
		reads := w.reads
		w.failing = nil
		w.mu.Unlock()
		if reads > 10*5*w.Workers() {
			t.Errorf("%d reads in 10 s of a source that is away", reads)
		}
		<-time.After(time.Second)
		wantIDs(t, "the late one", late, through(11))
	})
}
