package user_test

import (
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"crier/internal/user"
)

// An invitation is good so often, also when it is used at once, and until it expires; a
// sign-up that fails does not use it.
func TestInvites(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	code, err := w.MakeInvite(t.Context(), 3, now, now.Add(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	use := func(code string, at time.Time, then error) error {
		return w.db.Tx(t.Context(), func(tx pgx.Tx) error {
			if err := user.UseInvite(t.Context(), tx, code, at); err != nil {
				return err
			}
			return then
		})
	}
	for _, c := range []struct {
		code string
		at   time.Time
	}{{"", now}, {"x", now}, {code + "x", now}, {code, now.Add(time.Hour)}} {
		if err := use(c.code, c.at, nil); !errors.Is(err, user.ErrInvite) {
			t.Errorf("%q at %v: %v", c.code, c.at, err)
		}
	}
	if err := use(code, now, user.ErrUsernameTaken); !errors.Is(err, user.ErrUsernameTaken) {
		t.Error(err)
	}
	var all sync.WaitGroup
	var used atomic.Int32
	for range 10 {
		all.Go(func() {
			if err := use(code, now, nil); err == nil {
				used.Add(1)
			} else if !errors.Is(err, user.ErrInvite) {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if used.Load() != 3 {
		t.Errorf("used %d times, want 3", used.Load())
	}
	if err := w.Sweep(t.Context(), now.Add(2*time.Hour)); err != nil {
		t.Fatal(err)
	}
	if n := w.count(`select count(*) from invites`); n != 0 {
		t.Errorf("%d are left", n)
	}
}
