package user_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"crier/internal/scope"
	"crier/internal/user"
)

func (w *world) mustMakeKey(k user.Key, at time.Time) (string, user.Key) {
	w.t.Helper()
	text, made, err := w.MakeKey(w.t.Context(), k, at)
	if err != nil {
		w.t.Fatal(err)
	}
	return text, made
}

// owners is whose the keys are, in their order.
func (w *world) owners(keys ...string) string {
	w.t.Helper()
	found, err := w.KeysOf(w.t.Context(), keys)
	if err != nil {
		w.t.Error(err)
	}
	s := ""
	for _, k := range keys {
		s += found[k].Owner + ","
	}
	return s
}

// An API key is known until it is revoked, alone or with all of its owner's.
func TestKeys(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var keys []string
	var ids []int64
	for i := range 4 {
		k, made := w.mustMakeKey(user.Key{Owner: []string{"shop", "shop", "bank", "shop"}[i], Grant: scope.Grant{All: true}}, now.Add(time.Duration(i)*time.Second))
		keys, ids = append(keys, k), append(ids, made.ID)
	}
	asked := append(slices.Clone(keys), "", "x", keys[0]+"x", strings.ToUpper(keys[0]))
	for _, c := range []struct {
		owner string
		id    int64
		err   error
		want  string
	}{
		{"nobody", 0, user.ErrNoKey, "shop,shop,bank,shop,,,,,"},
		{"bank", ids[0], user.ErrNoKey, "shop,shop,bank,shop,,,,,"}, // another owner's
		{"shop", ids[1], nil, "shop,,bank,shop,,,,,"},
		{"shop", ids[1], user.ErrNoKey, "shop,,bank,shop,,,,,"},
		{"shop", 0, nil, ",,bank,,,,,,"},
		{"shop", 0, user.ErrNoKey, ",,bank,,,,,,"},
	} {
		if err := w.RevokeKeys(t.Context(), c.owner, c.id, now); !errors.Is(err, c.err) {
			t.Errorf("revoking %d of %s: %v, want %v", c.id, c.owner, err, c.err)
		}
		if got := w.owners(asked...); got != c.want {
			t.Errorf("after revoking %d of %s: owners %s, want %s", c.id, c.owner, got, c.want)
		}
	}
	list, err := w.Keys(t.Context())
	if err != nil || len(list) != 4 || fmt.Sprint(list[0].RevokedAt != nil, list[1].RevokedAt != nil, list[2].RevokedAt != nil) != "true true false" {
		t.Errorf("keys %+v, %v", list, err)
	}
}

// What a key may do is kept with it, and a key without scopes is not one with all.
func TestKeyGrants(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ends := now.Add(time.Hour)
	for _, want := range []user.Key{
		{Owner: "all", Grant: scope.Grant{All: true}},
		{Owner: "none", Grant: scope.Grant{}},
		{Owner: "some", Grant: scope.Grant{Scopes: []scope.Scope{scope.SendUsers, scope.SentRead}, Kinds: []string{"order", "invoice.*"}}, ExpiresAt: &ends},
	} {
		text, _ := w.mustMakeKey(want, now)
		found, err := w.KeysOf(t.Context(), []string{text})
		if err != nil {
			t.Fatal(err)
		}
		got := found[text]
		if got.Owner != want.Owner || got.Grant.All != want.Grant.All || !slices.Equal(got.Grant.Scopes, want.Grant.Scopes) || !slices.Equal(got.Grant.Kinds, want.Grant.Kinds) || got.Grant.AllowsKind("x") != want.Grant.AllowsKind("x") {
			t.Errorf("%+v, want %+v", got, want)
		}
		if (got.ExpiresAt == nil) != (want.ExpiresAt == nil) || got.ExpiresAt != nil && !got.ExpiresAt.Equal(ends) {
			t.Errorf("%s expires at %v, want %v", got.Owner, got.ExpiresAt, want.ExpiresAt)
		}
		if expired := got.Expired(ends); expired != (want.ExpiresAt != nil) || got.Expired(ends.Add(-time.Microsecond)) {
			t.Errorf("%s: expired at its end %v", got.Owner, expired)
		}
	}
}

