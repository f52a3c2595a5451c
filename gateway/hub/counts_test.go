package hub

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"crier/internal/event"
)

func version(n int64) event.Counts { return event.Counts{Unread: int(n), Unseen: int(n), Version: n} }

func text(n int64) string { return fmt.Sprintf(`{"unread":%d,"unseen":%d,"version":%d}`, n, n, n) }

// setCounts is what Postgres says.
func (s *inboxes) setCounts(user event.UserID, c event.Counts) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.counts[user] = c
	s.last[user] += 0
}

// Counts reach every device at most four times a second, the newest always, and
// older ones that come late never.
func TestCountsRate(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T, w *world) {
		one, two := w.open(ann, "", 0, newReader()), w.open(ann, "", 0, newReader())
		began := time.Now()
		for n := int64(1); n <= 1000; n++ {
			w.Counts(ann, version(n))
			if n%10 == 0 {
				w.Counts(ann, version(n-5)) // it was overtaken
			}
			<-time.After(3 * time.Millisecond)
		}
		<-time.After(time.Second)
		for _, r := range []*reader{one, two} {
			got := r.texts(CountsType)
			if limit := int(time.Since(began)/countsEvery) + 1; len(got) > limit || len(got) < 5 {
				t.Errorf("%d counts in %v, want at most %d", len(got), time.Since(began), limit)
			}
			if got[0] != text(1) || got[len(got)-1] != text(1000) {
				t.Errorf("from %s to %s, want the first at once and the last at the end", got[0], got[len(got)-1])
			}
			for i := 1; i < len(got); i++ {
				if len(got[i]) < len(got[i-1]) || len(got[i]) == len(got[i-1]) && got[i] <= got[i-1] {
					t.Errorf("%s came after %s", got[i], got[i-1])
				}
			}
		}
	})
}

// A stream that was not live when counts changed is told them as soon as it is:
// one not yet started, one that is behind, one whose outbox was full.
func TestCountsAreNotLost(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		fn   func(w *world, r *reader)
	}{
		{"between Subscribe and Start", func(w *world, r *reader) {
			r.sub = w.Subscribe(ann, "", r)
			head := w.head(ann)
			w.Counts(ann, version(7))
			r.sub.Start(head.Last, head)
		}},
		{"while it is behind", func(w *world, r *reader) {
			w.failing = func() bool { return true }
			w.commit(ann, 3)
			w.open(ann, "", 0, r)
			w.Counts(ann, version(7))
			<-time.After(time.Second)
			w.mu.Lock()
			w.failing = nil
			w.mu.Unlock()
		}},
		{"while it is full and behind", func(w *world, r *reader) {
			w.commit(ann, 3)
			r.room = 1
			w.open(ann, "", 0, r)
			synctest.Wait()
			w.Counts(ann, version(7))
			<-time.After(time.Second)
			r.drain(-1)
		}},
		{"that it refused itself", func(w *world, r *reader) {
			r.room = 1 // for the word that it has caught up
			w.open(ann, "", 0, r)
			w.Counts(ann, version(7))
			<-time.After(time.Second)
			r.drain(-1)
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			bubble(t, func(t *testing.T, w *world) {
				r := newReader()
				c.fn(w, r)
				<-time.After(time.Second)
				if got := r.texts(CountsType); !slices.Equal(got, []string{text(7)}) {
					t.Errorf("counts %v, want version 7 once", got)
				}
			})
		})
	}
}

