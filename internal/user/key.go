package user

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"crier/internal/scope"
)

// Errors of keys.
var (
	ErrNoKey    = errors.New("no such key, or it is revoked")
	ErrKeyLimit = fmt.Errorf("the service has %d keys that are good, as many as one may have", MaxKeys)
)

// MaxKeys is how many good keys one owner may have.
const MaxKeys = 20

// KeySender is by what name the sends of an owner's keys are known.
func KeySender(owner string) string { return "key:" + owner }

// Key is a service's API key as it can be shown: the secret is known only when it is
// made. Its id names it among the keys of its owner.
type Key struct {
	ID         int64
	Owner      string
	Grant      scope.Grant
	CreatedAt  time.Time
	ExpiresAt  *time.Time // nil: never
	ReplacedAt *time.Time // when a rotation made its successor
	RevokedAt  *time.Time
	LastUsedAt *time.Time // within minutes; nil: not since this is recorded
}

// Expired reports whether a key's time is over.
func (k Key) Expired(now time.Time) bool { return k.ExpiresAt != nil && !now.Before(*k.ExpiresAt) }

// keyColumns are those that scanKey reads.
const keyColumns = `id, owner, scopes, kinds, created_at, expires_at, replaced_at, revoked_at, last_used_at`

func scanKey(row pgx.CollectableRow) (Key, error) { return scanKeyAnd(row) }

// scanKeyAnd reads more columns behind those of the key.
func scanKeyAnd(row pgx.CollectableRow, more ...any) (Key, error) {
	var k Key
	err := row.Scan(append([]any{&k.ID, &k.Owner, &k.Grant.Scopes, &k.Grant.Kinds, &k.CreatedAt, &k.ExpiresAt, &k.ReplacedAt, &k.RevokedAt, &k.LastUsedAt}, more...)...)
	k.Grant.All = k.Grant.Scopes == nil
	return k, err
}

// MakeKey makes an API key of a service: of k its Owner, Grant and ExpiresAt count. One
// owner may have several.
func (s *Store) MakeKey(ctx context.Context, k Key, now time.Time) (string, Key, error) {
	var text string
	err := s.db.Tx(ctx, func(tx pgx.Tx) error {
		if err := lockOwner(ctx, tx, k.Owner); err != nil {
			return err
		}
		var err error
		text, k, err = insertKey(ctx, tx, k, now)
		return err
	})
	if err != nil {
		return "", k, fmt.Errorf("making an API key: %w", err)
	}
	return text, k, nil
}

// lockOwner lets one transaction at a time change the keys of an owner, so that two
// cannot pass the limit together.
func lockOwner(ctx context.Context, tx pgx.Tx, owner string) error {
	_, err := tx.Exec(ctx, `select pg_advisory_xact_lock(hashtextextended('api_keys ' || $1, 0))`, owner)
	return err
}

func insertKey(ctx context.Context, tx pgx.Tx, k Key, now time.Time) (string, Key, error) {
	text, _ := secret()
	text = "crier_" + text
	scopes := k.Grant.Scopes
	if k.Grant.All {
		scopes = nil
	} else if scopes == nil {
		scopes = []scope.Scope{}
	}
	rows, err := tx.Query(ctx, `
		insert into api_keys (hash, owner, created_at, scopes, kinds, expires_at) select $1, $2, $3, $5, $6, $7
		where (select count(*) from api_keys where owner = $2 and revoked_at is null and (expires_at is null or expires_at > $3)) < $4
		returning `+keyColumns, hashSecret(text), k.Owner, now, MaxKeys, scopes, k.Grant.Kinds, k.ExpiresAt)
	if err != nil {
		return "", k, err
	}
	k, err = pgx.CollectExactlyOneRow(rows, scanKey)
	if errors.Is(err, pgx.ErrNoRows) {
		err = ErrKeyLimit
	}
	return text, k, err
}

// AmbiguousError is returned where several keys are meant and one is needed.
type AmbiguousError struct{ IDs []int64 }

func (e AmbiguousError) Error() string {
	list := make([]string, len(e.IDs))
	for i, id := range e.IDs {
		list[i] = fmt.Sprint(id)
	}
	return "the service has several keys: choose one of the ids " + strings.Join(list, ", ")
}

// Rotation is how a key is replaced.
type Rotation struct {
	ID        int64         // of the key; 0: the one that its owner has
	Overlap   time.Duration // how long it stays good, if it does not end before
	Renew     bool          // the successor lives as long as the key was made to live
	ExpiresAt *time.Time    // else it ends here; nil: never
}

