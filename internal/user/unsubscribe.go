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

// Unsubscriber signs the addresses in mails' unsubscribe links, so that only who
// has got a mail can stop the next one. Its key is this installation's.
type Unsubscriber struct{ key []byte }

const unsubscribeNote = "unsubscribe_key"

// Unsubscriber reads the installation's key, and makes it the first time.
func (s *Store) Unsubscriber(ctx context.Context) (*Unsubscriber, error) {
	var key string
	err := s.db.QueryRow(ctx, `
		insert into installation as i (name, value) values ($1, $2)
		on conflict (name) do update set value = i.value returning value`, unsubscribeNote, rand.Text()+rand.Text()).Scan(&key)
	if err != nil {
		return nil, fmt.Errorf("reading the key of unsubscribe links: %w", err)
	}
	return &Unsubscriber{[]byte(key)}, nil
}

// Token is an address that cannot be changed without notice.
func (u *Unsubscriber) Token(address string) string {
	b64 := base64.RawURLEncoding
	return b64.EncodeToString([]byte(address)) + "." + b64.EncodeToString(u.sign(address))
}

func (u *Unsubscriber) sign(address string) []byte {
	m := hmac.New(sha256.New, u.key)
	m.Write([]byte(address))
	return m.Sum(nil)
}

// Address is what a token was made from; false: it was not made here.
func (u *Unsubscriber) Address(token string) (string, bool) {
	b64 := base64.RawURLEncoding
	head, tail, ok := strings.Cut(token, ".")
	address, err1 := b64.DecodeString(head)
	sum, err2 := b64.DecodeString(tail)
	if !ok || err1 != nil || err2 != nil || !hmac.Equal(sum, u.sign(string(address))) {
		return "", false
	}
	return string(address), true
}
