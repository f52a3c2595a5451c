package alert

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"crier/internal/decimal"
)

// Standing is where an alert stands with one source of its symbol, as the
// matcher saves it; docs/adr-0009-matcher-state-in-postgres.md says why. A
// negative AlertID is a best price that trailing stops share.
type Standing struct {
	AlertID        int64
	Symbol, Source string
	Partition      int32
	Revision       int64
	Armed, Streak  bool
	SinceNS, First int64
	Best           decimal.Decimal
	Shared         int64
}

// Progress is up to where a partition of `ticks` is matched.
type Progress struct {
	TopicID string
	Next    int64
}

// Claim makes owner the only one who may save the progress of a partition from
// now on, and tells what was saved last; ok is false where nothing was.
func (s *Store) Claim(ctx context.Context, partition int32, topicID, owner string) (p Progress, ok bool, err error) {
	err = s.db.QueryRow(ctx, `
		insert into matcher_progress as m (partition, topic_id, next, owner) values ($1, $2::uuid, -1, $3::uuid)
		on conflict (partition) do update set owner = excluded.owner
		returning m.topic_id::text, m.next`, partition, topicID, owner).Scan(&p.TopicID, &p.Next)
	if err != nil {
		return p, false, fmt.Errorf("claiming partition %d: %w", partition, err)
	}
	return p, p.Next >= 0, nil
}

// MatchedTo is, by partition, the offset up to which the topic of an id is matched and
// its last prices are stored.
func (s *Store) MatchedTo(ctx context.Context, topicID string) (map[int32]int64, error) {
	rows, _ := s.db.Query(ctx, `select partition, next from matcher_progress where topic_id = $1::uuid and next >= 0`, topicID) // its error comes with the rows
	out := make(map[int32]int64)
	var n int32
	var next int64
	if _, err := pgx.ForEachRow(rows, []any{&n, &next}, func() error { out[n] = next; return nil }); err != nil {
		return nil, fmt.Errorf("reading the matcher's progress: %w", err)
	}
	return out, nil
}

// ErrNotOwner says that another matcher has claimed a partition since.
var ErrNotOwner = errors.New("another matcher has this partition now")

// SaveProgress writes, within tx, up to where a partition is matched and what the
// matcher remembers as of then. ErrNotOwner rolls all of it back.
func SaveProgress(ctx context.Context, tx pgx.Tx, partition int32, owner string, p Progress, changed []Standing, removed []Standing) error {
	tag, err := tx.Exec(ctx, `update matcher_progress set topic_id = $3::uuid, next = $4 where partition = $1 and owner = $2::uuid`, partition, owner, p.TopicID, p.Next)
	if err != nil {
		return fmt.Errorf("saving the matcher's progress: %w", err)
	}
	if tag.RowsAffected() == 0 {
		return ErrNotOwner
	}
	batch := &pgx.Batch{}
	for i := range changed {
		c := &changed[i]
		batch.Queue(`
			insert into matcher_states (alert_id, symbol, source, partition, revision, armed, streak, since_ns, first, best, shared)
			values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10::numeric, $11)
			on conflict (alert_id, symbol, source) do update set partition = excluded.partition, revision = excluded.revision, armed = excluded.armed,
				streak = excluded.streak, since_ns = excluded.since_ns, first = excluded.first, best = excluded.best, shared = excluded.shared`,
			c.AlertID, c.Symbol, c.Source, partition, c.Revision, c.Armed, c.Streak, c.SinceNS, c.First, c.Best.String(), c.Shared)
	}
	for i := range removed {
		batch.Queue(`delete from matcher_states where alert_id = $1 and symbol = $2 and source = $3`, removed[i].AlertID, removed[i].Symbol, removed[i].Source)
	}
	if batch.Len() == 0 {
		return nil
	}
	if err := tx.SendBatch(ctx, batch).Close(); err != nil {
		return fmt.Errorf("saving %d states of alerts: %w", len(changed), err)
	}
	return nil
}

// Standings reads what was saved of a partition.
func (s *Store) Standings(ctx context.Context, partition int32) ([]Standing, error) {
	// Index matcher_states_partition.
	rows, err := s.db.Query(ctx, `select alert_id, symbol, source, revision, armed, streak, since_ns, first, best::text, shared from matcher_states where partition = $1`, partition)
	if err != nil {
		return nil, fmt.Errorf("reading states of alerts: %w", err)
	}
	var out []Standing
	t := Standing{Partition: partition}
	var best string
	_, err = pgx.ForEachRow(rows, []any{&t.AlertID, &t.Symbol, &t.Source, &t.Revision, &t.Armed, &t.Streak, &t.SinceNS, &t.First, &best, &t.Shared}, func() error {
		var err error
		t.Best, err = decimal.Parse(best)
		out = append(out, t)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("reading states of alerts: %w", err)
	}
	return out, nil
}

// ForgetStandings removes what was saved of a partition of another topic of the name.
func (s *Store) ForgetStandings(ctx context.Context, partition int32) error {
	if _, err := s.db.Exec(ctx, `delete from matcher_states where partition = $1`, partition); err != nil {
		return fmt.Errorf("forgetting states of alerts: %w", err)
	}
	return nil
}

// HoldFrom has the active alerts of a partition that has lost ticks hold from where
// it ends now, where they hold from beyond that.
func (s *Store) HoldFrom(ctx context.Context, partition int32, topicID string, next int64) error {
	_, err := s.db.Exec(ctx, `
		update alerts set place = $3, changed = pg_current_xact_id()
		where state = 'created' and topic_id = $2::uuid and partition = $1 and place > $3`, partition, topicID, next)
	if err != nil {
		return fmt.Errorf("correcting where alerts hold from: %w", err)
	}
	return nil
}

// ByID reads alerts of any state, those of users who have left excepted.
func (s *Store) ByID(ctx context.Context, ids []int64) (map[int64]Alert, error) {
	rows, err := s.db.Query(ctx, `select `+columns+` from alerts a where a.id = any($1::bigint[]) and a.user_id <> ''`, ids)
	if err != nil {
		return nil, fmt.Errorf("reading %d alerts: %w", len(ids), err)
	}
	found, err := collect(rows)
	if err != nil {
		return nil, fmt.Errorf("reading %d alerts: %w", len(ids), err)
	}
	out := make(map[int64]Alert, len(found))
	for _, a := range found {
		out[a.ID] = a
	}
	return out, nil
}

// Take notes, within tx, that the matcher has these alerts: their triggers up to
// the progress that is saved with it have been acknowledged. It changes nothing
// that readers see.
func Take(ctx context.Context, tx pgx.Tx, revs []Revision) error {
	ids, numbers := make([]int64, len(revs)), make([]int64, len(revs))
	for i, r := range revs {
		ids[i], numbers[i] = r.ID, r.Revision
	}
	_, err := tx.Exec(ctx, `
		update alerts a set taken = true from unnest($1::bigint[], $2::bigint[]) as k(i, r)
		where a.id = k.i and a.revision = k.r and not a.taken`, ids, numbers)
	if err != nil {
		return fmt.Errorf("taking %d alerts: %w", len(revs), err)
	}
	return nil
}

// Revision names one definition of an alert.
type Revision struct {
	ID, Revision int64
}
