package inbox

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"crier/internal/event"
)

// querier is a pool or a transaction.
type querier interface {
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
}

// Said reads, within tx, a topic's newest messages of one kind with places below
// before (0: all), newest first.
func Said(ctx context.Context, tx pgx.Tx, topic, kind string, before int64, limit int) ([]event.Stored, error) {
	return said(ctx, tx, topic, kind, before, limit)
}

// Said is the function of that name on its own.
func (s *Store) Said(ctx context.Context, topic, kind string, before int64, limit int) ([]event.Stored, error) {
	return said(ctx, s.db, topic, kind, before, limit)
}

func said(ctx context.Context, q querier, topic, kind string, before int64, limit int) ([]event.Stored, error) {
	// Primary key, from its end.
	rows, err := q.Query(ctx, `select `+storedColumns+` from notifications n
		where n.user_id = $1 and ($2::bigint = 0 or n.id < $2) and n.kind = $3 and `+present+` order by n.id desc limit $4`,
		string(event.TopicOwner(topic)), before, kind, limit)
	if err != nil {
		return nil, fmt.Errorf("reading a topic: %w", err)
	}
	return collect(rows)
}

// SaidBy reads up to limit messages that a person sent to rooms, by room and id, after
// one of a room ("" and 0: from the first).
func (s *Store) SaidBy(ctx context.Context, author, owner event.UserID, id int64, limit int) ([]event.Stored, error) {
	// Index notifications_author.
	return s.query(ctx, `select `+storedColumns+` from notifications n
		where n.author = $1 and n.kind = 'message' and (n.user_id, n.id) > ($2, $3) and `+present+` order by n.user_id, n.id limit $4`, string(author), string(owner), id, limit)
}

// Amendment is a change of a message that was said in a topic.
type Amendment struct {
	Topic   string
	ID      int64
	Body    string
	Payload []byte
	Gone    bool // it is deleted: its words go, its place stays
}

// Amend changes messages within tx. Doing it again changes nothing.
func Amend(ctx context.Context, tx pgx.Tx, list []Amendment, now time.Time) error {
	for _, a := range list {
		var gone *time.Time
		if a.Gone {
			gone = &now
		}
		_, err := tx.Exec(ctx, `update notifications set body = $3, payload = $4, gone_at = $5 where user_id = $1 and id = $2`,
			string(event.TopicOwner(a.Topic)), a.ID, a.Body, string(a.Payload), gone)
		if err != nil {
			return fmt.Errorf("amending a message: %w", err)
		}
	}
	return nil
}

// Clear removes, within tx, what was said in a topic up to a place; places stay
// given.
func Clear(ctx context.Context, tx pgx.Tx, topic string, to int64, now time.Time) error {
	_, err := tx.Exec(ctx, `update notifications set gone_at = $3, body = '', payload = '' where user_id = $1 and id <= $2 and gone_at is null`,
		string(event.TopicOwner(topic)), to, now)
	if err != nil {
		return fmt.Errorf("clearing a topic: %w", err)
	}
	return nil
}

// PrunePassing removes what happened in rooms before cut and is not kept in
// their history, up to limit rows, and returns how many went.
func (s *Store) PrunePassing(ctx context.Context, cut time.Time, limit int) (int64, error) {
	// Index notifications_age narrows it to what is old.
	tag, err := s.db.Exec(ctx, `
		delete from notifications where ctid = any(array(
			select ctid from notifications where created_at < $1 and user_id like 'room:%' and kind <> 'message' limit $2))`, cut, limit)
	if err != nil {
		return 0, fmt.Errorf("pruning what happened in rooms: %w", err)
	}
	return tag.RowsAffected(), nil
}
