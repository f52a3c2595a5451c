package hub

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"crier/internal/event"
)

// wantForgotten checks that nothing is kept of those who left, a while after.
func (w *world) wantForgotten(t *testing.T) {
	t.Helper()
	time.Sleep(lingering + time.Second) // of the bubble
	if err := w.Check(t.Context()); err != nil {
		t.Fatal(err)
	}
	for i := range w.shards {
		if n := len(w.shards[i].users); n != 0 {
			t.Errorf("shard %d still holds %d users", i, n)
		}
		if n := w.shards[i].without; n != 0 {
			t.Errorf("shard %d counts %d without a stream", i, n)
		}
	}
}

// Whoever comes back soon gets what was missed without a query, unless it may
// look otherwise by now.
func TestComingBackSoon(t *testing.T) {
	t.Parallel()
	const missed = 5
	for _, c := range []struct {
		name    string
		body    string // of what is delivered while nobody is there
		away    time.Duration
		unheard bool // the last one is not delivered here
		between func(w *world)
		reads   int // of what was missed
	}{
		{name: "at once"},
		{name: "within the minute", away: 59 * time.Second},
		{name: "later", away: lingering + 30*time.Second, reads: 1},
		{name: "after something was marked", between: func(w *world) { w.Counts(ann, event.Counts{Version: 100}) }, reads: 1},
		{name: "after something was marked, of which counts were heard", between: func(w *world) { w.Counts(ann, event.Counts{}) }, reads: 1},
		{name: "after all sessions ended", between: func(w *world) { w.EndSession(ann, "", LoggedOut) }, reads: 1},
		{name: "missed what expires", body: `,"expires_at":"2026-01-01T00:00:00Z"`, reads: 1},
		{name: "missed what replaces what was before", body: `,"replaces":1`, reads: 1},
		{name: "missed what is large", body: `,"x":"` + strings.Repeat("x", recentBytes/8) + `"`, reads: 1},
		{name: "the last is unheard of", unheard: true, reads: 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			bubble(t, func(t *testing.T, w *world) {
				r := w.open(ann, "", 0, newReader())
				say := func(from, to int64) {
					for id := from; id <= to; id++ {
						w.commit(ann, 1)
						if c.unheard && id == 3+missed {
							continue
						}
						w.Deliver([]byte(ann), Stored{ID: id, Data: fmt.Appendf(nil, `{"id":%d,"user":%q%s}`, id, ann, c.body)})
					}
				}
				say(1, 3)
				r.sub.Unsubscribe()
				say(4, 3+missed)
				if c.between != nil {
					c.between(w)
				}
				time.Sleep(c.away)
				if err := w.Check(t.Context()); err != nil {
					t.Fatal(err)
				}
				before := w.reads
				back := newReader()
				back.sub = w.Subscribe(ann, "", back)
				back.sub.Start(2, w.head(ann)) // the third never reached it
				synctest.Wait()
				wantIDs(t, "whoever came back", back, through(3 + missed)[2:])
				if got := w.reads - before; got != c.reads {
					t.Errorf("%d reads, want %d", got, c.reads)
				}
				if len(back.caughtUp) != 1 || back.caughtUp[0] != missed+1 {
					t.Errorf("caught up %v, want once with %d", back.caughtUp, missed+1)
				}
				say(4+missed, 4+missed)
				if !c.unheard {
					wantIDs(t, "whoever came back, after one more", back, through(4 + missed)[2:])
				}
			})
		})
	}
}

// What happens in rooms is never recalled: people take it back, and nobody tells.
func TestRoomsAreNotRecalled(t *testing.T) {
	t.Parallel()
	var r recent
	for _, c := range []struct {
		owner event.UserID
		d     Stored
	}{
		{event.TopicOwner("room:friends"), Stored{ID: 1, Data: []byte(`{"id":1}`), Kind: event.KindSaid, Author: "bob"}},
		{event.TopicOwner("room:friends"), Stored{ID: 1, Data: []byte(`{"id":1}`), Kind: event.KindClosed}},
		{event.TopicOwner("news"), Stored{ID: 1, Data: []byte(`{"id":1}`), Kind: event.KindMessage, Author: "bob"}},
	} {
		a := &audience{user: c.owner, newest: noSlot}
		if r.put(a, &c.d); r.after(a, 0) != nil {
			t.Errorf("%+v of %s is recalled", c.d, c.owner)
		}
	}
}

// What was taken back in a room is not shown to whoever comes a moment later, as
// what is read for a topic's readers together would be.
func TestRoomsAreReadForEach(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T, w *world) {
		owner := event.TopicOwner("room:friends")
		w.commit(owner, 3)
		first := w.openAt("0", "room:friends")
		synctest.Wait()
		w.remove(owner, 1, 2)
		second := w.openAt("0", "room:friends")
		synctest.Wait()
		if got := len(first.had()); got != 3 {
			t.Errorf("the first had %d, want 3", got)
		}
		if got := second.had(); len(got) != 1 || got[0] != "room:friends/3" {
			t.Errorf("the second had %v, want the third alone", got)
		}
	})
}

