package token

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// provider is an identity provider of a test's own.
type provider struct {
	*httptest.Server
	t       *testing.T
	fetched atomic.Int64

	mu     sync.Mutex // guards the rest
	answer func(http.ResponseWriter, *http.Request)
}

func newProvider(t *testing.T) *provider {
	p := &provider{t: t}
	p.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p.fetched.Add(1)
		p.mu.Lock()
		answer := p.answer
		p.mu.Unlock()
		answer(w, r)
	}))
	t.Cleanup(p.Close)
	return p
}

// serve has the provider answer with these keys.
func (p *provider) serve(keys ...map[string]string) {
	body, err := json.Marshal(map[string]any{"keys": keys})
	if err != nil {
		p.t.Fatal(err)
	}
	p.set(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(body) }) // a reader that has gone is none
}

func (p *provider) set(answer func(http.ResponseWriter, *http.Request)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.answer = answer
}

func (p *provider) authority(cfg Config) *Authority {
	cfg.JWKSURL = p.URL
	return authority(p.t, cfg)
}

// signer is a key pair, and its public half as a JWK.
type signer struct {
	method jwt.SigningMethod
	key    any
	jwk    map[string]string
}

func b64(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

var rsaKeys = sync.OnceValue(func() []*rsa.PrivateKey {
	var out []*rsa.PrivateKey
	for range 2 {
		k, err := rsa.GenerateKey(rand.Reader, 2048)
		if err != nil {
			panic(err)
		}
		out = append(out, k)
	}
	return out
})

func rsaSigner(i int, id string) signer {
	k := rsaKeys()[i]
	return signer{jwt.SigningMethodRS256, k, map[string]string{"kty": "RSA", "kid": id, "n": b64(k.N.Bytes()), "e": b64(big.NewInt(int64(k.E)).Bytes())}}
}

func ecSigner(t *testing.T, id string) signer {
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	point, err := k.PublicKey.Bytes() // uncompressed
	if err != nil {
		t.Fatal(err)
	}
	return signer{jwt.SigningMethodES256, k, map[string]string{"kty": "EC", "crv": "P-256", "kid": id, "x": b64(point[1:33]), "y": b64(point[33:])}}
}

func edSigner(t *testing.T, id string) signer {
	public, k, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return signer{jwt.SigningMethodEdDSA, k, map[string]string{"kty": "OKP", "crv": "Ed25519", "kid": id, "x": b64(public)}}
}

func (s signer) sign(t *testing.T, id string, more map[string]any) string {
	t.Helper()
	c := jwt.MapClaims{"sub": "auth0|abc", "exp": time.Now().Add(time.Hour).Unix()}
	for k, v := range more {
		c[k] = v
	}
	token := jwt.NewWithClaims(s.method, c)
	if id != "" {
		token.Header["kid"] = id
	}
	text, err := token.SignedString(s.key)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// Keys of a kind, curve or form that is not known are left out, wherever they are
// in the set; a token without a key id is checked with those of its algorithm.
func TestKeySetForms(t *testing.T) {
	t.Parallel()
	a, b, ec, ed := rsaSigner(0, "a"), rsaSigner(1, "b"), ecSigner(t, "ec"), edSigner(t, "ed")
	p := newProvider(t)
	p.serve(map[string]string{"kty": "OKP", "crv": "Ed448", "kid": "448", "x": "AAAA"}, a.jwk, map[string]string{"kty": "AKP", "alg": "ML-DSA-44", "kid": "pq", "pub": "AAAA"},
		map[string]string{"kty": "RSA", "kid": "short", "n": "AQAB", "e": "AQAB"}, map[string]string{"kty": "EC", "crv": "P-256", "kid": "off", "x": "AQ", "y": "AQ"},
		map[string]string{"kty": "RSA", "kid": "enc", "use": "enc", "n": a.jwk["n"], "e": a.jwk["e"]}, map[string]string{}, b.jwk, ec.jwk, ed.jwk)
	auth := p.authority(Config{})
	for _, c := range []struct {
		s  signer
		id string
		ok bool
	}{{a, "a", true}, {b, "b", true}, {ec, "ec", true}, {ed, "ed", true}, {a, "", true}, {b, "", true}, {ec, "", true}, {ed, "", true},
		{a, "b", false}, {a, "enc", false}, {ecSigner(t, "x"), "ec", false}, {edSigner(t, "x"), "", false}} {
		id, err := auth.Check(t.Context(), c.s.sign(t, c.id, nil))
		if (err == nil) != c.ok || c.ok && id.UserID != "auth0|abc" || !c.ok && !errors.Is(err, ErrInvalid) {
			t.Errorf("%s by key %q: %+v, %v", c.s.method.Alg(), c.id, id, err)
		}
	}
	if n := p.fetched.Load(); n != 1 {
		t.Errorf("fetched %d times", n)
	}
}

// Made-up key ids are not answered by a fetch each, nor do they keep good tokens
// waiting; a new key is found, and a withdrawn one ends.
func TestKeySetRotation(t *testing.T) {
	t.Parallel()
	a, b := rsaSigner(0, "a"), rsaSigner(1, "b")
	p := newProvider(t)
	p.serve(a.jwk)
	auth := p.authority(Config{})
	check := func(s signer, id string) error {
		_, err := auth.Check(t.Context(), s.sign(t, id, nil))
		return err
	}
	for i := range 50 {
		if check(a, fmt.Sprint("made up ", i)) == nil {
			t.Fatal("a made-up key id is good")
		}
	}
	if n := p.fetched.Load(); n > 1 {
		t.Errorf("%d fetches for made-up key ids", n)
	}
	if err := check(a, "a"); err != nil {
		t.Error(err)
	}
	p.serve(b.jwk)
	later := func(d time.Duration) { // as if so much time had passed
		s := auth.keys
		s.mu.Lock()
		defer s.mu.Unlock()
		s.fetched, s.tried = s.fetched.Add(-d), s.tried.Add(-d)
	}
	later(jwksAgain)
	if err := check(b, "b"); err != nil {
		t.Errorf("the new key: %v", err)
	}
	later(jwksFresh)
	if err := check(a, "a"); err == nil {
		t.Error("the withdrawn key is good")
	}
	// A provider that is away keeps the known keys good for a while.
	p.set(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadGateway) })
	later(10 * time.Minute)
	if err := check(b, "b"); err != nil {
		t.Errorf("while the provider is away: %v", err)
	}
	later(jwksKept)
	if err := check(b, "b"); err == nil {
		t.Error("after an hour without the provider its key is still good")
	}
}

