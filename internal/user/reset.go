package user

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"crier/internal/event"
)

// A request for a new password is good for ResetTTL, and an account may make so
// many in that time: what comes more often mails nobody.
const (
	ResetTTL  = time.Hour
	maxResets = 3
)

// ErrNoReset is a request for a new password that is not there, was used, or is
// over.
var ErrNoReset = errors.New("no such request for a new password, or it is over")

// AskReset notes a request for a new password of the account with the username or
// address, if its address is confirmed; nobody learns whether it is. If it is not,
// another confirmation mail may be due.
func (s *Store) AskReset(ctx context.Context, login string, now time.Time) error {
	batch := &pgx.Batch{}
	batch.Queue(`
		insert into password_resets (id, user_id, address, created_at, expires_at)
		select gen_random_uuid(), u.id::text, u.email, $2, $3 from users u
		where u.email_confirmed and (lower(u.username) in (lower($1), lower($6)) or lower(u.email) = lower($1))
		and (select count(*) from password_resets r where r.user_id = u.id::text and r.created_at > $4) < $5`,
		login, now, now.Add(ResetTTL), now.Add(-ResetTTL), maxResets, CanonicalName(login))
	batch.Queue(`
		update mail_addresses m set mails = m.mails + 1, mailed_at = $2, wanted_at = $2
		where m.mailed_at + $3::interval * (2 ^ least(m.mails - 1, 8)) <= $2 and m.address in (
			select lower(u.email) from users u where not u.email_confirmed and (lower(u.username) in (lower($1), lower($4)) or lower(u.email) = lower($1)))`,
		login, now, confirmAgain, CanonicalName(login))
	if err := s.db.SendBatch(ctx, batch).Close(); err != nil {
		return fmt.Errorf("noting a request for a new password: %w", err)
	}
	return nil
}

// Reset is a request for a new password.
type Reset struct {
	ID       string
	UserID   event.UserID
	Username string
	Address  string
	Ends     time.Time
}

// LinksWanted says whether there are requests for mails with links that are not queued yet:
// most of the time there are none, which is cheaper to ask than to take them.
func (s *Store) LinksWanted(ctx context.Context) (resets, confirmations bool, err error) {
	// Indexes password_resets_new and mail_addresses_wanted.
	err = s.db.QueryRow(ctx, `
		select exists (select from password_resets where queued_at is null), exists (select from mail_addresses where wanted_at is not null)`).Scan(&resets, &confirmations)
	if err != nil {
		return false, false, fmt.Errorf("looking for requests for mails with links: %w", err)
	}
	return resets, confirmations, nil
}

// TakeResets marks, within tx, up to limit requests as taken care of, and
// returns their ids.
func TakeResets(ctx context.Context, tx pgx.Tx, now time.Time, limit int) ([]string, error) {
	// Index password_resets_new.
	rows, err := tx.Query(ctx, `
		update password_resets p set queued_at = $1 from (
			select id from password_resets where queued_at is null order by created_at limit $2 for update skip locked) n
		where p.id = n.id returning p.id::text`, now, limit)
	if err != nil {
		return nil, fmt.Errorf("taking requests for new passwords: %w", err)
	}
	ids, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return nil, fmt.Errorf("taking requests for new passwords: %w", err)
	}
	return ids, nil
}

// Reset reads a request that is still good; ErrNoReset if it is not.
func (s *Store) Reset(ctx context.Context, id string, now time.Time) (Reset, error) {
	var r Reset
	if !event.IsUUID(id) {
		return r, ErrNoReset
	}
	err := s.db.QueryRow(ctx, `
		select p.id::text, p.user_id, u.username, p.address, p.expires_at from password_resets p
		join users u on u.id::text = p.user_id
		where p.id = $1::uuid and p.used_at is null and p.expires_at > $2`, id, now).Scan(&r.ID, (*string)(&r.UserID), &r.Username, &r.Address, &r.Ends)
	if errors.Is(err, pgx.ErrNoRows) {
		return r, ErrNoReset
	}
	if err != nil {
		return r, fmt.Errorf("reading a request for a new password: %w", err)
	}
	return r, nil
}

// UseReset sets the account's password by a request, once, and ends its other
// requests and its sessions; ErrNoReset if it is no longer good.
func (s *Store) UseReset(ctx context.Context, id, hash string, now time.Time) (event.UserID, error) {
	var uid event.UserID
	err := s.db.Tx(ctx, func(tx pgx.Tx) error {
		// The account's row first, as setPassword has it.
		if _, err := tx.Exec(ctx, `select from users where id = (select user_id::bigint from password_resets where id = $1::uuid) for no key update`, id); err != nil {
			return err
		}
		err := tx.QueryRow(ctx, `update password_resets set used_at = $2 where id = $1::uuid and used_at is null and expires_at > $2 returning user_id`, id, now).Scan((*string)(&uid))
		if errors.Is(err, pgx.ErrNoRows) {
			return ErrNoReset
		}
		if err != nil {
			return err
		}
		_, err = setPassword(ctx, tx, string(uid), hash, "", now)
		return err
	})
	if err != nil && !errors.Is(err, ErrNoReset) {
		err = fmt.Errorf("setting a password by request: %w", err)
	}
	return uid, err
}
