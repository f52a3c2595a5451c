package token

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"crier/internal/scope"
)

// A token whose claim `scope` has scopes of Crier is a service's, whoever signed it,
// unless it is of a session here. Anything else in the claim changes nothing.
func TestScopesOfTokens(t *testing.T) {
	t.Parallel()
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "public.pem")
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	a := authority(t, Config{Secret: secret, PublicKeyFile: file})
	for name, c := range map[string]struct {
		claim   any
		sid     string
		service [2]bool // by the secret, by the provider's key
		scopes  []string
	}{
		"no claim":               {nil, "", [2]bool{}, []string{}},
		"other applications'":    {"openid send:users", "", [2]bool{}, []string{}},
		"Crier's":                {"openid crier:send:users crier:sent:recall", "", [2]bool{true, true}, []string{"send:users", "sent:recall"}},
		"an unknown one":         {"crier:everything", "", [2]bool{true, true}, []string{}},
		"a list":                 {[]string{"crier:send:users"}, "", [2]bool{}, []string{}},
		"a number":               {7, "", [2]bool{}, []string{}},
		"of a session (own key)": {"crier:send:users", "s", [2]bool{false, true}, []string{"send:users"}}, // a provider's sid means nothing here
	} {
		claims := jwt.MapClaims{"sub": "shop", "exp": time.Now().Add(time.Hour).Unix()}
		if c.claim != nil {
			claims["scope"] = c.claim
		}
		if c.sid != "" {
			claims["sid"] = c.sid
		}
		own, err := jwt.NewWithClaims(jwt.SigningMethodHS256, claims).SignedString([]byte(secret))
		if err != nil {
			t.Fatal(err)
		}
		provider, err := jwt.NewWithClaims(jwt.SigningMethodEdDSA, claims).SignedString(private)
		if err != nil {
			t.Fatal(err)
		}
		for i, text := range []string{own, provider} {
			id, err := a.Check(t.Context(), text)
			if err != nil || id.UserID != "shop" || id.Service != c.service[i] || id.Grant.All || id.Service && !slices.Equal(id.Grant.Names(), c.scopes) || !id.Service && id.Grant.Scopes != nil {
				t.Errorf("%s, %d: %+v, %v", name, i, id, err)
			}
		}
	}
	want := scope.Grant{Scopes: []scope.Scope{scope.SendUsers, scope.UsersErase}}
	now := time.Now()
	text, err := a.Mint(Identity{UserID: "shop", Service: true, Grant: want, Expires: now.Add(time.Minute)}, now)
	if err != nil {
		t.Fatal(err)
	}
	if id, err := a.Check(t.Context(), text); err != nil || !id.Service || !slices.Equal(id.Grant.Scopes, want.Scopes) {
		t.Errorf("minted and read back: %+v, %v", id, err)
	}
	if _, err := a.Mint(Identity{UserID: "shop", Service: true, Expires: now.Add(time.Minute)}, now); err == nil {
		t.Error("a service's token without scopes was minted, which would be a user's")
	}
}
