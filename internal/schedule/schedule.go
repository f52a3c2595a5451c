// Package schedule keeps sends that are not delivered as they are read: those
// that are due later, and those to everyone, which take many transactions.
//
// A send is known by its sender and event id. It is kept in the transaction
// that reads its record, and stays after it is done, so that the record, read
// again, is not delivered again. Whoever delivers takes it for a while (Lease);
// when that process dies another takes it after it, and what it stores is found
// stored. Postgres is authoritative for all of it.
package schedule

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"crier/internal/event"
	"crier/internal/kafka"
	"crier/internal/postgres"
)

// Lease is for how long a send is taken by the process that delivers it; it is
// renewed page by page. It is short, since a send must not wait for a process that
// died; one that is slower than this delivers beside another, and what both store is
// stored once.
const Lease = 1500 * time.Millisecond

// keptFor is how long a send is remembered after it was accepted and done.
const keptFor = 8 * 24 * time.Hour // longer than the records of `notifications` are kept

// Errors of Cancel and Get.
var (
	ErrUnknown = errors.New("no such scheduled send")
	ErrTooLate = errors.New("it is being delivered, or was")
)

// Send is one record of `notifications` that waits.
type Send struct {
	Sender  string
	EventID string
	Target  string // the user or topic, Everyone, or "" for several users
	Hash    []byte // of the content
	Record  kafka.Record
	DueAt   time.Time
	Reached event.UserID // everyone: the last user who has it
}

// Everyone is the Target of a send to all.
const Everyone = "everyone"

// Kept is what became of a Send that was to be kept.
type Kept uint8

// Outcomes of Keep.
const (
	First     Kept = iota
	Again          // the same record was read before
	Duplicate      // the same content under the same key
	Reused         // other content under the same key
)

// Keep stores sends within tx. Idempotent by sender and event id.
func Keep(ctx context.Context, tx pgx.Tx, sends []*Send, now time.Time) ([]Kept, error) {
	out := make([]Kept, len(sends))
	for i, s := range sends {
		headers, err := json.Marshal(s.Record.Headers)
		if err != nil {
			return nil, fmt.Errorf("keeping a send: %w", err)
		}
		r := &s.Record
		tag, err := tx.Exec(ctx, `
			insert into pending_sends (sender, event_id, target, content_hash, value, key, headers, origin_topic, origin_partition, origin_offset, record_time, due_at, created_at, taken_until)
			values ($1, $2, $3, $4, $5, $6, $7, $8::uuid, $9, $10, $13, $11, $12, 'epoch') on conflict do nothing`,
			s.Sender, s.EventID, s.Target, s.Hash, string(r.Value), r.Key, string(headers), r.TopicID, r.Partition, r.Offset, s.DueAt, now, recorded(r))
		if err != nil {
			return nil, fmt.Errorf("keeping a send: %w", err)
		}
		if tag.RowsAffected() > 0 {
			continue
		}
		var same, content bool
		err = tx.QueryRow(ctx, `
			select origin_topic = $3::uuid and origin_partition = $4 and origin_offset = $5 and coalesce(record_time = $7, true), content_hash = $6
			from pending_sends where sender = $1 and event_id = $2`,
			s.Sender, s.EventID, r.TopicID, r.Partition, r.Offset, s.Hash, recorded(r)).Scan(&same, &content)
		if err != nil {
			return nil, fmt.Errorf("looking at a send that was kept before: %w", err)
		}
		switch {
		case same:
			out[i] = Again
		case content:
			out[i] = Duplicate
		default:
			out[i] = Reused
		}
	}
	return out, nil
}

// recorded is a record's timestamp, null where it is not known.
func recorded(r *kafka.Record) *time.Time {
	if r.Time.IsZero() {
		return nil
	}
	return &r.Time
}

// Store is the sends of one database. It is safe for concurrent use.
type Store struct {
	db *postgres.DB
}

// New makes a Store.
func New(db *postgres.DB) *Store { return &Store{db} }

// NextDue is when there is something to be taken, latest at the latest.
func (s *Store) NextDue(ctx context.Context, latest time.Time) (time.Time, error) {
	next := latest
	// Index pending_sends_due. Those that another process has taken are due when its
	// lease has ended.
	err := s.db.QueryRow(ctx, `
		select coalesce(min(greatest(due_at, taken_until)), $1) from pending_sends
		where due_at < $1 and done_at is null and cancelled_at is null`, latest).Scan(&next)
	if err != nil {
		return latest, fmt.Errorf("looking for the next send that is due: %w", err)
	}
	if next.After(latest) {
		next = latest
	}
	return next, nil
}

// Take takes up to limit sends that are due for the time of a Lease, the oldest
// first.
func (s *Store) Take(ctx context.Context, now time.Time, limit int) ([]Send, error) {
	// Index pending_sends_due.
	rows, err := s.db.Query(ctx, `
		update pending_sends p set taken_until = $2 from (
			select sender, event_id from pending_sends
			where due_at <= $1 and done_at is null and cancelled_at is null and taken_until <= $1
			order by due_at limit $3 for update skip locked) due
		where p.sender = due.sender and p.event_id = due.event_id
		returning p.sender, p.event_id, p.target, p.content_hash, p.value, p.key, p.headers, p.origin_topic::text, p.origin_partition, p.origin_offset, p.record_time, p.due_at, p.reached`,
		now, now.Add(Lease), limit)
	if err != nil {
		return nil, fmt.Errorf("taking sends that are due: %w", err)
	}
	sends, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (Send, error) {
		var s Send
		var value, headers string
		var recorded *time.Time // null: kept before it was
		r := &s.Record
		r.Topic = kafka.Notifications
		err := row.Scan(&s.Sender, &s.EventID, &s.Target, &s.Hash, &value, &r.Key, &headers, &r.TopicID, &r.Partition, &r.Offset, &recorded, &s.DueAt, (*string)(&s.Reached))
		if err != nil {
			return s, err
		}
		r.Value = []byte(value)
		if recorded != nil {
			r.Time = *recorded
		}
		return s, json.Unmarshal([]byte(headers), &r.Headers)
	})
	if err != nil {
		return nil, fmt.Errorf("taking sends that are due: %w", err)
	}
	return sends, nil
}

