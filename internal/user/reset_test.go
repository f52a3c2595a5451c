package user_test

import (
	"errors"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"crier/internal/user"
)

// A request for a new password is made for who has a confirmed address, three times an
// hour at most; it is mailed once, and good once, for an hour.
func TestResets(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ann := w.mustCreate("ann", "ann@example.org")
	if err := w.ConfirmAddress(t.Context(), ann.UserID(), ann.Email, now); err != nil {
		t.Fatal(err)
	}
	w.mustCreate("bob", "")
	w.mustCreate("eve", "ann@example.org")
	w.mustCreate("carl", "carl@example.org")
	take := func() (ids []string) {
		t.Helper()
		err := w.db.Tx(t.Context(), func(tx pgx.Tx) (err error) {
			ids, err = user.TakeResets(t.Context(), tx, now, 100)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		return ids
	}
	for _, login := range []string{"ann", "ANN@example.org", "bob", "nobody", "eve", "carl", "carl@example.org", "ann", "ann", "ann@example.org"} {
		if err := w.AskReset(t.Context(), login, now); err != nil {
			t.Fatal(err)
		}
	}
	ids := take()
	if len(ids) != 3 || len(take()) != 0 {
		t.Fatalf("%d requests", len(ids))
	}
	r, err := w.Reset(t.Context(), ids[0], now)
	if err != nil || r.UserID != ann.UserID() || r.Username != "ann" || r.Address != "ann@example.org" || !r.Ends.Equal(now.Add(time.Hour)) {
		t.Errorf("%+v %v", r, err)
	}
	for _, id := range []string{"", "x", "00000000-0000-0000-0000-000000000000"} {
		if _, err := w.Reset(t.Context(), id, now); !errors.Is(err, user.ErrNoReset) {
			t.Errorf("%q: %v", id, err)
		}
	}
	late := now.Add(user.ResetTTL)
	if _, err := w.UseReset(t.Context(), ids[0], "late", late); !errors.Is(err, user.ErrNoReset) {
		t.Errorf("too late: %v", err)
	}
	if uid, err := w.UseReset(t.Context(), ids[1], "new", now); err != nil || uid != ann.UserID() {
		t.Errorf("%s %v", uid, err)
	}
	for _, id := range ids {
		if _, err := w.UseReset(t.Context(), id, "again", now); !errors.Is(err, user.ErrNoReset) {
			t.Errorf("used again: %v", err)
		}
	}
	if got, _ := w.ByID(t.Context(), ann.UserID()); got.PasswordHash != "new" {
		t.Errorf("hash %q", got.PasswordHash)
	}
	if err := w.AskReset(t.Context(), "ann", late.Add(time.Second)); err != nil || len(take()) != 1 {
		t.Errorf("an hour later: %v", err)
	}
}
