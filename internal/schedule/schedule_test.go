package schedule_test

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"crier/internal/criertest"
	"crier/internal/event"
	"crier/internal/kafka"
	"crier/internal/postgres"
	"crier/internal/schedule"
)

var now = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)

func newStore(t *testing.T) (*postgres.DB, *schedule.Store) {
	t.Helper()
	db := criertest.Database(t, 0)
	return db, schedule.New(db)
}

func send(n int, due time.Time) *schedule.Send {
	return &schedule.Send{Sender: "me", EventID: fmt.Sprint("e", n), Target: "7", Hash: []byte("h"), DueAt: due, Record: kafka.Record{
		TopicID: "00000000-0000-0000-0000-000000000001", Offset: int64(n), Key: []byte("k"), Value: []byte(`{"a":1}`), Headers: []kafka.Header{{Key: "x", Value: []byte{0, 255}}}}}
}

func keep(t *testing.T, db *postgres.DB, s *schedule.Send) schedule.Kept {
	t.Helper()
	var kept []schedule.Kept
	err := db.Tx(t.Context(), func(tx pgx.Tx) (err error) {
		kept, err = schedule.Keep(t.Context(), tx, []*schedule.Send{s}, now)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return kept[0]
}

// A send is kept once, taken when it is due and again when its taker's lease is
// over, and not any more when it is done.
func TestLife(t *testing.T) {
	t.Parallel()
	db, s := newStore(t)
	ctx := t.Context()
	one := send(1, now.Add(time.Minute))
	other, changed := send(1, one.DueAt), send(1, one.DueAt)
	one.Record.Time = now.Add(-time.Minute)
	lost := send(1, one.DueAt) // the record that was at the offset before it was lost
	lost.Record.Time = now.Add(-time.Hour)
	other.Record.Offset, changed.Record.Offset, changed.Hash = 9, 10, []byte("g")
	for i, c := range []struct {
		send *schedule.Send
		want schedule.Kept
	}{{one, schedule.First}, {one, schedule.Again}, {lost, schedule.Duplicate}, {other, schedule.Duplicate}, {changed, schedule.Reused}} {
		if got := keep(t, db, c.send); got != c.want {
			t.Errorf("%d: %d, want %d", i, got, c.want)
		}
	}
	take := func(at time.Time, want int) []schedule.Send {
		t.Helper()
		list, err := s.Take(ctx, at, 10)
		if err != nil || len(list) != want {
			t.Fatalf("took %d at %v, want %d: %v", len(list), at, want, err)
		}
		return list
	}
	take(now, 0)
	due := one.DueAt
	got := take(due, 1)[0]
	if got.EventID != "e1" || string(got.Record.Value) != `{"a":1}` || string(got.Record.Key) != "k" || len(got.Record.Headers) != 1 || string(got.Record.Headers[0].Value) != "\x00\xff" || got.Record.Offset != 1 || got.Record.Origin() != one.Record.Origin() {
		t.Errorf("%+v", got)
	}
	take(due.Add(schedule.Lease-time.Second), 0)
	if err := s.Reach(ctx, &got, event.UserID("5"), due); err != nil {
		t.Fatal(err)
	}
	if again := take(due.Add(schedule.Lease), 1)[0]; again.Reached != "5" {
		t.Errorf("reached %q", again.Reached)
	}
	if err := s.Done(ctx, &got, due); err != nil {
		t.Fatal(err)
	}
	take(due.Add(time.Hour), 0)
	if keep(t, db, one) != schedule.Again {
		t.Error("its record, read again, is kept anew")
	}
	if err := s.Prune(ctx, due.Add(30*24*time.Hour)); err != nil || keep(t, db, one) != schedule.First {
		t.Errorf("it is never forgotten: %v", err)
	}
}

// A send can be cancelled until it is begun, by its sender, and cancelling meets
// keeping and beginning in any order.
func TestCancel(t *testing.T) {
	t.Parallel()
	db, s := newStore(t)
	ctx := t.Context()
	begin := func(x *schedule.Send) error {
		return db.Tx(ctx, func(tx pgx.Tx) error { return schedule.Begun(ctx, tx, x, now) })
	}
	one := send(1, now)
	if _, err := s.Cancel(ctx, "me", "e1", now); !errors.Is(err, schedule.ErrUnknown) {
		t.Errorf("before it is kept: %v", err)
	}
	keep(t, db, one)
	if _, err := s.Cancel(ctx, "another", "e1", now); !errors.Is(err, schedule.ErrUnknown) {
		t.Errorf("by another: %v", err)
	}
	for range 2 {
		if st, err := s.Cancel(ctx, "me", "e1", now); err != nil || st.State != "cancelled" {
			t.Errorf("%+v %v", st, err)
		}
	}
	if err := begin(one); !errors.Is(err, schedule.ErrTooLate) {
		t.Errorf("a cancelled one begins: %v", err)
	}
	two := send(2, now)
	keep(t, db, two)
	if err := begin(two); err != nil {
		t.Fatal(err)
	}
	if st, err := s.Cancel(ctx, "me", "e2", now); !errors.Is(err, schedule.ErrTooLate) || st.State != "delivering" {
		t.Errorf("after it began: %+v %v", st, err)
	}
	// Either it is cancelled and does not begin, or it begins and is not cancelled.
	for n := 10; n < 60; n++ {
		x := send(n, now)
		var wg sync.WaitGroup
		var cancelled, begun error
		wg.Go(func() {
			for {
				if _, cancelled = s.Cancel(ctx, "me", x.EventID, now); !errors.Is(cancelled, schedule.ErrUnknown) {
					return
				}
			}
		})
		wg.Go(func() { keep(t, db, x); begun = begin(x) })
		wg.Wait()
		if (cancelled == nil) == (begun == nil) {
			t.Fatalf("cancelled: %v, begun: %v", cancelled, begun)
		}
	}
}

// The next send that is due is the earliest that is neither done nor taken; one that a
// process has taken is due when that process' lease has ended.
func TestNextDue(t *testing.T) {
	t.Parallel()
	db, s := newStore(t)
	now := time.Now().Truncate(time.Millisecond)
	next := func(latest time.Duration) time.Duration {
		t.Helper()
		at, err := s.NextDue(t.Context(), now.Add(latest))
		if err != nil {
			t.Fatal(err)
		}
		return at.Sub(now)
	}
	if d := next(time.Minute); d != time.Minute {
		t.Errorf("with nothing kept: in %v", d)
	}
	keep(t, db, send(1, now.Add(30*time.Second)))
	keep(t, db, send(2, now.Add(10*time.Second)))
	if d := next(time.Minute); d != 10*time.Second {
		t.Errorf("in %v", d)
	}
	if d := next(time.Second); d != time.Second {
		t.Errorf("before anything is due: in %v", d)
	}
	if taken, err := s.Take(t.Context(), now.Add(11*time.Second), 10); err != nil || len(taken) != 1 {
		t.Fatalf("%v, %v", taken, err)
	}
	if d := next(12 * time.Second); d != 12*time.Second {
		t.Errorf("while it is taken: in %v", d)
	}
	if d, want := next(time.Hour), min(30*time.Second, 11*time.Second+schedule.Lease); d != want {
		t.Errorf("in %v, want %v", d, want)
	}
}

// All sends of one sender are cancelled that are not delivered yet, and nobody else's.
func TestCancelAll(t *testing.T) {
	t.Parallel()
	db, s := newStore(t)
	ctx := t.Context()
	for n := range 5 {
		keep(t, db, send(n, now.Add(time.Duration(n)*time.Minute)))
	}
	other := send(9, now)
	other.Sender = "you"
	keep(t, db, other)
	taken, err := s.Take(ctx, now.Add(time.Minute), 10)
	if err != nil || len(taken) != 3 {
		t.Fatal(taken, err)
	}
	for i := range taken {
		if taken[i].EventID != "e0" {
			continue
		}
		if err := s.Done(ctx, &taken[i], now); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.Cancel(ctx, "me", "e4", now); err != nil {
		t.Fatal(err)
	}
	for i, want := range []int64{3, 0} {
		if n, err := s.CancelAll(ctx, "me", now); err != nil || n != want {
			t.Errorf("call %d: %d, %v, want %d", i, n, err, want)
		}
	}
	for id, want := range map[string]string{"e0": "delivered", "e1": "cancelled", "e2": "cancelled", "e3": "cancelled", "e4": "cancelled"} {
		if st, err := s.Get(ctx, "me", id); err != nil || st.State != want {
			t.Errorf("%s is %+v, %v, want %s", id, st, err, want)
		}
	}
	if st, err := s.Get(ctx, "you", "e9"); err != nil || st.State != "scheduled" {
		t.Errorf("another's is %+v, %v", st, err)
	}
}
