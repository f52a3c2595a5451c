// Package destination keeps the accounts that data is pushed in for, their
// destinations, the items that came, and what is yet to be delivered of them,
// with every attempt.
//
// An item is stored once; each destination that it goes to has one row in
// `pushes` until it is delivered, and keeps it when it is given up. Whoever
// works a destination has its lease, so one process at a time does, and order,
// rate and number of requests at once are that process's to keep. Leases and due
// times go by the database's clock: processes' clocks differ, and one that runs
// ahead would take work away from who is at it.
//
// Locks are taken in this order: an account's row, destinations by id, then
// items and pushes. Whoever adds work holds its destination's row for key share
// until the commit; whoever says that there is no more work takes it for update
// first, and so sees what was added.
package destination

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"crier/internal/event"
	"crier/internal/postgres"
)

// What an account or destination cannot be.
var (
	ErrNotFound     = errors.New("no such account or destination")
	ErrAccountLimit = errors.New("the user has too many accounts")
	ErrEmailTaken   = errors.New("another account has this email address")
	ErrLimit        = errors.New("too many destinations")
	ErrIDTaken      = errors.New("another account or destination has this id")
	ErrDisabled     = errors.New("the destination is disabled")
)

// Why a destination is disabled.
const (
	ByOwner = "owner"   // by who may change it
	Gone    = "gone"    // it answered 410
	Failing = "failing" // nothing but failures for days
)

// Bounds of one account and destination.
const (
	MaxDestinations = 100
	MaxURL          = 2048
	MaxHeaders      = 50
	MaxHeaderBytes  = 16 << 10 // of all names and values together
	MaxName         = 200
	MaxWebsite      = 2048
	MaxRate         = 10_000
)

// SecretOverlap is how long a signing secret holds beside the one that replaced
// it.
const SecretOverlap = 24 * time.Hour

// Store is the accounts and destinations of one database. It is safe for
// concurrent use.
type Store struct {
	db *postgres.DB
}

// New makes a Store.
func New(db *postgres.DB) *Store { return &Store{db} }

// Destination is where an account's data goes.
type Destination struct {
	ID             int64             `json:"id"`
	AccountID      event.AccountID   `json:"account_id" swaggertype:"integer"`
	URL            string            `json:"url" example:"https://example.org/hook"`
	Method         string            `json:"http_method" enums:"GET,POST,PUT,PATCH,DELETE"`
	Headers        map[string]string `json:"headers"`
	Ordered        bool              `json:"ordered"`
	Rate           float64           `json:"rate"` // a second; 0: not limited
	Enabled        bool              `json:"enabled"`
	DisabledReason string            `json:"disabled_reason,omitempty" enums:"owner,gone,failing"`
	FailingSince   *time.Time        `json:"failing_since,omitempty"`
	CreatedAt      time.Time         `json:"created_at"`
	Waiting        int64             `json:"waiting"` // items yet to be delivered, counted to 1,000
	Failed         int64             `json:"failed"`  // items given up, counted to 1,000
}

// columns are a destination's; the counts stop at a thousand, so that a long
// queue does not make the list slow. Indexes pushes_due and pushes_failed.
const columns = `d.id, d.account_id, d.url, d.http_method, d.headers, d.ordered, d.rate, d.enabled, d.disabled_reason, d.failing_since, d.created_at,
	(select count(*) from (select 1 from pushes p where p.destination_id = d.id and p.due_at is not null limit 1000) w),
	(select count(*) from (select 1 from pushes p where p.destination_id = d.id and p.failed_at is not null limit 1000) f)`

func scan(row pgx.CollectableRow) (Destination, error) {
	var d Destination
	var headers string
	err := row.Scan(&d.ID, &d.AccountID, &d.URL, &d.Method, &headers, &d.Ordered, &d.Rate, &d.Enabled, &d.DisabledReason, &d.FailingSince, &d.CreatedAt, &d.Waiting, &d.Failed)
	if err == nil {
		err = json.Unmarshal([]byte(headers), &d.Headers)
	}
	return d, err
}

func one[T any](list []T, err error, doing string) (T, error) {
	var zero T
	if err != nil {
		return zero, fmt.Errorf("%s: %w", doing, err)
	}
	if len(list) == 0 {
		return zero, ErrNotFound
	}
	return list[0], nil
}

