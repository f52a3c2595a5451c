package destination

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"crier/internal/event"
	"crier/internal/postgres"
)

// Account is who data is pushed in for. It is reached with its secret token, an
// API key, or by the signed-in person that made it.
type Account struct {
	ID        event.AccountID `json:"id" swaggertype:"integer"`
	Owner     event.UserID    `json:"owner,omitempty" swaggertype:"string"`
	Name      string          `json:"account_name"`
	Email     string          `json:"email"`
	Website   string          `json:"website,omitempty"`
	CreatedAt time.Time       `json:"created_at"`
	// Anonymous accounts were made neither by a user nor by a service: they get no
	// destinations but from a service.
	Anonymous bool `json:"-"`

	secretHash []byte
}

const accountColumns = `id, coalesce(owner, ''), name, email, website, created_at, anonymous, secret_hash`

func scanAccount(row pgx.CollectableRow) (Account, error) {
	var a Account
	err := row.Scan(&a.ID, &a.Owner, &a.Name, &a.Email, &a.Website, &a.CreatedAt, &a.Anonymous, &a.secretHash)
	return a, err
}

// MaxAccounts is how many accounts one user may own.
const MaxAccounts = 20

// CreateAccount makes an account, and returns its secret token, which is not
// shown again.
func (s *Store) CreateAccount(ctx context.Context, a Account, now time.Time) (Account, string, error) {
	secret := newAccountSecret()
	err := s.db.Tx(ctx, func(tx pgx.Tx) error {
		if a.Owner != "" {
			// One of a user's at a time, so that two cannot pass the limit together.
			if _, err := tx.Exec(ctx, `select pg_advisory_xact_lock(hashtextextended('accounts ' || $1, 0))`, string(a.Owner)); err != nil {
				return fmt.Errorf("locking a user's accounts: %w", err)
			}
			var n int
			if err := tx.QueryRow(ctx, `select count(*) from accounts where owner = $1`, string(a.Owner)).Scan(&n); err != nil {
				return fmt.Errorf("counting a user's accounts: %w", err)
			}
			if n >= MaxAccounts {
				return ErrAccountLimit
			}
		}
		rows, _ := tx.Query(ctx, `
			insert into accounts (owner, name, email, website, secret_hash, created_at, anonymous)
			values (nullif($1, ''), $2, $3, $4, $5, $6, $7) returning `+accountColumns,
			string(a.Owner), a.Name, a.Email, a.Website, hashSecret(secret), now, a.Anonymous) // its error comes with the rows
		list, err := pgx.CollectRows(rows, scanAccount)
		if postgres.UniqueViolation(err) == "accounts_email" {
			return ErrEmailTaken
		}
		a, err = one(list, err, "making an account")
		return err
	})
	return a, secret, err
}

// CreateAccountAs is CreateAccount with the id, the time and the secret token that the
// account has, of an import.
func (s *Store) CreateAccountAs(ctx context.Context, a Account, secret string) (Account, error) {
	err := s.db.Tx(ctx, func(tx pgx.Tx) error {
		if err := postgres.ReserveID(ctx, tx, "accounts", int64(a.ID)); err != nil {
			return err
		}
		_, err := tx.Exec(ctx, `
			insert into accounts (id, name, email, website, secret_hash, created_at) overriding system value values ($1, $2, $3, $4, $5, $6)`,
			a.ID, a.Name, a.Email, a.Website, hashSecret(secret), a.CreatedAt)
		return err
	})
	switch postgres.UniqueViolation(err) {
	case "accounts_email":
		return a, ErrEmailTaken
	case "accounts_pkey":
		return a, ErrIDTaken
	}
	if err != nil {
		return a, fmt.Errorf("importing an account: %w", err)
	}
	return a, nil
}

// Account is one account.
func (s *Store) Account(ctx context.Context, id event.AccountID) (Account, error) {
	rows, _ := s.db.Query(ctx, `select `+accountColumns+` from accounts where id = $1`, id) // its error comes with the rows
	list, err := pgx.CollectRows(rows, scanAccount)
	return one(list, err, "reading an account")
}

