package alert_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"crier/internal/alert"
	"crier/internal/criertest"
)

func (w *world) changes(since alert.Snapshot) ([]int64, alert.Snapshot) {
	w.t.Helper()
	list, next, err := w.Changes(w.t.Context(), since)
	if err != nil {
		w.t.Fatal(err)
	}
	var ids []int64
	for _, a := range list {
		ids = append(ids, a.ID)
	}
	slices.Sort(ids)
	return ids, next
}

// drain asks until the same is no longer brought: only as long as older
// transactions run, be they of other databases, may it be.
func (w *world) drain(snap alert.Snapshot) alert.Snapshot {
	w.t.Helper()
	criertest.Eventually(w.t, time.Minute, "no changes", func() bool {
		var ids []int64
		ids, snap = w.changes(snap)
		return len(ids) == 0
	})
	return snap
}

// A change whose transaction began before a snapshot and commits after it is
// brought by the changes from that snapshot on, however many were asked for
// meanwhile.
func TestLateCommitIsNotMissed(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1000)
	late, early := w.create(alert.Alert{}), w.create(alert.Alert{})
	tx, err := w.db.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec(t.Context(), `update alerts set note = 'late', changed = pg_current_xact_id() where id = $1`, late.ID); err != nil {
		t.Fatal(err)
	}
	active := 0
	snap, err := w.Active(t.Context(), func(a *alert.Alert) error {
		if active++; a.Note != "" {
			t.Error("what is not committed was read")
		}
		return nil
	})
	if err != nil || active != 2 {
		t.Fatalf("%d active, %v", active, err)
	}
	for i := range 3 {
		if _, err := w.Update(t.Context(), ann, early.ID, alert.Change{Note: ptr(fmt.Sprint(i))}, place(1), now); err != nil {
			t.Fatal(err)
		}
		var ids []int64
		if ids, snap = w.changes(snap); !slices.Contains(ids, early.ID) {
			t.Errorf("round %d brought %v", i, ids)
		}
	}
	if err := tx.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	ids, snap := w.changes(snap)
	if !slices.Contains(ids, late.ID) {
		t.Fatalf("the late commit was missed: %v", ids)
	}
	w.drain(snap)
}

// Every kind of change is brought, and taking is none.
func TestChanges(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1000)
	made := w.create(alert.Alert{})
	snap, err := w.Active(t.Context(), func(*alert.Alert) error { return nil })
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		do   func() error
		want []int64
	}{
		{"nothing", func() error { return nil }, nil},
		{"take", func() error { w.take(alert.Revision{ID: made.ID, Revision: 1}); return nil }, nil},
		{"create", func() error { w.create(alert.Alert{}); return nil }, []int64{made.ID + 1}},
		{"update", func() error {
			_, err := w.Update(t.Context(), ann, made.ID, alert.Change{Note: ptr("x")}, place(1), now)
			return err
		}, []int64{made.ID}},
		{"fire", func() error { w.fire(1, trigger(made, 100, now)); return nil }, []int64{made.ID}},
		{"delete", func() error { return w.Delete(t.Context(), ann, made.ID) }, []int64{made.ID}},
	} {
		snap = w.drain(snap)
		if err := c.do(); err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		var ids []int64
		if ids, snap = w.changes(snap); !slices.Equal(ids, c.want) {
			t.Errorf("%s brought %v, want %v", c.name, ids, c.want)
		}
	}
}

// An alert is taken in the revision that the matcher has, and in no other.
func TestTake(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1000)
	a := w.create(alert.Alert{})
	w.take(alert.Revision{ID: a.ID, Revision: a.Revision + 1})
	if w.get(a.ID).Taken {
		t.Error("another revision was taken")
	}
	w.take(alert.Revision{ID: a.ID, Revision: a.Revision})
	if !w.get(a.ID).Taken {
		t.Error("it was not taken")
	}
	if got, err := w.Update(t.Context(), ann, a.ID, alert.Change{State: ptr(alert.Created)}, place(60), now); err != nil || got.Taken {
		t.Errorf("set again: taken %v, %v", got.Taken, err)
	}
}

// Progress is saved by the last who claimed the partition only, with all that
// belongs to it or nothing.
func TestProgress(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1000)
	first, second := "00000000-0000-4000-8000-000000000001", "00000000-0000-4000-8000-000000000002"
	claim := func(owner string, next int64, known bool) {
		t.Helper()
		p, ok, err := w.Claim(t.Context(), 3, topicID, owner)
		if err != nil || ok != known || known && (p.Next != next || p.TopicID != topicID) {
			t.Fatalf("claimed %+v, %v, %v", p, ok, err)
		}
	}
	save := func(owner string, next int64, changed, removed []alert.Standing) error {
		return w.db.Tx(t.Context(), func(tx pgx.Tx) error {
			return alert.SaveProgress(t.Context(), tx, 3, owner, alert.Progress{TopicID: topicID, Next: next}, changed, removed)
		})
	}
	claim(first, 0, false)
	one := alert.Standing{AlertID: 1, Symbol: "A", Source: "x", Partition: 3, Revision: 2, Armed: true, Streak: true, SinceNS: 1234567891, First: 7, Best: price(t, "1.000000000000000001"), Shared: 9}
	shared := alert.Standing{AlertID: -9, Symbol: "A", Source: "x", Partition: 3, Best: price(t, "5")}
	if err := save(first, 10, []alert.Standing{one, shared}, nil); err != nil {
		t.Fatal(err)
	}
	claim(second, 10, true)
	if err := save(first, 20, nil, []alert.Standing{one}); !errors.Is(err, alert.ErrNotOwner) {
		t.Errorf("the former owner saves: %v", err)
	}
	got, err := w.Standings(t.Context(), 3)
	if err != nil || len(got) != 2 || !slices.Contains(got, one) {
		t.Errorf("saved %+v, %v", got, err)
	}
	if err := save(second, 15, nil, []alert.Standing{shared}); err != nil {
		t.Error(err)
	}
	claim(first, 15, true)
	if got, err := w.Standings(t.Context(), 3); err != nil || len(got) != 1 {
		t.Errorf("left %+v, %v", got, err)
	}
	if err := w.ForgetStandings(t.Context(), 3); err != nil {
		t.Error(err)
	}
	if got, _ := w.Standings(t.Context(), 3); len(got) != 0 {
		t.Errorf("kept %+v", got)
	}
}

// Every commit that changes alerts wakes the listener.
func TestWake(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1000)
	conn, err := w.db.Acquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Release()
	if _, err := conn.Exec(t.Context(), "listen "+alert.Channel); err != nil {
		t.Fatal(err)
	}
	var made alert.Alert
	for _, c := range []struct {
		name string
		do   func()
	}{
		{"create", func() { made = w.create(alert.Alert{}) }},
		{"update", func() { _, _ = w.Update(t.Context(), ann, made.ID, alert.Change{}, place(1), now) }},
		{"fire", func() { w.fire(1, trigger(made, 100, now)) }},
		{"delete", func() { _ = w.Delete(t.Context(), ann, made.ID) }},
	} {
		c.do()
		ctx, cancel := contextWithin(t, 10*time.Second)
		if _, err := conn.Conn().WaitForNotification(ctx); err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
		cancel()
	}
}