// Create makes a destination of what Check has let pass, and returns its signing
// secret, which is not shown again.
func (s *Store) Create(ctx context.Context, d Destination, now time.Time) (Destination, string, error) {
	headers, err := json.Marshal(d.Headers)
	if err != nil {
		return d, "", fmt.Errorf("encoding headers: %w", err)
	}
	secret := newSigningSecret()
	var made Destination
	err = s.db.Tx(ctx, func(tx pgx.Tx) error {
		var n int
		// The account's row is locked, so that two cannot pass the limit together. The
		// count is a statement of its own: one statement would count what was there
		// before it waited for the lock.
		err := tx.QueryRow(ctx, `select 1 from accounts where id = $1 for no key update`, d.AccountID).Scan(&n)
		if errors.Is(err, pgx.ErrNoRows) {
			return ErrNotFound
		}
		if err != nil {
			return fmt.Errorf("locking an account: %w", err)
		}
		if err := tx.QueryRow(ctx, `select count(*) from destinations where account_id = $1`, d.AccountID).Scan(&n); err != nil {
			return fmt.Errorf("counting destinations: %w", err)
		}
		if n >= MaxDestinations {
			return ErrLimit
		}
		into := `insert into destinations as d (account_id, url, http_method, headers, ordered, rate, secret, created_at) values ($1, $2, $3, $4, $5, $6, $7, $8)`
		args := []any{d.AccountID, d.URL, d.Method, string(headers), d.Ordered, d.Rate, secret, now}
		if d.ID != 0 { // of an import
			if err := postgres.ReserveID(ctx, tx, "destinations", d.ID); err != nil {
				return err
			}
			into = `insert into destinations as d (account_id, url, http_method, headers, ordered, rate, secret, created_at, id) overriding system value values ($1, $2, $3, $4, $5, $6, $7, $8, $9)`
			args = append(args, d.ID)
		}
		rows, _ := tx.Query(ctx, into+` returning `+columns, args...) // its error comes with the rows
		list, err := pgx.CollectRows(rows, scan)
		if postgres.UniqueViolation(err) == "destinations_pkey" {
			return ErrIDTaken
		}
		made, err = one(list, err, "making a destination")
		return err
	})
	return made, secretText(secret), err
}

// ByID is one destination.
func (s *Store) ByID(ctx context.Context, id int64) (Destination, error) {
	rows, _ := s.db.Query(ctx, `select `+columns+` from destinations d where d.id = $1`, id) // its error comes with the rows
	list, err := pgx.CollectRows(rows, scan)
	return one(list, err, "reading a destination")
}

// List is an account's destinations, oldest first; there are at most
// MaxDestinations.
func (s *Store) List(ctx context.Context, account event.AccountID) ([]Destination, error) {
	rows, _ := s.db.Query(ctx, `select `+columns+` from destinations d where d.account_id = $1 order by d.id`, account) // its error comes with the rows
	list, err := pgx.CollectRows(rows, scan)
	if err != nil {
		return nil, fmt.Errorf("listing destinations: %w", err)
	}
	return list, nil
}

// Change is what is to be different of a destination; nil stays as it is.
type Change struct {
	URL     *string
	Method  *string
	Headers map[string]string
	Ordered *bool
	Rate    *float64
	Enabled *bool
}

// Update changes a destination. Enabling forgets why it was disabled, and what
// waits goes on; disabling holds what waits.
func (s *Store) Update(ctx context.Context, id int64, c Change) (Destination, error) {
	var headers *string
	if c.Headers != nil {
		b, err := json.Marshal(c.Headers)
		if err != nil {
			return Destination{}, fmt.Errorf("encoding headers: %w", err)
		}
		text := string(b)
		headers = &text
	}
	rows, _ := s.db.Query(ctx, `
		update destinations d set
			url = coalesce($2, url), http_method = coalesce($3, http_method), headers = coalesce($4, headers),
			ordered = coalesce($5, ordered), rate = coalesce($6, rate),
			enabled = coalesce($7, enabled),
			disabled_reason = case when $7 then '' when $7 = false and enabled then '`+ByOwner+`' else disabled_reason end,
			failing_since = case when $7 and not enabled then null else failing_since end,
			untold = untold and coalesce(not $7, true),
			hold_until = case when $7 then null else hold_until end
		where d.id = $1 returning `+columns, id, c.URL, c.Method, headers, c.Ordered, c.Rate, c.Enabled) // its error comes with the rows
	list, err := pgx.CollectRows(rows, scan)
	return one(list, err, "changing a destination")
}

// Delete removes a destination, with what waits for it. The rows that it leaves
// are removed later, a few at a time.
func (s *Store) Delete(ctx context.Context, id int64) error {
	return s.db.Tx(ctx, func(tx pgx.Tx) error {
		tag, err := tx.Exec(ctx, `
			with gone as (delete from destinations where id = $1 returning id)
			insert into removed_destinations (id) select id from gone`, id)
		if err != nil {
			return fmt.Errorf("deleting a destination: %w", err)
		}
		if tag.RowsAffected() == 0 {
			return ErrNotFound
		}
		return nil
	})
}

// RotateSecret gives a destination a new signing secret; the present one holds
// beside it until SecretOverlap is over, and one that was replaced before no
// longer.
func (s *Store) RotateSecret(ctx context.Context, id int64) (text string, oldEnds time.Time, err error) {
	secret := newSigningSecret()
	err = s.db.QueryRow(ctx, `
		update destinations set old_secret = secret, old_secret_ends = now() + $3::interval, secret = $2
		where id = $1 returning old_secret_ends`, id, secret, SecretOverlap).Scan(&oldEnds)
	if errors.Is(err, pgx.ErrNoRows) {
		return "", oldEnds, ErrNotFound
	}
	if err != nil {
		return "", oldEnds, fmt.Errorf("rotating a signing secret: %w", err)
	}
	return secretText(secret), oldEnds, nil
}
