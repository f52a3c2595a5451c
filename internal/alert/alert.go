// Package alert keeps price alerts, their states and their firings.
//
// An alert holds from a place in Kafka (docs/alerts.md). The matcher reads
// alerts from here, as a whole and then what changed, and proposes triggers;
// Decide, called by the consumer, has the last word on which of them fire. Each
// change gives the row a new revision where it changes what would fire, so that
// a proposal made from the earlier one is recognised.
//
// Truth table of states:
//
//	created   -> triggered (fired, repeat once), paused, deleted; expired as seen by readers once expires_at has passed
//	triggered -> created (set again: a new place), deleted
//	paused    -> created (set again: a new place), deleted
//
// An alert may be created and snoozed: it does not fire before its time.
//
//	deleted   -> nothing; it is seen only where it is asked for
package alert

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"crier/internal/decimal"
	"crier/internal/event"
	"crier/internal/postgres"
)

// Errors of the store.
var (
	ErrNotFound = errors.New("no such alert")
	ErrLimit    = errors.New("too many active alerts")
	ErrState    = errors.New("not from the present state")
)

// State is where an alert stands.
type State string

// The states, see the package's truth table.
const (
	Created   State = "created"
	Triggered State = "triggered"
	Paused    State = "paused"
	Expired   State = "expired"
	Deleted   State = "deleted"
)

// States are all states, for filters.
var States = []State{Created, Triggered, Paused, Expired, Deleted}

// Repeats of an alert: it fires once, or every time after a cooldown.
const (
	Once  = "once"
	Every = "every"
)

// MinCooldown keeps an alert that repeats from sending a notification a tick.
const MinCooldown = time.Second

// Alert is one price alert.
type Alert struct {
	ID        int64
	UserID    event.UserID
	Symbol    string
	Condition event.Condition
	Source    string // only ticks of this source count; "": all
	// Target is a price, a percentage or the lower end of a band: see event.Rule.
	Target      decimal.Decimal
	High        decimal.Decimal
	Window      time.Duration
	Confirm     event.Confirm
	Hysteresis  decimal.Decimal
	MaxFirings  int    // 0: no limit
	Message     string // a template; "": the built-in words
	Snoozed     *time.Time
	Email       string
	Note        string
	Repeat      string
	Cooldown    time.Duration
	ExpiresAt   *time.Time
	State       State
	Revision    int64
	Firings     int
	CreatedAt   time.Time
	TriggeredAt *time.Time
	LastFiredAt *time.Time // timestamp in Kafka of the tick
	Place       event.Place
	Taken       bool
}

// Store is the alerts of one database. It is safe for concurrent use.
type Store struct {
	db    *postgres.DB
	limit int
}

// New makes a Store that lets each user have up to limit active alerts.
func New(db *postgres.DB, limit int) *Store { return &Store{db, limit} }

const columns = `a.id, a.user_id, a.symbol, a.condition, a.source, a.target::text, a.email, a.note, a.repeat, a.cooldown_ms, a.expires_at,
	a.state, a.revision, a.firings, a.created_at, a.triggered_at, a.last_fired_at, a.topic_id::text, a.partition, a.place, a.taken,
	coalesce(a.high, 0)::text, a.window_ms, a.confirm_ms, a.confirm_ticks, a.hysteresis::text, a.max_firings, a.message, a.snoozed_until`

// row is a scan target for columns.
type row struct {
	a                               Alert
	target, high, hysteresis        string
	cooldownMS, windowMS, confirmMS int64
}

func (r *row) dest() []any {
	a := &r.a
	return []any{&a.ID, (*string)(&a.UserID), &a.Symbol, (*string)(&a.Condition), &a.Source, &r.target, &a.Email, &a.Note, &a.Repeat, &r.cooldownMS,
		&a.ExpiresAt, (*string)(&a.State), &a.Revision, &a.Firings, &a.CreatedAt, &a.TriggeredAt, &a.LastFiredAt,
		&a.Place.TopicID, &a.Place.Partition, &a.Place.Offset, &a.Taken,
		&r.high, &r.windowMS, &r.confirmMS, &a.Confirm.Ticks, &r.hysteresis, &a.MaxFirings, &a.Message, &a.Snoozed}
}

func (r *row) alert() (Alert, error) {
	a := r.a
	for _, n := range []struct {
		into *decimal.Decimal
		text string
	}{{&a.Target, r.target}, {&a.High, r.high}, {&a.Hysteresis, r.hysteresis}} {
		var err error
		if *n.into, err = decimal.Parse(n.text); err != nil {
			return a, fmt.Errorf("alert %d: %q: %w", a.ID, n.text, err)
		}
	}
	a.Cooldown, a.Window = time.Duration(r.cooldownMS)*time.Millisecond, time.Duration(r.windowMS)*time.Millisecond
	a.Confirm.For = time.Duration(r.confirmMS) * time.Millisecond
	return a, nil
}

