package inbox_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"crier/internal/event"
	"crier/internal/inbox"
)

// Counts follow every change of state, also one that changes nothing, is made
// twice, or concerns what is not there.
func TestMarks(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	const seen = inbox.Mark("seen") // Seen, in this table
	type step struct {
		mark inbox.Mark
		ids  []int64
	}
	for _, c := range []struct {
		name           string
		steps          []step
		unread, unseen int // of five
	}{
		{"one read", []step{{inbox.Read, []int64{2}}}, 4, 4},
		{"read twice", []step{{inbox.Read, []int64{2}}, {inbox.Read, []int64{2}}}, 4, 4},
		{"read, unread", []step{{inbox.Read, []int64{2}}, {inbox.Unread, []int64{2}}}, 5, 5},
		{"read, unread, read", []step{{inbox.Read, []int64{2}}, {inbox.Unread, []int64{2}}, {inbox.Read, []int64{2}}}, 4, 4},
		{"unread what is unread", []step{{inbox.Unread, []int64{2}}}, 5, 5},
		{"several, some not there", []step{{inbox.Read, []int64{1, 3, 99, -1, 3}}}, 3, 3},
		{"none", []step{{inbox.Read, []int64{}}}, 5, 5},
		{"all read", []step{{inbox.Read, nil}}, 0, 0},
		{"all read, one unread", []step{{inbox.Read, nil}, {inbox.Unread, []int64{5}}}, 1, 1},
		{"archived reads", []step{{inbox.Archive, []int64{1, 2}}}, 3, 3},
		{"archived after read", []step{{inbox.Read, []int64{1}}, {inbox.Archive, []int64{1, 2}}}, 3, 3},
		{"archived and back", []step{{inbox.Archive, []int64{1}}, {inbox.Unarchive, []int64{1}}}, 4, 4},
		{"seen", []step{{seen, nil}}, 5, 0},
		{"seen, then read", []step{{seen, nil}, {inbox.Read, []int64{1, 2}}}, 3, 0},
		{"read, seen, unread", []step{{inbox.Read, []int64{1}}, {seen, nil}, {inbox.Unread, []int64{1}}}, 5, 0},
		{"seen twice", []step{{seen, nil}, {seen, nil}}, 5, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := w.of(t)
			ann, bob := w.user(ann), w.user(bob)
			w.fill(ann, 1, 5)
			w.fill(bob, 1, 5)
			version := w.head(ann).Counts.Version
			for _, s := range c.steps {
				var counts event.Counts
				var err error
				if s.mark == seen {
					counts, err = w.Seen(t.Context(), ann)
				} else {
					counts, err = w.Mark(t.Context(), ann, s.mark, s.ids, time.Now())
				}
				if err != nil {
					t.Fatal(err)
				}
				if got := w.head(ann).Counts; got != counts {
					t.Errorf("%s %v answered %+v, the inbox says %+v", s.mark, s.ids, counts, got)
				}
				if counts.Version < version {
					t.Errorf("the version fell from %d to %d", version, counts.Version)
				}
				version = counts.Version
			}
			w.wantCounts(ann, c.unread, c.unseen)
			w.wantCounts(bob, 5, 5)
		})
	}
}

// A deleted notification keeps its number and none of its content, is out of the
// counts, and its record, read again, neither comes back nor is published.
func TestDelete(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, c := range []struct {
		name           string
		read, seen     bool
		unread, unseen int // of five, after one was deleted
	}{
		{"unread", false, false, 4, 4},
		{"read", true, false, 4, 4},
		{"seen", false, true, 4, 0},
		{"read and seen", true, true, 4, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := w.of(t)
			ann, bob := w.user(ann), w.user(bob)
			fifth := item(ann, 5)
			w.fill(ann, 1, 4)
			w.put(fifth)
			w.fill(bob, 1, 5)
			if c.read {
				if _, err := w.Mark(t.Context(), ann, inbox.Read, []int64{5}, time.Now()); err != nil {
					t.Fatal(err)
				}
			}
			if c.seen {
				if _, err := w.Seen(t.Context(), ann); err != nil {
					t.Fatal(err)
				}
			}
			before := w.head(ann).Counts
			counts, err := w.Mark(t.Context(), ann, inbox.Delete, []int64{5}, time.Now())
			if err != nil || counts != w.head(ann).Counts || counts.Version <= before.Version {
				t.Errorf("answered %+v (%v), the inbox says %+v, before it was %+v", counts, err, w.head(ann).Counts, before)
			}
			if counts.Unread != c.unread || counts.Unseen != c.unseen {
				t.Errorf("%+v, want %d unread and %d unseen", counts, c.unread, c.unseen)
			}
			w.wantIDs(ann, sequence(1, 4))
			w.wantIDs(bob, sequence(1, 5))
			if _, err := w.Mark(t.Context(), ann, inbox.Delete, []int64{5}, time.Now()); !errors.Is(err, inbox.ErrNotFound) {
				t.Errorf("deleted twice: %v", err)
			}
			if out := w.put(fifth)[0]; !out.Again || !out.Gone || out.Stored.ID != 5 || out.Stored.Title != "" {
				t.Errorf("its record, read again: %+v", out)
			}
			if out := w.put(item(ann, 6))[0]; out.Stored.ID != 6 || out.Gone {
				t.Errorf("the next one: %+v", out)
			}
		})
	}
}