// Clients that hang up while the keys are fetched do not use up the fetch: good tokens
// are taken, a new key is found, and a withdrawn one ends.
func TestKeySetHangUp(t *testing.T) {
	t.Parallel()
	a, b := rsaSigner(0, "a"), rsaSigner(1, "b")
	p := newProvider(t)
	p.serve(a.jwk)
	auth := p.authority(Config{})
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	hangUp := func() {
		for range 50 { // each takes one of two ways
			if _, err := auth.Check(gone, a.sign(t, "made up", nil)); err == nil {
				t.Fatal("a made-up key id is good")
			}
		}
	}
	hangUp()
	if _, err := auth.Check(t.Context(), a.sign(t, "a", nil)); err != nil {
		t.Errorf("a good token after the first hang-up: %v", err)
	}
	p.serve(b.jwk)
	auth.keys.mu.Lock() // as if so much time had passed
	auth.keys.fetched, auth.keys.tried = auth.keys.fetched.Add(-jwksFresh), auth.keys.tried.Add(-jwksFresh)
	auth.keys.mu.Unlock()
	hangUp()
	if _, err := auth.Check(t.Context(), b.sign(t, "b", nil)); err != nil {
		t.Errorf("the new key: %v", err)
	}
	if _, err := auth.Check(t.Context(), a.sign(t, "a", nil)); err == nil {
		t.Error("the withdrawn key is good")
	}
}

// An answer without an end, and one that does not come, cost a bounded time and
// memory, and a request waits no longer than it would itself.
func TestKeySetHostileProvider(t *testing.T) {
	t.Parallel()
	a := rsaSigner(0, "a")
	p := newProvider(t)
	p.set(func(w http.ResponseWriter, r *http.Request) {
		for r.Context().Err() == nil {
			if _, err := w.Write([]byte(strings.Repeat(" ", 64<<10))); err != nil {
				return
			}
		}
	})
	if _, err := p.authority(Config{}).Check(t.Context(), a.sign(t, "a", nil)); !errors.Is(err, ErrUnavailable) {
		t.Errorf("an endless answer: %v", err)
	}
	p.set(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := p.authority(Config{}).Check(ctx, a.sign(t, "a", nil)); !errors.Is(err, ErrUnavailable) { // after jwksFetch
		t.Errorf("no answer: %v", err)
	}
	for _, body := range []string{"", "null", "[]", `{"keys":null}`, `{"keys":{}}`, "<html>"} {
		p.set(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(body)) })
		if _, err := p.authority(Config{}).Check(t.Context(), a.sign(t, "a", nil)); !errors.Is(err, ErrUnavailable) {
			t.Errorf("%q: %v", body, err)
		}
	}
}

