package room

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"crier/internal/event"
)

// LeaseTime is for how long a gateway's connections count after it was last
// heard of.
const LeaseTime = 8 * time.Second

// ErrLeaseLost is a gateway whose lease has ended: what belonged to it may have
// been parted.
var ErrLeaseLost = errors.New("the gateway's lease has ended")

// Hold begins a gateway's lease.
func (s *Store) Hold(ctx context.Context, gateway string) error {
	_, err := s.db.Exec(ctx, `insert into gateway_leases (gateway, lease_until) values ($1::uuid, now() + $2)`, gateway, LeaseTime)
	if err != nil {
		return fmt.Errorf("beginning a gateway's lease: %w", err)
	}
	return nil
}

// Renew renews a lease that lives; ErrLeaseLost if it does not.
func (s *Store) Renew(ctx context.Context, gateway string) error {
	tag, err := s.db.Exec(ctx, `update gateway_leases set lease_until = now() + $2 where gateway = $1::uuid and lease_until > now()`, gateway, LeaseTime)
	if err != nil {
		return fmt.Errorf("renewing a gateway's lease: %w", err)
	}
	if tag.RowsAffected() == 0 {
		return ErrLeaseLost
	}
	return nil
}

// Release ends a lease at once: the gateway goes away in good order.
func (s *Store) Release(ctx context.Context, gateway string) error {
	if _, err := s.db.Exec(ctx, `update gateway_leases set lease_until = 'epoch' where gateway = $1::uuid`, gateway); err != nil {
		return fmt.Errorf("ending a gateway's lease: %w", err)
	}
	return nil
}

// Enter takes a person's one place in the older chat for a connection; false:
// another connection, of a gateway that lives, has it.
func (s *Store) Enter(ctx context.Context, user event.UserID, c Connection) (bool, error) {
	tag, err := s.db.Exec(ctx, `
		insert into chatters as c (user_id, connection, gateway) values ($1, $2::uuid, $3::uuid)
		on conflict (user_id) do update set connection = excluded.connection, gateway = excluded.gateway
		where not exists (select from gateway_leases g where g.gateway = c.gateway and g.lease_until > now())`,
		string(user), c.ID, c.Gateway)
	if err != nil {
		return false, fmt.Errorf("entering the chat: %w", err)
	}
	return tag.RowsAffected() > 0, nil
}

// Leave gives the place back.
func (s *Store) Leave(ctx context.Context, c Connection) error {
	if _, err := s.db.Exec(ctx, `delete from chatters where connection = $1::uuid and gateway = $2::uuid`, c.ID, c.Gateway); err != nil {
		return fmt.Errorf("leaving the chat: %w", err)
	}
	return nil
}

// Stale is what the database says of a gateway's connections that are not among
// those it has: places in the chat are given back, and memberships returned as
// requests to part. It mends what was lost when a connection ended.
func (s *Store) Stale(ctx context.Context, gateway string, have []string) ([]event.RoomRequest, error) {
	if _, err := s.db.Exec(ctx, `delete from chatters where gateway = $1::uuid and connection <> all($2::uuid[])`, gateway, have); err != nil {
		return nil, fmt.Errorf("giving places in the chat back: %w", err)
	}
	return s.parts(ctx, `select room, connection::text, gateway::text, user_id, username from room_members
		where gateway = $1::uuid and connection <> all($2::uuid[])`, gateway, have)
}

func (s *Store) parts(ctx context.Context, sql string, args ...any) ([]event.RoomRequest, error) {
	rows, err := s.db.Query(ctx, sql, args...)
	if err != nil {
		return nil, fmt.Errorf("looking for who has left: %w", err)
	}
	list, err := pgx.CollectRows(rows, func(r pgx.CollectableRow) (event.RoomRequest, error) {
		q := event.RoomRequest{Type: event.RoomPart}
		err := r.Scan(&q.Room, &q.Connection, &q.Gateway, (*string)(&q.UserID), &q.Username)
		return q, err
	})
	if err != nil {
		return nil, fmt.Errorf("looking for who has left: %w", err)
	}
	return list, nil
}

// orphansLock is the advisory lock under which one consumer looks after dead
// gateways. The number has no meaning.
const orphansLock = 0x63726f72

// Orphans are the memberships of gateways whose leases have ended, as requests
// to part, for as long as there are any; a dead gateway that has none left is
// forgotten. While another process asks there are none.
func (s *Store) Orphans(ctx context.Context, limit int) ([]event.RoomRequest, error) {
	// Most of the time there is nothing to do, which one question tells.
	var any bool
	err := s.db.QueryRow(ctx, `
		select exists (select from gateway_leases where lease_until <= now())
			or exists (select from chatters c where not exists (select from gateway_leases g where g.gateway = c.gateway))
			or exists (select from room_members m where not exists (select from gateway_leases g where g.gateway = m.gateway))`).Scan(&any)
	if err != nil {
		return nil, fmt.Errorf("looking for dead gateways: %w", err)
	}
	if !any {
		return nil, nil
	}
	var list []event.RoomRequest
	err = s.db.Tx(ctx, func(tx pgx.Tx) error {
		list = nil
		var mine bool
		if err := tx.QueryRow(ctx, `select pg_try_advisory_xact_lock($1)`, int64(orphansLock)).Scan(&mine); err != nil || !mine {
			return err
		}
		// Joins take a share of the row: one that comes now waits, and finds it gone.
		if _, err := tx.Exec(ctx, `
			delete from gateway_leases g where lease_until <= now()
			and not exists (select from room_members m where m.gateway = g.gateway)`); err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, `
			delete from chatters c where not exists (select from gateway_leases g where g.gateway = c.gateway and g.lease_until > now())`); err != nil {
			return err
		}
		rows, err := tx.Query(ctx, `
			select room, connection::text, gateway::text, user_id, username from room_members m
			where not exists (select from gateway_leases g where g.gateway = m.gateway and g.lease_until > now()) limit $1`, limit)
		if err != nil {
			return err
		}
		list, err = pgx.CollectRows(rows, func(r pgx.CollectableRow) (event.RoomRequest, error) {
			q := event.RoomRequest{Type: event.RoomPart}
			err := r.Scan(&q.Room, &q.Connection, &q.Gateway, (*string)(&q.UserID), &q.Username)
			return q, err
		})
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("looking after dead gateways: %w", err)
	}
	return list, nil
}