// Begun notes within tx that an inbox is about to have the send: from then on it
// cannot be cancelled.
func Begun(ctx context.Context, tx pgx.Tx, s *Send, now time.Time) error {
	tag, err := tx.Exec(ctx, `
		update pending_sends set stored_at = coalesce(stored_at, $3), taken_until = $4
		where sender = $1 and event_id = $2 and cancelled_at is null and done_at is null`, s.Sender, s.EventID, now, now.Add(Lease))
	if err != nil {
		return fmt.Errorf("beginning a send that is due: %w", err)
	}
	if tag.RowsAffected() == 0 {
		return ErrTooLate
	}
	return nil
}

// Reach notes up to which user a send to everyone was delivered.
func (s *Store) Reach(ctx context.Context, send *Send, last event.UserID, now time.Time) error {
	_, err := s.db.Exec(ctx, `update pending_sends set reached = $3, taken_until = $4 where sender = $1 and event_id = $2`,
		send.Sender, send.EventID, string(last), now.Add(Lease))
	if err != nil {
		return fmt.Errorf("noting how far a send has come: %w", err)
	}
	return nil
}

// Done notes that a send was delivered and told of.
func (s *Store) Done(ctx context.Context, send *Send, now time.Time) error {
	if _, err := s.db.Exec(ctx, `update pending_sends set done_at = $3 where sender = $1 and event_id = $2`, send.Sender, send.EventID, now); err != nil {
		return fmt.Errorf("noting that a send is done: %w", err)
	}
	return nil
}

// scheduled is the State of a send that waits.
const scheduled = "scheduled"

// State is how a scheduled send stands.
type State struct {
	EventID     string     `json:"event_id"`
	To          string     `json:"to,omitempty"`
	State       string     `json:"state" enums:"scheduled,delivering,delivered,cancelled"`
	DeliverAt   time.Time  `json:"deliver_at"`
	CancelledAt *time.Time `json:"cancelled_at,omitempty"`
	DeliveredAt *time.Time `json:"delivered_at,omitempty"`
}

// Get is how a sender's scheduled send stands; ErrUnknown if there is none.
func (s *Store) Get(ctx context.Context, sender, eventID string) (State, error) {
	var st State
	var stored *time.Time
	err := s.db.QueryRow(ctx, `
		select event_id, target, due_at, stored_at, done_at, cancelled_at from pending_sends where sender = $1 and event_id = $2`,
		sender, eventID).Scan(&st.EventID, &st.To, &st.DeliverAt, &stored, &st.DeliveredAt, &st.CancelledAt)
	if errors.Is(err, pgx.ErrNoRows) {
		return st, ErrUnknown
	}
	if err != nil {
		return st, fmt.Errorf("reading a scheduled send: %w", err)
	}
	switch {
	case st.CancelledAt != nil:
		st.State = "cancelled"
	case st.DeliveredAt != nil:
		st.State = "delivered"
	case stored != nil:
		st.State = "delivering"
	default:
		st.State = scheduled
	}
	return st, nil
}

// Cancel ends a sender's send before it is due. Cancelling twice changes
// nothing. ErrUnknown: there is none; ErrTooLate: somebody has it, or is about
// to.
func (s *Store) Cancel(ctx context.Context, sender, eventID string, now time.Time) (State, error) {
	for {
		_, err := s.db.Exec(ctx, `
			update pending_sends set cancelled_at = $3
			where sender = $1 and event_id = $2 and cancelled_at is null and stored_at is null and done_at is null`, sender, eventID, now)
		if err != nil {
			return State{}, fmt.Errorf("cancelling a send: %w", err)
		}
		st, err := s.Get(ctx, sender, eventID)
		if err != nil || st.CancelledAt != nil {
			return st, err
		}
		if st.State != scheduled {
			return st, ErrTooLate
		}
		// It was kept between the two statements: there is something to cancel now.
	}
}

// CancelAll ends all sends of a sender that are not being delivered yet, and returns how
// many there were. The primary key begins with the sender.
func (s *Store) CancelAll(ctx context.Context, sender string, now time.Time) (int64, error) {
	tag, err := s.db.Exec(ctx, `
		update pending_sends set cancelled_at = $2
		where sender = $1 and cancelled_at is null and stored_at is null and done_at is null`, sender, now)
	if err != nil {
		return 0, fmt.Errorf("cancelling a sender's sends: %w", err)
	}
	return tag.RowsAffected(), nil
}

// Prune forgets what was done or cancelled long ago.
func (s *Store) Prune(ctx context.Context, now time.Time) error {
	_, err := s.db.Exec(ctx, `
		delete from pending_sends where created_at < $1 and due_at < $1 and (done_at is not null or cancelled_at is not null)`, now.Add(-keptFor))
	if err != nil {
		return fmt.Errorf("pruning scheduled sends: %w", err)
	}
	return nil
}
