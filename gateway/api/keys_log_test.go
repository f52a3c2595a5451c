package api_test

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"time"

	"crier/gateway/api"
	"crier/internal/criertest"
	"crier/internal/scope"
	"crier/internal/user"
)

// However often keys are used: one line warns of the one that ends soon, without its
// secret, and the uses are recorded.
func TestKeyThatExpiresSoon(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	a := &api.API{Users: user.New(criertest.Database(t, 2)), Log: slog.New(slog.NewTextHandler(&log, nil))}
	now := time.Now()
	soon, late := now.Add(24*time.Hour), now.Add(365*24*time.Hour)
	var secrets []string
	for owner, ends := range map[string]*time.Time{"shop": &soon, "bank": &late, "mill": nil} {
		text, _, err := a.Users.MakeKey(t.Context(), user.Key{Owner: owner, Grant: scope.Grant{All: true}, ExpiresAt: ends}, now)
		if err != nil {
			t.Fatal(err)
		}
		secrets = append(secrets, text)
	}
	for range 5 {
		if found, err := api.LookUpKeys(a, t.Context(), append(secrets, "unknown")); err != nil || len(found) != 3 {
			t.Fatal(found, err)
		}
	}
	if text := log.String(); strings.Count(text, "\n") != 1 || !strings.Contains(text, "service=shop") || !strings.Contains(text, soon.UTC().Format("2006-01-02T15:04")) || strings.Contains(text, "crier_") {
		t.Errorf("logged %s", text)
	}
	keys, err := a.Users.Keys(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range keys {
		if k.LastUsedAt == nil {
			t.Errorf("the use of %s was not recorded", k.Owner)
		}
	}
}