// A token for another application, or of another issuer, is refused where the
// operator says which are meant; claims that are not needed may be of any type;
// names are exact; clocks may differ by a minute.
func TestOutsideClaims(t *testing.T) {
	t.Parallel()
	a := rsaSigner(0, "a")
	p := newProvider(t)
	p.serve(a.jwk)
	strict := p.authority(Config{Leeway: time.Minute, Audience: []string{"crier", "crier-staging"}, Issuer: "https://id.example.org/"})
	good := map[string]any{"aud": []string{"other", "crier"}, "iss": "https://id.example.org/"}
	with := func(more map[string]any) map[string]any {
		out := map[string]any{}
		for _, m := range []map[string]any{good, more} {
			for k, v := range m {
				out[k] = v
			}
		}
		return out
	}
	now := time.Now()
	for name, c := range map[string]struct {
		claims map[string]any
		user   string // "": refused
	}{
		"good":                {good, "auth0|abc"},
		"audience as text":    {with(map[string]any{"aud": "crier-staging"}), "auth0|abc"},
		"another audience":    {with(map[string]any{"aud": "other"}), ""},
		"no audience":         {map[string]any{"iss": good["iss"]}, ""},
		"another issuer":      {with(map[string]any{"iss": "https://id.example.org"}), ""},
		"no issuer":           {map[string]any{"aud": "crier"}, ""},
		"claims of any type":  {with(map[string]any{"user_id": "x", "email": []string{"a@b.c"}, "sid": 7, "username": 7}), "auth0|abc"},
		"odd jti, iat":        {with(map[string]any{"jti": 7, "iat": "yesterday"}), "auth0|abc"},
		"odd exp":             {with(map[string]any{"exp": "tomorrow"}), ""},
		"odd nbf":             {with(map[string]any{"nbf": []int{1}}), ""},
		"odd aud":             {with(map[string]any{"aud": map[string]any{"crier": true}}), ""},
		"odd iss":             {with(map[string]any{"iss": 7}), ""},
		"no exp":              {with(map[string]any{"exp": nil}), ""},
		"other spellings":     {with(map[string]any{"USER_ID": 1, "Email": "eve@example.org", "SUB": "eve", "Aud": "x", "EXP": 1}), "auth0|abc"},
		"a clock 30 s behind": {with(map[string]any{"exp": now.Add(-30 * time.Second).Unix()}), "auth0|abc"},
		"a clock 30 s ahead":  {with(map[string]any{"nbf": now.Add(30 * time.Second).Unix(), "iat": now.Add(30 * time.Second).Unix()}), "auth0|abc"},
		"expired":             {with(map[string]any{"exp": now.Add(-2 * time.Minute).Unix()}), ""},
		"sub of another type": {with(map[string]any{"sub": []string{"x"}}), ""},
		"a topic's name":      {with(map[string]any{"sub": "topic:news"}), ""},
	} {
		id, err := strict.Check(t.Context(), a.sign(t, "a", c.claims))
		if string(id.UserID) != c.user || (err != nil) != (c.user == "") || id.Email == "eve@example.org" {
			t.Errorf("%s: %+v, %v", name, id, err)
		}
	}
	if _, err := p.authority(Config{}).Check(t.Context(), a.sign(t, "a", map[string]any{"exp": now.Add(-time.Second).Unix()})); !errors.Is(err, ErrExpired) {
		t.Errorf("expired a second ago, without a leeway: %v", err)
	}
	// A stream with this token goes on as long as a request would be served.
	ends := now.Add(-10 * time.Second).Truncate(time.Second)
	if id, err := strict.Check(t.Context(), a.sign(t, "a", with(map[string]any{"exp": ends.Unix()}))); err != nil || !id.Expires.Equal(ends.Add(time.Minute)) {
		t.Errorf("ends %v, %v", id.Expires, err)
	}
	byClaim := p.authority(Config{UserClaim: "uid"})
	if id, err := byClaim.Check(t.Context(), a.sign(t, "a", map[string]any{"uid": "ann", "sub": 7, "iss": 7, "aud": map[string]any{}})); err != nil || id.UserID != "ann" {
		t.Errorf("where nothing else is needed: %+v, %v", id, err)
	}
	for raw, want := range map[any]string{"ann": "ann", 42: "42", "": "", true: ""} {
		id, err := byClaim.Check(t.Context(), a.sign(t, "a", map[string]any{"uid": raw}))
		if string(id.UserID) != want || (err != nil) != (want == "") {
			t.Errorf("uid %v: %+v, %v", raw, id, err)
		}
	}
	if _, err := byClaim.Check(t.Context(), a.sign(t, "a", nil)); !errors.Is(err, ErrInvalid) {
		t.Errorf("without the claim: %v", err)
	}
}

