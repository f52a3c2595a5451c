package user

import (
	"context"
	"crypto/pbkdf2"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"strconv"
	"strings"

	"golang.org/x/crypto/argon2"
	"golang.org/x/crypto/bcrypt"

	"crier/internal/event"
)

// Bounds of the work that an imported hash may ask for at each login.
const (
	maxIterations   = 10_000_000
	maxArgonMemory  = 256 << 10 // KiB
	maxArgonPasses  = 10
	maxBcryptCost   = 15
	maxStoredHash   = 500
	unusablePrefix  = "!" // Django's, of an account without a password
	djangoArgon     = "argon2"
	djangoBcrypt    = "bcrypt"
	djangoBcryptSHA = "bcrypt_sha256"
	djangoPBKDF2    = "pbkdf2_sha256"
	djangoPBKDF2SHA = "pbkdf2_sha1"
)

var errHashForm = errors.New("the stored hash has an unknown form")

// stored checks a password against one form of a stored hash.
type stored func(password string) bool

// parseHash reads a stored hash: this program's, or one of Django's, which imported
// accounts have until they log in.
func parseHash(text string) (stored, error) {
	if len(text) > maxStoredHash {
		return nil, errHashForm
	}
	kind, rest, _ := strings.Cut(text, "$")
	switch kind {
	case "": // $argon2id$…
		return parseArgon(text)
	case djangoArgon:
		return parseArgon("$" + rest)
	case djangoPBKDF2:
		return parsePBKDF2(rest, sha256.New)
	case djangoPBKDF2SHA:
		return parsePBKDF2(rest, sha1.New)
	case djangoBcrypt, djangoBcryptSHA:
		return parseBcrypt(rest, kind == djangoBcryptSHA)
	}
	return nil, errHashForm
}

// parseArgon reads $argon2id$v=19$m=…,t=…,p=…$salt$key.
func parseArgon(text string) (stored, error) {
	var version, memory, passes int
	var lanes uint8
	parts := strings.Split(text, "$")
	if len(parts) != 6 || parts[1] != "argon2id" {
		return nil, errHashForm
	}
	if _, err := fmt.Sscanf(parts[2]+" "+parts[3], "v=%d m=%d,t=%d,p=%d", &version, &memory, &passes, &lanes); err != nil || version != argon2.Version {
		return nil, errHashForm
	}
	salt, err1 := base64.RawStdEncoding.DecodeString(parts[4])
	want, err2 := base64.RawStdEncoding.DecodeString(parts[5])
	if err1 != nil || err2 != nil || len(want) < 16 || memory < 8 || memory > maxArgonMemory || passes < 1 || passes > maxArgonPasses || lanes < 1 {
		return nil, errHashForm
	}
	return func(password string) bool {
		got := argon2.IDKey([]byte(password), salt, uint32(passes), uint32(memory), lanes, uint32(len(want)))
		return subtle.ConstantTimeCompare(got, want) == 1
	}, nil
}

// parsePBKDF2 reads iterations$salt$key; the salt is a text, the key in base64.
func parsePBKDF2(text string, of func() hash.Hash) (stored, error) {
	parts := strings.Split(text, "$")
	if len(parts) != 3 {
		return nil, errHashForm
	}
	n, err1 := strconv.Atoi(parts[0])
	want, err2 := base64.StdEncoding.DecodeString(parts[2])
	if err1 != nil || err2 != nil || n < 1 || n > maxIterations || parts[1] == "" || len(want) != of().Size() {
		return nil, errHashForm
	}
	return func(password string) bool {
		got, err := pbkdf2.Key(of, password, []byte(parts[1]), n, len(want))
		return err == nil && subtle.ConstantTimeCompare(got, want) == 1
	}, nil
}

// parseBcrypt reads $2b$cost$…, of the password or of its SHA-256 in hex.
func parseBcrypt(text string, digest bool) (stored, error) {
	cost, err := bcrypt.Cost([]byte(text))
	if err != nil || cost > maxBcryptCost {
		return nil, errHashForm
	}
	return func(password string) bool {
		if digest {
			sum := sha256.Sum256([]byte(password))
			password = hex.EncodeToString(sum[:])
		}
		return bcrypt.CompareHashAndPassword([]byte(text), []byte(password)) == nil
	}, nil
}

// CheckHash notes a hash that no password could be checked against. "" and Django's
// mark of an account without a password are good: no login succeeds until a password
// is set.
func CheckHash(v *event.Invalid, field, text string) {
	if text == "" || strings.HasPrefix(text, unusablePrefix) {
		return
	}
	if _, err := parseHash(text); err != nil {
		v.Add(field, "hash", "must be a hash of Django's (pbkdf2_sha256, pbkdf2_sha1, argon2 with argon2id, bcrypt_sha256, bcrypt) or of Crier's")
	}
}

// Outdated reports whether a hash is of another form or strength than new ones are.
func Outdated(text string) bool {
	return !strings.HasPrefix(text, fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$", argon2.Version, argonMemory, argonTime, argonLanes))
}

// RenewHash replaces a hash by another one of the same password. Nothing that the
// password has opened ends. Where the password was changed meanwhile, nothing is
// replaced.
func (s *Store) RenewHash(ctx context.Context, id int64, old, renewed string) error {
	if _, err := s.db.Exec(ctx, `update users set password_hash = $3 where id = $1 and password_hash = $2`, id, old, renewed); err != nil {
		return fmt.Errorf("renewing a password's hash: %w", err)
	}
	return nil
}
