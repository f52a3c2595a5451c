package user_test

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"crier/internal/event"
	"crier/internal/user"
)

// wanted takes the confirmation mails that are wanted.
func (w *world) wanted() []string {
	w.t.Helper()
	var list []string
	err := w.db.Tx(w.t.Context(), func(tx pgx.Tx) (err error) {
		list, err = user.TakeConfirmations(w.t.Context(), tx, 100)
		return err
	})
	if err != nil {
		w.t.Fatal(err)
	}
	slices.Sort(list)
	return list
}

func (w *world) confirmed(id event.UserID, address string) bool {
	w.t.Helper()
	var yes bool
	err := w.db.Tx(w.t.Context(), func(tx pgx.Tx) error {
		got, err := user.ConfirmedOf(w.t.Context(), tx, []user.Recipient{{UserID: id, Address: address}, {UserID: "nobody", Address: address}})
		yes = got[user.Recipient{UserID: id, Address: address}]
		if len(got) > 1 {
			w.t.Errorf("confirmed %v", got)
		}
		return err
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return yes
}

// An address gets one confirmation mail, whoever claims it and how often, and others
// only a day, two days, four days later; its owner's consent is for one user and ends
// the waiting.
func TestClaims(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	const ann = "Ann@Example.org"
	one, two := w.mustCreate("one", ann), w.mustCreate("two", "ANN@example.org")
	if got := w.wanted(); !slices.Equal(got, []string{"ann@example.org"}) {
		t.Fatalf("wanted %v, want one mail to ann", got)
	}
	claim := func(id event.UserID, at time.Time) {
		t.Helper()
		if err := w.ClaimAddress(t.Context(), id, ann, at); err != nil {
			t.Fatal(err)
		}
	}
	day := 24 * time.Hour
	for i, c := range []struct {
		id   event.UserID
		at   time.Duration
		mail bool
	}{
		{one.UserID(), 2 * day, false}, // claimed already
		{"30", day - time.Second, false},
		{"31", day, true},
		{"32", 3*day - time.Second, false},
		{"33", 3 * day, true},
		{"34", 6 * day, false},
	} {
		claim(c.id, now.Add(c.at))
		if got := w.wanted(); (len(got) == 1) != c.mail {
			t.Errorf("claim %d after %v: wanted %v, want a mail %v", i, c.at, got, c.mail)
		}
	}
	if err := w.AskConfirmation(t.Context(), one, now.Add(6*day)); err != nil || len(w.wanted()) != 0 {
		t.Errorf("asked for early: %v", err)
	}
	if err := w.AskReset(t.Context(), "ONE", now.Add(7*day)); err != nil || !slices.Equal(w.wanted(), []string{"ann@example.org"}) {
		t.Errorf("a reset of an unconfirmed account: %v, want a confirmation mail", err)
	}
	if n := w.count(`select count(*) from password_resets`); n != 0 {
		t.Errorf("%d resets to an address that is not confirmed", n)
	}

	claims, err := w.Unconfirmed(t.Context(), ann)
	if err != nil || len(claims) != 7 || claims[0].UserID != "34" || claims[0].Username != "34" || claims[6].Username != "one" && claims[6].Username != "two" {
		t.Errorf("claims %+v, %v", claims, err)
	}
	if w.confirmed(one.UserID(), ann) {
		t.Error("confirmed before its owner did")
	}
	for range 2 {
		if err := w.ConfirmAddress(t.Context(), two.UserID(), ann, now.Add(8*day)); err != nil {
			t.Fatal(err)
		}
	}
	if !w.confirmed(two.UserID(), "ann@EXAMPLE.org") || w.confirmed(one.UserID(), ann) {
		t.Error("the consent is not for that user alone")
	}
	if err := w.ConfirmAddress(t.Context(), "99", ann, now); !errors.Is(err, user.ErrNoClaim) {
		t.Errorf("who has not claimed it: %v", err)
	}
	// The address is the account's that confirmed it first.
	if err := w.ConfirmAddress(t.Context(), one.UserID(), ann, now.Add(8*day)); err != nil {
		t.Fatal(err)
	}
	if got, err := w.ByLogin(t.Context(), ann); err != nil || len(got) != 1 || got[0].ID != two.ID || !got[0].EmailConfirmed {
		t.Errorf("sign-in by the address: %+v, %v", got, err)
	}
	if yes, err := w.HasAccount(t.Context(), ann); err != nil || !yes {
		t.Errorf("has an account: %v %v", yes, err)
	}
	// Confirmed, it is told of the next claim at once: its owner may have forgotten.
	claim("40", now.Add(8*day))
	if got := w.wanted(); len(got) != 1 {
		t.Errorf("a claim of a confirmed address: wanted %v", got)
	}
	if list, err := w.Claims(t.Context(), two.UserID()); err != nil || len(list) != 1 || list[0].ConfirmedAt == nil {
		t.Errorf("two's claims %+v, %v", list, err)
	}
	// What nobody confirmed is removed, and how often the address was mailed is kept.
	if err := w.Sweep(t.Context(), now.Add(60*day)); err != nil {
		t.Fatal(err)
	}
	if claims, err := w.Unconfirmed(t.Context(), ann); err != nil || len(claims) != 0 {
		t.Errorf("after a sweep: %+v, %v", claims, err)
	}
	if n := w.count(`select count(*) from mail_addresses`); n != 1 {
		t.Errorf("%d addresses, want 1", n)
	}
}

// Of one user at most MaxUnconfirmed addresses wait to be confirmed, also when they
// are claimed at once; each that is confirmed makes place for another.
func TestClaimsOfOneUser(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var all sync.WaitGroup
	errs := make([]error, 40)
	for i := range errs {
		all.Go(func() {
			errs[i] = w.ClaimAddress(t.Context(), "7", fmt.Sprintf("a%d@example.org", i), now)
		})
	}
	all.Wait()
	made := 0
	first := ""
	for i, err := range errs {
		switch {
		case err == nil:
			made++
			first = fmt.Sprintf("a%d@example.org", i)
		case !errors.Is(err, user.ErrUnconfirmed):
			t.Errorf("claim %d: %v", i, err)
		}
	}
	if n := len(w.wanted()); made != user.MaxUnconfirmed || n != made {
		t.Errorf("%d claims and %d mails, want %d", made, n, user.MaxUnconfirmed)
	}
	if err := w.ClaimAddress(t.Context(), "7", first, now); err != nil {
		t.Errorf("an address claimed before: %v", err)
	}
	if err := w.ConfirmAddress(t.Context(), "7", first, now); err != nil {
		t.Fatal(err)
	}
	if err := w.ClaimAddress(t.Context(), "7", "another@example.org", now); err != nil {
		t.Errorf("after one was confirmed: %v", err)
	}
	if err := w.ClaimAddress(t.Context(), "8", "more@example.org", now); err != nil {
		t.Errorf("another user: %v", err)
	}
}

func (w *world) count(query string) (n int) {
	w.t.Helper()
	if err := w.db.QueryRow(w.t.Context(), query).Scan(&n); err != nil {
		w.t.Fatal(err)
	}
	return n
}