// Of a good key and one that has expired the good one is meant.
func TestRotateKeyBesideAnExpiredOne(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	soon := now.Add(time.Hour)
	w.mustMakeKey(user.Key{Owner: "shop", ExpiresAt: &soon}, now)
	_, second := w.mustMakeKey(user.Key{Owner: "shop"}, now)
	if _, _, _, err := w.RotateKey(t.Context(), "shop", user.Rotation{}, now); !errors.As(err, new(user.AmbiguousError)) {
		t.Errorf("both are good: %v", err)
	}
	if _, _, old, err := w.RotateKey(t.Context(), "shop", user.Rotation{}, now.Add(2*time.Hour)); err != nil || old.ID != second.ID {
		t.Errorf("rotated %d, %v, want %d", old.ID, err, second.ID)
	}
}

// A rotation makes a successor with the same rights; the predecessor is good for the
// overlap and not longer than it was to be, and each can be ended alone.
func TestRotateKey(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	day := 24 * time.Hour
	at := func(d time.Duration) *time.Time { t := now.Add(d); return &t }
	grant := scope.Grant{Scopes: []scope.Scope{scope.SendUsers}, Kinds: []string{"order.*"}}
	for _, c := range []struct {
		name             string
		ends             *time.Time // of the predecessor
		after            time.Duration
		overlap          time.Duration
		expires          *time.Time
		wantOld, wantNew *time.Time
	}{
		{"a key without end", nil, day, day, nil, at(2 * day), nil},
		{"without overlap", nil, day, 0, nil, at(day), nil},
		{"a key with an end", at(30 * day), 10 * day, day, nil, at(11 * day), at(40 * day)},
		{"one that ends within the overlap", at(30 * day), 29*day + 12*time.Hour, day, nil, at(30 * day), at(59*day + 12*time.Hour)},
		{"an expired one", at(day), 3 * day, day, nil, at(day), at(4 * day)},
		{"a new end", at(day), 0, day, at(7 * day), at(day), at(7 * day)},
	} {
		first, _ := w.mustMakeKey(user.Key{Owner: c.name, Grant: grant, ExpiresAt: c.ends}, now)
		second, made, old, err := w.RotateKey(t.Context(), c.name, user.Rotation{Overlap: c.overlap, Renew: c.expires == nil, ExpiresAt: c.expires}, now.Add(c.after))
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		same := func(a, b *time.Time) bool { return a == nil && b == nil || a != nil && b != nil && a.Equal(*b) }
		if !same(old.ExpiresAt, c.wantOld) || !same(made.ExpiresAt, c.wantNew) || old.ReplacedAt == nil || made.ReplacedAt != nil || old.ID == made.ID {
			t.Errorf("%s: from %+v to %+v, want ends %v and %v", c.name, old, made, c.wantOld, c.wantNew)
		}
		if !slices.Equal(made.Grant.Scopes, grant.Scopes) || !slices.Equal(made.Grant.Kinds, grant.Kinds) || made.Grant.All {
			t.Errorf("%s: the successor may do %+v", c.name, made.Grant)
		}
		if _, _, _, err := w.RotateKey(t.Context(), c.name, user.Rotation{ID: old.ID, Overlap: c.overlap}, now.Add(c.after)); !errors.Is(err, user.ErrNoKey) {
			t.Errorf("%s: the replaced key was rotated again: %v", c.name, err)
		}
		if err := w.RevokeKeys(t.Context(), c.name, old.ID, now); err != nil {
			t.Error(err)
		}
		if got := w.owners(first, second); got != ","+c.name+"," {
			t.Errorf("%s: after ending the old one: %s", c.name, got)
		}
	}
}