// However many come and go, no more than so many are remembered, and the places
// of those who stay are right.
func TestFewAreRemembered(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T, w *world) {
		for i := range 2 * maxWithout * shardCount {
			s := w.Subscribe(event.UserID(fmt.Sprint("user-", i)), "", newReader())
			s.Start(0, Head{})
			if i%7 == 0 { // and back, and again
				again := w.Subscribe(event.UserID(fmt.Sprint("user-", i)), "", newReader())
				s.Unsubscribe()
				s = again
			}
			s.Unsubscribe()
		}
		for i := range w.shards {
			if n := len(w.shards[i].users); n > maxWithout || n != w.shards[i].without {
				t.Fatalf("shard %d holds %d users, and counts %d", i, n, w.shards[i].without)
			}
		}
		w.wantForgotten(t)
	})
}

// Whatever is delivered to whomever, what is recalled is what was delivered, in
// order and without a hole; and the newest ones are recalled as long as they fit.
func TestRecallIsExact(t *testing.T) {
	t.Parallel()
	rng := rand.New(rand.NewPCG(7, 7))
	var r recent
	type note struct {
		a    *audience
		said map[int64]Stored
		last int64
	}
	var notes []*note
	for i := range 12 {
		name := event.UserID(fmt.Sprint("user-", i))
		if i%3 == 0 {
			name = event.TopicOwner(fmt.Sprint("topic-", i))
		}
		notes = append(notes, &note{a: &audience{user: name, newest: noSlot}, said: make(map[int64]Stored)})
	}
	recalled := 0
	for step := range 60_000 {
		n := notes[rng.IntN(len(notes))]
		switch k := rng.IntN(20); {
		case k == 0 && n.last > 0: // a repeat, or one from long ago
			id := 1 + rng.Int64N(n.last)
			d := n.said[id]
			r.put(n.a, &d)
		default:
			n.last++
			size := rng.IntN(400)
			if rng.IntN(50) == 0 {
				size = rng.IntN(recentBytes / 6)
			}
			d := Stored{ID: n.last, Data: []byte(fmt.Sprint(n.a.user, "/", n.last, strings.Repeat("x", size)))}
			if _, topic := n.a.user.Topic(); topic {
				d.Kind = fmt.Sprint("kind", n.last)
			}
			n.said[n.last] = d
			if k == 1 {
				break // it is not heard of here
			}
			r.put(n.a, &d)
			if got := r.after(n.a, n.last-1); len(d.Data) < recentBytes/8-20 && (len(got) != 1 || got[0].ID != n.last) {
				t.Fatalf("step %d: what was delivered just now is not recalled: %v", step, got)
			}
		}
		of := notes[rng.IntN(len(notes))]
		has := of.last - rng.Int64N(20)
		next := has + 1
		for _, e := range r.after(of.a, has) {
			want := of.said[next]
			if e.ID != next || string(e.Data) != string(want.Data) || e.Kind != want.Kind {
				t.Fatalf("step %d: behind %d of %s came %d %.40q, want %d %.40q", step, has, of.a.user, e.ID, e.Data, next, want.Data)
			}
			next++
			recalled++
		}
	}
	if recalled < 10_000 {
		t.Errorf("only %d were recalled", recalled)
	}
}

// A page of large events is handed over in parts that a full socket can bear.
func TestPagesAreParted(t *testing.T) {
	t.Parallel()
	events := make([]*Event, 100)
	for i := range events {
		events[i] = &Event{ID: int64(i + 1), Data: make([]byte, 10_000)}
	}
	events[50].Data = make([]byte, 3*writeBytes)
	whole := 0
	for left := events; len(left) > 0; {
		n, size := writable(left), 0
		for _, e := range left[:n] {
			size += len(e.Data)
		}
		if n == 0 || n > 1 && size > writeBytes {
			t.Fatalf("%d events of %d bytes in one part", n, size)
		}
		whole += n
		left = left[n:]
	}
	if whole != len(events) {
		t.Errorf("%d events in all parts, want %d", whole, len(events))
	}
}

// What a reader that follows topics gets of one of them, or of its inbox, in a
// page has its cursor in all of them.
func TestPageCursors(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T, w *world) {
		w.commit(ann, 7)
		w.commit(event.TopicOwner("b"), 9)
		w.commit(event.TopicOwner("a"), 4)
		r := w.openAt("5;a=4;b=7", "a", "b")
		synctest.Wait()
		r.mu.Lock()
		defer r.mu.Unlock()
		at := map[string]string{"5": "5", "a": "4", "b": "7"}
		if len(r.cursors) != 4 {
			t.Fatalf("%d events with cursors, want 4: %v", len(r.cursors), r.cursors)
		}
		before := []string{at["5"], at["a"], at["b"]}
		for _, cursor := range r.cursors {
			inbox, rest, _ := strings.Cut(cursor, ";a=")
			a, b, ok := strings.Cut(rest, ";b=")
			moved := 0
			for i, now := range []string{inbox, a, b} {
				if now != before[i] {
					moved++
				}
			}
			if !ok || moved != 1 {
				t.Errorf("after %v came cursor %q", before, cursor)
			}
			before = []string{inbox, a, b}
		}
		if got := r.cursors[3]; got != "7;a=4;b=9" || r.sub.Cursor() != got {
			t.Errorf("the last cursor is %q, the stream's %q", got, r.sub.Cursor())
		}
	})
}
