package user

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"crier/internal/event"
)

// Errors of sessions and their secrets.
var (
	ErrNoSession     = errors.New("no such session, or it has ended")
	ErrRefresh       = errors.New("no such refresh token, or its session has ended")
	ErrRefreshReused = errors.New("this refresh token was used before; its session is ended")
	ErrTicket        = errors.New("no such ticket: it was used, or has expired")
)

// Session is one sign-in.
type Session struct {
	ID        string       `json:"id"`
	UserID    event.UserID `json:"user_id"`
	UserAgent string       `json:"user_agent"`
	CreatedAt time.Time    `json:"created_at"`
	ExpiresAt time.Time    `json:"expires_at"`
	Current   bool         `json:"current"`
}

// secret makes a random token and the hash it is stored as.
func secret() (text string, hash []byte) {
	b := make([]byte, 32)
	_, _ = rand.Read(b) // never fails, see its document
	text = base64.RawURLEncoding.EncodeToString(b)
	return text, hashSecret(text)
}

func hashSecret(text string) []byte {
	h := sha256.Sum256([]byte(text))
	return h[:]
}

// Kind is how a session renews itself.
type Kind bool

const (
	// Rotating sessions get a new refresh token each time theirs is used.
	Rotating Kind = false
	// Lasting sessions keep their refresh token until they end, and every use of
	// them moves their end on.
	Lasting Kind = true
)

// MaxSessions is how many sessions of a user live at once. Programs that sign in at
// each start and never sign out have many; one more ends the one that would end first.
const MaxSessions = 500

// StartSession begins a session and returns its id and first refresh token, and which
// sessions it has ended because there were too many.
func (s *Store) StartSession(ctx context.Context, user event.UserID, kind Kind, agent string, now time.Time, ttl time.Duration) (id, refresh string, ended []string, err error) {
	refresh, hash := secret()
	if len(agent) > 300 {
		agent = agent[:300]
	}
	err = s.db.Tx(ctx, func(tx pgx.Tx) error {
		batch := &pgx.Batch{}
		// One sign-in of a user at a time, so that two cannot pass the limit together; the
		// next statement sees what the one before has begun.
		batch.Queue(`select pg_advisory_xact_lock(hashtextextended('sessions ' || $1, 0))`, string(user))
		// Index sessions_live.
		batch.Queue(`
			update sessions set ended_at = $2 where id in (
				select id from sessions where user_id = $1 and ended_at is null and expires_at > $2 order by expires_at desc, id offset $3)
			returning id::text`, string(user), now, MaxSessions-1).Query(func(rows pgx.Rows) (err error) {
			ended, err = pgx.CollectRows(rows, pgx.RowTo[string])
			return err
		})
		batch.Queue(`
			with s as (insert into sessions (id, user_id, user_agent, created_at, expires_at, lasting) values (gen_random_uuid(), $1, $2, $3, $4, $6) returning id)
			, r as (insert into refresh_tokens (hash, session_id) select $5, id from s)
			select id::text from s`, string(user), event.CleanText(agent), now, now.Add(ttl), hash, bool(kind)).QueryRow(func(row pgx.Row) error { return row.Scan(&id) })
		return tx.SendBatch(ctx, batch).Close()
	})
	if err != nil {
		return "", "", nil, fmt.Errorf("starting a session: %w", err)
	}
	return id, refresh, ended, nil
}

// Refresh exchanges a refresh token for the next one of its session, whose end
// moves on by ttl; that of a lasting session is returned again. A rotating token
// used twice ends the session: one of the two users of it is a thief.
func (s *Store) Refresh(ctx context.Context, refresh string, now time.Time, ttl time.Duration) (user event.UserID, session, next string, err error) {
	next, hash := secret()
	reused := false
	err = s.db.Tx(ctx, func(tx pgx.Tx) error {
		var used, ended *time.Time
		var expires time.Time
		var lasting bool
		err := tx.QueryRow(ctx, `
			select s.user_id, s.id::text, r.used_at, s.ended_at, s.expires_at, s.lasting
			from refresh_tokens r join sessions s on s.id = r.session_id where r.hash = $1 for update`, hashSecret(refresh)).
			Scan((*string)(&user), &session, &used, &ended, &expires, &lasting)
		if errors.Is(err, pgx.ErrNoRows) || err == nil && (ended != nil || !expires.After(now)) {
			return ErrRefresh
		}
		if err != nil {
			return err
		}
		if used != nil {
			reused = true
			_, err := tx.Exec(ctx, `update sessions set ended_at = $2 where id = $1::uuid`, session, now)
			return err
		}
		batch := &pgx.Batch{}
		if lasting {
			next = refresh
		} else {
			batch.Queue(`update refresh_tokens set used_at = $2 where hash = $1`, hashSecret(refresh), now)
			batch.Queue(`insert into refresh_tokens (hash, session_id) values ($1, $2::uuid)`, hash, session)
		}
		batch.Queue(`update sessions set expires_at = $2 where id = $1::uuid`, session, now.Add(ttl))
		return tx.SendBatch(ctx, batch).Close()
	})
	switch {
	case errors.Is(err, ErrRefresh):
		return "", "", "", err
	case err != nil:
		return "", "", "", fmt.Errorf("refreshing a session: %w", err)
	case reused:
		return user, session, "", ErrRefreshReused
	}
	return user, session, next, nil
}

