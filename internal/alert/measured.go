package alert

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"crier/internal/decimal"
	"crier/internal/event"
)

// Measured lists a user's newest active alerts that are measured from a moving
// reference: percentages and trailing stops.
func (s *Store) Measured(ctx context.Context, user event.UserID, limit int, now time.Time) ([]Alert, error) {
	rows, err := s.db.Query(ctx, `
		select `+columns+` from alerts a
		where a.user_id = $1 and a.state = 'created' and (a.expires_at is null or a.expires_at > $2) and a.condition in ('percent_up', 'percent_down', 'trailing_stop')
		order by a.id desc limit $3`, string(user), now, limit)
	if err != nil {
		return nil, fmt.Errorf("listing alerts with a reference: %w", err)
	}
	list, err := collect(rows)
	if err != nil {
		return nil, fmt.Errorf("listing alerts with a reference: %w", err)
	}
	return list, nil
}

// StateKey names an alert's state for one source.
type StateKey struct {
	AlertID int64
	Source  string
}

// Bests are the best prices of trailing stops as the matcher has saved them, which it
// does with each batch of ticks. A stop that waits to be armed again has none.
func (s *Store) Bests(ctx context.Context, list []Alert) (map[StateKey]decimal.Decimal, error) {
	var ids, revisions []int64
	for _, a := range list {
		if a.Condition == event.TrailingStop {
			ids, revisions = append(ids, a.ID), append(revisions, a.Revision)
		}
	}
	out := make(map[StateKey]decimal.Decimal, len(ids))
	if len(ids) == 0 {
		return out, nil
	}
	// Stops with the same best price share a group's, under the group's negated id;
	// a group that was taken into another one names that.
	rows, err := s.db.Query(ctx, `
		with recursive up as (
			select m.alert_id, m.symbol, m.source, m.best, m.shared, 0 as depth
			from unnest($1::bigint[], $2::bigint[]) as given (id, revision)
			join matcher_states m on m.alert_id = given.id and m.revision = given.revision
			where m.armed
			union all
			select up.alert_id, up.symbol, up.source, g.best, g.shared, up.depth + 1
			from up join matcher_states g on g.alert_id = -up.shared and g.symbol = up.symbol and g.source = up.source
			where up.shared <> 0 and up.depth < 64
		)
		select alert_id, source, best::text from up where shared = 0`, ids, revisions)
	if err != nil {
		return nil, fmt.Errorf("reading best prices: %w", err)
	}
	var key StateKey
	var text string
	_, err = pgx.ForEachRow(rows, []any{&key.AlertID, &key.Source, &text}, func() error {
		best, err := decimal.Parse(text)
		out[key] = best
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("reading best prices: %w", err)
	}
	return out, nil
}
