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
//	deleted   -> nothing; it is seen only where it is asked for
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
	"crier/internal/postgres"
)

// Errors of the store.
var (
	ErrNotFound = errors.New("no such alert")
	ErrLimit    = errors.New("too many active alerts")
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
	ID          int64
	UserID      event.UserID
	Symbol      string
	Condition   event.Condition
	Source      string // only ticks of this source count; "": all
	Target      decimal.Decimal
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

// MarshalJSON is the alert as clients see it.
func (a Alert) MarshalJSON() ([]byte, error) {
	cooldown := ""
	if a.Cooldown > 0 {
		cooldown = a.Cooldown.String()
	}
	return json.Marshal(View{
		ID: a.ID, UserID: a.UserID, Symbol: a.Symbol, Condition: a.Condition, Target: a.Target.String(), Source: a.Source, Email: a.Email, Note: a.Note,
		Repeat: a.Repeat, Cooldown: cooldown, ExpiresAt: a.ExpiresAt, State: a.State, Firings: a.Firings, CreatedAt: a.CreatedAt,
		TriggeredAt: a.TriggeredAt, Place: a.Place,
	})
}

// View is an alert's JSON form.
type View struct {
	ID          int64           `json:"id"`
	UserID      event.UserID    `json:"user_id"`
	Symbol      string          `json:"symbol"`
	Condition   event.Condition `json:"condition"`
	Target      string          `json:"target"`
	Source      string          `json:"source,omitempty"`
	Email       string          `json:"email,omitempty"`
	Note        string          `json:"note,omitempty"`
	Repeat      string          `json:"repeat"`
	Cooldown    string          `json:"cooldown,omitempty"`
	ExpiresAt   *time.Time      `json:"expires_at,omitempty"`
	State       State           `json:"state"`
	Firings     int             `json:"firings"`
	CreatedAt   time.Time       `json:"created_at"`
	TriggeredAt *time.Time      `json:"triggered_at,omitempty"`
	Place       event.Place     `json:"place"`
}

// Store is the alerts of one database. It is safe for concurrent use.
type Store struct {
	db    *postgres.DB
	limit int
}

// New makes a Store that lets each user have up to limit active alerts.
func New(db *postgres.DB, limit int) *Store { return &Store{db, limit} }

const columns = `a.id, a.user_id, a.symbol, a.condition, a.source, a.target::text, a.email, a.note, a.repeat, a.cooldown_ms, a.expires_at,
	a.state, a.revision, a.firings, a.created_at, a.triggered_at, a.last_fired_at, a.topic_id::text, a.partition, a.place, a.taken`

// row is a scan target for columns.
type row struct {
	a          Alert
	target     string
	cooldownMS int64
}

func (r *row) dest() []any {
	a := &r.a
	return []any{&a.ID, (*string)(&a.UserID), &a.Symbol, (*string)(&a.Condition), &a.Source, &r.target, &a.Email, &a.Note, &a.Repeat, &r.cooldownMS,
		&a.ExpiresAt, (*string)(&a.State), &a.Revision, &a.Firings, &a.CreatedAt, &a.TriggeredAt, &a.LastFiredAt,
		&a.Place.TopicID, &a.Place.Partition, &a.Place.Offset, &a.Taken}
}

func (r *row) alert() (Alert, error) {
	a := r.a
	var err error
	a.Target, err = decimal.Parse(r.target)
	if err != nil {
		return a, fmt.Errorf("alert %d: target %q: %w", a.ID, r.target, err)
	}
	a.Cooldown = time.Duration(r.cooldownMS) * time.Millisecond
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

// Create stores a new alert that holds from a.Place, and gives it its id.
// ErrLimit when the user has too many active ones.
func (s *Store) Create(ctx context.Context, a Alert, now time.Time) (Alert, error) {
	var out Alert
	err := s.db.Tx(ctx, func(tx pgx.Tx) error {
		// One at a time for each user, or many at once would all find room.
		if _, err := tx.Exec(ctx, `select pg_advisory_xact_lock(hashtextextended('alerts of ' || $1, 0))`, string(a.UserID)); err != nil {
			return err
		}
		rows, err := tx.Query(ctx, `
			insert into alerts as a (user_id, symbol, condition, source, target, email, note, repeat, cooldown_ms, expires_at, created_at, topic_id, partition, place)
			select $1, $2, $3, $4, $5::numeric, $6, $7, $8, $9, $10, $11, $12::uuid, $13, $14
			where (select count(*) from alerts where user_id = $1 and state in ('created', 'paused')) < $15
			returning `+columns,
			string(a.UserID), a.Symbol, string(a.Condition), a.Source, a.Target.String(), a.Email, a.Note, a.Repeat, a.Cooldown.Milliseconds(),
			a.ExpiresAt, now, a.Place.TopicID, a.Place.Partition, a.Place.Offset, s.limit)
		if err != nil {
			return err
		}
		made, err := collect(rows)
		if err != nil {
			return err
		}
		if len(made) == 0 {
			return ErrLimit
		}
		out = made[0]
		_, err = tx.Exec(ctx, wake)
		return err
	})
	if err != nil && !errors.Is(err, ErrLimit) {
		return out, fmt.Errorf("creating an alert: %w", err)
	}
	return out, err
}

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

// Change says what Update changes; nil members stay.
type Change struct {
	Target      *decimal.Decimal
	Condition   *event.Condition
	Source      *string
	Note        *string
	Email       *string
	Repeat      *string
	Cooldown    *time.Duration
	ExpiresAt   *time.Time
	ClearExpiry bool
	State       *State // Created or Paused
}

// resets says whether the change makes the alert hold anew, from a new place.
func (c Change) resets() bool {
	return c.Target != nil || c.Condition != nil || c.Source != nil || c.State != nil && *c.State == Created
}

// reschedules says whether the change makes an active alert fire at other times,
// which the matcher hears of by a new revision only.
func (c Change) reschedules() bool {
	return c.Repeat != nil || c.Cooldown != nil || c.ExpiresAt != nil || c.ClearExpiry
}

// ErrNeedsCooldown is a repeating alert without a cooldown.
var ErrNeedsCooldown = errors.New("an alert that repeats needs a cooldown")

// Update changes an alert. Where it changes what would fire, the alert is set
// again and holds from place, which must have been resolved after the request
// came in.
func (s *Store) Update(ctx context.Context, user event.UserID, id int64, c Change, place event.Place, now time.Time) (Alert, error) {
	var out Alert
	err := s.db.Tx(ctx, func(tx pgx.Tx) error {
		rows, err := tx.Query(ctx, `select `+columns+` from alerts a where a.id = $1 and a.user_id = $2 and a.state <> 'deleted' for update`, id, string(user))
		if err != nil {
			return err
		}
		found, err := collect(rows)
		if err != nil {
			return err
		}
		if len(found) == 0 {
			return ErrNotFound
		}
		out = found[0]
		c.apply(&out, place)
		if out.Repeat == Every && out.Cooldown < MinCooldown {
			return ErrNeedsCooldown
		}
		_, err = tx.Exec(ctx, `
			update alerts set target = $2::numeric, condition = $3, source = $4, note = $5, email = $6, repeat = $7, cooldown_ms = $8, expires_at = $9,
				state = $10, revision = $11, topic_id = $12::uuid, partition = $13, place = $14, taken = $15, triggered_at = $16, changed = pg_current_xact_id()
			where id = $1`, id, out.Target.String(), string(out.Condition), out.Source, out.Note, out.Email, out.Repeat, out.Cooldown.Milliseconds(), out.ExpiresAt,
			string(out.State), out.Revision, out.Place.TopicID, out.Place.Partition, out.Place.Offset, out.Taken, out.TriggeredAt)
		if err != nil {
			return err
		}
		_, err = tx.Exec(ctx, wake)
		return err
	})
	if err != nil && !errors.Is(err, ErrNotFound) && !errors.Is(err, ErrNeedsCooldown) {
		return out, fmt.Errorf("changing an alert: %w", err)
	}
	out.shown(now)
	return out, err
}

func (c Change) apply(a *Alert, place event.Place) {
	set(&a.Target, c.Target)
	set(&a.Condition, c.Condition)
	set(&a.Source, c.Source)
	set(&a.Note, c.Note)
	set(&a.Email, c.Email)
	set(&a.Repeat, c.Repeat)
	set(&a.Cooldown, c.Cooldown)
	if c.ExpiresAt != nil || c.ClearExpiry {
		a.ExpiresAt = c.ExpiresAt
	}
	if c.State != nil && *c.State == Paused && a.State != Paused {
		a.State = Paused
		a.Revision++
	}
	if c.resets() {
		if a.State != Paused || c.State != nil && *c.State == Created {
			a.State, a.TriggeredAt = Created, nil
		}
	} else if !c.reschedules() || a.State != Created {
		return
	}
	a.Revision++
	a.Place, a.Taken = place, false
}

func set[T any](field *T, to *T) {
	if to != nil {
		*field = *to
	}
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
		update alerts set state = 'deleted', revision = revision + 1, user_id = '', email = '', note = '', changed = pg_current_xact_id()
		where id in (select id from alerts where user_id = $1 order by id for update)`, string(user))
	batch.Queue(wake)
	if err := tx.SendBatch(ctx, batch).Close(); err != nil {
		return fmt.Errorf("forgetting a user's alerts: %w", err)
	}
	return nil
}