// Lost and Check send what no delivery told of; Check brings counts and ends
// sessions too, and each says so when Postgres is away.
func TestLostAndCheck(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		heal   func(w *world) error
		counts []string
		byes   []string
	}{
		{"lost", func(w *world) error { return w.Lost(t.Context()) }, nil, nil},
		{"check", func(w *world) error { return w.Check(t.Context()) }, []string{text(9)}, []string{LoggedOut}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			bubble(t, func(t *testing.T, w *world) {
				r := w.open(ann, "s1", 0, newReader())
				other := w.open(ann, "s2", 0, newReader())
				for i := range 2500 { // more than one question's worth
					w.open(event.UserID(fmt.Sprint(i)), fmt.Sprint("x", i), 0, newReader())
				}
				w.commit(ann, 3)
				w.setCounts(ann, version(9))
				w.ended = []string{"s1"}
				if err := c.heal(w); err != nil {
					t.Fatal(err)
				}
				<-time.After(countsEvery + round)
				wantIDs(t, "the stream", r, through(3))
				if got := other.texts(CountsType); !slices.Equal(got, c.counts) {
					t.Errorf("counts %v, want %v", got, c.counts)
				}
				if !slices.Equal(r.byes, c.byes) || len(other.byes) != 0 {
					t.Errorf("byes %v and %v, want %v and none", r.byes, other.byes, c.byes)
				}
				w.failing = func() bool { return true }
				if err := c.heal(w); !errors.Is(err, errAway) {
					t.Errorf("with the inbox away: %v", err)
				}
			})
		})
	}
}

// A session's end ends its streams and no others; an empty session is all of
// the user's.
func TestEndSession(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		session string
		want    [3]int
	}{{"s1", [3]int{1, 0, 0}}, {"", [3]int{1, 1, 0}}, {"s9", [3]int{0, 0, 0}}} {
		t.Run("session "+c.session, func(t *testing.T) {
			t.Parallel()
			bubble(t, func(t *testing.T, w *world) {
				readers := []*reader{w.open(ann, "s1", 0, newReader()), w.open(ann, "s2", 0, newReader()), w.open("bob", "s1", 0, newReader())}
				w.EndSession(ann, c.session, LoggedOut)
				for i, r := range readers {
					if len(r.byes) != c.want[i] {
						t.Errorf("stream %d: byes %v, want %d", i, r.byes, c.want[i])
					}
				}
			})
		})
	}
}

// A stream whose session ends while it is being opened is ended as soon as there
// is a connection to say it on, and not before: until Start the sink has none.
func TestEndBeforeStart(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		end  func(w *world)
		want string
	}{
		{"session", func(w *world) { w.EndSession(ann, "s1", LoggedOut) }, LoggedOut},
		{"draining", func(w *world) { w.ByeAll(DrainingNow, 0) }, DrainingNow},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			bubble(t, func(t *testing.T, w *world) {
				r := newReader()
				r.sub = w.Subscribe(ann, "s1", r)
				c.end(w)
				if len(r.byes) != 0 {
					t.Fatalf("byes %v before Start", r.byes)
				}
				r.sub.Start(0, Head{})
				if !slices.Equal(r.byes, []string{c.want}) {
					t.Errorf("byes %v, want %s", r.byes, c.want)
				}
			})
		})
	}
}

// ByeAll ends every stream, signed in or not, and spreads when they come back.
func TestByeAll(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T, w *world) {
		var all []*reader
		for i := range 200 {
			all = append(all, w.open(event.UserID(fmt.Sprint("u", i)), "", 0, newReader()))
		}
		for range 50 {
			r := newReader()
			r.sub = w.Subscribe("", "", r)
			r.sub.Start(0, Head{})
			r.sub.Follow([]string{"BTCUSDT"}, 1)
			all = append(all, r)
		}
		if n := w.ByeAll(DrainingNow, 3*time.Second); n != len(all) {
			t.Errorf("%d streams, want %d", n, len(all))
		}
		early, late := 0, 0
		for i, r := range all {
			if len(r.byes) != 1 || r.byes[0] != DrainingNow || r.retries[0] < 0 || r.retries[0] > 3*time.Second {
				t.Fatalf("stream %d: byes %v after %v", i, r.byes, r.retries)
			}
			if r.retries[0] < 1500*time.Millisecond {
				early++
			} else {
				late++
			}
		}
		if early < 60 || late < 60 {
			t.Errorf("%d come back in the first half and %d in the second", early, late)
		}
	})
}
