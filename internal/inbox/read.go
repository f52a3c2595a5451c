package inbox

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"crier/internal/event"
)

// Head is where an inbox stands.
type Head struct {
	LastID   int64 // of the newest notification; 0 in an empty inbox
	PrunedTo int64 // everything up to here may have been pruned
	Counts   event.Counts
}

// Head reads where a user's inbox stands; ErrNoInbox if there is none.
func (s *Store) Head(ctx context.Context, user event.UserID) (Head, error) {
	var h Head
	err := s.db.QueryRow(ctx, `select last_id, pruned_to, unread, unseen, version from inboxes where user_id = $1`, string(user)).
		Scan(&h.LastID, &h.PrunedTo, &h.Counts.Unread, &h.Counts.Unseen, &h.Counts.Version)
	if errors.Is(err, pgx.ErrNoRows) {
		return h, ErrNoInbox
	}
	if err != nil {
		return h, fmt.Errorf("reading the head of an inbox: %w", err)
	}
	return h, nil
}

// Heads reads where many inboxes stand at once; users without one are absent.
func (s *Store) Heads(ctx context.Context, users []event.UserID) (map[event.UserID]Head, error) {
	rows, err := s.db.Query(ctx, `select user_id, last_id, pruned_to, unread, unseen, version from inboxes where user_id = any($1::text[])`, sortedIDs(users))
	if err != nil {
		return nil, fmt.Errorf("reading the heads of %d inboxes: %w", len(users), err)
	}
	out := make(map[event.UserID]Head, len(users))
	var id string
	var h Head
	_, err = pgx.ForEachRow(rows, []any{&id, &h.LastID, &h.PrunedTo, &h.Counts.Unread, &h.Counts.Unseen, &h.Counts.Version}, func() error {
		out[event.UserID(id)] = h
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("reading the heads of %d inboxes: %w", len(users), err)
	}
	return out, nil
}

// Owners are up to limit users with an inbox, in order of id, after one.
func (s *Store) Owners(ctx context.Context, after event.UserID, limit int) ([]event.UserID, error) {
	rows, err := s.db.Query(ctx, `select user_id from inboxes
		where user_id > $1 and user_id not like 'topic:%' and user_id not like 'room:%' order by user_id limit $2`, string(after), limit)
	if err != nil {
		return nil, fmt.Errorf("listing users with an inbox: %w", err)
	}
	list, err := pgx.CollectRows(rows, pgx.RowTo[event.UserID])
	if err != nil {
		return nil, fmt.Errorf("listing users with an inbox: %w", err)
	}
	return list, nil
}

// Audience is how many a send to everyone reaches.
type Audience struct {
	Inboxes int `json:"inboxes" example:"1200"`
	Emails  int `json:"emails" example:"310"` // with a confirmed address that has not unsubscribed
}

// Everyone counts the users with an inbox, and those of them that mail reaches.
func (s *Store) Everyone(ctx context.Context) (Audience, error) {
	var a Audience
	err := s.db.QueryRow(ctx, `
		select count(*), count(u.id) from inboxes i
		left join users u on u.id::text = i.user_id
			and exists (select from mail_consents c where c.user_id = i.user_id and c.address = lower(u.email) and c.confirmed_at is not null)
			and not exists (select from unsubscribed x where x.address = lower(u.email))
		where i.user_id not like 'topic:%' and i.user_id not like 'room:%'`).Scan(&a.Inboxes, &a.Emails)
	if err != nil {
		return a, fmt.Errorf("counting users with an inbox: %w", err)
	}
	return a, nil
}

// After reads up to limit notifications with an id above after, oldest first.
func (s *Store) After(ctx context.Context, user event.UserID, after int64, limit int) ([]event.Stored, error) {
	return s.query(ctx, `select `+storedColumns+` from notifications n where n.user_id = $1 and n.id > $2 and `+present+` order by n.id limit $3`,
		string(user), after, limit)
}

// FirstUnread is the lowest id of an unread notification, 0 when all are read.
func (s *Store) FirstUnread(ctx context.Context, user event.UserID) (int64, error) {
	var id *int64
	if err := s.db.QueryRow(ctx, `select min(n.id) from notifications n where n.user_id = $1 and n.read_at is null and `+present, string(user)).Scan(&id); err != nil {
		return 0, fmt.Errorf("looking for the first unread notification: %w", err)
	}
	if id == nil {
		return 0, nil
	}
	return *id, nil
}

// Get reads one notification; ErrNotFound if it is not in the user's inbox.
func (s *Store) Get(ctx context.Context, user event.UserID, id int64) (event.Stored, error) {
	found, err := s.query(ctx, `select `+storedColumns+` from notifications n where n.user_id = $1 and n.id = $2 and `+present, string(user), id)
	if err == nil && len(found) == 0 {
		err = ErrNotFound
	}
	if err != nil {
		return event.Stored{}, err
	}
	return found[0], nil
}

// ByID reads several notifications of several users within tx: the pairs
// (users[i], ids[i]) that exist, tombstones excluded.
func ByID(ctx context.Context, tx pgx.Tx, users []string, ids []int64) ([]event.Stored, error) {
	rows, err := tx.Query(ctx, `select `+storedColumns+` from unnest($1::text[], $2::bigint[]) as k(u, i)
		join notifications n on n.user_id = k.u and n.id = k.i and n.gone_at is null`, users, ids)
	if err != nil {
		return nil, fmt.Errorf("reading notifications: %w", err)
	}
	return collect(rows)
}

func (s *Store) query(ctx context.Context, sql string, args ...any) ([]event.Stored, error) {
	rows, err := s.db.Query(ctx, sql, args...)
	if err != nil {
		return nil, fmt.Errorf("reading notifications: %w", err)
	}
	return collect(rows)
}

func collect(rows pgx.Rows) ([]event.Stored, error) {
	var out []event.Stored
	var n event.Stored
	var priority int16
	var payload string
	_, err := pgx.ForEachRow(rows, storedDest(&n, &priority, &payload), func() error {
		out = append(out, finish(n, priority, payload))
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("reading notifications: %w", err)
	}
	return out, nil
}

// Filter chooses what Page shows. Zero values choose everything but archived ones.
type Filter struct {
	Unread   bool
	Archived bool // the archived ones instead of the others
	Kind     string
	Query    string // a text in title or body, in any case
	Before   int64  // only ids below; 0: from the newest
	Limit    int
}

// Page reads a page of an inbox, newest first, and how many there are in all
// pages. more says that older ones follow.
func (s *Store) Page(ctx context.Context, user event.UserID, f Filter) (page []event.Stored, count int64, more bool, err error) {
	const where = present + ` and n.user_id = $1
		and (n.archived_at is not null) = $2
		and (not $3 or n.read_at is null)
		and ($4 = '' or n.kind = $4)
		and ($5 = '' or position(lower($5) in lower(n.title)) > 0 or position(lower($5) in lower(n.body)) > 0)`
	args := []any{string(user), f.Archived, f.Unread, f.Kind, f.Query}
	if f.Query != "" {
		return s.search(ctx, where, args, f)
	}
	if err := s.db.QueryRow(ctx, `select count(*) from notifications n where `+where, args...).Scan(&count); err != nil {
		return nil, 0, false, fmt.Errorf("counting notifications: %w", err)
	}
	rows, _ := s.db.Query(ctx, `select n.id, `+size+` from notifications n where `+where+`
		and ($6::bigint = 0 or n.id < $6) order by n.id desc limit $7`, append(args, f.Before, f.Limit+1)...) // its error comes with the rows
	var ids, sizes []int64
	var id, bytes int64
	if _, err := pgx.ForEachRow(rows, []any{&id, &bytes}, func() error { ids, sizes = append(ids, id), append(sizes, bytes); return nil }); err != nil {
		return nil, 0, false, fmt.Errorf("listing notifications: %w", err)
	}
	page, more, err = s.fill(ctx, args[0], ids, sizes, f.Limit)
	return page, count, more, err
}

// pageBytes is how much text a page holds at most, and one notification more: hundreds of
// the largest ones would be megabytes for each that asks.
const pageBytes = 1 << 20

// size is how much text a notification holds.
const size = `octet_length(n.title) + octet_length(n.body) + octet_length(n.payload)`

// fill reads the first of the notifications with these ids, as many as a page holds; more
// says that there are others.
func (s *Store) fill(ctx context.Context, user any, ids, sizes []int64, limit int) (page []event.Stored, more bool, err error) {
	n, bytes := 0, int64(0)
	for n < min(limit, len(ids)) && (n == 0 || bytes < pageBytes) {
		bytes += sizes[n]
		n++
	}
	page, err = s.query(ctx, `select `+storedColumns+` from notifications n where n.user_id = $1 and n.id = any($2::bigint[]) and `+present+` order by n.id desc`, user, ids[:n])
	return page, n < len(ids), err
}

// search is Page for a text: every title and body is read once, where counting and
// listing would each read them. There is no index of the words: keeping it would cost
// every notification that is stored more than the searches are worth.
func (s *Store) search(ctx context.Context, where string, args []any, f Filter) (page []event.Stored, count int64, more bool, err error) {
	var ids, sizes []int64
	err = s.db.QueryRow(ctx, `
		with found as materialized (select n.id, `+size+` as bytes from notifications n where `+where+`),
			page as (select * from found where $6::bigint = 0 or id < $6 order by id desc limit $7)
		select (select count(*) from found), array(select id from page order by id desc), array(select bytes::bigint from page order by id desc)`,
		append(args, f.Before, f.Limit+1)...).Scan(&count, &ids, &sizes)
	if err != nil {
		return nil, 0, false, fmt.Errorf("searching notifications: %w", err)
	}
	page, more, err = s.fill(ctx, args[0], ids, sizes, f.Limit)
	return page, count, more, err
}

// Prune removes what was created before cut, from up to limit users, and
// returns how many notifications went. A stream that asks for what went is
// told so by the inbox's PrunedTo. Called again while it returns more than 0.
func (s *Store) Prune(ctx context.Context, cut time.Time, limit int) (int64, error) {
	rows, err := s.db.Query(ctx, `select distinct user_id from notifications where created_at < $1 limit $2`, cut, limit)
	if err != nil {
		return 0, fmt.Errorf("looking for old notifications: %w", err)
	}
	users, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return 0, fmt.Errorf("looking for old notifications: %w", err)
	}
	var gone int64
	for _, u := range users {
		err := s.db.Tx(ctx, func(tx pgx.Tx) error {
			var seenTo int64
			if err := tx.QueryRow(ctx, `select seen_to from inboxes where user_id = $1 for update`, u).Scan(&seenTo); err != nil {
				return err
			}
			// Ids follow time within a user, so what is removed is the oldest run.
			return tx.QueryRow(ctx, `
				with gone as (delete from notifications where user_id = $1 and created_at < $2 returning id, read_at, gone_at),
				     head as (update inboxes set
				         pruned_to = greatest(pruned_to, coalesce((select max(id) from gone), 0)),
				         unread = greatest(0, unread - (select count(*) from gone where read_at is null and gone_at is null)),
				         unseen = greatest(0, unseen - (select count(*) from gone where read_at is null and gone_at is null and id > seen_to)),
				         version = version + 1
				       where user_id = $1)
				select count(*) + $3 from gone`, u, cut, gone).Scan(&gone)
		})
		if err != nil {
			return gone, fmt.Errorf("pruning an inbox: %w", err)
		}
	}
	return gone, nil
}
