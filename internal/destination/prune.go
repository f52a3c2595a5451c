package destination

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// Prune removes at most limit rows of each kind that are older than before, or
// belong to a destination that is gone, and says how many there were. Whatever
// still waits for an old item is removed with it.
func (s *Store) Prune(ctx context.Context, before time.Time, limit int) (int64, error) {
	var n int64
	err := s.db.Tx(ctx, func(tx pgx.Tx) error {
		n = 0
		for _, statement := range []string{
			// Ids rise with time, so the oldest stand at the beginning of the primary key.
			`delete from push_attempts where id in (select id from push_attempts order by id limit $2) and began_at < $1`,
			`with old as (
				delete from incoming_items where id in (select id from incoming_items order by id limit $2) and created_at < $1 returning id),
			gone as (delete from pushes where item_id in (select id from old))
			select 1 from old`,
		} {
			tag, err := tx.Exec(ctx, statement, before, limit)
			if err != nil {
				return fmt.Errorf("pruning items and attempts: %w", err)
			}
			n += tag.RowsAffected()
		}
		for _, removed := range []func(context.Context, pgx.Tx, int) (int64, error){pruneRemoved, pruneRemovedAccount} {
			m, err := removed(ctx, tx, limit)
			if err != nil {
				return err
			}
			n += m
		}
		return nil
	})
	return n, err
}

// pruneRemoved removes what is left of one destination that is gone.
func pruneRemoved(ctx context.Context, tx pgx.Tx, limit int) (int64, error) {
	var n int64
	for _, statement := range []string{
		`delete from pushes where (destination_id, item_id) in (
			select destination_id, item_id from pushes where destination_id = (select min(id) from removed_destinations) limit $1)`,
		`delete from push_attempts where id in (
			select id from push_attempts where destination_id = (select min(id) from removed_destinations) limit $1)`,
	} {
		tag, err := tx.Exec(ctx, statement, limit)
		if err != nil {
			return n, fmt.Errorf("removing what a destination has left: %w", err)
		}
		n += tag.RowsAffected()
	}
	if n > 0 {
		return n, nil
	}
	tag, err := tx.Exec(ctx, `delete from removed_destinations where id = (select min(id) from removed_destinations)`)
	if err != nil {
		return 0, fmt.Errorf("forgetting a destination: %w", err)
	}
	return tag.RowsAffected(), nil
}

// pruneRemovedAccount removes items of one account that is gone. No index leads to
// them, which would cost every item that comes in.
func pruneRemovedAccount(ctx context.Context, tx pgx.Tx, limit int) (int64, error) {
	var account int64
	err := tx.QueryRow(ctx, `select id from removed_accounts order by id limit 1 for update`).Scan(&account)
	if errors.Is(err, pgx.ErrNoRows) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("looking for a removed account: %w", err)
	}
	tag, err := tx.Exec(ctx, `delete from incoming_items where id in (select id from incoming_items where account_id = $1 limit $2)`, account, limit)
	if err != nil {
		return 0, fmt.Errorf("removing an account's items: %w", err)
	}
	if n := tag.RowsAffected(); n == int64(limit) {
		return n, nil
	}
	if _, err := tx.Exec(ctx, `delete from removed_accounts where id = $1`, account); err != nil {
		return 0, fmt.Errorf("removing an account's items: %w", err)
	}
	return tag.RowsAffected() + 1, nil
}