// SessionOf is the user and session that a refresh token was made for, also when
// it was used or the session has ended: it says who was here before, and lets
// nobody in. ErrRefresh if there is none.
func (s *Store) SessionOf(ctx context.Context, refresh string) (user event.UserID, session string, err error) {
	err = s.db.QueryRow(ctx, `select s.user_id, s.id::text from refresh_tokens r join sessions s on s.id = r.session_id where r.hash = $1`, hashSecret(refresh)).
		Scan((*string)(&user), &session)
	if errors.Is(err, pgx.ErrNoRows) {
		return "", "", ErrRefresh
	}
	if err != nil {
		return "", "", fmt.Errorf("reading a refresh token: %w", err)
	}
	return user, session, nil
}

// Live is a session that has not ended.
type Live struct {
	ExpiresAt time.Time
	Kind      Kind
}

// prolongStep is the part of its life after which a lasting session's end is moved
// on: a session that is used all day is written once a day at the default of 30 days.
const prolongStep = 30

// Due reports whether the session's end is to be moved on, as it is in use.
func (l Live) Due(now time.Time, ttl time.Duration) bool {
	return l.Kind == Lasting && l.ExpiresAt.Before(now.Add(ttl-ttl/prolongStep))
}

// Prolong moves on the ends of those of the sessions that are lasting and live, where
// that is due.
func (s *Store) Prolong(ctx context.Context, sessions []string, now time.Time, ttl time.Duration) error {
	_, err := s.db.Exec(ctx, `
		update sessions set expires_at = $3 where id = any($1::uuid[]) and lasting and ended_at is null and expires_at > $2 and expires_at < $4`,
		sessions, now, now.Add(ttl), now.Add(ttl-ttl/prolongStep))
	if err != nil {
		return fmt.Errorf("prolonging %d sessions: %w", len(sessions), err)
	}
	return nil
}

// LiveOf returns those of the sessions that have not ended. A text that is no
// session's id is not among them.
func (s *Store) LiveOf(ctx context.Context, sessions []string, now time.Time) (map[string]Live, error) {
	ids := make([]string, 0, len(sessions))
	for _, id := range sessions {
		if event.IsUUID(id) {
			ids = append(ids, id)
		}
	}
	rows, err := s.db.Query(ctx, `select id::text, expires_at, lasting from sessions where id = any($1::uuid[]) and ended_at is null and expires_at > $2`, ids, now)
	if err != nil {
		return nil, fmt.Errorf("looking up %d sessions: %w", len(ids), err)
	}
	out := make(map[string]Live, len(ids))
	var id string
	var live Live
	if _, err := pgx.ForEachRow(rows, []any{&id, &live.ExpiresAt, (*bool)(&live.Kind)}, func() error { out[id] = live; return nil }); err != nil {
		return nil, fmt.Errorf("looking up %d sessions: %w", len(ids), err)
	}
	return out, nil
}

// Ended returns which of the sessions have ended.
func (s *Store) Ended(ctx context.Context, sessions []string, now time.Time) ([]string, error) {
	rows, err := s.db.Query(ctx, `
		select k.s::text from unnest($1::uuid[]) as k(s)
		where not exists (select from sessions where id = k.s and ended_at is null and expires_at > $2)`, sessions, now)
	if err != nil {
		return nil, fmt.Errorf("looking up %d sessions: %w", len(sessions), err)
	}
	return pgx.CollectRows(rows, pgx.RowTo[string])
}

