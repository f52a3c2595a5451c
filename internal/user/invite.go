package user

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// ErrInvite is an invitation that does not exist, was used up, or has expired.
var ErrInvite = errors.New("no such invitation, or it was used or has expired")

// MakeInvite makes an invitation by which so many people may sign up until it expires.
// Its code is known only now.
func (s *Store) MakeInvite(ctx context.Context, uses int, now, expires time.Time) (string, error) {
	code, hash := secret()
	if _, err := s.db.Exec(ctx, `insert into invites (hash, uses_left, created_at, expires_at) values ($1, $2, $3, $4)`, hash, uses, now, expires); err != nil {
		return "", fmt.Errorf("making an invitation: %w", err)
	}
	return code, nil
}

// UseInvite uses an invitation once, within the transaction that makes the account.
func UseInvite(ctx context.Context, tx pgx.Tx, code string, now time.Time) error {
	// The row's lock lets one transaction at a time have its last use.
	tag, err := tx.Exec(ctx, `update invites set uses_left = uses_left - 1 where hash = $1 and uses_left > 0 and expires_at > $2`, hashSecret(code), now)
	if err != nil {
		return fmt.Errorf("using an invitation: %w", err)
	}
	if tag.RowsAffected() == 0 {
		return ErrInvite
	}
	return nil
}
