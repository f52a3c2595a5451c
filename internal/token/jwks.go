package token

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net/http"
	"net/url"
	"sync"
	"time"

	"crier/internal/event"
	"crier/internal/lifecycle"
)

// Times of a key set.
const (
	// jwksFresh is how long keys are used without asking again: a key that its
	// provider has withdrawn ends within it and one fetch.
	jwksFresh = 45 * time.Second
	// jwksAgain is the least time between two fetches, whatever key ids clients make
	// up: a key that was just added is found after it at the latest.
	jwksAgain = 15 * time.Second
	// jwksFetch bounds one fetch.
	jwksFetch = 5 * time.Second
	// jwksKept is how long keys are used while their provider does not answer.
	jwksKept = time.Hour
	// jwksMost bounds an answer in bytes: a key has some hundreds.
	jwksMost = 1 << 20
)

// keySet is the keys of an identity provider (RFC 7517), fetched when they are
// needed, by the request that needs them, which takes jwksFetch at most; others wait
// no longer than they would themselves. It is safe for concurrent use.
type keySet struct {
	url    string
	client *http.Client
	health *lifecycle.Health
	fetch  chan struct{} // one place: who fetches

	mu      sync.Mutex // guards the rest
	keys    []providerKey
	fetched time.Time // when the keys were read
	tried   time.Time
}

// providerKey is one key, with the algorithm that it is for.
type providerKey struct {
	id     string
	alg    string
	public crypto.PublicKey
}

func newKeySet(address string, log *slog.Logger) *keySet {
	return &keySet{url: address, client: &http.Client{Timeout: jwksFetch}, health: lifecycle.NewHealth(log, "reading the identity provider's keys (CRIER_JWKS_URL)"), fetch: make(chan struct{}, 1)}
}

// errNoKey is a token whose key is not in the set.
var errNoKey = errors.New("no key of the identity provider fits")

// find returns the keys that may have signed a token: those with its key id or none, or
// where it names none, all of its algorithm. ErrUnavailable: no keys could be read.
func (s *keySet) find(ctx context.Context, id, alg string) ([]crypto.PublicKey, error) {
	found, fresh := s.known(id, alg)
	if fresh && len(found) > 0 {
		return found, nil
	}
	if len(found) > 0 {
		s.read(ctx, true, false)
	} else {
		s.read(ctx, false, true) // nothing to go on with
	}
	if found, _ = s.known(id, alg); len(found) > 0 {
		return found, nil
	}
	if s.empty() {
		return nil, ErrUnavailable
	}
	return nil, errNoKey
}

// again reads the keys for a token that none of them has signed, and says whether that
// was done since.
func (s *keySet) again(ctx context.Context) bool {
	s.mu.Lock()
	before := s.fetched
	s.mu.Unlock()
	s.read(ctx, false, true)
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.fetched.After(before)
}

// read has the keys read, if it is time to; known: there are some to go on with. Where
// another request is at it, it waits for that if it is to.
func (s *keySet) read(ctx context.Context, known, wait bool) {
	select {
	case s.fetch <- struct{}{}:
		if s.due(known) {
			// Not ended by its caller: a client that hangs up would spend the one fetch
			// that all have, and could keep new keys out and withdrawn ones good.
			s.health.Report(s.refresh(context.WithoutCancel(ctx)))
		}
		<-s.fetch
	case <-ctx.Done():
	default:
		if !wait {
			return
		}
		select {
		case s.fetch <- struct{}{}:
			<-s.fetch
		case <-ctx.Done():
		}
	}
}

// empty says that there are no keys, or only ones that are too old.
func (s *keySet) empty() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.fetched.IsZero() || time.Since(s.fetched) > jwksKept
}

// known returns the keys that fit, and whether they were read a short time ago.
func (s *keySet) known(id, alg string) (found []crypto.PublicKey, fresh bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	age := time.Since(s.fetched)
	if s.fetched.IsZero() || age > jwksKept {
		return nil, false
	}
	for _, k := range s.keys {
		if k.alg == alg && (id == "" || k.id == id || k.id == "") {
			found = append(found, k.public)
		}
	}
	return found, age < jwksFresh
}

// due reports whether to fetch now.
func (s *keySet) due(known bool) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if time.Since(s.tried) < jwksAgain || known && time.Since(s.fetched) < jwksFresh {
		return false
	}
	s.tried = time.Now()
	return true
}

