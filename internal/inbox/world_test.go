package inbox_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"crier/internal/criertest"
	"crier/internal/event"
	"crier/internal/inbox"
	"crier/internal/postgres"
)

const (
	ann    event.UserID = "1"
	bob    event.UserID = "2"
	topic1              = "11111111-1111-4111-8111-111111111111"
	topic2              = "22222222-2222-4222-8222-222222222222"
)

// world is the inboxes of a fresh database; ann's and bob's are open.
type world struct {
	*inbox.Store
	t  *testing.T
	db *postgres.DB
}

// of is the same world for a subtest with an ann and a bob of its own.
func (w *world) of(t *testing.T) *world {
	t.Helper()
	own := &world{w.Store, t, w.db}
	own.open(own.user(ann), own.user(bob))
	return own
}

func (w *world) user(u event.UserID) event.UserID { return event.UserID(w.t.Name()) + "/" + u }

// owned are the items with the subtest's own users.
func (w *world) owned(items []inbox.Item) []inbox.Item {
	out := slices.Clone(items)
	for i := range out {
		out[i].UserID = w.user(out[i].UserID)
	}
	return out
}

func newWorld(t *testing.T) *world {
	t.Helper()
	db := criertest.Database(t, 25)
	w := &world{inbox.New(db), t, db}
	w.open(ann, bob)
	return w
}

func (w *world) open(users ...event.UserID) {
	w.t.Helper()
	if err := w.db.Tx(w.t.Context(), func(tx pgx.Tx) error { return inbox.OpenInboxes(w.t.Context(), tx, users...) }); err != nil {
		w.t.Fatal(err)
	}
}

// item is one from the record at that offset.
func item(user event.UserID, offset int64) inbox.Item {
	return inbox.Item{
		UserID: user, EventID: event.Origin{TopicID: topic1, Offset: offset}.EventID(""), Kind: "message", Title: fmt.Sprint("title ", offset), Priority: "normal",
		Origin: event.Origin{TopicID: topic1, Offset: offset},
	}
}

// keyed is one with an idempotency key and content.
func keyed(user event.UserID, offset int64, sender, key, title string) inbox.Item {
	it := item(user, offset)
	it.Sender, it.Key, it.Title, it.Hash = sender, key, title, []byte(title)
	return it
}

func (w *world) put(items ...inbox.Item) []inbox.Outcome { return w.putAt(time.Now(), items...) }

func (w *world) putAt(at time.Time, items ...inbox.Item) []inbox.Outcome {
	w.t.Helper()
	var out []inbox.Outcome
	err := w.db.Tx(w.t.Context(), func(tx pgx.Tx) error {
		var err error
		out, err = inbox.Put(w.t.Context(), tx, at, items)
		return err
	})
	if err != nil {
		w.t.Fatal(err)
	}
	if len(out) != len(items) {
		w.t.Fatalf("%d outcomes of %d items", len(out), len(items))
	}
	return out
}

// fill gives a user n notifications, the offsets from first on.
func (w *world) fill(user event.UserID, first, n int64) {
	w.t.Helper()
	items := make([]inbox.Item, n)
	for i := range items {
		items[i] = item(user, first+int64(i))
	}
	w.put(items...)
}

func (w *world) head(user event.UserID) inbox.Head {
	w.t.Helper()
	h, err := w.Head(w.t.Context(), user)
	if err != nil {
		w.t.Fatal(err)
	}
	return h
}

// wantCounts compares with what the rows themselves say as well.
func (w *world) wantCounts(user event.UserID, unread, unseen int) {
	w.t.Helper()
	h := w.head(user)
	if h.Counts.Unread != unread || h.Counts.Unseen != unseen {
		w.t.Errorf("%d unread and %d unseen, want %d and %d", h.Counts.Unread, h.Counts.Unseen, unread, unseen)
	}
	var rowsUnread, rowsUnseen int
	err := w.db.QueryRow(w.t.Context(), `
		select count(*) filter (where read_at is null), count(*) filter (where read_at is null and n.id > i.seen_to)
		from inboxes i left join notifications n using (user_id) where i.user_id = $1 and n.id is not null`, string(user)).Scan(&rowsUnread, &rowsUnseen)
	if err != nil {
		w.t.Fatal(err)
	}
	if h.Counts.Unread != rowsUnread || h.Counts.Unseen != rowsUnseen {
		w.t.Errorf("counted %d unread and %d unseen, the rows say %d and %d", h.Counts.Unread, h.Counts.Unseen, rowsUnread, rowsUnseen)
	}
}

func statuses(out []inbox.Outcome) string {
	s := ""
	for _, o := range out {
		s += fmt.Sprintf("%s:%d ", o.Status, o.Stored.ID)
	}
	return s
}

func idsOf(list []event.Stored) []int64 {
	out := make([]int64, len(list))
	for i, s := range list {
		out[i] = s.ID
	}
	return out
}

func sequence(from, to int64) []int64 {
	var out []int64
	for id := from; id <= to; id++ {
		out = append(out, id)
	}
	return out
}

func (w *world) wantIDs(user event.UserID, want []int64) {
	w.t.Helper()
	list, err := w.After(w.t.Context(), user, 0, 1_000_000)
	if err != nil {
		w.t.Fatal(err)
	}
	if got := idsOf(list); !slices.Equal(got, want) {
		w.t.Errorf("%s holds %v, want %v", user, got, want)
	}
}
