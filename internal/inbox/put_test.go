package inbox_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"crier/internal/event"
	"crier/internal/inbox"
)

// Twenty writers that write to the same users at once, some of whose
// transactions are rolled back: places are 1, 2, 3 … without a hole or a repeat,
// and the counts agree.
func TestPlacesUnderConcurrency(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	users := []event.UserID{ann, bob, "3", "4"}
	w.open(users...)
	const writers, batches = 20, 15
	stored := make([]map[event.UserID]int64, writers)
	var wg sync.WaitGroup
	undo := errors.New("rolled back")
	for k := range writers {
		stored[k] = make(map[event.UserID]int64)
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(k), 1))
			for b := range batches {
				items := make([]inbox.Item, 1+rng.IntN(8))
				for i := range items {
					items[i] = item(users[rng.IntN(len(users))], int64(k*1_000_000+b*1000+i))
				}
				rollback := rng.IntN(4) == 0
				err := w.db.Tx(t.Context(), func(tx pgx.Tx) error {
					if _, err := inbox.Put(t.Context(), tx, time.Now(), items); err != nil {
						return err
					}
					if rollback {
						return undo
					}
					return nil
				})
				if err != nil && !(rollback && errors.Is(err, undo)) {
					t.Errorf("writer %d: %v", k, err)
				}
				for i := range items {
					if !rollback {
						stored[k][items[i].UserID]++
					}
				}
			}
		})
	}
	wg.Wait()
	for _, u := range users {
		var n int64
		for _, s := range stored {
			n += s[u]
		}
		w.wantIDs(u, sequence(1, n))
		w.wantCounts(u, int(n), int(n))
	}
}

// What was stored before is answered as the first time and stored once: by its
// place in Kafka, or by its sender's key; what breaks a rule takes no place.
func TestIdempotency(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	elsewhere := item(ann, 1)
	elsewhere.Origin.TopicID = topic2
	partition := item(ann, 1)
	partition.Origin.Partition = 1
	printed := func(user event.UserID, offset, fingerprint int64) inbox.Item {
		it := item(user, offset)
		it.Origin.Fingerprint = fingerprint
		return it
	}
	for _, c := range []struct {
		name    string
		batches [][]inbox.Item
		want    []string // of each batch
		last    int64    // of ann
	}{
		{"read again from the same place", [][]inbox.Item{{item(ann, 1), item(ann, 2)}, {item(ann, 1), item(ann, 2), item(ann, 3)}},
			[]string{"stored:1 stored:2 ", "stored:1 stored:2 stored:3 "}, 3},
		{"read again in another batch, among what is new", [][]inbox.Item{{item(ann, 3), item(bob, 4)}, {item(ann, 2), item(ann, 3), item(ann, 4), item(ann, 9)}},
			[]string{"stored:1 stored:1 ", "stored:2 stored:1 stored:3 stored:4 "}, 4},
		{"repeats inside a batch", [][]inbox.Item{{item(ann, 1), item(ann, 1), item(ann, 2), item(ann, 1)}},
			[]string{"stored:1 stored:1 stored:2 stored:1 "}, 2},
		{"the same place in another topic or partition", [][]inbox.Item{{item(ann, 1)}, {elsewhere, partition}},
			[]string{"stored:1 ", "stored:2 stored:3 "}, 3},
		{"another record at the same offset, after some were lost", [][]inbox.Item{{printed(ann, 1, 7), printed(ann, 2, 8)}, {printed(ann, 2, 9)}, {printed(ann, 1, 7), printed(ann, 2, 8), printed(ann, 2, 9), printed(ann, 2, 10)}},
			[]string{"stored:1 stored:2 ", "stored:3 ", "stored:1 stored:2 stored:3 stored:4 "}, 4},
		{"a record that was stored before fingerprints were kept", [][]inbox.Item{{printed(ann, 1, 0)}, {printed(ann, 1, 7)}, {printed(ann, 1, 0)}},
			[]string{"stored:1 ", "stored:1 ", "stored:1 "}, 1},
		{"one record for two users", [][]inbox.Item{{item(ann, 1), item(bob, 1)}, {item(bob, 1), item(ann, 1)}},
			[]string{"stored:1 stored:1 ", "stored:1 stored:1 "}, 1},
		{"a key with the same content", [][]inbox.Item{{keyed(ann, 1, "s", "k", "x")}, {keyed(ann, 2, "s", "k", "x")}, {keyed(ann, 1, "s", "k", "x")}},
			[]string{"stored:1 ", "duplicate:1 ", "stored:1 "}, 1},
		{"a key with other content", [][]inbox.Item{{keyed(ann, 1, "s", "k", "x")}, {keyed(ann, 2, "s", "k", "y"), item(ann, 3)}, {keyed(ann, 2, "s", "k", "y")}},
			[]string{"stored:1 ", "rejected:0 stored:2 ", "rejected:0 "}, 2},
		{"a key inside one batch", [][]inbox.Item{{keyed(ann, 1, "s", "k", "x"), keyed(ann, 2, "s", "k", "x"), keyed(ann, 3, "s", "k", "y")}},
			[]string{"stored:1 duplicate:1 rejected:0 "}, 1},
		{"a key of another sender or user", [][]inbox.Item{{keyed(ann, 1, "s", "k", "x"), keyed(ann, 2, "t", "k", "x"), keyed(bob, 3, "s", "k", "y")}},
			[]string{"stored:1 stored:2 stored:1 "}, 2},
		{"sender and key are told apart", [][]inbox.Item{{keyed(ann, 1, "a", "bc", "x"), keyed(ann, 2, "ab", "c", "x")}},
			[]string{"stored:1 stored:2 "}, 2},
		{"nobody's inbox", [][]inbox.Item{{item("99", 1), item(ann, 2), item("99", 1)}}, []string{"rejected:0 stored:1 rejected:0 "}, 1},
		{"nothing", [][]inbox.Item{{}}, []string{""}, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := w.of(t)
			for i, items := range c.batches {
				items = w.owned(items)
				if got := statuses(w.put(items...)); got != c.want[i] {
					t.Errorf("batch %d: %s, want %s", i, got, c.want[i])
				}
			}
			w.wantIDs(w.user(ann), sequence(1, c.last))
			w.wantCounts(w.user(ann), int(c.last), int(c.last))
		})
	}
}

