package destination

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"crier/internal/event"
)

// Notice is a notification that goes to its user's own destinations.
type Notice struct {
	Owner   event.UserID
	EventID string
	Data    []byte
}

// PushNotices queues notices for all enabled destinations of their users'
// accounts, within the transaction that stores the notifications, and returns
// for each how many destinations get it.
func PushNotices(ctx context.Context, tx pgx.Tx, notices []Notice, now time.Time) ([]int, error) {
	counts := make([]int, len(notices))
	for i, n := range notices {
		// Indexes accounts_owner, destinations_account.
		rows, _ := tx.Query(ctx, `
			select d.account_id, d.id from destinations d join accounts a on a.id = d.account_id
			where a.owner = $1 and d.enabled order by d.account_id, d.id`, string(n.Owner)) // its error comes with the rows
		var account event.AccountID
		var id int64
		to := make(map[event.AccountID][]int64)
		var accounts []event.AccountID
		_, err := pgx.ForEachRow(rows, []any{&account, &id}, func() error {
			if len(to[account]) == 0 {
				accounts = append(accounts, account)
			}
			to[account] = append(to[account], id)
			counts[i]++
			return nil
		})
		if err != nil {
			return nil, fmt.Errorf("looking for a user's destinations: %w", err)
		}
		for _, account := range accounts {
			if _, err := Push(ctx, tx, account, to[account], n.EventID, n.Data, false, now); err != nil {
				return nil, err
			}
		}
	}
	return counts, nil
}

// Standing is how the delivery of one event to one destination stands.
type Standing struct {
	Request   string
	State     string // queued, retrying, sent or failed
	Attempts  int
	Error     string
	CreatedAt time.Time
	UpdatedAt time.Time
}

// Standings are how the deliveries of an event to a user's own destinations stand,
// by destination.
func (s *Store) Standings(ctx context.Context, owner event.UserID, eventID string) ([]Standing, error) {
	// Indexes accounts_owner, incoming_items_event, push_attempts_destination.
	rows, _ := s.db.Query(ctx, `
		select d.http_method || ' ' || d.url,
			case when p.failed_at is not null then 'failed' when p.due_at is not null and p.attempts > 0 then 'retrying'
				when p.due_at is not null then 'queued' else 'sent' end,
			coalesce(l.attempt, 0), coalesce(l.error, ''), i.created_at, coalesce(l.began_at, i.created_at)
		from incoming_items i
		join accounts a on a.id = i.account_id and a.owner = $1
		join destinations d on d.account_id = a.id
		left join pushes p on p.destination_id = d.id and p.item_id = i.id
		left join lateral (select attempt, error, began_at from push_attempts t where t.destination_id = d.id and t.item_id = i.id order by t.id desc limit 1) l on true
		where i.event_id = $2 and (p.item_id is not null or l.attempt is not null) order by d.id`, string(owner), eventID) // its error comes with the rows
	list, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (f Standing, err error) {
		err = row.Scan(&f.Request, &f.State, &f.Attempts, &f.Error, &f.CreatedAt, &f.UpdatedAt)
		return f, err
	})
	if err != nil {
		return nil, fmt.Errorf("reading how deliveries stand: %w", err)
	}
	return list, nil
}
