package user_test

import (
	"errors"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"crier/internal/criertest"
	"crier/internal/event"
	"crier/internal/inbox"
	"crier/internal/postgres"
	"crier/internal/user"
)

// now is a time that Postgres keeps exactly.
var now = time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)

type world struct {
	*user.Store
	t  *testing.T
	db *postgres.DB
}

func newWorld(t *testing.T) *world {
	t.Helper()
	db := criertest.Database(t, 25)
	return &world{user.New(db), t, db}
}

func (w *world) create(name, email string) (user.Account, error) {
	var acc user.Account
	err := w.db.Tx(w.t.Context(), func(tx pgx.Tx) error {
		var err error
		acc, err = user.Create(w.t.Context(), tx, user.Account{Username: name, Email: email, PasswordHash: "h"}, now)
		if err != nil {
			return err
		}
		return inbox.OpenInboxes(w.t.Context(), tx, acc.UserID())
	})
	return acc, err
}

func (w *world) mustCreate(name, email string) user.Account {
	w.t.Helper()
	acc, err := w.create(name, email)
	if err != nil {
		w.t.Fatal(err)
	}
	return acc
}

// rules are the rules a check found broken.
func rules(check func(v *event.Invalid)) string {
	var v event.Invalid
	check(&v)
	var out []string
	for _, f := range v {
		out = append(out, f.Field+":"+f.Rule)
	}
	return strings.Join(out, " ")
}

// Names are unique and found in any case, by username before email address;
// ids are whole numbers in decimal and nothing that only looks like one.
func TestAccounts(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ann := w.mustCreate("Ann", "Ann@Example.org")
	zoe := w.mustCreate("Zoë.Ünsal", "")
	for _, c := range []struct {
		name, email string
		want        error
	}{
		{"ann", "", user.ErrUsernameTaken}, {"ANN", "x@example.org", user.ErrUsernameTaken}, {"bob", "ANN@example.ORG", nil},
		{"ZOË.ÜNSAL", "", user.ErrUsernameTaken}, {"carl", "", nil}, {"dora", "", nil},
	} {
		if _, err := w.create(c.name, c.email); !errors.Is(err, c.want) {
			t.Errorf("%s %s: %v, want %v", c.name, c.email, err, c.want)
		}
	}
	if err := w.ConfirmAddress(t.Context(), ann.UserID(), "ANN@example.org", now); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		login string
		want  int64
	}{{"ann", ann.ID}, {"ANN", ann.ID}, {"ann@example.org", ann.ID}, {"zoë.ünsal", zoe.ID}, {"", 0}, {"an", 0}, {"ann%", 0}, {"' or true --", 0}} {
		got, err := w.ByLogin(t.Context(), c.login)
		if err != nil || len(got) != min(1, int(c.want)) || len(got) > 0 && got[0].ID != c.want {
			t.Errorf("login %q: %+v, %v; want %d", c.login, got, err, c.want)
		}
	}
	// Who calls themself by another's address locks nobody out.
	thief := w.mustCreate("ann@example.org", "")
	if got, err := w.ByLogin(t.Context(), "Ann@Example.Org"); err != nil || len(got) != 2 || got[0].ID != thief.ID || got[1].ID != ann.ID {
		t.Errorf("of two: %+v, %v", got, err)
	}
	for _, id := range []event.UserID{ann.UserID(), "0", "-1", "+1", "01", " 1", "1.0", "x", "", "99999999999999999999", "999"} {
		got, err := w.ByID(t.Context(), id)
		if want := id == ann.UserID(); (err == nil) != want || want && got.Email != "Ann@Example.org" {
			t.Errorf("id %q: %+v, %v", id, got, err)
		}
	}
	found, err := w.Exist(t.Context(), []event.UserID{"77", ann.UserID(), "x", zoe.UserID()})
	if want := map[event.UserID]struct{}{ann.UserID(): {}, zoe.UserID(): {}}; err != nil || !maps.Equal(found, want) {
		t.Errorf("found %v, %v", found, err)
	}
	if ended, err := w.SetPassword(t.Context(), ann.ID, "new", "", time.Now()); err != nil || len(ended) != 0 {
		t.Error(ended, err)
	}
	if got, _ := w.ByID(t.Context(), ann.UserID()); got.PasswordHash != "new" {
		t.Errorf("hash %q", got.PasswordHash)
	}
}

