package alert_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"crier/internal/alert"
	"crier/internal/criertest"
	"crier/internal/event"
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
	criertest.Eventually(w.t, 20*time.Second, "no changes", func() bool {
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
	snap, err := w.Active(t.Context(), func(a alert.Alert) error {
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
	snap, err := w.Active(t.Context(), func(alert.Alert) error { return nil })
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		do   func() error
		want []int64
	}{
		{"nothing", func() error { return nil }, nil},
		{"take", func() error { return w.Take(t.Context(), []alert.Revision{{ID: made.ID, Revision: 1}}) }, nil},
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

// An alert counts as not taken until the matcher has taken this revision of it;
// the lowest place of each partition is told, and that there are some that hold
// in another topic.
func TestTaken(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1000)
	at := func(topic string, partition int32, offset int64) alert.Alert {
		return w.create(alert.Alert{Place: event.Place{TopicID: topic, Partition: partition, Offset: offset}})
	}
	a, b, c := at(topicID, 1, 70), at(topicID, 1, 50), at(topicID, 2, 9)
	other := at("22222222-2222-4222-8222-222222222222", 1, 1)
	want := func(what string, lowest map[int32]int64, others bool) {
		t.Helper()
		got, o, err := w.LowestUntaken(t.Context(), topicID)
		if err != nil || fmt.Sprint(got) != fmt.Sprint(lowest) || o != others {
			t.Errorf("%s: %v, others %v, %v; want %v, %v", what, got, o, err, lowest, others)
		}
	}
	take := func(a alert.Alert, revision int64) {
		t.Helper()
		if err := w.Take(t.Context(), []alert.Revision{{ID: a.ID, Revision: revision}}); err != nil {
			t.Fatal(err)
		}
	}
	want("all", map[int32]int64{1: 50, 2: 9}, true)
	take(b, b.Revision)
	take(other, other.Revision)
	want("two taken", map[int32]int64{1: 70, 2: 9}, false)
	take(a, a.Revision+1)
	want("another revision", map[int32]int64{1: 70, 2: 9}, false)
	w.set(c.ID, alert.Paused)
	if _, err := w.Update(t.Context(), ann, b.ID, alert.Change{State: ptr(alert.Created)}, event.Place{TopicID: topicID, Partition: 1, Offset: 60}, now); err != nil {
		t.Fatal(err)
	}
	want("set again", map[int32]int64{1: 60}, false)
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