// Undoing a marking of everything makes unread what that one has marked: nothing
// that was read before or after it, nothing archived since, nothing of others.
func TestUndoReadAll(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.fill(ann, 1, 5)
	w.fill(bob, 1, 5)
	at := time.Now().Truncate(time.Microsecond)
	mark := func(user event.UserID, m inbox.Mark, at time.Time, ids ...int64) {
		t.Helper()
		if _, err := w.Mark(t.Context(), user, m, ids, at); err != nil {
			t.Fatal(err)
		}
	}
	mark(ann, inbox.Read, at.Add(-time.Second), 1)
	mark(ann, inbox.Read, at)
	mark(bob, inbox.Read, at)
	mark(ann, inbox.Unread, at.Add(time.Second), 2)
	mark(ann, inbox.Read, at.Add(2*time.Second), 2)
	mark(ann, inbox.Archive, at.Add(time.Second), 3)
	w.wantCounts(ann, 0, 0)
	mark(ann, inbox.UndoRead, at)
	w.wantCounts(ann, 2, 2)
	w.wantCounts(bob, 0, 0)
	mark(ann, inbox.UndoRead, at)
	w.wantCounts(ann, 2, 2)
}

// What is not in one's own inbox cannot be marked.
func TestMarkWhatIsNotThere(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.fill(bob, 1, 1)
	for _, m := range []inbox.Mark{inbox.Read, inbox.Unread, inbox.Archive, inbox.Unarchive} {
		if _, err := w.Mark(t.Context(), ann, m, []int64{1}, time.Now()); !errors.Is(err, inbox.ErrNotFound) {
			t.Errorf("%s: %v, want %v", m, err, inbox.ErrNotFound)
		}
		if _, err := w.Mark(t.Context(), "99", m, nil, time.Now()); !errors.Is(err, inbox.ErrNoInbox) {
			t.Errorf("%s without an inbox: %v", m, err)
		}
	}
	if _, err := w.Seen(t.Context(), "99"); !errors.Is(err, inbox.ErrNoInbox) {
		t.Errorf("seen without an inbox: %v", err)
	}
}

