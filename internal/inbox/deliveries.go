package inbox

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"crier/internal/event"
)

// States of a delivery.
const (
	Queued     = "queued"
	Sent       = "sent"
	Retrying   = "retrying"
	Failed     = "failed"
	Suppressed = "suppressed" // its reader has unsubscribed
)

// The channels besides the inbox.
const (
	ByEmail   = "email"
	ByWebhook = "webhook" // the user's own destinations
)

// Delivery is the fate of one notification on one way out.
type Delivery struct {
	UserID         event.UserID `json:"-"`
	NotificationID int64        `json:"-"`
	Channel        string       `json:"channel" example:"email"`
	Address        string       `json:"address"`
	State          string       `json:"state" enums:"queued,sent,retrying,failed,suppressed"`
	Attempts       int          `json:"attempts"`
	Error          string       `json:"error,omitempty"`
	CreatedAt      time.Time    `json:"created_at"`
	UpdatedAt      time.Time    `json:"updated_at"`
}

// QueueDeliveries notes deliveries that are to be made, or that cannot be
// (State and Error say so), within the transaction that stores their
// notifications. Idempotent by the primary key.
func QueueDeliveries(ctx context.Context, tx pgx.Tx, list []Delivery, now time.Time) error {
	n := len(list)
	users, channels, addresses, states, errs, ids := make([]string, n), make([]string, n), make([]string, n), make([]string, n), make([]string, n), make([]int64, n)
	for i, d := range list {
		users[i], ids[i], channels[i], addresses[i], states[i], errs[i] = string(d.UserID), d.NotificationID, d.Channel, d.Address, d.State, d.Error
	}
	_, err := tx.Exec(ctx, `
		insert into deliveries (user_id, notification_id, channel, address, state, error, created_at, updated_at)
		select *, $7::timestamptz, $7::timestamptz from unnest($1::text[], $2::bigint[], $3::text[], $4::text[], $5::text[], $6::text[])
		on conflict do nothing`, users, ids, channels, addresses, states, errs, now)
	if err != nil {
		return fmt.Errorf("queueing %d deliveries: %w", n, err)
	}
	return nil
}

// NoteAttempt notes how an attempt at a delivery went.
func (s *Store) NoteAttempt(ctx context.Context, d Delivery, now time.Time) error {
	_, err := s.db.Exec(ctx, `
		update deliveries set state = $5, attempts = $6, error = $7, updated_at = $8
		where user_id = $1 and notification_id = $2 and channel = $3 and address = $4`,
		string(d.UserID), d.NotificationID, d.Channel, d.Address, d.State, d.Attempts, event.CleanText(d.Error), now)
	if err != nil {
		return fmt.Errorf("noting an attempt at a delivery: %w", err)
	}
	return nil
}

// Deliveries lists what was delivered where of one notification; ErrNotFound if
// it is not in the user's inbox.
func (s *Store) Deliveries(ctx context.Context, user event.UserID, id int64) ([]Delivery, error) {
	if _, err := s.Get(ctx, user, id); err != nil {
		return nil, err
	}
	rows, err := s.db.Query(ctx, `
		select channel, address, state, attempts, error, created_at, updated_at from deliveries
		where user_id = $1 and notification_id = $2 order by channel, address`, string(user), id)
	if err != nil {
		return nil, fmt.Errorf("listing deliveries: %w", err)
	}
	list, err := pgx.CollectRows(rows, func(r pgx.CollectableRow) (Delivery, error) {
		var d Delivery
		err := r.Scan(&d.Channel, &d.Address, &d.State, &d.Attempts, &d.Error, &d.CreatedAt, &d.UpdatedAt)
		return d, err
	})
	if err != nil {
		return nil, fmt.Errorf("listing deliveries: %w", err)
	}
	return list, nil
}

// DeliveriesOf lists what was delivered where of several notifications of a user,
// by their ids; of some there may be nothing.
func (s *Store) DeliveriesOf(ctx context.Context, user event.UserID, ids []int64) (map[int64][]Delivery, error) {
	// The primary key.
	rows, err := s.db.Query(ctx, `
		select notification_id, channel, address, state, attempts, error, created_at, updated_at from deliveries
		where user_id = $1 and notification_id = any($2::bigint[]) order by notification_id, channel, address`, string(user), ids)
	if err != nil {
		return nil, fmt.Errorf("listing deliveries: %w", err)
	}
	out := make(map[int64][]Delivery)
	var d Delivery
	_, err = pgx.ForEachRow(rows, []any{&d.NotificationID, &d.Channel, &d.Address, &d.State, &d.Attempts, &d.Error, &d.CreatedAt, &d.UpdatedAt}, func() error {
		out[d.NotificationID] = append(out[d.NotificationID], d)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("listing deliveries: %w", err)
	}
	return out, nil
}

// SetUnsubscribed notes that an address's owner wants no more mail, or wants it
// again. Doing it twice changes nothing.
func (s *Store) SetUnsubscribed(ctx context.Context, address string, unsubscribed bool, now time.Time) error {
	var err error
	if unsubscribed {
		_, err = s.db.Exec(ctx, `insert into unsubscribed (address, at) values ($1, $2) on conflict do nothing`, strings.ToLower(address), now)
	} else {
		_, err = s.db.Exec(ctx, `delete from unsubscribed where address = $1`, strings.ToLower(address))
	}
	if err != nil {
		return fmt.Errorf("noting an unsubscription: %w", err)
	}
	return nil
}

// IsUnsubscribed says whether an address's owner wants no mail.
func (s *Store) IsUnsubscribed(ctx context.Context, address string) (bool, error) {
	var yes bool
	if err := s.db.QueryRow(ctx, `select exists (select from unsubscribed where address = $1)`, strings.ToLower(address)).Scan(&yes); err != nil {
		return false, fmt.Errorf("looking up an unsubscription: %w", err)
	}
	return yes, nil
}
