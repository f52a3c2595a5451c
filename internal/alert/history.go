package alert

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"crier/internal/decimal"
	"crier/internal/event"
)

// Firing is one firing of an alert: the tick that met it and the one before it,
// the alert as it was, and what became of its notification.
type Firing struct {
	Firing         int               `json:"firing"`
	Symbol         string            `json:"symbol"`
	Price          decimal.Decimal   `json:"price" swaggertype:"string"`
	Time           time.Time         `json:"time"`
	Source         string            `json:"source"`
	Topic          string            `json:"topic"`
	TopicID        string            `json:"topic_id"`
	Partition      int32             `json:"partition"`
	Offset         int64             `json:"offset"`
	Before         *event.TickBefore `json:"before,omitempty"`
	Reference      *decimal.Decimal  `json:"reference,omitempty" swaggertype:"string"`
	Change         string            `json:"change,omitempty"`
	Revision       int64             `json:"revision"`
	Alert          json.RawMessage   `json:"alert,omitempty" swaggertype:"object"`
	NotificationID int64             `json:"notification_id"`
	Deliveries     any               `json:"deliveries,omitempty"`
	CreatedAt      time.Time         `json:"created_at"`
}

// firingRow is a scan target for firingColumns.
type firingRow struct {
	f                 Firing
	price             string
	before, reference *string
	beforeTime        *time.Time
	beforeOffset      *int64
}

const firingColumns = `firing, symbol, price::text, tick_time, source, topic_id::text, partition, place, revision, notification_id, created_at,
	before_price::text, before_time, before_place, reference::text, change, alert`

func (r *firingRow) dest() []any {
	f := &r.f
	return []any{&f.Firing, &f.Symbol, &r.price, &f.Time, &f.Source, &f.TopicID, &f.Partition, &f.Offset, &f.Revision, &f.NotificationID, &f.CreatedAt,
		&r.before, &r.beforeTime, &r.beforeOffset, &r.reference, &f.Change, (*[]byte)(&f.Alert)}
}

func (r *firingRow) firing() (Firing, error) {
	f := r.f
	f.Topic = "ticks"
	var err error
	if f.Price, err = decimal.Parse(r.price); err != nil {
		return f, err
	}
	if r.before != nil && r.beforeTime != nil && r.beforeOffset != nil {
		f.Before = &event.TickBefore{Time: *r.beforeTime, Offset: *r.beforeOffset}
		if f.Before.Price, err = decimal.Parse(*r.before); err != nil {
			return f, err
		}
	}
	if r.reference != nil {
		d, err := decimal.Parse(*r.reference)
		if err != nil {
			return f, err
		}
		f.Reference = &d
	}
	return f, nil
}

// Firings reads a page of an alert's firings, newest first; they outlive the
// alert. ErrNotFound when the user never had such an alert.
func (s *Store) Firings(ctx context.Context, user event.UserID, id int64, before, limit int) (page []Firing, count int64, more bool, err error) {
	var owned bool
	err = s.db.QueryRow(ctx, `select true from alerts where id = $1 and user_id = $2`, id, string(user)).Scan(&owned)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, 0, false, ErrNotFound
	}
	if err == nil {
		err = s.db.QueryRow(ctx, `select count(*) from firings where alert_id = $1`, id).Scan(&count)
	}
	if err != nil {
		return nil, 0, false, fmt.Errorf("counting firings: %w", err)
	}
	rows, err := s.db.Query(ctx, `
		select `+firingColumns+`
		from firings where alert_id = $1 and ($2::bigint = 0 or firing < $2) order by firing desc limit $3`, id, before, limit+1)
	if err != nil {
		return nil, 0, false, fmt.Errorf("reading firings: %w", err)
	}
	var r firingRow
	_, err = pgx.ForEachRow(rows, r.dest(), func() error {
		f, err := r.firing()
		f.Alert = append(json.RawMessage(nil), f.Alert...)
		page = append(page, f)
		return err
	})
	if err != nil {
		return nil, 0, false, fmt.Errorf("reading firings: %w", err)
	}
	if len(page) > limit {
		return page[:limit], count, true, nil
	}
	return page, count, false, nil
}
