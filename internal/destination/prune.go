package destination

import (
	"context"
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
		m, err := pruneRemoved(ctx, tx, limit)
		n += m
		return err
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
