package alert

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
)

// Snapshot is a point in the database's history from which changes are read
// on: every transaction below it has ended.
type Snapshot string

// EstimateActive is about how many alerts may fire, told without counting them.
func (s *Store) EstimateActive(ctx context.Context) (int, error) {
	var n float64
	if err := s.db.QueryRow(ctx, `select coalesce((select reltuples from pg_class where oid = 'alerts_active'::regclass), 0)`).Scan(&n); err != nil {
		return 0, fmt.Errorf("estimating alerts: %w", err)
	}
	return max(0, int(n)), nil
}

// Active calls fn with every alert that may fire, and returns the snapshot
// they were read in. Changes from that snapshot on bring everything later, and
// perhaps some of the same again. What is not needed to match an alert (whose it
// is, its words) is not read. The alert is fn's until it returns.
func (s *Store) Active(ctx context.Context, fn func(*Alert) error) (Snapshot, error) {
	var snap Snapshot
	opts := pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}
	err := pgx.BeginTxFunc(ctx, s.db.Pool, opts, func(tx pgx.Tx) error {
		if err := tx.QueryRow(ctx, `select pg_snapshot_xmin(pg_current_snapshot())::text`).Scan(&snap); err != nil {
			return err
		}
		// Index alerts_active, or where most of the table is active the table itself;
		// rows arrive as a stream, never all in memory.
		rows, err := tx.Query(ctx, `select `+activeColumns+` from alerts a where a.state = 'created'`)
		if err != nil {
			return err
		}
		defer rows.Close()
		var r activeRow
		if err := r.check(rows.FieldDescriptions()); err != nil {
			return err
		}
		for rows.Next() {
			if err := r.read(rows.RawValues()); err != nil {
				return err
			}
			if err := fn(&r.a); err != nil {
				return err
			}
		}
		return rows.Err()
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
