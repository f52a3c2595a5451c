package user

import (
	"context"
	"errors"
	"fmt"
	"net/mail"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/jackc/pgx/v5"
	"golang.org/x/text/unicode/norm"

	"crier/internal/event"
	"crier/internal/postgres"
)

// Errors of accounts.
var (
	ErrUsernameTaken = errors.New("this username is taken")
	ErrIDTaken       = errors.New("another account has this id")
	ErrNotFound      = errors.New("no such user")
	ErrNotGuest      = errors.New("this account is no guest's")
)

// Limits of an account, in characters.
const (
	MaxUsername = 150
	MaxEmail    = 254 // RFC 5321 section 4.5.3.1.3, less the angle brackets
)

// Account is a person who signed up here.
type Account struct {
	ID             int64
	Username       string
	Email          string // as it was given
	EmailConfirmed bool   // by the address' owner; it can be signed in by
	PasswordHash   string
	CreatedAt      time.Time
	Guest          bool // made on the spot: its owner knows no password
}

// UserID is the account's id as it is used everywhere else.
func (a Account) UserID() event.UserID { return event.UserID(strconv.FormatInt(a.ID, 10)) }

// Store is the accounts, sessions, tickets and keys of one database. It is safe
// for concurrent use.
type Store struct {
	db *postgres.DB
}

// New makes a Store.
func New(db *postgres.DB) *Store { return &Store{db} }

// CanonicalName is the one form of a username: composed, and of usual width (NFKC, as
// the older systems keep theirs). Names that cannot be told apart are one name.
func CanonicalName(name string) string { return norm.NFKC.String(name) }

// CheckUsername notes which rule a new username breaks, in the form in which it is kept.
func CheckUsername(v *event.Invalid, field, name string) {
	name = CanonicalName(name)
	if name == "" {
		v.Add(field, "required", "is required")
		return
	}
	if len([]rune(name)) > MaxUsername {
		v.Add(field, "length", fmt.Sprintf("must be at most %d characters", MaxUsername))
	}
	signs := "@.+-_"
	if parsed, err := mail.ParseAddress(name); err == nil && parsed.Address == name {
		// Clients whose users are known by their address sign up with it as the name
		// (RFC 5322, section 3.2.3: atext).
		signs += "!#$%&'*/=?^`{|}~"
	}
	for _, r := range name {
		// No invisible and no control characters: two names that look alike are two people.
		letter := unicode.IsLetter(r) || unicode.IsDigit(r) || unicode.IsMark(r)
		if !letter && !strings.ContainsRune(signs, r) {
			v.Add(field, "characters", "must be of letters, digits and @ . + - _")
			return
		}
	}
}

// CheckEmail notes an address that no mail could be sent to.
func CheckEmail(v *event.Invalid, field, address string) {
	if address == "" {
		return
	}
	parsed, err := mail.ParseAddress(address)
	if err != nil || parsed.Address != address || len(address) > MaxEmail {
		v.Add(field, "email", "must be an email address such as ann@example.org")
		return
	}
	v.CheckText(field, address, MaxEmail)
}

// Create stores an account within tx, gives it its id and claims its address. Whether
// the address is another account's already makes no difference: nobody shall learn it.
func Create(ctx context.Context, tx pgx.Tx, a Account, now time.Time) (Account, error) {
	var email *string
	if a.Email != "" {
		email = &a.Email
	}
	a.CreatedAt, a.Username = now, CanonicalName(a.Username)
	err := tx.QueryRow(ctx, `insert into users (username, email, password_hash, created_at, guest) values ($1, $2, $3, $4, $5) returning id`,
		a.Username, email, a.PasswordHash, now, a.Guest).Scan(&a.ID)
	if err != nil {
		return a, named("creating an account", err)
	}
	if a.Email != "" {
		err = ClaimAddress(ctx, tx, a.UserID(), a.Email, now)
	}
	return a, err
}

// CreateAs is Create with the id and the time that the account has, of an import.
func CreateAs(ctx context.Context, tx pgx.Tx, a Account) (Account, error) {
	if err := postgres.ReserveID(ctx, tx, "users", a.ID); err != nil {
		return a, fmt.Errorf("importing an account: %w", err)
	}
	a.Username = CanonicalName(a.Username)
	_, err := tx.Exec(ctx, `insert into users (id, username, email, password_hash, created_at) overriding system value values ($1, $2, nullif($3, ''), $4, $5)`,
		a.ID, a.Username, a.Email, a.PasswordHash, a.CreatedAt)
	if postgres.UniqueViolation(err) == "users_pkey" {
		return a, ErrIDTaken
	}
	if err != nil {
		return a, named("importing an account", err)
	}
	if a.Email != "" {
		err = Vouch(ctx, tx, a.UserID(), a.Email, a.CreatedAt)
	}
	return a, err
}

