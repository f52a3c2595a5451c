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
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"slices"
	"strconv"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"crier/internal/event"
	"crier/internal/scope"
)

// Errors of Check.
var (
	ErrInvalid = errors.New("not a valid token")
	ErrExpired = errors.New("the token has expired")
	// ErrUnavailable: the identity provider's keys have not been read yet, or not for
	// long, and it does not answer.
	ErrUnavailable = errors.New("the identity provider's keys cannot be read")
)

// MinSecret is the least length of an HS256 secret in bytes: as long as the
// hash, RFC 7518 section 3.2.
const MinSecret = 32

// Identity is who a token speaks for.
type Identity struct {
	UserID   event.UserID
	Session  string // "" in tokens that are not of a session here
	Username string
	Email    string
	Expires  time.Time // zero: with its session
	// Service: the token is a service's, which UserID names, and Grant is what it may do.
	Service bool
	Grant   scope.Grant
}

// claims are the members of a token's payload.
type claims struct {
	jwt.RegisteredClaims
	UserID   *int64 `json:"user_id,omitempty"` // sub as a number, for older clients' pages
	Session  string `json:"sid,omitempty"`
	Username string `json:"username,omitempty"`
	Email    string `json:"email,omitempty"`
	Scope    string `json:"scope,omitempty"` // RFC 8693, section 4.2

	members map[string]json.RawMessage // all there are
	odd     map[string]error           // claims that are of another type, and so left out
}

// UnmarshalJSON reads the claims one by one, by their exact names. One of another type is
// no error yet: an identity provider may use names for what it likes, and of its tokens
// only what is needed counts.
func (c *claims) UnmarshalJSON(b []byte) error {
	if err := event.Unmarshal(b, &c.members); err != nil {
		return err
	}
	for name, into := range map[string]any{
		"iss": &c.Issuer, "sub": &c.Subject, "aud": &c.Audience, "exp": &c.ExpiresAt, "nbf": &c.NotBefore, "iat": &c.IssuedAt, "jti": &c.ID,
		"user_id": &c.UserID, "sid": &c.Session, "username": &c.Username, "email": &c.Email, "scope": &c.Scope,
	} {
		if raw, ok := c.members[name]; ok {
			if err := event.Unmarshal(raw, into); err != nil {
				if c.odd == nil {
					c.odd = make(map[string]error)
				}
				c.odd[name] = fmt.Errorf("the claim %s: %w", name, err)
			}
		}
	}
	delete(c.odd, "scope") // a list that is no text grants nothing, and names a user as before
	return nil
}

// Validate is jwt.ClaimsValidator: a time that cannot be read is not one that has not
// come yet.
func (c *claims) Validate() error { return errors.Join(c.odd["exp"], c.odd["nbf"]) }

// Config says which keys there are.
type Config struct {
	Secret        string // HS256; mints and checks
	PublicKeyFile string // PEM; checks
	JWKSURL       string // checks; fetched when a key is needed
	// Audience and Issuer, where they are set, must be those of every token that is
	// not of a session here: without them a token that the same provider made for
	// another application is good here, too. Of several audiences one is enough.
	Audience  []string
	Issuer    string
	UserClaim string        // of the provider's tokens, that names the user; "": sub
	Leeway    time.Duration // for the provider's clock
	Log       *slog.Logger
}

// Authority mints and checks tokens. It is safe for concurrent use.
type Authority struct {
	cfg     Config
	secret  []byte
	public  crypto.PublicKey
	keys    *keySet
	methods []string
}