// RotateKey makes a successor of a key, with its scopes and kinds. A key that was
// replaced already, or revoked, is not found; one that has expired is.
func (s *Store) RotateKey(ctx context.Context, owner string, r Rotation, now time.Time) (text string, made, old Key, err error) {
	err = s.db.Tx(ctx, func(tx pgx.Tx) error {
		if err := lockOwner(ctx, tx, owner); err != nil {
			return err
		}
		rows, err := tx.Query(ctx, `select `+keyColumns+` from api_keys
			where owner = $1 and ($2::bigint = 0 or id = $2) and revoked_at is null and replaced_at is null order by id`, owner, r.ID)
		if err != nil {
			return err
		}
		keys, err := pgx.CollectRows(rows, scanKey)
		// One that has expired is meant only where no other is.
		if live := slices.DeleteFunc(slices.Clone(keys), func(k Key) bool { return k.Expired(now) }); len(live) > 0 && r.ID == 0 {
			keys = live
		}
		switch {
		case err != nil:
			return err
		case len(keys) == 0:
			return ErrNoKey
		case len(keys) > 1:
			var e AmbiguousError
			for _, k := range keys {
				e.IDs = append(e.IDs, k.ID)
			}
			return e
		}
		old = keys[0]
		next := Key{Owner: owner, Grant: old.Grant, ExpiresAt: r.ExpiresAt}
		if r.Renew && old.ExpiresAt != nil {
			at := now.Add(old.ExpiresAt.Sub(old.CreatedAt))
			next.ExpiresAt = &at
		}
		rows, err = tx.Query(ctx, `update api_keys set replaced_at = $2, expires_at = least(expires_at, $3) where id = $1 returning `+keyColumns, old.ID, now, now.Add(r.Overlap))
		if err != nil {
			return err
		}
		if old, err = pgx.CollectExactlyOneRow(rows, scanKey); err != nil {
			return err
		}
		text, made, err = insertKey(ctx, tx, next, now)
		return err
	})
	if err != nil {
		err = fmt.Errorf("rotating an API key: %w", err)
	}
	return text, made, old, err
}

// KeysOf returns those of the keys that are not revoked, by their secrets. Expired ones
// are among them.
func (s *Store) KeysOf(ctx context.Context, secrets []string) (map[string]Key, error) {
	hashes := make([][]byte, len(secrets))
	byHash := make(map[string]string, len(secrets))
	for i, text := range secrets {
		hashes[i] = hashSecret(text)
		byHash[string(hashes[i])] = text
	}
	rows, err := s.db.Query(ctx, `select `+keyColumns+`, hash from api_keys where hash = any($1::bytea[]) and revoked_at is null`, hashes)
	if err != nil {
		return nil, fmt.Errorf("looking up API keys: %w", err)
	}
	found := make(map[string]Key, len(secrets))
	_, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (Key, error) {
		var hash []byte
		k, err := scanKeyAnd(row, &hash)
		found[byHash[string(hash)]] = k
		return k, err
	})
	if err != nil {
		return nil, fmt.Errorf("looking up API keys: %w", err)
	}
	return found, nil
}

// NoteKeysUsed records when keys were last used.
func (s *Store) NoteKeysUsed(ctx context.Context, ids []int64, now time.Time) error {
	_, err := s.db.Exec(ctx, `update api_keys set last_used_at = $2 where id = any($1::bigint[]) and (last_used_at is null or last_used_at < $2)`, ids, now)
	if err != nil {
		return fmt.Errorf("recording the use of API keys: %w", err)
	}
	return nil
}

// Keys lists all keys, oldest first.
func (s *Store) Keys(ctx context.Context) ([]Key, error) {
	rows, err := s.db.Query(ctx, `select `+keyColumns+` from api_keys order by created_at, id`)
	if err != nil {
		return nil, fmt.Errorf("listing API keys: %w", err)
	}
	return pgx.CollectRows(rows, scanKey)
}

// RevokeKeys ends all keys of an owner, or that with the id; they are refused from the
// next request on.
func (s *Store) RevokeKeys(ctx context.Context, owner string, id int64, now time.Time) error {
	tag, err := s.db.Exec(ctx, `update api_keys set revoked_at = $3 where owner = $1 and ($2::bigint = 0 or id = $2) and revoked_at is null`, owner, id, now)
	if err != nil {
		return fmt.Errorf("revoking API keys: %w", err)
	}
	if tag.RowsAffected() == 0 {
		return ErrNoKey
	}
	return nil
}
