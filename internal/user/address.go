package user

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"crier/internal/event"
)

// Mail goes only where its owner has asked for it: an address that a user gives is
// claimed by them, gets one confirmation mail, and nothing else until its owner has
// confirmed the claim. Several users may claim one address, and its owner decides
// about each; so nobody can keep it from them, or learn by claiming it whether it
// has an account.

// MaxUnconfirmed is how many unconfirmed addresses one user may have claimed: each
// has cost somebody a mail that they may not have asked for.
const MaxUnconfirmed = 10

// confirmAgain is how long an address that was sent a confirmation mail gets no
// other, whoever claims it or asks for one; it doubles with each that is not followed.
const confirmAgain = 24 * time.Hour

// unconfirmedKept is how long a claim waits to be confirmed.
const unconfirmedKept = 30 * 24 * time.Hour

// Errors of claims.
var (
	ErrUnconfirmed = errors.New("the user has too many addresses that are not confirmed")
	ErrNoClaim     = errors.New("no such claim of the address")
)

// Claim is a user's wish to have mail sent to an address.
type Claim struct {
	UserID      event.UserID `json:"-"`
	Username    string       `json:"-"` // the id where it is another identity provider's
	Address     string       `json:"address"`
	CreatedAt   time.Time    `json:"created_at"`
	ConfirmedAt *time.Time   `json:"confirmed_at,omitempty"`
}

// ClaimAddress is the method of this name within tx.
func ClaimAddress(ctx context.Context, tx pgx.Tx, id event.UserID, address string, now time.Time) error {
	address = strings.ToLower(address)
	var known bool
	// The primary key.
	if err := tx.QueryRow(ctx, `select exists (select from mail_consents where user_id = $1 and address = $2)`, string(id), address).Scan(&known); err != nil {
		return fmt.Errorf("looking up a claim of an address: %w", err)
	}
	if known {
		return nil
	}
	// One claim of a user at a time, so that the limit holds for parallel ones.
	if _, err := tx.Exec(ctx, `select pg_advisory_xact_lock(hashtextextended('mail_consents ' || $1, 0))`, string(id)); err != nil {
		return fmt.Errorf("claiming an address: %w", err)
	}
	tag, err := tx.Exec(ctx, `
		insert into mail_consents (user_id, address, created_at) select $1, $2, $3
		where (select count(*) from mail_consents where user_id = $1 and confirmed_at is null and address <> $2) < $4
		on conflict do nothing`, string(id), address, now, MaxUnconfirmed)
	if err != nil {
		return fmt.Errorf("claiming an address: %w", err)
	}
	if tag.RowsAffected() == 0 {
		// A parallel claim of the same address, or too many.
		if err := tx.QueryRow(ctx, `select exists (select from mail_consents where user_id = $1 and address = $2)`, string(id), address).Scan(&known); err != nil {
			return fmt.Errorf("looking up a claim of an address: %w", err)
		}
		if !known {
			return ErrUnconfirmed
		}
		return nil
	}
	return wantConfirmation(ctx, tx, address, now)
}

// Vouch notes, within tx, that a user's mail may go to an address without its owner's
// confirmation here: the operator who imports them from another system answers for it. The
// address becomes the account's own unless it is another's.
func Vouch(ctx context.Context, tx pgx.Tx, id event.UserID, address string, now time.Time) error {
	address = strings.ToLower(address)
	batch := &pgx.Batch{}
	// First, as in ConfirmAddress: one change of an address at a time.
	batch.Queue(`insert into mail_addresses (address) values ($1) on conflict (address) do update set mails = 0, mailed_at = null, wanted_at = null`, address)
	batch.Queue(`
		insert into mail_consents as c (user_id, address, created_at, confirmed_at) values ($1, $2, $3, $3)
		on conflict (user_id, address) do update set confirmed_at = coalesce(c.confirmed_at, excluded.confirmed_at)`, string(id), address, now)
	batch.Queue(confirmOwn, string(id), address)
	if err := tx.SendBatch(ctx, batch).Close(); err != nil {
		return fmt.Errorf("vouching for an address: %w", err)
	}
	return nil
}

// confirmOwn makes an address the account's own unless it is another's already.
const confirmOwn = `
	update users set email_confirmed = true where id::text = $1 and lower(email) = $2
	and not exists (select from users where lower(email) = $2 and email_confirmed)`

// wantConfirmation has a confirmation mail sent, unless one was lately.
func wantConfirmation(ctx context.Context, tx pgx.Tx, address string, now time.Time) error {
	_, err := tx.Exec(ctx, `
		insert into mail_addresses as m (address, mails, mailed_at, wanted_at) values ($1, 1, $2, $2)
		on conflict (address) do update set mails = m.mails + 1, mailed_at = excluded.mailed_at, wanted_at = excluded.wanted_at
		where m.mailed_at is null or m.mailed_at + $3::interval * (2 ^ least(m.mails - 1, 8)) <= $2`, address, now, confirmAgain)
	if err != nil {
		return fmt.Errorf("asking for a confirmation mail: %w", err)
	}
	return nil
}

// ClaimAddress notes that a user wants mail sent to an address, and has a
// confirmation mail sent the first time. ErrUnconfirmed if too many of the user's
// addresses are not confirmed.
func (s *Store) ClaimAddress(ctx context.Context, id event.UserID, address string, now time.Time) error {
	return s.db.Tx(ctx, func(tx pgx.Tx) error { return ClaimAddress(ctx, tx, id, address, now) })
}

