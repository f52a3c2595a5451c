package token

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

const secret = "0123456789abcdef0123456789abcdef"

func authority(t *testing.T, cfg Config) *Authority {
	t.Helper()
	a, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func TestMintedTokenReadsBack(t *testing.T) {
	a := authority(t, Config{Secret: secret})
	now := time.Now()
	text, err := a.Mint(Identity{UserID: "7", Session: "s", Username: "ann", Email: "a@example.org", Expires: now.Add(time.Minute)}, now)
	if err != nil {
		t.Fatal(err)
	}
	id, err := a.Check(t.Context(), text)
	if err != nil || id.UserID != "7" || id.Session != "s" || id.Username != "ann" || id.Email != "a@example.org" {
		t.Errorf("got %+v, %v", id, err)
	}
	raw := jwt.MapClaims{}
	if _, _, err := jwt.NewParser().ParseUnverified(text, raw); err != nil {
		t.Fatal(err)
	}
	if raw["user_id"] != 7.0 || raw["sub"] != "7" || raw["jti"] == "" || raw["iat"] == nil {
		t.Errorf("claims %v", raw)
	}
}

// A token without an end is one of a session, which is looked up at each use.
func TestTokenWithoutEnd(t *testing.T) {
	a := authority(t, Config{Secret: secret})
	now := time.Now()
	text, err := a.Mint(Identity{UserID: "7", Session: "s"}, now)
	if err != nil {
		t.Fatal(err)
	}
	if id, err := a.Check(t.Context(), text); err != nil || id.UserID != "7" || id.Session != "s" || !id.Expires.IsZero() {
		t.Errorf("got %+v, %v", id, err)
	}
	if text, err := a.Mint(Identity{UserID: "7"}, now); err == nil {
		t.Errorf("a token of neither an end nor a session: %s", text)
	}
}

// Whatever is wrong with a token, it is refused; a changed algorithm most of all.
func TestCheckRefuses(t *testing.T) {
	a := authority(t, Config{Secret: secret})
	now := time.Now()
	good := jwt.MapClaims{"sub": "7", "exp": now.Add(time.Hour).Unix()}
	sign := func(m jwt.SigningMethod, key any, c jwt.MapClaims) string {
		text, err := jwt.NewWithClaims(m, c).SignedString(key)
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	header := func(name string, value any) string {
		made := jwt.NewWithClaims(jwt.SigningMethodHS256, good)
		made.Header[name] = value
		text, err := made.SignedString([]byte(secret))
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	if _, err := a.Check(t.Context(), header("kid", "any")); err != nil {
		t.Fatal(err)
	}
	signed := sign(jwt.SigningMethodHS256, []byte(secret), good)
	// 32 bytes leave two bits of the last letter unused, which must be zero.
	const letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	last := strings.IndexByte(letters, signed[len(signed)-1])
	respelt := signed[:len(signed)-1] + string(letters[last|1])
	for name, c := range map[string]struct {
		text string
		want error
	}{
		"empty":       {"", ErrInvalid},
		"extension":   {header("crit", []string{"exp"}), ErrInvalid},
		"b64":         {header("crit", []string{"b64"}), ErrInvalid},
		"empty crit":  {header("crit", []string{}), ErrInvalid},
		"null crit":   {header("crit", nil), ErrInvalid},
		"respelt":     {respelt, ErrInvalid},
		"garbage":     {"a.b.c", ErrInvalid},
		"other key":   {sign(jwt.SigningMethodHS256, []byte(strings.Repeat("x", 32)), good), ErrInvalid},
		"none":        {sign(jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType, good), ErrInvalid},
		"HS512":       {sign(jwt.SigningMethodHS512, []byte(secret), good), ErrInvalid},
		"expired":     {sign(jwt.SigningMethodHS256, []byte(secret), jwt.MapClaims{"sub": "7", "exp": now.Add(-time.Hour).Unix()}), ErrExpired},
		"no expiry":   {sign(jwt.SigningMethodHS256, []byte(secret), jwt.MapClaims{"sub": "7"}), ErrInvalid},
		"no subject":  {sign(jwt.SigningMethodHS256, []byte(secret), jwt.MapClaims{"exp": now.Add(time.Hour).Unix()}), ErrInvalid},
		"not yet":     {sign(jwt.SigningMethodHS256, []byte(secret), jwt.MapClaims{"sub": "7", "exp": now.Add(time.Hour).Unix(), "nbf": now.Add(2 * time.Minute).Unix()}), ErrInvalid},
		"odd subject": {sign(jwt.SigningMethodHS256, []byte(secret), jwt.MapClaims{"sub": "a\nb", "exp": now.Add(time.Hour).Unix()}), ErrInvalid},
	} {
		if _, err := a.Check(t.Context(), c.text); !errors.Is(err, c.want) {
			t.Errorf("%s: got %v, want %v", name, err, c.want)
		}
	}
}

func TestOutsideKeys(t *testing.T) {
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	rs, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	c := jwt.MapClaims{"sub": "auth0|abc", "exp": time.Now().Add(time.Hour).Unix()}
	endless := jwt.MapClaims{"sub": "auth0|abc", "sid": "s"}
	for _, k := range []struct {
		method  jwt.SigningMethod
		private any
		public  any
	}{{jwt.SigningMethodEdDSA, ed, ed.Public()}, {jwt.SigningMethodES256, ec, &ec.PublicKey}, {jwt.SigningMethodRS256, rs, &rs.PublicKey}} {
		der, err := x509.MarshalPKIXPublicKey(k.public)
		if err != nil {
			t.Fatal(err)
		}
		text := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
		path := filepath.Join(t.TempDir(), "key.pem")
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
		a := authority(t, Config{PublicKeyFile: path})
		signed, err := jwt.NewWithClaims(k.method, c).SignedString(k.private)
		if err != nil {
			t.Fatal(err)
		}
		if id, err := a.Check(t.Context(), signed); err != nil || id.UserID != "auth0|abc" {
			t.Errorf("%s: got %+v, %v", k.method.Alg(), id, err)
		}
		if signed, err = jwt.NewWithClaims(k.method, endless).SignedString(k.private); err != nil {
			t.Fatal(err)
		}
		if id, err := a.Check(t.Context(), signed); !errors.Is(err, ErrInvalid) {
			t.Errorf("%s, without an end: got %+v, %v", k.method.Alg(), id, err)
		}
		extended := jwt.NewWithClaims(k.method, c)
		extended.Header["crit"] = []string{"x"}
		if signed, err = extended.SignedString(k.private); err != nil {
			t.Fatal(err)
		}
		if id, err := a.Check(t.Context(), signed); !errors.Is(err, ErrInvalid) {
			t.Errorf("%s, with an extension: got %+v, %v", k.method.Alg(), id, err)
		}
		// The public key as an HMAC secret is the classic forgery.
		forged, err := jwt.NewWithClaims(jwt.SigningMethodHS256, c).SignedString(text)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := a.Check(t.Context(), forged); !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: a token forged with the public key: %v", k.method.Alg(), err)
		}
		if _, err := a.Mint(Identity{UserID: "7"}, time.Now()); err == nil {
			t.Error("minted without a secret")
		}
	}
}

func TestShortSecretIsRefused(t *testing.T) {
	if _, err := New(Config{Secret: "short"}); err == nil || !strings.Contains(err.Error(), "CRIER_JWT_SECRET") {
		t.Errorf("got %v", err)
	}
	if _, err := New(Config{}); err == nil {
		t.Error("an authority without keys")
	}
}

func FuzzCheck(f *testing.F) {
	a, err := New(Config{Secret: secret})
	if err != nil {
		f.Fatal(err)
	}
	f.Add("a.b.c")
	f.Add("eyJhbGciOiJub25lIn0.eyJzdWIiOiI3In0.")
	f.Fuzz(func(t *testing.T, s string) {
		if _, err := a.Check(t.Context(), s); err == nil {
			t.Fatalf("%q was accepted", s)
		}
	})
}
