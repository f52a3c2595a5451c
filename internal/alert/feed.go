package alert

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"crier/internal/event"
)

// Snapshot is a point in the database's history from which changes are read
// on: every transaction below it has ended.
type Snapshot string

// Active calls fn with every alert that may fire, and returns the snapshot
// they were read in. Changes from that snapshot on bring everything later, and
// perhaps some of the same again.
func (s *Store) Active(ctx context.Context, fn func(Alert) error) (Snapshot, error) {
	var snap Snapshot
	opts := pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}
	err := pgx.BeginTxFunc(ctx, s.db.Pool, opts, func(tx pgx.Tx) error {
		if err := tx.QueryRow(ctx, `select pg_snapshot_xmin(pg_current_snapshot())::text`).Scan(&snap); err != nil {
			return err
		}
		// Index alerts_active; rows arrive as a stream, never all in memory.
		rows, err := tx.Query(ctx, `select `+columns+` from alerts a where a.state = 'created'`)
		if err != nil {
			return err
		}
		var r row
		_, err = pgx.ForEachRow(rows, r.dest(), func() error {
			a, err := r.alert()
			if err != nil {
				return err
			}
			return fn(a)
		})
		return err
	})
	if err != nil {
		return "", fmt.Errorf("loading alerts: %w", err)
	}
	return snap, nil
}

// Changes returns the alerts, in any state, that a transaction not below since
// has changed, and the snapshot to ask from next time. Because xmin is the
// oldest transaction still running, one that commits late is never passed over.
func (s *Store) Changes(ctx context.Context, since Snapshot) ([]Alert, Snapshot, error) {
	var next Snapshot
	var out []Alert
	opts := pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}
	err := pgx.BeginTxFunc(ctx, s.db.Pool, opts, func(tx pgx.Tx) error {
		if err := tx.QueryRow(ctx, `select pg_snapshot_xmin(pg_current_snapshot())::text`).Scan(&next); err != nil {
			return err
		}
		// Index alerts_changed.
		rows, err := tx.Query(ctx, `select `+columns+` from alerts a where a.changed >= $1::text::xid8`, string(since))
		if err != nil {
			return err
		}
		out, err = collect(rows)
		return err
	})
	if err != nil {
		return nil, since, fmt.Errorf("reading changed alerts: %w", err)
	}
	return out, next, nil
}

// Revision names one definition of an alert.
type Revision struct {
	ID, Revision int64
}

// Take notes that the matcher has these alerts: their triggers up to where it
// has committed have been acknowledged. It changes nothing that readers see.
func (s *Store) Take(ctx context.Context, revs []Revision) error {
	ids, numbers := make([]int64, len(revs)), make([]int64, len(revs))
	for i, r := range revs {
		ids[i], numbers[i] = r.ID, r.Revision
	}
	_, err := s.db.Exec(ctx, `
		update alerts a set taken = true from unnest($1::bigint[], $2::bigint[]) as k(i, r)
		where a.id = k.i and a.revision = k.r and not a.taken`, ids, numbers)
	if err != nil {
		return fmt.Errorf("taking %d alerts: %w", len(revs), err)
	}
	return nil
}

// LowestUntaken is, by partition, the lowest place of an active alert that no
// matcher has taken in the topic of this id. Alerts that hold in another topic
// of the name hold from the start of this one: all reports them.
func (s *Store) LowestUntaken(ctx context.Context, topicID string) (lowest map[int32]int64, others bool, err error) {
	lowest = make(map[int32]int64)
	// Index alerts_untaken.
	rows, err := s.db.Query(ctx, `select topic_id::text, partition, min(place) from alerts where not taken and state = 'created' group by 1, 2`)
	if err != nil {
		return nil, false, fmt.Errorf("looking for alerts not yet taken: %w", err)
	}
	var id string
	var p event.Place
	_, err = pgx.ForEachRow(rows, []any{&id, &p.Partition, &p.Offset}, func() error {
		if id == topicID {
			lowest[p.Partition] = p.Offset
		} else {
			others = true
		}
		return nil
	})
	if err != nil {
		return nil, false, fmt.Errorf("looking for alerts not yet taken: %w", err)
	}
	return lowest, others, nil
}
