package user

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// IdempotencyTTL is how long a send's Idempotency-Key is remembered.
const IdempotencyTTL = 24 * time.Hour

// ErrKeyReused is a key that was used for other content.
var ErrKeyReused = errors.New("this idempotency key was used for something else")

// BeginSend notes a send under its sender's key. It returns the answer that
// was given before, "" if there is none yet: then the send is to be done (again),
// which the consumer's own idempotency makes harmless.
func (s *Store) BeginSend(ctx context.Context, sender, key string, hash []byte, now time.Time) (answer string, err error) {
	var known []byte
	var given *string
	var at time.Time
	err = s.db.QueryRow(ctx, `
		insert into idempotent_sends as i (sender, key, content_hash, created_at) values ($1, $2, $3, $4)
		on conflict (sender, key) do update set created_at = case when i.created_at < $5 then excluded.created_at else i.created_at end,
			content_hash = case when i.created_at < $5 then excluded.content_hash else i.content_hash end,
			answer = case when i.created_at < $5 then null else i.answer end
		returning content_hash, answer, created_at`, sender, key, hash, now, now.Add(-IdempotencyTTL)).Scan(&known, &given, &at)
	if errors.Is(err, pgx.ErrNoRows) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("noting an idempotency key: %w", err)
	}
	if !bytes.Equal(known, hash) {
		return "", ErrKeyReused
	}
	if given != nil {
		return *given, nil
	}
	return "", nil
}

// EndSend keeps the answer that was given.
func (s *Store) EndSend(ctx context.Context, sender, key, answer string) error {
	if _, err := s.db.Exec(ctx, `update idempotent_sends set answer = $3 where sender = $1 and key = $2 and answer is null`, sender, key, answer); err != nil {
		return fmt.Errorf("keeping the answer to an idempotent send: %w", err)
	}
	return nil
}
