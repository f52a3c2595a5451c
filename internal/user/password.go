package user

import (
	"context"
	"crypto/rand"
	_ "embed"
	"encoding/base64"
	"errors"
	"fmt"
	"runtime"
	"strings"

	"golang.org/x/crypto/argon2"

	"crier/internal/event"
)

// argon2id parameters: OWASP's password storage cheat sheet names 19 MiB, two
// passes and one lane as its first choice of equal strength.
const (
	argonMemory = 19 << 10 // KiB
	argonTime   = 2
	argonLanes  = 1
	argonSalt   = 16
	argonKey    = 32
)

// MaxPassword bounds the work of hashing, in bytes.
const MaxPassword = 1024

// common are passwords of eight letters and more that every list of leaked
// ones begins with.
//
//go:embed common_passwords.txt
var common string

// CheckPassword notes which rule a new password breaks.
func CheckPassword(v *event.Invalid, field, password string) {
	switch {
	case password == "":
		v.Add(field, "required", "is required")
	case len([]rune(password)) < 8:
		v.Add(field, "length", "must be at least 8 characters")
	case len(password) > MaxPassword:
		v.Add(field, "length", fmt.Sprintf("must be at most %d bytes", MaxPassword))
	case strings.Trim(password, "0123456789") == "":
		v.Add(field, "digits", "must not be digits only")
	case strings.Contains("\n"+common, "\n"+strings.ToLower(password)+"\n"):
		v.Add(field, "common", "is among the most common passwords")
	}
}

// maxWaiting is how many passwords may wait to be hashed, for each that is hashed:
// about two seconds of work. Who comes then learns at once to come back later.
const maxWaiting = 64

// ErrBusy is a password that was not hashed, because too many wait.
var ErrBusy = errors.New("too many passwords wait to be hashed")

// Hasher hashes passwords, as many at once as there are processors: each takes
// 19 MiB, and a storm of logins must not take them all. So many may wait, others
// get ErrBusy.
type Hasher struct {
	slots chan struct{}
	queue chan struct{} // slots of passwords that wait or are being hashed
	// decoy is compared with when there is no such user, so that the answer
	// takes as long.
	decoy string
}

// NewHasher makes a Hasher.
func NewHasher() *Hasher {
	n := max(1, runtime.GOMAXPROCS(0))
	h := &Hasher{slots: make(chan struct{}, n), queue: make(chan struct{}, n*(1+maxWaiting))}
	salt := make([]byte, argonSalt)
	_, _ = rand.Read(salt) // never fails, see its document
	h.decoy = encode(salt, argon2.IDKey([]byte("decoy"), salt, argonTime, argonMemory, argonLanes, argonKey))
	return h
}

func encode(salt, key []byte) string {
	b64 := base64.RawStdEncoding
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version, argonMemory, argonTime, argonLanes, b64.EncodeToString(salt), b64.EncodeToString(key))
}

func (h *Hasher) slot(ctx context.Context) (func(), error) {
	select {
	case h.queue <- struct{}{}:
	default:
		return nil, ErrBusy
	}
	select {
	case h.slots <- struct{}{}:
		return func() { <-h.slots; <-h.queue }, nil
	case <-ctx.Done():
		<-h.queue
		return nil, context.Cause(ctx)
	}
}

// Hash is a password's hash in the usual $argon2id$ form.
func (h *Hasher) Hash(ctx context.Context, password string) (string, error) {
	done, err := h.slot(ctx)
	if err != nil {
		return "", fmt.Errorf("waiting to hash a password: %w", err)
	}
	defer done()
	salt := make([]byte, argonSalt)
	_, _ = rand.Read(salt)
	return encode(salt, argon2.IDKey([]byte(password), salt, argonTime, argonMemory, argonLanes, argonKey)), nil
}

// Verify says whether the password is the one of the hash; a hash that no password
// has takes as long and is never right.
func (h *Hasher) Verify(ctx context.Context, password, hash string) (bool, error) {
	if len(password) > MaxPassword {
		return false, nil
	}
	done, err := h.slot(ctx)
	if err != nil {
		return false, fmt.Errorf("waiting to check a password: %w", err)
	}
	defer done()
	known := hash != "" && !strings.HasPrefix(hash, unusablePrefix)
	if !known {
		hash = h.decoy
	}
	check, err := parseHash(hash)
	if err != nil {
		return false, fmt.Errorf("checking a password: %w", err)
	}
	return check(password) && known, nil
}