func (s *keySet) refresh(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, jwksFetch)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.url, nil)
	if err != nil {
		return hideCredentials(err)
	}
	req.Header.Set("Accept", "application/jwk-set+json, application/json")
	resp, err := s.client.Do(req)
	if err != nil {
		return hideCredentials(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, jwksMost+1))
	switch {
	case err != nil:
		return fmt.Errorf("reading the answer: %w", err)
	case resp.StatusCode != http.StatusOK:
		return fmt.Errorf("status %d", resp.StatusCode)
	case len(body) > jwksMost:
		return fmt.Errorf("the answer is longer than %d bytes", jwksMost)
	}
	keys, err := parseKeySet(body)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.keys, s.fetched = keys, time.Now()
	return nil
}

// hideCredentials removes from an error of the HTTP client what its address may hold
// beside scheme, host and path: user info and query are where keys and passwords are.
func hideCredentials(err error) error {
	var failed *url.Error
	if !errors.As(err, &failed) {
		return err
	}
	u, parseErr := url.Parse(failed.URL)
	if parseErr != nil {
		return fmt.Errorf("%s: %w", failed.Op, failed.Err)
	}
	return fmt.Errorf("%s %s: %w", failed.Op, (&url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path}).String(), failed.Err)
}

// jwk is a key as RFC 7517, 7518 (section 6) and 8037 have it.
type jwk struct {
	Kind  string `json:"kty"`
	Use   string `json:"use"`
	ID    string `json:"kid"`
	Alg   string `json:"alg"`
	Curve string `json:"crv"`
	N     string `json:"n"`
	E     string `json:"e"`
	X     string `json:"x"`
	Y     string `json:"y"`
}

// parseKeySet reads the keys of a set that can be used here. Others are left out
// (RFC 7517, section 5): of a kind, curve or use that is not known, or malformed.
func parseKeySet(body []byte) ([]providerKey, error) {
	var set struct {
		Keys []rawKey `json:"keys"`
	}
	if err := event.Unmarshal(body, &set); err != nil {
		return nil, fmt.Errorf("not a key set: %w", err)
	}
	if set.Keys == nil {
		return nil, errors.New("not a key set: no keys")
	}
	var out []providerKey
	for _, raw := range set.Keys {
		var k jwk
		if event.Unmarshal(raw, &k) != nil || k.Use != "" && k.Use != "sig" {
			continue
		}
		public, alg := k.public()
		if public == nil || k.Alg != "" && k.Alg != alg && (alg != "EdDSA" || k.Alg != "Ed25519") { // RFC 9864 renames it
			continue
		}
		out = append(out, providerKey{k.ID, alg, public})
	}
	return out, nil
}

// rawKey is one key's JSON, read by itself: a malformed one spoils no other.
type rawKey []byte

// UnmarshalJSON keeps the text.
func (r *rawKey) UnmarshalJSON(b []byte) error {
	*r = append((*r)[:0], b...)
	return nil
}

// public returns the key and its algorithm, nil where it cannot be used.
func (k *jwk) public() (crypto.PublicKey, string) {
	switch {
	case k.Kind == "RSA":
		n, e := number(k.N), number(k.E)
		if n == nil || e == nil || n.BitLen() < 2048 || n.BitLen() > 8192 || !e.IsInt64() || e.Int64() < 3 || e.Int64() > 1<<31-1 {
			return nil, ""
		}
		return &rsa.PublicKey{N: n, E: int(e.Int64())}, "RS256"
	case k.Kind == "EC" && k.Curve == "P-256":
		x, y := number(k.X), number(k.Y)
		if x == nil || y == nil || x.BitLen() > 256 || y.BitLen() > 256 {
			return nil, ""
		}
		point := make([]byte, 1+2*32) // uncompressed (SEC 1, section 2.3.3)
		point[0] = 4
		x.FillBytes(point[1:33])
		y.FillBytes(point[33:])
		key, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), point)
		if err != nil { // not a point of the curve
			return nil, ""
		}
		return key, "ES256"
	case k.Kind == "OKP" && k.Curve == "Ed25519":
		x, err := base64.RawURLEncoding.DecodeString(k.X)
		if err != nil || len(x) != ed25519.PublicKeySize {
			return nil, ""
		}
		return ed25519.PublicKey(x), "EdDSA"
	}
	return nil, ""
}

func number(text string) *big.Int {
	b, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil || len(b) == 0 || len(b) > 2048 {
		return nil
	}
	return new(big.Int).SetBytes(b)
}
