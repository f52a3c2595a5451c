// Package token mints and checks JSON Web Tokens (RFC 7519): Crier's own, by
// HS256, and those of the operator's identity provider, by a public key file or
// a JWKS address (RS256, ES256, EdDSA). The algorithm is fixed by the kind of
// key, never taken from the token.
//
// Checking is by signature and time only; whether a token's session still
// lives is Postgres's to say (internal/user).
package token

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"strconv"
	"time"

	"github.com/MicahParks/keyfunc/v3"
	"github.com/golang-jwt/jwt/v5"

	"crier/internal/event"
)

// Errors of Check.
var (
	ErrInvalid = errors.New("not a valid token")
	ErrExpired = errors.New("the token has expired")
)

// MinSecret is the least length of an HS256 secret in bytes: as long as the
// hash, RFC 7518 section 3.2.
const MinSecret = 32

// leeway allows for clocks that differ between an identity provider and us.
const leeway = 5 * time.Second

// Identity is who a token speaks for.
type Identity struct {
	UserID   event.UserID
	Session  string // "" in tokens that are not of a session here
	Username string
	Email    string
	Expires  time.Time
}

// claims are the members of a token's payload.
type claims struct {
	jwt.RegisteredClaims
	UserID   *int64 `json:"user_id,omitempty"` // sub as a number, for older clients' pages
	Session  string `json:"sid,omitempty"`
	Username string `json:"username,omitempty"`
	Email    string `json:"email,omitempty"`
}

// Config says which keys there are.
type Config struct {
	Secret        string // HS256; mints and checks
	PublicKeyFile string // PEM; checks
	JWKSURL       string // checks; fetched at start and again for unknown key ids
}

// Authority mints and checks tokens. It is safe for concurrent use.
type Authority struct {
	secret  []byte
	public  crypto.PublicKey
	keys    keyfunc.Keyfunc
	methods []string
}

// New reads the keys. The context bounds the life of the JWKS refresher.
func New(ctx context.Context, cfg Config) (*Authority, error) {
	a := &Authority{secret: []byte(cfg.Secret)}
	if cfg.Secret == "" && cfg.PublicKeyFile == "" && cfg.JWKSURL == "" {
		return nil, errors.New("no key for tokens: set CRIER_JWT_SECRET, CRIER_JWT_PUBLIC_KEY_FILE or CRIER_JWKS_URL")
	}
	if cfg.Secret != "" {
		if len(cfg.Secret) < MinSecret {
			return nil, fmt.Errorf("CRIER_JWT_SECRET: must be at least %d bytes", MinSecret)
		}
		a.methods = append(a.methods, "HS256")
	}
	if cfg.PublicKeyFile != "" {
		key, err := readPublicKey(cfg.PublicKeyFile)
		if err != nil {
			return nil, fmt.Errorf("CRIER_JWT_PUBLIC_KEY_FILE: %w", err)
		}
		a.public = key
	}
	if cfg.JWKSURL != "" {
		keys, err := keyfunc.NewDefaultCtx(ctx, []string{cfg.JWKSURL})
		if err != nil {
			return nil, fmt.Errorf("CRIER_JWKS_URL: %w", err)
		}
		a.keys = keys
	}
	if a.public != nil || a.keys != nil {
		a.methods = append(a.methods, "RS256", "ES256", "EdDSA")
	}
	return a, nil
}

func readPublicKey(path string) (crypto.PublicKey, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(b)
	if block == nil {
		return nil, errors.New("holds no PEM block")
	}
	if block.Type == "CERTIFICATE" {
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, err
		}
		return cert.PublicKey, nil
	}
	return x509.ParsePKIXPublicKey(block.Bytes)
}

// CanMint says whether this authority has a secret of its own.
func (a *Authority) CanMint() bool { return len(a.secret) > 0 }

// Mint makes a token for an identity, good from now until its Expires.
func (a *Authority) Mint(id Identity, now time.Time) (string, error) {
	if !a.CanMint() {
		return "", errors.New("minting a token: tokens come from the identity provider here")
	}
	var jti [16]byte
	_, _ = rand.Read(jti[:]) // never fails, see its document
	c := claims{
		RegisteredClaims: jwt.RegisteredClaims{
			Subject: string(id.UserID), ID: hex.EncodeToString(jti[:]),
			IssuedAt: jwt.NewNumericDate(now), ExpiresAt: jwt.NewNumericDate(id.Expires),
		},
		Session: id.Session, Username: id.Username, Email: id.Email,
	}
	if n, err := strconv.ParseInt(string(id.UserID), 10, 64); err == nil && strconv.FormatInt(n, 10) == string(id.UserID) {
		c.UserID = &n
	}
	text, err := jwt.NewWithClaims(jwt.SigningMethodHS256, c).SignedString(a.secret)
	if err != nil {
		return "", fmt.Errorf("minting a token: %w", err)
	}
	return text, nil
}

// Check reads a token. ErrExpired and ErrInvalid say what is wrong with it.
func (a *Authority) Check(text string) (Identity, error) {
	var c claims
	parsed, err := jwt.ParseWithClaims(text, &c, a.key, jwt.WithValidMethods(a.methods), jwt.WithExpirationRequired(), jwt.WithLeeway(leeway))
	if errors.Is(err, jwt.ErrTokenExpired) {
		return Identity{}, ErrExpired
	}
	if err != nil {
		return Identity{}, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	var v event.Invalid
	v.CheckUserID("sub", event.UserID(c.Subject))
	if err := v.Err(); err != nil {
		return Identity{}, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	if _, ours := parsed.Method.(*jwt.SigningMethodHMAC); !ours {
		c.Session = "" // an identity provider's sessions are not kept here
	} else if !time.Now().Before(c.ExpiresAt.Time) {
		return Identity{}, ErrExpired // our own clock needs no leeway
	}
	return Identity{UserID: event.UserID(c.Subject), Session: c.Session, Username: c.Username, Email: c.Email, Expires: c.ExpiresAt.Time}, nil
}

// key chooses the key by the kind of algorithm, so that a public key is never
// used as an HMAC secret.
func (a *Authority) key(t *jwt.Token) (any, error) {
	if _, ok := t.Method.(*jwt.SigningMethodHMAC); ok {
		if len(a.secret) == 0 {
			return nil, errors.New("HS256 is not accepted here")
		}
		return a.secret, nil
	}
	if a.public != nil {
		return a.public, nil
	}
	return a.keys.Keyfunc(t)
}
