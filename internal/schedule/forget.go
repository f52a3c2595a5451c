package schedule

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"crier/internal/event"
)

// Forget cancels what is to be sent to a user, and removes its content also where
// it was sent, within tx. The rows stay without it until Prune, so that their
// records, read again, are not delivered. What is to several users at once stays
// until Prune: it is the others' too.
func Forget(ctx context.Context, tx pgx.Tx, user event.UserID) error {
	_, err := tx.Exec(ctx, `
		update pending_sends set value = '', key = null, headers = '[]',
			cancelled_at = case when done_at is null then coalesce(cancelled_at, now()) else cancelled_at end
		where target = $1 and coalesce(nullif(value, '')::json ->> 'topic', '') = ''`, string(user))
	if err != nil {
		return fmt.Errorf("forgetting scheduled sends: %w", err)
	}
	return nil
}