// A key that is replaced under its own id, or has none, is found all the same; and the
// names that RFC 9864 gives are known.
func TestKeySetWithoutIDs(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ keyID, tokenID string }{{"", ""}, {"", "t"}, {"same", "same"}, {"same", ""}} {
		p := newProvider(t)
		a, b := rsaSigner(0, c.keyID), rsaSigner(1, c.keyID)
		p.serve(a.jwk)
		auth := p.authority(Config{})
		check := func(s signer) error {
			_, err := auth.Check(t.Context(), s.sign(t, c.tokenID, nil))
			return err
		}
		if err := check(a); err != nil {
			t.Errorf("%+v: %v", c, err)
		}
		p.serve(b.jwk)
		for range 20 {
			if err := check(b); !errors.Is(err, ErrInvalid) {
				t.Errorf("%+v: the new key before it could be read: %v", c, err)
			}
		}
		auth.keys.mu.Lock()
		auth.keys.tried = auth.keys.tried.Add(-jwksAgain)
		auth.keys.mu.Unlock()
		if err := check(b); err != nil {
			t.Errorf("%+v: the new key: %v", c, err)
		}
		if err := check(a); !errors.Is(err, ErrInvalid) {
			t.Errorf("%+v: the old key: %v", c, err)
		}
		if n := p.fetched.Load(); n != 2 {
			t.Errorf("%+v: fetched %d times", c, n)
		}
	}
	ed := edSigner(t, "ed")
	ed.jwk["alg"] = "Ed25519"
	p := newProvider(t)
	p.serve(ed.jwk)
	auth := p.authority(Config{})
	renamed := ed
	renamed.method = ed25519Method{jwt.SigningMethodEdDSA}
	for name, s := range map[string]signer{"EdDSA": ed, "Ed25519": renamed} {
		if id, err := auth.Check(t.Context(), s.sign(t, "ed", nil)); err != nil || id.UserID != "auth0|abc" {
			t.Errorf("%s: %+v, %v", name, id, err)
		}
	}
}

// ed25519Method is EdDSA under the name of RFC 9864.
type ed25519Method struct{ *jwt.SigningMethodEd25519 }

func (ed25519Method) Alg() string { return "Ed25519" }

// Where a key file is configured, too, a token of its key does not wait for the key set.
func TestKeyFileComesFirst(t *testing.T) {
	t.Parallel()
	p := newProvider(t)
	p.set(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	file, other := rsaSigner(0, "f"), rsaSigner(1, "o")
	path := filepath.Join(t.TempDir(), "key.pem")
	der, err := x509.MarshalPKIXPublicKey(&file.key.(*rsa.PrivateKey).PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	auth := p.authority(Config{PublicKeyFile: path})
	if _, err := auth.Check(t.Context(), file.sign(t, "f", nil)); err != nil || p.fetched.Load() != 0 {
		t.Errorf("%v after %d fetches", err, p.fetched.Load())
	}
	p.serve(other.jwk)
	for _, s := range []signer{other, file} {
		if _, err := auth.Check(t.Context(), s.sign(t, s.jwk["kid"], nil)); err != nil {
			t.Error(err)
		}
	}
}

// Tokens of this program name issuer and audience where they are set, and are held
// to them where they are of no session.
func TestOwnTokensNameTheAudience(t *testing.T) {
	t.Parallel()
	a := authority(t, Config{Secret: secret, Audience: []string{"crier"}, Issuer: "me"})
	plain := authority(t, Config{Secret: secret})
	id := Identity{UserID: "7", Expires: time.Now().Add(time.Hour)}
	for name, c := range map[string]struct {
		by      *Authority
		session string
		ok      bool
	}{"own": {a, "", true}, "of another holder of the secret": {plain, "", false}, "of a session from before the setting": {plain, "00000000-0000-4000-8000-000000000000", true}} {
		id.Session = c.session
		text, err := c.by.Mint(id, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := a.Check(t.Context(), text); (err == nil) != c.ok {
			t.Errorf("%s: %v", name, err)
		}
	}
}
