package user

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"strings"
)

// Signer signs what stands in mails' links, so that only who has got a mail can
// follow it: nothing that opens a door is kept. Its key is this installation's.
type Signer struct{ key []byte }

// What is signed; each has a key of its own.
const (
	Unsubscribing = "unsubscribe_key" // addresses
	Resetting     = "reset_key"       // ids of requests for a new password
	Confirming    = "confirm_key"     // addresses, to their owners
)

// Signer reads the installation's key for a purpose, and makes it the first
// time.
func (s *Store) Signer(ctx context.Context, purpose string) (*Signer, error) {
	key, err := s.Noted(ctx, purpose)
	if err == nil && key == "" {
		// Another process may be making it now: the first one's counts.
		err = s.db.QueryRow(ctx, `
			insert into installation as i (name, value) values ($1, $2)
			on conflict (name) do update set value = i.value returning value`, purpose, rand.Text()+rand.Text()).Scan(&key)
	}
	if err != nil {
		return nil, fmt.Errorf("reading the %s: %w", purpose, err)
	}
	return &Signer{[]byte(key)}, nil
}

// Token is a text that cannot be changed without notice.
func (s *Signer) Token(text string) string {
	b64 := base64.RawURLEncoding
	return b64.EncodeToString([]byte(text)) + "." + b64.EncodeToString(s.sign(text))
}

func (s *Signer) sign(text string) []byte {
	m := hmac.New(sha256.New, s.key)
	m.Write([]byte(text))
	return m.Sum(nil)
}

// Text is what a token was made from; false: it was not made here.
func (s *Signer) Text(token string) (string, bool) {
	b64 := base64.RawURLEncoding
	head, tail, ok := strings.Cut(token, ".")
	text, err1 := b64.DecodeString(head)
	sum, err2 := b64.DecodeString(tail)
	if !ok || err1 != nil || err2 != nil || !hmac.Equal(sum, s.sign(string(text))) {
		return "", false
	}
	return string(text), true
}
