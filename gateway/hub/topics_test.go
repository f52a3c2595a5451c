package hub

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"crier/internal/event"
)

// follow connects ann with durable topics, as a request for a stream does.
func (w *world) openAt(cursor string, topics ...string) *reader {
	r := newReader()
	r.sub = w.Subscribe(ann, "s1", r, topics...)
	p := Place(cursor, w.head(ann), 0)
	for _, topic := range topics {
		p.PlaceTopic(topic, cursor, w.head(event.TopicOwner(topic)).Last, 0)
	}
	r.sub.Start(p.From, p.Head, p.Topics...)
	return r
}

// had is what a reader got, as OWNER/PLACE in the order of its arrival.
func (r *reader) had() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []string
	for _, e := range r.events {
		switch e.Type {
		case Notification:
			out = append(out, fmt.Sprint("/", e.ID))
		case Message:
			out = append(out, fmt.Sprint(e.Topic, "/", e.ID))
		}
	}
	return out
}

// A stream that follows topics gets each message once and in its topic's order,
// however the tail, the sink's room and the reader's connections come and go:
// its cursor goes with every event, and a stream that begins with it goes on
// behind that event.
func TestTopicsOnceInOrder(t *testing.T) {
	t.Parallel()
	for seed := range uint64(60) {
		synctest.Test(t, func(t *testing.T) {
			rnd := rand.New(rand.NewPCG(seed, 7))
			w, stop := newWorld(t, true)
			defer stop()
			owners := []event.UserID{ann, event.TopicOwner("news"), event.TopicOwner("room:Friends")}
			cursor := "0"
			r := w.openAt(cursor, "news", "room:Friends")
			var had []string
			reconnect := func() {
				synctest.Wait()
				r.sub.Unsubscribe()
				had = append(had, r.had()...)
				if n := len(r.cursors); n > 0 {
					cursor = r.cursors[n-1]
				}
				r = w.openAt(cursor, "room:Friends", "news")
			}
			for range 200 {
				switch owner := owners[rnd.IntN(3)]; rnd.IntN(8) {
				case 0:
					reconnect()
				case 1:
					r.drain(rnd.IntN(4))
				case 2:
					time.Sleep(time.Duration(rnd.IntN(400)) * time.Millisecond)
				case 3: // committed, and lost on the way to this gateway
					w.commit(owner, 1)
				default:
					id := w.commit(owner, 1)
					w.Deliver([]byte(owner), Stored{ID: id, Data: data(owner, id)})
					if rnd.IntN(4) == 0 {
						w.Deliver([]byte(owner), Stored{ID: id, Data: data(owner, id)})
					}
				}
			}
			r.drain(-1)
			if err := w.Lost(t.Context()); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Second)
			reconnect()
			r.drain(-1)
			time.Sleep(time.Second)
			synctest.Wait()
			had = append(had, r.had()...)
			for _, owner := range owners {
				topic, ok := owner.Topic()
				if !ok {
					topic = ""
				}
				var got, want []string
				for _, h := range had {
					if of, _, _ := strings.Cut(h, "/"); of == topic {
						got = append(got, h)
					}
				}
				for id := range w.head(owner).Last {
					want = append(want, fmt.Sprint(topic, "/", id+1))
				}
				if !slices.Equal(got, want) {
					t.Fatalf("seed %d: of %q the reader had %v, want %v", seed, owner, got, want)
				}
			}
		})
	}
}

// A topic can be followed and left while the stream runs; what comes before and
// after is not sent. A stream that has ended follows nothing any more.
func TestFollowTopic(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w, stop := newWorld(t, true)
		defer stop()
		news := event.TopicOwner("news")
		say := func() {
			id := w.commit(news, 1)
			w.Deliver([]byte(news), Stored{ID: id, Data: data(news, id), Kind: "k", Author: "bob"})
			synctest.Wait()
		}
		r := w.openAt("")
		say()
		if !r.sub.FollowTopic("news") || r.sub.FollowTopic("news") {
			t.Fatal("news is not followed once")
		}
		say() // between the two it is noted, and comes first
		r.sub.StartTopic(TopicPlace{Topic: "news", Has: 1, Last: 2})
		synctest.Wait()
		say()
		if got := r.had(); !slices.Equal(got, []string{"news/2", "news/3"}) {
			t.Errorf("got %v, want news 2 and 3", got)
		}
		if e := r.events[len(r.events)-1]; e.Kind != "k" || e.Author != "bob" || r.sub.Cursor() != "0;news=3" {
			t.Errorf("the last is %+v, the cursor %s", e, r.sub.Cursor())
		}
		if !r.sub.UnfollowTopic("news") || r.sub.UnfollowTopic("news") {
			t.Error("news is not left once")
		}
		say()
		if got := r.had(); len(got) != 2 {
			t.Errorf("after leaving it got %v", got)
		}
		r.sub.Unsubscribe()
		if r.sub.FollowTopic("news") {
			t.Error("an ended stream follows")
		}
		w.wantForgotten(t)
	})
}

// Where a topic begins: behind what the reader's cursor says of it, from now on
// where it says nothing, from the beginning with cursor 0, and at its end after
// a gap.
func TestPlaceTopic(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		cursor       string
		last, pruned int64
		has          int64
		gap          string
	}{
		{"", 7, 0, 7, ""},
		{"3", 7, 0, 7, ""},
		{"3;other=1", 7, 0, 7, ""},
		{"3;news=5", 7, 0, 5, ""},
		{"3;news=7", 7, 7, 7, ""},
		{"3;news=2", 7, 3, 7, GapPruned},
		{"3;news=8", 7, 0, 7, GapAhead},
		{"0", 7, 0, 0, ""},
		{"0", 7, 4, 4, ""},
		{"nonsense", 7, 0, 7, ""},
	} {
		p := Placing{}
		p.PlaceTopic("news", c.cursor, c.last, c.pruned)
		gap := ""
		if len(p.TopicGaps) > 0 {
			gap = p.TopicGaps[0].Reason
		}
		if p.Topics[0].Has != c.has || p.Topics[0].Last != c.last || gap != c.gap {
			t.Errorf("%q of %d pruned to %d: %+v, gap %q; want %d, %q", c.cursor, c.last, c.pruned, p.Topics[0], gap, c.has, c.gap)
		}
	}
}

// Readers of a topic that come back together share what is read for them; what
// came since is not kept from them.
func TestTopicPagesAreShared(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w, stop := newWorld(t, true)
		defer stop()
		news := event.TopicOwner("news")
		w.commit(news, 1000)
		var readers []*reader
		for range 200 {
			readers = append(readers, w.openAt("0", "news"))
		}
		synctest.Wait()
		w.mu.Lock()
		// Four pages, by as many workers as may have begun at once.
		if w.reads > 4*w.Workers()+4 {
			t.Errorf("%d reads", w.reads)
		}
		w.mu.Unlock()
		w.commit(news, 1) // unheard of here
		if err := w.Lost(t.Context()); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		for _, r := range readers {
			if got := r.had(); len(got) != 1001 || got[1000] != "news/1001" {
				t.Fatalf("a reader had %d, the last %s", len(got), got[len(got)-1])
			}
		}
	})
}