// Of several keys of one owner the one to be rotated is named; nobody else's is.
func TestRotateOneOfSeveral(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	_, a := w.mustMakeKey(user.Key{Owner: "shop", Grant: scope.Grant{All: true}}, now)
	_, b := w.mustMakeKey(user.Key{Owner: "shop", Grant: scope.Grant{Scopes: []scope.Scope{scope.SentRead}}}, now)
	_, _, _, err := w.RotateKey(t.Context(), "shop", user.Rotation{Overlap: time.Hour}, now)
	var several user.AmbiguousError
	if !errors.As(err, &several) || !slices.Equal(several.IDs, []int64{a.ID, b.ID}) {
		t.Errorf("%v, want the ids %d and %d", err, a.ID, b.ID)
	}
	if _, made, old, err := w.RotateKey(t.Context(), "shop", user.Rotation{ID: b.ID, Overlap: time.Hour}, now); err != nil || old.ID != b.ID || made.Grant.All {
		t.Errorf("rotated %+v to %+v, %v", old, made, err)
	}
	for owner, id := range map[string]int64{"shop": 1 << 40, "bank": a.ID, "nobody": 0} {
		if _, _, _, err := w.RotateKey(t.Context(), owner, user.Rotation{ID: id}, now); !errors.Is(err, user.ErrNoKey) {
			t.Errorf("%d of %s: %v", id, owner, err)
		}
	}
}

// An owner has MaxKeys keys that are good, also when they are made at once. Revoked and
// expired ones do not count.
func TestKeysOfOneOwner(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ends := now.Add(time.Hour)
	var all sync.WaitGroup
	errs := make([]error, 2*user.MaxKeys)
	for i := range errs {
		all.Go(func() { _, _, errs[i] = w.MakeKey(t.Context(), user.Key{Owner: "shop", ExpiresAt: &ends}, now) })
	}
	all.Wait()
	made := 0
	for _, err := range errs {
		switch {
		case err == nil:
			made++
		case !errors.Is(err, user.ErrKeyLimit):
			t.Error(err)
		}
	}
	if made != user.MaxKeys {
		t.Errorf("%d keys, want %d", made, user.MaxKeys)
	}
	list, err := w.Keys(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, _, _, err := w.RotateKey(t.Context(), "shop", user.Rotation{ID: list[0].ID, Overlap: time.Minute}, now); !errors.Is(err, user.ErrKeyLimit) {
		t.Errorf("a rotation with overlap beyond the limit: %v", err)
	}
	if _, _, _, err := w.RotateKey(t.Context(), "shop", user.Rotation{ID: list[0].ID}, now); err != nil {
		t.Errorf("a rotation without overlap at the limit: %v", err)
	}
	if _, _, err := w.MakeKey(t.Context(), user.Key{Owner: "shop"}, now); !errors.Is(err, user.ErrKeyLimit) {
		t.Errorf("one more: %v", err)
	}
	if _, _, err := w.MakeKey(t.Context(), user.Key{Owner: "shop"}, ends); err != nil {
		t.Errorf("after they have expired: %v", err)
	}
	if err := w.RevokeKeys(t.Context(), "shop", 0, now); err != nil {
		t.Fatal(err)
	}
	if _, _, err := w.MakeKey(t.Context(), user.Key{Owner: "shop"}, now); err != nil {
		t.Errorf("after a revocation: %v", err)
	}
}

// The last use only goes forward.
func TestNoteKeysUsed(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	_, used := w.mustMakeKey(user.Key{Owner: "shop"}, now)
	_, unused := w.mustMakeKey(user.Key{Owner: "bank"}, now)
	for _, at := range []time.Time{now.Add(time.Hour), now} {
		if err := w.NoteKeysUsed(t.Context(), []int64{used.ID}, at); err != nil {
			t.Fatal(err)
		}
	}
	list, err := w.Keys(t.Context())
	if err != nil || len(list) != 2 {
		t.Fatal(list, err)
	}
	for _, k := range list {
		if k.ID == used.ID && (k.LastUsedAt == nil || !k.LastUsedAt.Equal(now.Add(time.Hour))) || k.ID == unused.ID && k.LastUsedAt != nil {
			t.Errorf("%+v", k)
		}
	}
}