// End ends one session of a user, or with session "" all of them.
func (s *Store) End(ctx context.Context, user event.UserID, session string, now time.Time) error {
	if session != "" && !event.IsUUID(session) {
		return ErrNoSession
	}
	tag, err := s.db.Exec(ctx, `
		update sessions set ended_at = $3 where user_id = $1 and ended_at is null and ($2 = '' or id::text = $2)`, string(user), session, now)
	if err != nil {
		return fmt.Errorf("ending sessions: %w", err)
	}
	if session != "" && tag.RowsAffected() == 0 {
		return ErrNoSession
	}
	return nil
}

// Sessions lists a user's live sessions, newest first.
func (s *Store) Sessions(ctx context.Context, user event.UserID, now time.Time) ([]Session, error) {
	rows, err := s.db.Query(ctx, `
		select id::text, user_id, user_agent, created_at, expires_at from sessions
		where user_id = $1 and ended_at is null and expires_at > $2 order by created_at desc limit 100`, string(user), now)
	if err != nil {
		return nil, fmt.Errorf("listing sessions: %w", err)
	}
	return pgx.CollectRows(rows, func(r pgx.CollectableRow) (Session, error) {
		var x Session
		err := r.Scan(&x.ID, (*string)(&x.UserID), &x.UserAgent, &x.CreatedAt, &x.ExpiresAt)
		return x, err
	})
}

// Ticket is what a stream ticket stands for.
type Ticket struct {
	UserID    event.UserID
	Session   string // "" where the token had none
	TokenEnds time.Time
}

// TicketTTL is how long a ticket can be used.
const TicketTTL = 30 * time.Second

// MaxTickets is how many unused tickets a user may have: with one more, the oldest cannot
// be used.
const MaxTickets = 100

// MakeTicket makes a ticket that opens one stream.
func (s *Store) MakeTicket(ctx context.Context, t Ticket, now time.Time) (string, error) {
	text, hash := secret()
	var session *string
	if t.Session != "" {
		session = &t.Session
	}
	// Index stream_tickets_user. Of tickets that are made at the same moment a few more may
	// stay.
	_, err := s.db.Exec(ctx, `
		with oldest as (delete from stream_tickets where hash in (
			select hash from stream_tickets where user_id = $2 order by expires_at desc offset $6))
		insert into stream_tickets (hash, user_id, session_id, token_ends, expires_at) values ($1, $2, $3::uuid, $4, $5)`,
		hash, string(t.UserID), session, t.TokenEnds, now.Add(TicketTTL), MaxTickets-1)
	if err != nil {
		return "", fmt.Errorf("making a ticket: %w", err)
	}
	return text, nil
}

// UseTicket uses up a ticket, on whichever gateway it is shown first.
func (s *Store) UseTicket(ctx context.Context, text string, now time.Time) (Ticket, error) {
	var t Ticket
	var session *string
	var expires time.Time
	err := s.db.QueryRow(ctx, `delete from stream_tickets where hash = $1 returning user_id, session_id::text, token_ends, expires_at`, hashSecret(text)).
		Scan((*string)(&t.UserID), &session, &t.TokenEnds, &expires)
	if errors.Is(err, pgx.ErrNoRows) || err == nil && !expires.After(now) {
		return t, ErrTicket
	}
	if err != nil {
		return t, fmt.Errorf("using a ticket: %w", err)
	}
	if session != nil {
		t.Session = *session
	}
	return t, nil
}

// Sweep removes what has expired: tickets, sessions that ended a month ago,
// and answers to idempotent sends after 24 h.
func (s *Store) Sweep(ctx context.Context, now time.Time) error {
	batch := &pgx.Batch{}
	batch.Queue(`delete from stream_tickets where expires_at < $1`, now)
	batch.Queue(`delete from sessions where expires_at < $1 or ended_at < $1`, now.AddDate(0, -1, 0))
	batch.Queue(`delete from password_resets where expires_at < $1`, now.Add(-24*time.Hour))
	batch.Queue(`delete from invites where expires_at < $1 or uses_left = 0`, now)
	batch.Queue(`delete from idempotent_sends where created_at < $1`, now.Add(-IdempotencyTTL))
	batch.Queue(`delete from mail_consents where confirmed_at is null and created_at < $1`, now.Add(-unconfirmedKept))
	// How often an address was mailed is remembered for longer than its claims.
	batch.Queue(`delete from mail_addresses m where coalesce(mailed_at < $1, true) and wanted_at is null and not exists (select from mail_consents c where c.address = m.address)`,
		now.Add(-confirmAgain*256))
	if err := s.db.SendBatch(ctx, batch).Close(); err != nil {
		return fmt.Errorf("sweeping expired sessions, tickets and answers: %w", err)
	}
	return nil
}
