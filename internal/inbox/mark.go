package inbox

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"crier/internal/event"
)

// Mark is a change of state that a reader makes.
type Mark string

// The marks. Archiving reads, too; marking something as what it is already
// changes nothing.
const (
	Read      Mark = "read"
	Unread    Mark = "unread"
	Archive   Mark = "archive"
	Unarchive Mark = "unarchive"
	// UndoRead takes back a Read by its time: nothing that was read before or after
	// it becomes unread.
	UndoRead Mark = "read undone"
	// Delete leaves a tombstone without content: the number stays taken, so that
	// streams see no gap, and the record, read again, is not stored again.
	Delete Mark = "deleted"
)

// markSQL changes rows and says, of those that it changed from unread to read
// or back, how many there were, and how many of them were not yet seen.
// $1 user, $2 ids (null: all), $3 now, $4 seen_to. Primary key.
var markSQL = map[Mark]string{
	Read: `update notifications n set read_at = $3 where n.user_id = $1 and ($2::bigint[] is null or n.id = any($2)) and n.read_at is null and n.gone_at is null
		returning -1, n.id > $4`,
	Unread: `update notifications n set read_at = null where n.user_id = $1 and ($2::bigint[] is null or n.id = any($2)) and n.read_at is not null and n.gone_at is null and $3::timestamptz is not null
		returning 1, n.id > $4`,
	UndoRead: `update notifications n set read_at = null where n.user_id = $1 and ($2::bigint[] is null or n.id = any($2)) and n.read_at = $3 and n.archived_at is null and n.gone_at is null
		returning 1, n.id > $4`,
	Archive: `update notifications n set archived_at = $3, read_at = coalesce(n.read_at, $3)
		from notifications o where o.user_id = n.user_id and o.id = n.id
		and n.user_id = $1 and ($2::bigint[] is null or n.id = any($2)) and n.archived_at is null and n.gone_at is null
		returning case when o.read_at is null then -1 else 0 end, n.id > $4`,
	Unarchive: `update notifications n set archived_at = null where n.user_id = $1 and ($2::bigint[] is null or n.id = any($2)) and n.archived_at is not null and n.gone_at is null and $3::timestamptz is not null
		returning 0, n.id > $4`,
	Delete: `update notifications n set gone_at = $3, title = '', body = '', url = '', payload = ''
		where n.user_id = $1 and ($2::bigint[] is null or n.id = any($2)) and n.gone_at is null
		returning case when n.read_at is null then -1 else 0 end, n.id > $4`,
}

// Mark changes the state of the user's notifications with these ids (nil: of
// all) and returns the counts after it. ErrNotFound: one id was given that is
// not in the inbox.
func (s *Store) Mark(ctx context.Context, user event.UserID, mark Mark, ids []int64, now time.Time) (event.Counts, error) {
	var counts event.Counts
	err := s.db.Tx(ctx, func(tx pgx.Tx) error {
		var seenTo int64
		var err error
		counts, seenTo, err = lockCounts(ctx, tx, user)
		if err != nil {
			return err
		}
		if len(ids) == 1 {
			var there bool
			if err := tx.QueryRow(ctx, `select exists (select from notifications n where n.user_id = $1 and n.id = $2 and `+present+`)`, string(user), ids[0]).Scan(&there); err != nil {
				return err
			}
			if !there {
				return ErrNotFound
			}
		}
		rows, err := tx.Query(ctx, markSQL[mark], string(user), ids, now, seenTo)
		if err != nil {
			return err
		}
		var delta, touched int
		var by int
		var unseen bool
		_, err = pgx.ForEachRow(rows, []any{&by, &unseen}, func() error {
			touched++
			delta += by
			if unseen { // what is unread, and newer than the last look at the list
				counts.Unseen = max(0, counts.Unseen+by)
			}
			return nil
		})
		if err != nil || touched == 0 {
			return err
		}
		counts.Unread = max(0, counts.Unread+delta)
		return saveCounts(ctx, tx, user, &counts)
	})
	if err != nil && !errors.Is(err, ErrNotFound) && !errors.Is(err, ErrNoInbox) {
		return counts, fmt.Errorf("marking notifications %s: %w", mark, err)
	}
	return counts, err
}

// Recall deletes the notification with an event id from the inbox of a user, if it
// was sent by that sender, and returns the counts; ErrNotFound if there is none. It
// reads the user's inbox: an index by event id would cost every notification.
func (s *Store) Recall(ctx context.Context, user event.UserID, sender, eventID string, now time.Time) (event.Counts, error) {
	var id int64
	err := s.db.QueryRow(ctx, `select n.id from notifications n where n.user_id = $1 and n.event_id = $2 and n.sender = $3 and `+present+` order by n.id desc limit 1`,
		string(user), eventID, sender).Scan(&id)
	if errors.Is(err, pgx.ErrNoRows) {
		return event.Counts{}, ErrNotFound
	}
	if err != nil {
		return event.Counts{}, fmt.Errorf("looking for a notification to recall: %w", err)
	}
	return s.Mark(ctx, user, Delete, []int64{id}, now)
}

// Seen says that the user has looked at the list: nothing is unseen any more.
func (s *Store) Seen(ctx context.Context, user event.UserID) (event.Counts, error) {
	var counts event.Counts
	err := s.db.Tx(ctx, func(tx pgx.Tx) error {
		var err error
		counts, _, err = lockCounts(ctx, tx, user)
		if err != nil || counts.Unseen == 0 {
			return err
		}
		counts.Unseen = 0
		if _, err := tx.Exec(ctx, `update inboxes set seen_to = last_id where user_id = $1`, string(user)); err != nil {
			return err
		}
		return saveCounts(ctx, tx, user, &counts)
	})
	if err != nil && !errors.Is(err, ErrNoInbox) {
		return counts, fmt.Errorf("marking an inbox seen: %w", err)
	}
	return counts, err
}

func lockCounts(ctx context.Context, tx pgx.Tx, user event.UserID) (c event.Counts, seenTo int64, err error) {
	err = tx.QueryRow(ctx, `select unread, unseen, version, seen_to from inboxes where user_id = $1 for update`, string(user)).
		Scan(&c.Unread, &c.Unseen, &c.Version, &seenTo)
	if errors.Is(err, pgx.ErrNoRows) {
		err = ErrNoInbox
	}
	return c, seenTo, err
}

func saveCounts(ctx context.Context, tx pgx.Tx, user event.UserID, c *event.Counts) error {
	c.Version++
	_, err := tx.Exec(ctx, `update inboxes set unread = $2, unseen = $3, version = $4 where user_id = $1`, string(user), c.Unread, c.Unseen, c.Version)
	return err
}

// Forget removes a user's inbox with everything in it, and takes back what they
// said in rooms, within tx.
func Forget(ctx context.Context, tx pgx.Tx, user event.UserID) error {
	batch := &pgx.Batch{}
	batch.Queue(`delete from inboxes where user_id = $1`, string(user))
	batch.Queue(`delete from notifications where user_id = $1`, string(user))
	batch.Queue(`delete from deliveries where user_id = $1`, string(user))
	// Jobs of mails; one that is running finds its notification gone.
	batch.Queue(`delete from river_job where kind = 'mail' and state <> 'running' and args @> jsonb_build_object('user_id', $1::text)`, string(user))
	// Index notifications_author.
	batch.Queue(`update notifications set gone_at = now(), body = '', payload = '' where author = $1 and gone_at is null`, string(user))
	if err := tx.SendBatch(ctx, batch).Close(); err != nil {
		return fmt.Errorf("forgetting an inbox: %w", err)
	}
	return nil
}
