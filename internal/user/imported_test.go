package user_test

import (
	"errors"
	"fmt"
	"strconv"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"

	"crier/internal/event"
	"crier/internal/user"
)

// Hashes that Django 5.2 made of the password "pass".
var djangoHashes = []string{
	"pbkdf2_sha256$1000$bEcnydHSXXiuVROad8fS3T$h+k0mkvixw2eKVyMNnjYG1oge6qhpgPQB//J2E7wOjk=",
	"pbkdf2_sha1$1000$5VlTMuAd6JeTJ1XfLwRcK9$FPwQ3T7IBvwh8JOJoY+tRXAMYEg=",
	"argon2$argon2id$v=19$m=102400,t=2,p=8$b0E3bkdFc0I1THk1Rk5oTEtSMnhvaQ$tiIhPFd5bDECC1yZiGW++7aWMLBH2RVukQOss4qJYZA",
	"bcrypt_sha256$$2b$04$OY4O69jfN2kOKWd.PKAvOe/3Y39CJifXYTEN3dy4zslJaX02iDRde",
	"bcrypt$$2b$04$m2Kq7rqKIJ5w.7hBio5Bsu2EMlYS3IbRUCn7ItXEP.MrBcWZq6I9C",
}

// The hashes of Django's hashers are checked as its own, and are outdated; a password
// shorter than new ones may be is right, too.
func TestImportedHashes(t *testing.T) {
	t.Parallel()
	h := user.NewHasher()
	for _, hash := range djangoHashes {
		for password, want := range map[string]bool{"pass": true, "Pass": false, "": false, "pass ": false} {
			if got, err := h.Verify(t.Context(), password, hash); got != want || err != nil {
				t.Errorf("%q against %.30s: %v, %v, want %v", password, hash, got, err, want)
			}
		}
		if got := rules(func(v *event.Invalid) { user.CheckHash(v, "f", hash) }); got != "" || !user.Outdated(hash) {
			t.Errorf("%.30s: %q, outdated %v", hash, got, user.Outdated(hash))
		}
	}
	own, err := h.Hash(t.Context(), "pass")
	if err != nil {
		t.Fatal(err)
	}
	if user.Outdated(own) || rules(func(v *event.Invalid) { user.CheckHash(v, "f", own) }) != "" {
		t.Error("its own hash is outdated, or refused")
	}
	for _, none := range []string{"", "!", "!VsEwAyxyKxBtv4XVZ2yLYoIb5EEJOF7iRlxLuddw"} {
		for _, password := range []string{"", none, "decoy"} {
			if got, err := h.Verify(t.Context(), password, none); got || err != nil {
				t.Errorf("%q against the unusable %q: %v, %v", password, none, got, err)
			}
		}
		if got := rules(func(v *event.Invalid) { user.CheckHash(v, "f", none) }); got != "" {
			t.Errorf("unusable %q: %q", none, got)
		}
	}
	for _, bad := range []string{
		"pass", "sha1$a$b", "md5$x$y", "pbkdf2_sha256$", "pbkdf2_sha256$0$salt$h+k0mkvixw2eKVyMNnjYG1oge6qhpgPQB//J2E7wOjk=", "pbkdf2_sha256$x$salt$h+k0mkvixw2eKVyMNnjYG1oge6qhpgPQB//J2E7wOjk=",
		"pbkdf2_sha256$99999999$salt$h+k0mkvixw2eKVyMNnjYG1oge6qhpgPQB//J2E7wOjk=", "pbkdf2_sha256$1000$$h+k0mkvixw2eKVyMNnjYG1oge6qhpgPQB//J2E7wOjk=", "pbkdf2_sha256$1000$salt$AAAA",
		"pbkdf2_sha256$1000$salt$" + djangoHashes[1][44:], "argon2$argon2i$v=19$m=512,t=2,p=2$c2FsdHNhbHQ$tiIhPFd5bDECC1yZiGW++7aWMLBH2RVukQOss4qJYZA",
		"argon2$argon2id$v=19$m=99999999,t=2,p=8$b0E3bkdFc0I1THk1Rk5oTEtSMnhvaQ$tiIhPFd5bDECC1yZiGW++7aWMLBH2RVukQOss4qJYZA",
		"argon2$argon2id$v=19$m=1024,t=2,p=0$b0E3bkdFc0I1THk1Rk5oTEtSMnhvaQ$tiIhPFd5bDECC1yZiGW++7aWMLBH2RVukQOss4qJYZA",
		"argon2$argon2id$v=19$m=1024,t=2,p=1$b0E3bkdFc0I1THk1Rk5oTEtSMnhvaQ$", "bcrypt$$2b$31$m2Kq7rqKIJ5w.7hBio5Bsu2EMlYS3IbRUCn7ItXEP.MrBcWZq6I9C", "bcrypt$", "scrypt$x",
	} {
		if got := rules(func(v *event.Invalid) { user.CheckHash(v, "f", bad) }); got != "f:hash" {
			t.Errorf("%s: %q", bad, got)
		}
		if got, err := h.Verify(t.Context(), "pass", bad); got || err == nil {
			t.Errorf("%s: %v, %v", bad, got, err)
		}
	}
}

