package user

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// Errors of keys.
var (
	ErrNoKey    = errors.New("no such key, or it is revoked")
	ErrKeyLimit = fmt.Errorf("the service has %d keys that are not revoked, as many as one may have", MaxKeys)
)

// MaxKeys is how many live keys one owner may have.
const MaxKeys = 20

// Key is a service's API key as it can be shown: the key itself is known only
// when it is made.
type Key struct {
	Owner     string
	CreatedAt time.Time
	RevokedAt *time.Time
}

// MakeKey makes an API key of a service. One owner may have several, to change
// them without a gap.
func (s *Store) MakeKey(ctx context.Context, owner string, now time.Time) (string, error) {
	text, _ := secret()
	text = "crier_" + text
	err := s.db.Tx(ctx, func(tx pgx.Tx) error {
		// One of an owner's at a time, so that two cannot pass the limit together.
		if _, err := tx.Exec(ctx, `select pg_advisory_xact_lock(hashtextextended('api_keys ' || $1, 0))`, owner); err != nil {
			return err
		}
		tag, err := tx.Exec(ctx, `
			insert into api_keys (hash, owner, created_at) select $1, $2, $3
			where (select count(*) from api_keys where owner = $2 and revoked_at is null) < $4`, hashSecret(text), owner, now, MaxKeys)
		if err == nil && tag.RowsAffected() == 0 {
			err = ErrKeyLimit
		}
		return err
	})
	if err != nil {
		return "", fmt.Errorf("making an API key: %w", err)
	}
	return text, nil
}

// KeyOwners returns the owners of those of the keys that are live.
func (s *Store) KeyOwners(ctx context.Context, keys []string) (map[string]string, error) {
	hashes := make([][]byte, len(keys))
	byHash := make(map[string]string, len(keys))
	for i, k := range keys {
		hashes[i] = hashSecret(k)
		byHash[string(hashes[i])] = k
	}
	rows, err := s.db.Query(ctx, `select hash, owner from api_keys where hash = any($1::bytea[]) and revoked_at is null`, hashes)
	if err != nil {
		return nil, fmt.Errorf("looking up API keys: %w", err)
	}
	owners := make(map[string]string, len(keys))
	var hash []byte
	var owner string
	if _, err := pgx.ForEachRow(rows, []any{&hash, &owner}, func() error { owners[byHash[string(hash)]] = owner; return nil }); err != nil {
		return nil, fmt.Errorf("looking up API keys: %w", err)
	}
	return owners, nil
}

// Keys lists all keys, oldest first.
func (s *Store) Keys(ctx context.Context) ([]Key, error) {
	rows, err := s.db.Query(ctx, `select owner, created_at, revoked_at from api_keys order by created_at`)
	if err != nil {
		return nil, fmt.Errorf("listing API keys: %w", err)
	}
	return pgx.CollectRows(rows, pgx.RowToStructByPos[Key])
}

// RevokeKeys ends all keys of an owner; they are refused from the next request
// on.
func (s *Store) RevokeKeys(ctx context.Context, owner string, now time.Time) error {
	tag, err := s.db.Exec(ctx, `update api_keys set revoked_at = $2 where owner = $1 and revoked_at is null`, owner, now)
	if err != nil {
		return fmt.Errorf("revoking API keys: %w", err)
	}
	if tag.RowsAffected() == 0 {
		return ErrNoKey
	}
	return nil
}