// Addresses are found for those who have one.
func TestEmails(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ann, bob := w.mustCreate("ann", "ann@example.org"), w.mustCreate("bob", "")
	err := w.db.Tx(t.Context(), func(tx pgx.Tx) error {
		got, err := user.Emails(t.Context(), tx, []event.UserID{ann.UserID(), bob.UserID(), "x", "99"})
		if len(got) != 1 || got[ann.UserID()] != "ann@example.org" {
			t.Errorf("got %v", got)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

// Usernames, email addresses and passwords keep their rules, each named.
func TestRules(t *testing.T) {
	t.Parallel()
	check := func(kind, in string) string {
		return rules(func(v *event.Invalid) {
			switch kind {
			case "username":
				user.CheckUsername(v, "f", in)
			case "email":
				user.CheckEmail(v, "f", in)
			default:
				user.CheckPassword(v, "f", in)
			}
		})
	}
	for _, c := range []struct{ kind, in, want string }{
		{"username", "ann", ""}, {"username", "a.b+c-d_e@f", ""}, {"username", "Zoë", ""}, {"username", "王五", ""}, {"username", "", "f:required"},
		{"username", strings.Repeat("é", 150), ""}, {"username", strings.Repeat("a", 151), "f:length"}, {"username", "a b", "f:characters"},
		{"username", "a\x00", "f:characters"}, {"username", "a\u0085b", "f:characters"}, {"username", "a\u202eb", "f:characters"}, {"username", "a\u2028b", "f:characters"},
		{"username", "a\u200bb", "f:characters"}, {"username", "a\xff", "f:characters"}, {"username", "<b>", "f:characters"}, {"username", "o'neil@example.org", ""}, {"username", "o'neil", "f:characters"}, {"username", "a<b@example.org", "f:characters"}, {"username", "a\u200bb@example.org", "f:characters"},
		{"email", "", ""}, {"email", "ann@example.org", ""}, {"email", "a+b@x.example", ""}, {"email", "ann", "f:email"}, {"email", "ann@", "f:email"},
		{"email", "Ann <ann@example.org>", "f:email"}, {"email", " ann@example.org", "f:email"}, {"email", "a@b@c", "f:email"}, {"email", "a\r\nBcc: b@x@c.org", "f:email"},
		{"email", strings.Repeat("a", 250) + "@x.org", "f:email"},
		{"password", "", "f:required"}, {"password", "short12", "f:length"}, {"password", "12345678", "f:digits"}, {"password", "password", "f:common"},
		{"password", "PassWord", "f:common"}, {"password", "correct horse", ""}, {"password", "ééééééé", "f:length"}, {"password", "éééééééé", ""},
		{"password", strings.Repeat("x", 1024), ""}, {"password", strings.Repeat("x", 1025), "f:length"}, {"password", "a\nb\nc\nd\ne", ""},
		{"password", "password\npassword", ""},
	} {
		if got := check(c.kind, c.in); got != c.want {
			t.Errorf("%s %.30q: %q, want %q", c.kind, c.in, got, c.want)
		}
	}
}

// A password is known by its hash, and nothing else is; one who does not exist
// is never known, and takes as long.
func TestPasswords(t *testing.T) {
	t.Parallel()
	h := user.NewHasher()
	hash, err := h.Hash(t.Context(), "correct horse")
	if err != nil {
		t.Fatal(err)
	}
	again, err := h.Hash(t.Context(), "correct horse")
	if err != nil || again == hash || !strings.HasPrefix(hash, "$argon2id$v=19$m=19456,t=2,p=1$") {
		t.Errorf("hashes %s and %s, %v", hash, again, err)
	}
	for _, c := range []struct {
		password, hash string
		want, wrong    bool
	}{
		{"correct horse", hash, true, false}, {"Correct horse", hash, false, false}, {"", hash, false, false}, {"correct horse", "", false, false}, {"decoy", "", false, false},
		{strings.Repeat("x", 2000), hash, false, false}, {"x", "plain", false, true}, {"x", "$argon2id$v=19$m=1$x$y", false, true}, {"x", hash[:len(hash)-1] + "!", false, true},
	} {
		got, err := h.Verify(t.Context(), c.password, c.hash)
		if got != c.want || (err != nil) != c.wrong {
			t.Errorf("%.20q against %.20q: %v, %v; want %v, an error %v", c.password, c.hash, got, err, c.want, c.wrong)
		}
	}
}

// Facts about the installation are remembered; the key of unsubscribe links is
// made once, whoever comes first.
func TestNotes(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, v := range []string{"", "a", "b"} {
		if v != "" {
			if err := w.Note(t.Context(), "n", v); err != nil {
				t.Fatal(err)
			}
		}
		if got, err := w.Noted(t.Context(), "n"); got != v || err != nil {
			t.Errorf("noted %q, %v; want %q", got, err, v)
		}
	}
	tokens := make([]string, 20)
	var wg sync.WaitGroup
	for i := range tokens {
		wg.Go(func() {
			u, err := w.Signer(t.Context(), user.Unsubscribing)
			if err != nil {
				t.Error(err)
				return
			}
			tokens[i] = u.Token("ann@example.org")
		})
	}
	wg.Wait()
	if n := len(slices.Compact(tokens)); n != 1 {
		t.Errorf("%d keys were made", n)
	}
	u, err := w.Signer(t.Context(), user.Unsubscribing)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		token string
		ok    bool
	}{{tokens[0], true}, {tokens[0] + "x", false}, {"", false}, {".", false}, {strings.Replace(tokens[0], "Y", "Z", 1), false}, {"x.y.z", false}} {
		if got, ok := u.Text(c.token); ok != c.ok || ok && got != "ann@example.org" {
			t.Errorf("%s: %q, %v", c.token, got, ok)
		}
	}
}
