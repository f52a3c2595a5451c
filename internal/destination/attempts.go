package destination

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"crier/internal/event"
)

// Attempt is one try at delivering an item to a destination.
type Attempt struct {
	ID       int64           `json:"id"`
	EventID  string          `json:"event_id"`
	Attempt  int             `json:"attempt"`
	Request  string          `json:"request" example:"POST https://example.org/hook"`
	Data     json.RawMessage `json:"data,omitempty" swaggertype:"object"`
	Status   int             `json:"status,omitempty"` // absent: there was no answer
	Error    string          `json:"error,omitempty"`  // absent: it went well
	Answer   string          `json:"answer,omitempty"` // its first 1 KiB
	At       time.Time       `json:"at"`
	TookMS   int64           `json:"took_ms"`
	Delivery string          `json:"delivery" enums:"delivered,waiting,failed"` // the item's state there now
}

// Attempts is a page of a destination's attempts, newest first, before an id
// where that is not 0; only those that failed, if asked.
func (s *Store) Attempts(ctx context.Context, destination, before int64, failed bool, limit int) ([]Attempt, bool, error) {
	// Index push_attempts_destination.
	rows, _ := s.db.Query(ctx, `
		select a.id, coalesce(i.event_id, ''), a.attempt, a.request, i.data, a.status, a.error, a.answer, a.began_at, a.took_ms,
			case when p.due_at is not null then 'waiting' when p.failed_at is not null then 'failed' when a.error = '' then 'delivered' else 'done' end
		from (select * from push_attempts where destination_id = $1 and ($2::bigint = 0 or id < $2) and (not $3 or error <> '') order by id desc limit $4) a
		left join incoming_items i on i.id = a.item_id
		left join pushes p on p.destination_id = a.destination_id and p.item_id = a.item_id
		order by a.id desc`, destination, before, failed, limit+1) // its error comes with the rows
	list, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (Attempt, error) {
		var a Attempt
		var data *string
		err := row.Scan(&a.ID, &a.EventID, &a.Attempt, &a.Request, &data, &a.Status, &a.Error, &a.Answer, &a.At, &a.TookMS, &a.Delivery)
		if data != nil {
			a.Data = json.RawMessage(*data)
		}
		return a, err
	})
	if err != nil {
		return nil, false, fmt.Errorf("listing attempts: %w", err)
	}
	if len(list) > limit {
		return list[:limit], true, nil
	}
	return list, false, nil
}

// Replay has the item of one attempt delivered again, whatever became of it.
func (s *Store) Replay(ctx context.Context, d Destination, attempt int64) error {
	return s.replay(ctx, d, func(tx pgx.Tx) (int64, error) {
		var item int64
		err := tx.QueryRow(ctx, `
			select a.item_id from push_attempts a join incoming_items i on i.id = a.item_id where a.destination_id = $1 and a.id = $2`, d.ID, attempt).Scan(&item)
		if errors.Is(err, pgx.ErrNoRows) {
			return 0, ErrNotFound
		}
		if err != nil {
			return 0, fmt.Errorf("reading an attempt: %w", err)
		}
		return 1, enqueue(ctx, tx, []int64{d.ID}, []int64{item}, false)
	}, nil)
}

// ReplayFailed has everything delivered again that was given up since a time,
// and returns how much that is. Index pushes_failed.
func (s *Store) ReplayFailed(ctx context.Context, d Destination, since time.Time) (int64, error) {
	var n int64
	err := s.replay(ctx, d, func(tx pgx.Tx) (int64, error) {
		tag, err := tx.Exec(ctx, `
			update pushes set due_at = now(), failed_at = null, attempts = 0 where destination_id = $1 and failed_at >= $2`, d.ID, since)
		if err != nil {
			return 0, fmt.Errorf("queueing what was given up: %w", err)
		}
		return tag.RowsAffected(), wake(ctx, tx, []int64{d.ID})
	}, &n)
	return n, err
}

func (s *Store) replay(ctx context.Context, d Destination, queue func(pgx.Tx) (int64, error), n *int64) error {
	return s.db.Tx(ctx, func(tx pgx.Tx) error {
		var enabled bool
		err := tx.QueryRow(ctx, `select enabled from destinations where id = $1 for key share`, d.ID).Scan(&enabled)
		switch {
		case errors.Is(err, pgx.ErrNoRows):
			return ErrNotFound
		case err != nil:
			return fmt.Errorf("locking a destination: %w", err)
		case !enabled:
			return ErrDisabled
		}
		queued, err := queue(tx)
		if n != nil {
			*n = queued
		}
		return err
	})
}

// Export is everything that is kept for a user's accounts, but for the items.
type Export struct {
	Account      Account       `json:"account"`
	Destinations []Destination `json:"destinations"`
}

// ExportOf is what a user owns.
func (s *Store) ExportOf(ctx context.Context, owner event.UserID) ([]Export, error) {
	out := []Export{}
	for before, more := int64(0), true; more; {
		var list []Account
		var err error
		if list, _, more, err = s.Accounts(ctx, owner, before, 100); err != nil {
			return nil, err
		}
		for _, a := range list {
			before = int64(a.ID)
			to, err := s.List(ctx, a.ID)
			if err != nil {
				return nil, err
			}
			out = append(out, Export{a, to})
		}
	}
	return out, nil
}