func collect(rows pgx.Rows) ([]Alert, error) {
	var out []Alert
	var r row
	_, err := pgx.ForEachRow(rows, r.dest(), func() error {
		a, err := r.alert()
		out = append(out, a)
		return err
	})
	return out, err
}

// shown is the state as readers see it: expired is not stored, it follows from
// the time.
func (a *Alert) shown(now time.Time) {
	if a.State == Created && a.ExpiresAt != nil && !a.ExpiresAt.After(now) {
		a.State = Expired
	}
}

// wake tells the matchers, at the commit, that alerts have changed.
const wake = `select pg_notify('alerts', '')`

// Channel is where wake is heard.
const Channel = "alerts"

// Get reads one alert of a user; a deleted one is not found.
func (s *Store) Get(ctx context.Context, user event.UserID, id int64, now time.Time) (Alert, error) {
	rows, err := s.db.Query(ctx, `select `+columns+` from alerts a where a.id = $1 and a.user_id = $2 and a.state <> 'deleted'`, id, string(user))
	if err != nil {
		return Alert{}, fmt.Errorf("reading an alert: %w", err)
	}
	found, err := collect(rows)
	if err != nil {
		return Alert{}, fmt.Errorf("reading an alert: %w", err)
	}
	if len(found) == 0 {
		return Alert{}, ErrNotFound
	}
	found[0].shown(now)
	return found[0], nil
}

// Filter chooses what List shows; empty members choose all but deleted ones.
type Filter struct {
	State  State
	Symbol string
	Before int64 // only ids below; 0: from the newest
	Offset int   // so many are left out first, for older clients' numbered pages
	Limit  int
}

// List reads a page of a user's alerts, newest first, and how many there are in
// all pages. more says that older ones follow.
func (s *Store) List(ctx context.Context, user event.UserID, f Filter, now time.Time) (page []Alert, count int64, more bool, err error) {
	const where = `a.user_id = $1 and ($2 = '' or a.symbol = $2) and case $3
		when '' then a.state <> 'deleted'
		when 'created' then a.state = 'created' and (a.expires_at is null or a.expires_at > $4)
		when 'expired' then a.state = 'created' and a.expires_at <= $4
		else a.state = $3 end`
	args := []any{string(user), f.Symbol, string(f.State), now}
	if err := s.db.QueryRow(ctx, `select count(*) from alerts a where `+where, args...).Scan(&count); err != nil {
		return nil, 0, false, fmt.Errorf("counting alerts: %w", err)
	}
	rows, err := s.db.Query(ctx, `select `+columns+` from alerts a where `+where+` and ($5::bigint = 0 or a.id < $5) order by a.id desc limit $6 offset $7`,
		append(args, f.Before, f.Limit+1, f.Offset)...)
	if err != nil {
		return nil, 0, false, fmt.Errorf("listing alerts: %w", err)
	}
	page, err = collect(rows)
	if err != nil {
		return nil, 0, false, fmt.Errorf("listing alerts: %w", err)
	}
	for i := range page {
		page[i].shown(now)
	}
	if len(page) > f.Limit {
		return page[:f.Limit], count, true, nil
	}
	return page, count, false, nil
}

// Delete marks an alert deleted. Its firings stay.
func (s *Store) Delete(ctx context.Context, user event.UserID, id int64) error {
	err := s.db.Tx(ctx, func(tx pgx.Tx) error {
		tag, err := tx.Exec(ctx, `
			update alerts set state = 'deleted', revision = revision + 1, changed = pg_current_xact_id()
			where id = $1 and user_id = $2 and state <> 'deleted'`, id, string(user))
		if err != nil {
			return err
		}
		if tag.RowsAffected() == 0 {
			return ErrNotFound
		}
		_, err = tx.Exec(ctx, wake)
		return err
	})
	if err != nil && !errors.Is(err, ErrNotFound) {
		return fmt.Errorf("deleting an alert: %w", err)
	}
	return err
}

// Forget removes a user's alerts and their firings, within tx. The matchers hear
// of it as of a deletion: the rows are kept without what was the user's until
// they have.
func Forget(ctx context.Context, tx pgx.Tx, user event.UserID) error {
	batch := &pgx.Batch{}
	batch.Queue(`delete from firings where user_id = $1`, string(user))
	batch.Queue(`
		update alerts set state = 'deleted', revision = revision + 1, user_id = '', email = '', note = '', message = '', changed = pg_current_xact_id()
		where id in (select id from alerts where user_id = $1 order by id for update)`, string(user))
	batch.Queue(wake)
	if err := tx.SendBatch(ctx, batch).Close(); err != nil {
		return fmt.Errorf("forgetting a user's alerts: %w", err)
	}
	return nil
}
