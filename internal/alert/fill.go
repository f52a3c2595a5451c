package alert

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"crier/internal/event"
)

// Fill makes n alerts for a load test, as if a matcher had taken them, in an
// installation that has no others: on five symbols with prices around 100,000 and
// targets at least one percent away. Nineteen of twenty are levels and crossings
// that fire once; the others are of every further kind.
func (s *Store) Fill(ctx context.Context, user event.UserID, place event.Place, n int) error {
	indexes := map[string]string{
		"alerts_user": `(user_id, id)`, "alerts_changed": `(changed)`, "alerts_active": `(id) where state = 'created'`,
		"alerts_untaken": `(partition, place) where not taken and state = 'created'`,
	}
	err := pgx.BeginFunc(ctx, s.db.Pool, func(tx pgx.Tx) error {
		for name := range indexes {
			if _, err := tx.Exec(ctx, `drop index `+name); err != nil {
				return err
			}
		}
		_, err := tx.Exec(ctx, `
			insert into alerts (user_id, symbol, condition, target, high, window_ms, confirm_ms, hysteresis, repeat, cooldown_ms, created_at, topic_id, partition, place, taken)
			select $1, (array['BTCUSDT', 'ETHUSDT', 'SOLUSDT', 'XRPUSDT', 'DOGEUSDT'])[1 + i % 5],
				case when k < 38 then 'above' when k < 76 then 'below' when k < 86 then 'crosses_above' when k < 95 then 'crosses_below' when k < 96 then 'above'
					when k < 97 then 'exits' when k < 98 then 'percent_up' when k < 99 then 'trailing_stop' else 'below' end,
				case when k < 38 or k >= 76 and k < 86 or k = 95 then up when k = 97 or k = 98 then 2 + away / 1000 else down end,
				case when k = 96 then up end, case when k = 97 then 3600000 else 0 end, case when k = 99 then 10000 else 0 end, case when k = 99 then 10 else 0 end,
				case when k = 95 then 'every' else 'once' end, case when k = 95 then 60000 else 0 end, now(), $2::uuid, $3, $4, true
			from (select i, i % 100 as k, away, 101000 + away as up, 99000 - away as down
				from (select i, round((1 + random() * 20000)::numeric, 2) as away from generate_series(1, $5::int) as i) as a) as b`,
			string(user), place.TopicID, place.Partition, place.Offset, n)
		if err != nil {
			return err
		}
		for name, on := range indexes {
			if _, err := tx.Exec(ctx, `create index `+name+` on alerts `+on); err != nil {
				return err
			}
		}
		return nil
	})
	if err == nil {
		_, err = s.db.Exec(ctx, `analyze alerts`)
	}
	if err != nil {
		return fmt.Errorf("making %d alerts: %w", n, err)
	}
	return nil
}