// named is the error of a statement that gives an account its name.
func named(action string, err error) error {
	if postgres.UniqueViolation(err) == "users_username" {
		return ErrUsernameTaken
	}
	return fmt.Errorf("%s: %w", action, err)
}

// Keep turns a guest's account into an ordinary one with the given name, address
// and password hash; id and sessions stay. An account that is no guest's, or no
// longer, is ErrNotGuest.
func (s *Store) Keep(ctx context.Context, a Account, now time.Time) (Account, error) {
	var kept Account
	err := s.db.Tx(ctx, func(tx pgx.Tx) (err error) {
		// The condition decides between two requests of one guest: the second finds none.
		kept, err = scanAccount(tx.QueryRow(ctx, `
			update users set username = $2, email = nullif($3, ''), password_hash = $4, guest = false where id = $1 and guest
			returning `+accountColumns, a.ID, CanonicalName(a.Username), a.Email, a.PasswordHash))
		if err == nil && kept.Email != "" {
			err = ClaimAddress(ctx, tx, kept.UserID(), kept.Email, now)
		}
		return err
	})
	switch {
	case errors.Is(err, ErrNotFound):
		return kept, ErrNotGuest
	case errors.Is(err, ErrUnconfirmed):
		return kept, err
	case err != nil:
		return kept, named("keeping a guest's account", err)
	}
	return kept, nil
}

const accountColumns = `id, username, coalesce(email, ''), email_confirmed, password_hash, created_at, guest`

func scanAccount(r pgx.Row) (Account, error) {
	var a Account
	err := r.Scan(&a.ID, &a.Username, &a.Email, &a.EmailConfirmed, &a.PasswordHash, &a.CreatedAt, &a.Guest)
	if errors.Is(err, pgx.ErrNoRows) {
		return a, ErrNotFound
	}
	if err != nil {
		return a, fmt.Errorf("reading an account: %w", err)
	}
	return a, nil
}

// ByLogin finds the account of a username, and that of a confirmed email address
// that reads the same: somebody may call themself by another's address, and neither
// must lock the other out. In any case of letters; at most two, and one more where a
// name of before names had one form reads the same.
func (s *Store) ByLogin(ctx context.Context, name string) ([]Account, error) {
	rows, err := s.db.Query(ctx, `
		select `+accountColumns+` from users where lower(username) in (lower($1), lower($2)) or lower(email) = lower($1) and email_confirmed
		order by lower(username) = lower($1) desc, lower(username) = lower($2) desc`, name, CanonicalName(name))
	if err != nil {
		return nil, fmt.Errorf("reading an account: %w", err)
	}
	list, err := pgx.CollectRows(rows, func(r pgx.CollectableRow) (Account, error) { return scanAccount(r) })
	if err != nil {
		return nil, fmt.Errorf("reading an account: %w", err)
	}
	return list, nil
}

// ByID finds an account by its id's decimal text.
func (s *Store) ByID(ctx context.Context, id event.UserID) (Account, error) {
	n, err := strconv.ParseInt(string(id), 10, 64)
	if err != nil || strconv.FormatInt(n, 10) != string(id) {
		return Account{}, ErrNotFound
	}
	return scanAccount(s.db.QueryRow(ctx, `select `+accountColumns+` from users where id = $1`, n))
}

// Exist returns those of the users that exist: everybody has an inbox from the
// moment their account is made.
func (s *Store) Exist(ctx context.Context, ids []event.UserID) (map[event.UserID]struct{}, error) {
	texts := make([]string, len(ids))
	for i, id := range ids {
		texts[i] = string(id)
	}
	rows, err := s.db.Query(ctx, `select user_id from inboxes where user_id = any($1::text[])`, texts)
	if err != nil {
		return nil, fmt.Errorf("looking up %d users: %w", len(ids), err)
	}
	found := make(map[event.UserID]struct{}, len(ids))
	var id string
	if _, err := pgx.ForEachRow(rows, []any{&id}, func() error { found[event.UserID(id)] = struct{}{}; return nil }); err != nil {
		return nil, fmt.Errorf("looking up %d users: %w", len(ids), err)
	}
	return found, nil
}