// Accounts is a page of the accounts of an owner, or of all where owner is "",
// newest first, before an id where that is not 0.
func (s *Store) Accounts(ctx context.Context, owner event.UserID, before int64, limit int) (list []Account, count int64, more bool, err error) {
	const of = ` from accounts where ($1 = '' or owner = $1)`
	if err := s.db.QueryRow(ctx, `select count(*)`+of, string(owner)).Scan(&count); err != nil {
		return nil, 0, false, fmt.Errorf("counting accounts: %w", err)
	}
	rows, _ := s.db.Query(ctx, `select `+accountColumns+of+` and ($2::bigint = 0 or id < $2) order by id desc limit $3`, string(owner), before, limit+1) // its error comes with the rows
	if list, err = pgx.CollectRows(rows, scanAccount); err != nil {
		return nil, 0, false, fmt.Errorf("listing accounts: %w", err)
	}
	if len(list) > limit {
		return list[:limit], count, true, nil
	}
	return list, count, false, nil
}

// AccountChange is what is to be different of an account; nil stays as it is.
type AccountChange struct {
	Name, Email, Website *string
}

// UpdateAccount changes an account.
func (s *Store) UpdateAccount(ctx context.Context, id event.AccountID, c AccountChange) (Account, error) {
	rows, _ := s.db.Query(ctx, `
		update accounts set name = coalesce($2, name), email = coalesce($3, email), website = coalesce($4, website)
		where id = $1 returning `+accountColumns, id, c.Name, c.Email, c.Website) // its error comes with the rows
	list, err := pgx.CollectRows(rows, scanAccount)
	if postgres.UniqueViolation(err) == "accounts_email" {
		return Account{}, ErrEmailTaken
	}
	return one(list, err, "changing an account")
}

// RotateAccountSecret gives an account a new secret token; the old one ends at
// once.
func (s *Store) RotateAccountSecret(ctx context.Context, id event.AccountID) (string, error) {
	secret := newAccountSecret()
	tag, err := s.db.Exec(ctx, `update accounts set secret_hash = $2 where id = $1`, id, hashSecret(secret))
	if err != nil {
		return "", fmt.Errorf("rotating an account's secret: %w", err)
	}
	if tag.RowsAffected() == 0 {
		return "", ErrNotFound
	}
	return secret, nil
}

// DeleteAccount removes an account with its destinations.
func (s *Store) DeleteAccount(ctx context.Context, id event.AccountID) error {
	return s.db.Tx(ctx, func(tx pgx.Tx) error {
		n, err := removeAccounts(ctx, tx, `id = $1`, int64(id))
		if err == nil && n == 0 {
			return ErrNotFound
		}
		return err
	})
}

// Forget removes the accounts that a user owns, within the transaction in which
// the user leaves.
func Forget(ctx context.Context, tx pgx.Tx, owner event.UserID) error {
	_, err := removeAccounts(ctx, tx, `owner = $1`, string(owner))
	return err
}

func removeAccounts(ctx context.Context, tx pgx.Tx, which string, arg any) (int64, error) {
	// Accounts first: nobody makes a destination without its account's lock.
	if _, err := tx.Exec(ctx, `select from accounts where `+which+` order by id for update`, arg); err != nil {
		return 0, fmt.Errorf("locking accounts: %w", err)
	}
	if _, err := tx.Exec(ctx, `
		insert into removed_destinations (id)
		select d.id from destinations d where d.account_id in (select id from accounts where `+which+`)`, arg); err != nil {
		return 0, fmt.Errorf("removing an account's destinations: %w", err)
	}
	tag, err := tx.Exec(ctx, `with gone as (delete from accounts where `+which+` returning id) insert into removed_accounts (id) select id from gone`, arg)
	if err != nil {
		return 0, fmt.Errorf("removing an account: %w", err)
	}
	return tag.RowsAffected(), nil
}

// OwnerOf is the user whom an account belongs to, "" for none or no account.
func (s *Store) OwnerOf(ctx context.Context, id event.AccountID) (event.UserID, error) {
	a, err := s.Account(ctx, id)
	if errors.Is(err, ErrNotFound) {
		return "", nil
	}
	return a.Owner, err
}