// AskConfirmation has the confirmation mail of the account's own address sent again,
// if it is not confirmed and the last one was long enough ago.
func (s *Store) AskConfirmation(ctx context.Context, acc Account, now time.Time) error {
	if acc.Email == "" || acc.EmailConfirmed {
		return nil
	}
	return s.db.Tx(ctx, func(tx pgx.Tx) error {
		if err := ClaimAddress(ctx, tx, acc.UserID(), acc.Email, now); err != nil {
			return err
		}
		return wantConfirmation(ctx, tx, strings.ToLower(acc.Email), now)
	})
}

// Unconfirmed lists the claims of an address that its owner has not confirmed, newest
// first, at most 100.
func (s *Store) Unconfirmed(ctx context.Context, address string) ([]Claim, error) {
	// Index mail_consents_address.
	rows, err := s.db.Query(ctx, `
		select c.user_id, coalesce(u.username, c.user_id), c.address, c.created_at from mail_consents c
		left join users u on u.id::text = c.user_id
		where c.address = $1 and c.confirmed_at is null order by c.created_at desc limit 100`, strings.ToLower(address))
	if err != nil {
		return nil, fmt.Errorf("listing an address' claims: %w", err)
	}
	list, err := pgx.CollectRows(rows, func(r pgx.CollectableRow) (c Claim, err error) {
		return c, r.Scan((*string)(&c.UserID), &c.Username, &c.Address, &c.CreatedAt)
	})
	if err != nil {
		return nil, fmt.Errorf("listing an address' claims: %w", err)
	}
	return list, nil
}

// Claims lists the addresses that a user has claimed.
func (s *Store) Claims(ctx context.Context, id event.UserID) ([]Claim, error) {
	rows, err := s.db.Query(ctx, `select user_id, '', address, created_at, confirmed_at from mail_consents where user_id = $1 order by address`, string(id))
	if err != nil {
		return nil, fmt.Errorf("listing a user's addresses: %w", err)
	}
	list, err := pgx.CollectRows(rows, pgx.RowToStructByPos[Claim])
	if err != nil {
		return nil, fmt.Errorf("listing a user's addresses: %w", err)
	}
	return list, nil
}

// ConfirmAddress confirms a user's claim for the address' owner. The address becomes
// the account's own, which can be signed in by, unless it is another's already.
// Confirming again changes nothing; ErrNoClaim if the user has not claimed it.
func (s *Store) ConfirmAddress(ctx context.Context, id event.UserID, address string, now time.Time) error {
	address = strings.ToLower(address)
	err := s.db.Tx(ctx, func(tx pgx.Tx) error {
		// First, and so one confirmation of an address at a time.
		if _, err := tx.Exec(ctx, `update mail_addresses set mails = 0, mailed_at = null, wanted_at = null where address = $1`, address); err != nil {
			return err
		}
		tag, err := tx.Exec(ctx, `update mail_consents set confirmed_at = coalesce(confirmed_at, $3) where user_id = $1 and address = $2`, string(id), address, now)
		if err != nil {
			return err
		}
		if tag.RowsAffected() == 0 {
			return ErrNoClaim
		}
		_, err = tx.Exec(ctx, confirmOwn, string(id), address)
		return err
	})
	if err != nil && !errors.Is(err, ErrNoClaim) {
		err = fmt.Errorf("confirming an address: %w", err)
	}
	return err
}

// Recipient is an address that a user's mail is for.
type Recipient struct {
	UserID  event.UserID
	Address string
}

// ConfirmedOf returns, within tx, those of the recipients whose address' owner has
// confirmed the user's claim.
func ConfirmedOf(ctx context.Context, tx pgx.Tx, list []Recipient) (map[Recipient]bool, error) {
	users, addresses := make([]string, len(list)), make([]string, len(list))
	for i, r := range list {
		users[i], addresses[i] = string(r.UserID), r.Address
	}
	// The primary key.
	rows, err := tx.Query(ctx, `
		select k.u, k.a from unnest($1::text[], $2::text[]) as k(u, a)
		join mail_consents c on c.user_id = k.u and c.address = lower(k.a) and c.confirmed_at is not null`, users, addresses)
	if err != nil {
		return nil, fmt.Errorf("looking up confirmed addresses: %w", err)
	}
	out := make(map[Recipient]bool, len(list))
	var id, address string
	if _, err := pgx.ForEachRow(rows, []any{&id, &address}, func() error { out[Recipient{event.UserID(id), address}] = true; return nil }); err != nil {
		return nil, fmt.Errorf("looking up confirmed addresses: %w", err)
	}
	return out, nil
}

// TakeConfirmations marks, within tx, up to limit wanted confirmation mails as taken
// care of, and returns their addresses.
func TakeConfirmations(ctx context.Context, tx pgx.Tx, limit int) ([]string, error) {
	// Index mail_addresses_wanted.
	rows, err := tx.Query(ctx, `
		update mail_addresses m set wanted_at = null from (
			select address from mail_addresses where wanted_at is not null order by wanted_at limit $1 for update skip locked) n
		where m.address = n.address returning m.address`, limit)
	if err != nil {
		return nil, fmt.Errorf("taking wanted confirmation mails: %w", err)
	}
	list, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return nil, fmt.Errorf("taking wanted confirmation mails: %w", err)
	}
	return list, nil
}

// HasAccount reports whether an address is an account's own, confirmed.
func (s *Store) HasAccount(ctx context.Context, address string) (bool, error) {
	var yes bool
	// Index users_email_confirmed.
	if err := s.db.QueryRow(ctx, `select exists (select from users where lower(email) = lower($1) and email_confirmed)`, address).Scan(&yes); err != nil {
		return false, fmt.Errorf("looking up an address' account: %w", err)
	}
	return yes, nil
}