// Emails are the addresses of those of the users who have given one, within tx;
// see ConfirmedOf.
func Emails(ctx context.Context, tx pgx.Tx, ids []event.UserID) (map[event.UserID]string, error) {
	var numbers []int64
	for _, id := range ids {
		if n, err := strconv.ParseInt(string(id), 10, 64); err == nil {
			numbers = append(numbers, n)
		}
	}
	rows, err := tx.Query(ctx, `select u.id::text, u.email from users u where u.id = any($1::bigint[]) and u.email is not null`, numbers)
	if err != nil {
		return nil, fmt.Errorf("looking up addresses: %w", err)
	}
	out := make(map[event.UserID]string, len(ids))
	var id, email string
	if _, err := pgx.ForEachRow(rows, []any{&id, &email}, func() error { out[event.UserID(id)] = email; return nil }); err != nil {
		return nil, fmt.Errorf("looking up addresses: %w", err)
	}
	return out, nil
}

// IDsByName finds, within tx, people by their usernames in small letters; who is
// not there is absent.
func IDsByName(ctx context.Context, tx pgx.Tx, names []string) (map[string]event.UserID, error) {
	// Index users_username.
	rows, err := tx.Query(ctx, `select lower(u.username), u.id::text from users u where lower(u.username) = any($1::text[])`, names)
	if err != nil {
		return nil, fmt.Errorf("looking up usernames: %w", err)
	}
	out := make(map[string]event.UserID, len(names))
	var name, id string
	if _, err := pgx.ForEachRow(rows, []any{&name, &id}, func() error { out[name] = event.UserID(id); return nil }); err != nil {
		return nil, fmt.Errorf("looking up usernames: %w", err)
	}
	return out, nil
}

// SetPassword replaces an account's password hash and, in the same transaction,
// ends what the old one or its loss could have opened: reset links that are out,
// and all sessions but keep ("": all). It returns the sessions that it ended.
func (s *Store) SetPassword(ctx context.Context, id int64, hash, keep string, now time.Time) ([]string, error) {
	var ended []string
	err := s.db.Tx(ctx, func(tx pgx.Tx) (err error) {
		ended, err = setPassword(ctx, tx, strconv.FormatInt(id, 10), hash, keep, now)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("setting a password: %w", err)
	}
	return ended, nil
}

// setPassword is SetPassword within tx. The account's row is locked first, so
// that two changes of one password do not wait for each other.
func setPassword(ctx context.Context, tx pgx.Tx, id, hash, keep string, now time.Time) ([]string, error) {
	batch := &pgx.Batch{}
	batch.Queue(`update users set password_hash = $2 where id = $1::bigint`, id, hash)
	batch.Queue(`update password_resets set used_at = $2 where user_id = $1 and used_at is null`, id, now)
	batch.Queue(`delete from stream_tickets where user_id = $1 and ($2 = '' or session_id::text is distinct from $2)`, id, keep)
	if err := tx.SendBatch(ctx, batch).Close(); err != nil {
		return nil, err
	}
	rows, err := tx.Query(ctx, `
		update sessions set ended_at = $3 where user_id = $1 and ended_at is null and ($2 = '' or id::text <> $2) returning id::text`, id, keep, now)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowTo[string])
}

// Note remembers a fact about this installation; Noted reads it, "" if there is none.
func (s *Store) Note(ctx context.Context, name, value string) error {
	_, err := s.db.Exec(ctx, `insert into installation (name, value) values ($1, $2) on conflict (name) do update set value = excluded.value`, name, value)
	if err != nil {
		return fmt.Errorf("noting %s: %w", name, err)
	}
	return nil
}

// Noted reads what Note remembered.
func (s *Store) Noted(ctx context.Context, name string) (string, error) {
	var value string
	err := s.db.QueryRow(ctx, `select value from installation where name = $1`, name).Scan(&value)
	if err != nil && !errors.Is(err, pgx.ErrNoRows) {
		return "", fmt.Errorf("reading the note %s: %w", name, err)
	}
	return value, nil
}

// Forget removes a user's account, where it is kept here, and sessions, within tx.
func Forget(ctx context.Context, tx pgx.Tx, id event.UserID) error {
	n, err := strconv.ParseInt(string(id), 10, 64)
	if err != nil {
		n = 0 // an identity provider's user has no account here
	}
	batch := &pgx.Batch{}
	batch.Queue(`delete from sessions where user_id = $1`, string(id))
	batch.Queue(`delete from stream_tickets where user_id = $1`, string(id))
	batch.Queue(`delete from password_resets where user_id = $1`, string(id))
	batch.Queue(`delete from mail_consents where user_id = $1`, string(id))
	batch.Queue(`delete from idempotent_sends where sender = 'user:' || $1::text`, string(id))
	batch.Queue(`delete from users where id = $1`, n)
	if err := tx.SendBatch(ctx, batch).Close(); err != nil {
		return fmt.Errorf("forgetting an account: %w", err)
	}
	return nil
}