// A rejection says why, with a stable code.
func TestRejections(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	out := w.put(item("99", 1), keyed(ann, 2, "s", "k", "x"), keyed(ann, 3, "s", "k", "y"))
	if o := out[0]; o.Code != "user_not_found" || o.Reason == "" {
		t.Errorf("no inbox: %+v", o)
	}
	if o := out[2]; o.Code != "idempotency_key_reused" || !strings.Contains(o.Reason, "id 1") {
		t.Errorf("key reused: %+v", o)
	}
}

// What is read is what was sent, whatever the text, and what is found again is
// the same as what was stored first.
func TestStrangeTexts(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	deep := strings.Repeat(`[`, 5000) + strings.Repeat(`]`, 5000)
	for name, text := range map[string]string{
		"emoji":       "👩‍👩‍👧‍👦 🏳️‍🌈",
		"right left":  "\u202eשלום\u202c مرحبا",
		"separators":  "a\u2028b\u2029c\u0085d",
		"SQL":         `'; drop table notifications; -- \' "`,
		"line ends":   "a\nb\r\nc\td",
		"surrogates":  "\U0010ffff\U0001f600",
		"replacement": "\ufffd\ufeff",
		"html":        "<script>&amp;</script>",
		"empty":       "",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := w.of(t)
			for i, payload := range []string{"", `{"a":"\u0000\ud800"}`, `"` + strings.Repeat("x", event.MaxPayload-2) + `"`, deep, `[1,{"b":"é\\"}]`, `1e400`} {
				it := item(w.user(ann), int64(i))
				it.Title, it.Body, it.URL, it.Payload = text, text, "/x?y="+text, []byte(payload)
				it.Sender, it.Key, it.Hash = text, fmt.Sprint(text, i), []byte{0, 255}
				stored := w.put(it)[0].Stored
				again := w.put(it)[0]
				got, err := w.Get(t.Context(), w.user(ann), stored.ID)
				if err != nil {
					t.Fatal(err)
				}
				want := string(stored.AppendJSON(nil))
				if s := string(got.AppendJSON(nil)); s != want {
					t.Errorf("read %.200s, stored %.200s", s, want)
				}
				if s := string(again.Stored.AppendJSON(nil)); s != want || !again.Again {
					t.Errorf("found again %.200s, stored %.200s", s, want)
				}
				if got.Title != text || got.Body != text || string(got.Payload) != payload {
					t.Errorf("changed: %q %q %.100q", got.Title, got.Body, got.Payload)
				}
			}
		})
	}
}

// An inbox that is there is left as it is when it is opened again, by many at
// once.
func TestOpenInboxes(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.fill(ann, 1, 3)
	var wg sync.WaitGroup
	for range 10 {
		wg.Go(func() {
			err := w.db.Tx(t.Context(), func(tx pgx.Tx) error {
				return inbox.OpenInboxes(t.Context(), tx, "9", ann, "8", ann, "9", "https://id.example/üser|x")
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	w.wantCounts(ann, 3, 3)
	if h := w.head("https://id.example/üser|x"); h != (inbox.Head{}) {
		t.Errorf("a new inbox: %+v", h)
	}
	if _, err := w.Head(t.Context(), "7"); !errors.Is(err, inbox.ErrNoInbox) {
		t.Errorf("no inbox: %v", err)
	}
}