// A hash is renewed while it is the one that was checked.
func TestRenewHash(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ann := w.mustCreate("ann", "")
	for _, c := range []struct{ old, renewed, want string }{{"x", "y", "h"}, {"h", "n", "n"}, {"h", "z", "n"}} {
		if err := w.RenewHash(t.Context(), ann.ID, c.old, c.renewed); err != nil {
			t.Fatal(err)
		}
		if got, err := w.ByID(t.Context(), ann.UserID()); err != nil || got.PasswordHash != c.want {
			t.Errorf("%+v: %q, %v", c, got.PasswordHash, err)
		}
	}
}

// An imported account keeps its id, and new ones get ids behind it, also while others
// sign up: none gets an id that is taken.
func TestCreateAsBesideSignUps(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	const signUps = 40
	var wg sync.WaitGroup
	for i := range signUps {
		wg.Go(func() {
			if _, err := w.create(fmt.Sprintf("new%d", i), ""); err != nil {
				t.Errorf("signing up beside an import: %v", err)
			}
		})
	}
	taken := 0
	for i := range int64(20) {
		id := 3 * (i + 1)
		err := w.db.Tx(t.Context(), func(tx pgx.Tx) error {
			_, err := user.CreateAs(t.Context(), tx, user.Account{ID: id, Username: fmt.Sprintf("old%d", i), CreatedAt: now})
			return err
		})
		if errors.Is(err, user.ErrIDTaken) {
			taken++
		} else if err != nil {
			t.Errorf("importing the id %d: %v", id, err)
		}
	}
	wg.Wait()
	last, err := w.create("last", "")
	if err != nil {
		t.Fatal(err)
	}
	if last.ID < 60 {
		t.Errorf("the last one has the id %d, %d were taken", last.ID, taken)
	}
	if got, err := w.ByID(t.Context(), event.UserID(strconv.FormatInt(last.ID, 10))); err != nil || got.Username != "last" {
		t.Errorf("%+v, %v", got, err)
	}
}

// An imported address counts as confirmed, of each user who has it; the first can sign
// in by it.
func TestVouch(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for i, name := range []string{"ann", "bob"} {
		err := w.db.Tx(t.Context(), func(tx pgx.Tx) error {
			_, err := user.CreateAs(t.Context(), tx, user.Account{ID: int64(i) + 1, Username: name, Email: "Both@example.org", CreatedAt: now})
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	for id, want := range map[event.UserID]bool{"1": true, "2": false} {
		if acc, err := w.ByID(t.Context(), id); err != nil || acc.EmailConfirmed != want || acc.Email != "Both@example.org" {
			t.Errorf("user %s: %+v, %v; want its own %v", id, acc, err, want)
		}
		claims, err := w.Claims(t.Context(), id)
		if err != nil || len(claims) != 1 || claims[0].ConfirmedAt == nil {
			t.Errorf("claims of user %s: %+v, %v", id, claims, err)
		}
	}
	if open, err := w.Unconfirmed(t.Context(), "both@example.org"); err != nil || len(open) != 0 {
		t.Errorf("unconfirmed: %+v, %v", open, err)
	}
}