// New reads the keys; those of an address are fetched when they are needed, so that
// an identity provider that is away keeps nothing from starting.
func New(cfg Config) (*Authority, error) {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.UserClaim == "" {
		cfg.UserClaim = "sub"
	}
	var errs []error
	if cfg.Leeway < 0 || cfg.Leeway > 10*time.Minute {
		errs = append(errs, fmt.Errorf("CRIER_JWT_LEEWAY %q: must be 0s to 10m", cfg.Leeway))
	}
	a := &Authority{cfg: cfg, secret: []byte(cfg.Secret)}
	if cfg.Secret == "" && cfg.PublicKeyFile == "" && cfg.JWKSURL == "" {
		return nil, errors.New("no key for tokens: set CRIER_JWT_SECRET, CRIER_JWT_PUBLIC_KEY_FILE or CRIER_JWKS_URL")
	}
	if cfg.Secret != "" {
		if len(cfg.Secret) < MinSecret {
			errs = append(errs, fmt.Errorf("CRIER_JWT_SECRET: must be at least %d bytes", MinSecret))
		}
		a.methods = append(a.methods, "HS256")
	}
	if cfg.PublicKeyFile != "" {
		key, err := readPublicKey(cfg.PublicKeyFile)
		if err != nil {
			errs = append(errs, fmt.Errorf("CRIER_JWT_PUBLIC_KEY_FILE %q: must be a file with a public key or a certificate, PEM: %w", cfg.PublicKeyFile, err))
		}
		a.public = key
	}
	if cfg.JWKSURL != "" {
		u, err := url.Parse(cfg.JWKSURL)
		if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" {
			errs = append(errs, errors.New("CRIER_JWKS_URL: must be an http or https URL, such as https://id.example.org/jwks.json")) // may hold a password
		}
		a.keys = newKeySet(cfg.JWKSURL, cfg.Log)
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	if a.public != nil || a.keys != nil {
		if len(cfg.Audience) == 0 {
			cfg.Log.Warn("CRIER_JWT_AUDIENCE is not set: tokens that the identity provider made for other applications are accepted")
		}
		a.methods = append(a.methods, "RS256", "ES256", "EdDSA")
		// RFC 9864 has this name for what RFC 8037 calls EdDSA; the library knows only that.
		jwt.RegisterSigningMethod("Ed25519", func() jwt.SigningMethod { return jwt.SigningMethodEdDSA })
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

// Mint makes a token for an identity, good from now until its Expires. Only a token
// of a session may have none: it is good as long as the session is.
func (a *Authority) Mint(id Identity, now time.Time) (string, error) {
	if !a.CanMint() {
		return "", errors.New("minting a token: tokens come from the identity provider here")
	}
	if id.Expires.IsZero() && id.Session == "" {
		return "", errors.New("minting a token: neither an end nor a session")
	}
	var jti [16]byte
	_, _ = rand.Read(jti[:]) // never fails, see its document
	c := claims{
		RegisteredClaims: jwt.RegisteredClaims{
			Subject: string(id.UserID), ID: hex.EncodeToString(jti[:]),
			IssuedAt: jwt.NewNumericDate(now),
			Issuer:   a.cfg.Issuer, Audience: a.cfg.Audience,
		},
		Session: id.Session, Username: id.Username, Email: id.Email,
	}
	if id.Service {
		if c.Scope = scope.Claim(id.Grant); c.Scope == "" {
			return "", errors.New("minting a token: a service without scopes") // would be read as a user
		}
	}
	if !id.Expires.IsZero() {
		c.ExpiresAt = jwt.NewNumericDate(id.Expires)
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

// Check reads a token. ErrExpired, ErrInvalid and ErrUnavailable say what is wrong with
// it. ctx bounds the wait for an identity provider's keys.
func (a *Authority) Check(ctx context.Context, text string) (Identity, error) {
	parsed, c, err := a.parse(text, a.ownKeys)
	if a.keys != nil && (errors.Is(err, errNoKey) || errors.Is(err, jwt.ErrTokenSignatureInvalid)) {
		parsed, c, err = a.parse(text, func(t *jwt.Token) (any, error) { return a.providerKeys(ctx, t) })
		// The key may have been replaced by one that has its id, or none.
		if errors.Is(err, jwt.ErrTokenSignatureInvalid) && a.keys.again(ctx) {
			parsed, c, err = a.parse(text, func(t *jwt.Token) (any, error) { return a.providerKeys(ctx, t) })
		}
	}
	switch {
	case errors.Is(err, jwt.ErrTokenExpired):
		return Identity{}, ErrExpired
	case errors.Is(err, ErrUnavailable):
		return Identity{}, ErrUnavailable
	case err != nil:
		return Identity{}, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	id, err := a.identity(c, parsed.Method)
	if err != nil && !errors.Is(err, ErrExpired) {
		err = fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	return id, err
}

func (a *Authority) parse(text string, key jwt.Keyfunc) (*jwt.Token, *claims, error) {
	c := new(claims)
	known := func(t *jwt.Token) (any, error) {
		// The library passes over it. No extension is understood here, and an empty
		// list is no valid header (RFC 7515, section 4.1.11).
		if _, ok := t.Header["crit"]; ok {
			return nil, errors.New("crit: the token demands extensions that are not known")
		}
		return key(t)
	}
	parsed, err := jwt.ParseWithClaims(text, c, known, jwt.WithValidMethods(a.methods), jwt.WithLeeway(a.cfg.Leeway), jwt.WithStrictDecoding())
	return parsed, c, err
}

// identity is the user of a token's claims; method is how it was signed.
func (a *Authority) identity(c *claims, method jwt.SigningMethod) (Identity, error) {
	user := event.UserID(c.Subject)
	id := Identity{Session: c.Session, Username: c.Username, Email: c.Email}
	if c.ExpiresAt != nil {
		id.Expires = c.ExpiresAt.Time
	}
	if _, ours := method.(*jwt.SigningMethodHMAC); ours {
		for _, err := range c.odd {
			return Identity{}, err
		}
		if c.ExpiresAt != nil && !time.Now().Before(c.ExpiresAt.Time) {
			return Identity{}, ErrExpired // our own clock needs no leeway
		}
	} else {
		id.Session = "" // an identity provider's sessions are not kept here
		if c.ExpiresAt != nil {
			id.Expires = id.Expires.Add(a.cfg.Leeway) // so long it is good here, also for a stream
		}
		var err error
		if user, err = c.user(a.cfg.UserClaim); err != nil {
			return Identity{}, err
		}
	}
	if c.ExpiresAt == nil && id.Session == "" {
		return Identity{}, errors.New("exp is required")
	}
	if id.Session == "" {
		if err := a.meant(c); err != nil {
			return Identity{}, err
		}
	}
	var v event.Invalid
	v.CheckUserID(a.cfg.UserClaim, user)
	if err := v.Err(); err != nil {
		return Identity{}, err
	}
	id.UserID = user
	if id.Session == "" {
		id.Grant, id.Service = scope.OfClaim(c.Scope)
	}
	return id, nil
}

// user is whom a claim names: a text, or a whole number as its decimal text.
func (c *claims) user(claim string) (event.UserID, error) {
	var user event.UserID
	raw, ok := c.members[claim]
	if !ok {
		return "", fmt.Errorf("the claim %s is missing", claim)
	}
	if err := event.Unmarshal(raw, &user); err != nil {
		return "", fmt.Errorf("the claim %s names no user: %w", claim, err)
	}
	return user, nil
}

// meant refuses a token of another audience or issuer. Tokens of sessions here are not
// checked: they are known by their session.
func (a *Authority) meant(c *claims) error {
	if a.cfg.Issuer != "" && c.Issuer != a.cfg.Issuer {
		return fmt.Errorf("issued by %q", c.Issuer)
	}
	if len(a.cfg.Audience) > 0 && !slices.ContainsFunc(c.Audience, func(s string) bool { return slices.Contains(a.cfg.Audience, s) }) {
		return fmt.Errorf("for the audience %q", c.Audience)
	}
	return nil
}

// ownKeys is the key that is configured here, by the kind of algorithm: a public key is
// never used as an HMAC secret.
func (a *Authority) ownKeys(t *jwt.Token) (any, error) {
	_, symmetric := t.Method.(*jwt.SigningMethodHMAC)
	switch {
	case symmetric && len(a.secret) > 0:
		return a.secret, nil
	case symmetric:
		return nil, errors.New("HS256 is not accepted here")
	case a.public == nil || !fits(t.Method, a.public):
		return nil, errNoKey
	}
	return a.public, nil
}

// fits says whether a key is of the kind that a method needs.
func fits(m jwt.SigningMethod, key crypto.PublicKey) bool {
	switch key.(type) {
	case *rsa.PublicKey:
		return m.Alg() == "RS256"
	case *ecdsa.PublicKey:
		return m.Alg() == "ES256"
	case ed25519.PublicKey:
		return m.Alg() == "EdDSA"
	}
	return false
}

// providerKeys are those of the identity provider's address that may have signed a token.
func (a *Authority) providerKeys(ctx context.Context, t *jwt.Token) (any, error) {
	if _, symmetric := t.Method.(*jwt.SigningMethodHMAC); symmetric {
		return nil, errNoKey
	}
	id, _ := t.Header["kid"].(string) // absent: any key of the algorithm
	keys, err := a.keys.find(ctx, id, t.Method.Alg())
	if err != nil {
		return nil, err
	}
	var set jwt.VerificationKeySet
	for _, k := range keys {
		set.Keys = append(set.Keys, k)
	}
	return set, nil
}