// Whatever devices do at once while notifications arrive, the counts are those
// of the rows in the end, and each version is given once.
func TestMarksUnderConcurrency(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.fill(ann, 1, 20)
	var mu sync.Mutex
	versions := make(map[int64]event.Counts)
	var wg sync.WaitGroup
	for k := range 10 {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(k), 7))
			marks := []inbox.Mark{inbox.Read, inbox.Unread, inbox.Archive, inbox.Unarchive}
			for i := range 30 {
				var counts event.Counts
				var err error
				switch rng.IntN(8) {
				case 0:
					err = w.db.Tx(t.Context(), func(tx pgx.Tx) error {
						_, err := inbox.Put(t.Context(), tx, time.Now(), []inbox.Item{item(ann, int64(1000+k*100+i))})
						return err
					})
				case 1:
					counts, err = w.Seen(t.Context(), ann)
				case 2:
					counts, err = w.Mark(t.Context(), ann, marks[rng.IntN(4)], nil, time.Now())
				default:
					counts, err = w.Mark(t.Context(), ann, marks[rng.IntN(4)], []int64{1 + rng.Int64N(20), 1 + rng.Int64N(20)}, time.Now())
				}
				if err != nil {
					t.Error(err)
				}
				mu.Lock()
				if old, ok := versions[counts.Version]; ok && old != counts {
					t.Errorf("version %d is %+v and %+v", counts.Version, old, counts)
				}
				if counts.Version > 0 {
					versions[counts.Version] = counts
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	h := w.head(ann)
	w.wantCounts(ann, h.Counts.Unread, h.Counts.Unseen)
}

// Pages show what the filter chooses, newest first, with the number of all.
func TestPage(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for i := int64(1); i <= 12; i++ {
		it := item(ann, i)
		it.Kind = []string{"message", "alert"}[i%2]
		it.Body = fmt.Sprintf("50%% of_ÄPFEL %d", i)
		w.put(it)
	}
	w.fill(bob, 100, 3)
	mustMark(t, w, inbox.Read, 1, 2, 3)
	mustMark(t, w, inbox.Archive, 11, 12)
	for _, c := range []struct {
		name string
		f    inbox.Filter
		want []int64
		all  int64
		more bool
	}{
		{"all", inbox.Filter{Limit: 50}, []int64{10, 9, 8, 7, 6, 5, 4, 3, 2, 1}, 10, false},
		{"a page", inbox.Filter{Limit: 4}, []int64{10, 9, 8, 7}, 10, true},
		{"the next", inbox.Filter{Limit: 4, Before: 7}, []int64{6, 5, 4, 3}, 10, true},
		{"the last, just full", inbox.Filter{Limit: 2, Before: 3}, []int64{2, 1}, 10, false},
		{"behind the last", inbox.Filter{Limit: 4, Before: 1}, nil, 10, false},
		{"from far above", inbox.Filter{Limit: 1, Before: 1 << 40}, []int64{10}, 10, true},
		{"unread", inbox.Filter{Limit: 50, Unread: true}, []int64{10, 9, 8, 7, 6, 5, 4}, 7, false},
		{"kind", inbox.Filter{Limit: 50, Kind: "alert"}, []int64{9, 7, 5, 3, 1}, 5, false},
		{"archived", inbox.Filter{Limit: 50, Archived: true}, []int64{12, 11}, 2, false},
		{"archived are read", inbox.Filter{Limit: 50, Archived: true, Unread: true}, nil, 0, false},
		{"a text of a title", inbox.Filter{Limit: 50, Query: "TITLE 10"}, []int64{10}, 1, false},
		{"a text of a body", inbox.Filter{Limit: 1, Query: "% of_"}, []int64{10}, 10, true},
		{"no pattern", inbox.Filter{Limit: 50, Query: "50%%"}, nil, 0, false},
	} {
		list, all, more, err := w.Page(t.Context(), ann, c.f)
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		if got := idsOf(list); !slices.Equal(got, c.want) || all != c.all || more != c.more {
			t.Errorf("%s: %v of %d, more %v; want %v of %d, %v", c.name, got, all, more, c.want, c.all, c.more)
		}
	}
	if _, err := w.Get(t.Context(), bob, 12); !errors.Is(err, inbox.ErrNotFound) {
		t.Errorf("another's: %v", err)
	}
}

// A page of large notifications holds fewer of them than was asked for, and at least one;
// the rest follows, each once.
func TestPageOfLargeNotifications(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	const n = 60
	for i := int64(1); i <= n; i++ {
		it := item(ann, i)
		it.Body = strings.Repeat("body ", 10_000) // 50 kB
		w.put(it)
	}
	for _, query := range []string{"", "body"} {
		var got []int64
		pages := 0
		for before, more := int64(0), true; more; pages++ {
			list, all, rest, err := w.Page(t.Context(), ann, inbox.Filter{Limit: 50, Query: query, Before: before})
			if err != nil || all != n || len(list) == 0 {
				t.Fatalf("%d of %d, %v", len(list), all, err)
			}
			bytes := 0
			for _, s := range list {
				bytes += len(s.Body)
			}
			if bytes > 1<<20+60_000 {
				t.Errorf("a page of %d bytes", bytes)
			}
			got, before, more = append(got, idsOf(list)...), list[len(list)-1].ID, rest
		}
		want := make([]int64, n)
		for i := range want {
			want[i] = n - int64(i)
		}
		if !slices.Equal(got, want) || pages < 3 {
			t.Errorf("query %q: in %d pages %v", query, pages, got)
		}
	}
}

func mustMark(t *testing.T, w *world, m inbox.Mark, ids ...int64) {
	t.Helper()
	if _, err := w.Mark(t.Context(), ann, m, ids, time.Now()); err != nil {
		t.Fatal(err)
	}
}

// Pruning removes what is old, says up to where, and takes it out of the counts;
// ids go on behind it.
func TestPrune(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	now := time.Now()
	old := now.Add(-time.Hour)
	for i := int64(1); i <= 6; i++ {
		w.putAt(old, item(ann, i))
	}
	w.putAt(old, item(bob, 50))
	w.putAt(now, item(ann, 7), item(ann, 8))
	mustMark(t, w, inbox.Read, 1, 2)
	cut := now.Add(-time.Minute)
	var gone int64
	for range 10 { // one user at a time
		n, err := w.Prune(t.Context(), cut, 1)
		if err != nil {
			t.Fatal(err)
		}
		if gone += n; n == 0 {
			break
		}
	}
	if gone != 7 {
		t.Errorf("%d went, want 7", gone)
	}
	w.wantIDs(ann, []int64{7, 8})
	w.wantCounts(ann, 2, 2)
	w.wantCounts(bob, 0, 0)
	if h := w.head(ann); h.PrunedTo != 6 || h.LastID != 8 {
		t.Errorf("pruned to %d of %d, want 6 of 8", h.PrunedTo, h.LastID)
	}
	if got := statuses(w.put(item(ann, 9))); got != "stored:9 " {
		t.Errorf("the next: %s", got)
	}
	heads, err := w.Heads(t.Context(), []event.UserID{ann, bob, "99", ann})
	if err != nil || len(heads) != 2 || heads[bob].PrunedTo != 1 || heads[ann].LastID != 9 {
		t.Errorf("heads %+v, %v", heads, err)
	}
}

// ByID finds the pairs that exist, and no other combination of them.
func TestByID(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.fill(ann, 1, 2)
	w.fill(bob, 10, 1)
	err := w.db.Tx(t.Context(), func(tx pgx.Tx) error {
		found, err := inbox.ByID(t.Context(), tx, []string{"1", "2", "2", "99"}, []int64{2, 1, 2, 1})
		if len(found) != 2 {
			t.Errorf("found %d, want 2", len(found))
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}
