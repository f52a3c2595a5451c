// Package room keeps chat rooms, who is in them, and the leases under which
// gateways hold the connections of those who are.
//
// A room's messages are not here: they are an inbox of owner `room:NAME`, placed
// under the lock of its head. Joining and parting are decided by the consumer,
// in the order of the topic `rooms`, under the lock of the room's row. A
// connection belongs to a gateway, and a gateway's connections count for as long
// as its lease lives; what a dead gateway leaves behind is parted by Orphans.
//
// Lock order: rooms by name, then gateway_leases, then inboxes.
package room

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"crier/internal/event"
	"crier/internal/postgres"
)

// Store is the rooms of one database. It is safe for concurrent use.
type Store struct {
	db *postgres.DB
}

// New makes a Store.
func New(db *postgres.DB) *Store { return &Store{db} }

// ErrUnknown is a room that is not there.
var ErrUnknown = errors.New("no such room")

// Ensure makes a room, and the inbox of its messages, if it is not there; made
// says that it was not. What was said in a room of that name before is gone, and
// its places go on.
func (s *Store) Ensure(ctx context.Context, name string, now time.Time) (made bool, err error) {
	err = s.db.Tx(ctx, func(tx pgx.Tx) error {
		tag, err := tx.Exec(ctx, `insert into rooms (name, created_at) values ($1, $2) on conflict do nothing`, name, now)
		if err != nil {
			return err
		}
		made = tag.RowsAffected() > 0
		_, err = tx.Exec(ctx, `insert into inboxes (user_id) values ($1) on conflict do nothing`, string(event.TopicOwner(event.RoomPrefix+name)))
		return err
	})
	if err != nil {
		return false, fmt.Errorf("making room %s: %w", name, err)
	}
	return made, nil
}

// Names are all rooms, by name.
func (s *Store) Names(ctx context.Context) ([]string, error) {
	rows, err := s.db.Query(ctx, `select name from rooms order by name collate "C"`)
	if err != nil {
		return nil, fmt.Errorf("listing rooms: %w", err)
	}
	names, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return nil, fmt.Errorf("listing rooms: %w", err)
	}
	return names, nil
}

// View is a room as one person sees it.
type View struct {
	Name    string `json:"name"`
	LastID  int64  `json:"last_id"`
	ReadTo  *int64 `json:"read_to,omitempty"` // absent: never opened
	Unread  int    `json:"unread"`            // messages of others since then, at most MaxUnread
	Members int    `json:"members"`           // people who are there
}

// MaxUnread is up to where unread messages of a room are counted.
const MaxUnread = 100

// Views are all rooms as a person sees them, by name.
func (s *Store) Views(ctx context.Context, user event.UserID) ([]View, error) {
	rows, err := s.db.Query(ctx, `
		select r.name, coalesce(i.last_id, 0), rr.read_to,
			case when rr.read_to is null then 0 else (select count(*) from (
				select from notifications n where n.user_id = 'room:' || r.name and n.id > rr.read_to and n.kind = 'message'
				and n.gone_at is null and n.author is distinct from $1 limit $2) u) end,
			(select count(distinct m.user_id) from room_members m where m.room = r.name)
		from rooms r
		left join inboxes i on i.user_id = 'room:' || r.name
		left join room_reads rr on rr.room = r.name and rr.user_id = $1
		order by r.name collate "C"`, string(user), MaxUnread)
	if err != nil {
		return nil, fmt.Errorf("listing rooms: %w", err)
	}
	views, err := pgx.CollectRows(rows, func(r pgx.CollectableRow) (v View, err error) {
		err = r.Scan(&v.Name, &v.LastID, &v.ReadTo, &v.Unread, &v.Members)
		return v, err
	})
	if err != nil {
		return nil, fmt.Errorf("listing rooms: %w", err)
	}
	return views, nil
}

// Exists says whether there is a room.
func (s *Store) Exists(ctx context.Context, name string) (bool, error) {
	var yes bool
	if err := s.db.QueryRow(ctx, `select exists (select from rooms where name = $1)`, name).Scan(&yes); err != nil {
		return false, fmt.Errorf("looking for room %s: %w", name, err)
	}
	return yes, nil
}

// MarkRead notes that a person has read a room up to a place; it never goes
// back.
func (s *Store) MarkRead(ctx context.Context, user event.UserID, name string, to int64) error {
	_, err := s.db.Exec(ctx, `
		insert into room_reads (user_id, room, read_to) values ($1, $2, $3)
		on conflict (user_id, room) do update set read_to = greatest(room_reads.read_to, excluded.read_to)`, string(user), name, to)
	if err != nil {
		return fmt.Errorf("noting what was read of room %s: %w", name, err)
	}
	return nil
}

// Members are the people in a room, by name.
func (s *Store) Members(ctx context.Context, name string) ([]event.RoomUser, error) {
	rows, err := s.db.Query(ctx, membersSQL, []string{name})
	if err != nil {
		return nil, fmt.Errorf("listing who is in room %s: %w", name, err)
	}
	users, err := pgx.CollectRows(rows, func(r pgx.CollectableRow) (u event.RoomUser, err error) {
		var room string
		err = r.Scan(&room, (*string)(&u.UserID), &u.Username)
		return u, err
	})
	if err != nil {
		return nil, fmt.Errorf("listing who is in room %s: %w", name, err)
	}
	return users, nil
}

const membersSQL = `
	select room, user_id, max(username) from room_members where room = any($1::text[])
	group by room, user_id order by room, max(username) collate "C", user_id`

// Forget removes what is kept of a person, within tx.
func Forget(ctx context.Context, tx pgx.Tx, user event.UserID) error {
	if _, err := tx.Exec(ctx, `delete from room_reads where user_id = $1`, string(user)); err != nil {
		return fmt.Errorf("forgetting what was read of rooms: %w", err)
	}
	return nil
}
