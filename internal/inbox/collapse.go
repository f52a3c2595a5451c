package inbox

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"crier/internal/event"
)

// collapseKey is what a notification and the one that it replaces have in common: a
// sender's keys are its own, so that nobody removes what another has sent.
type collapseKey struct {
	user        event.UserID
	sender, key string
}

// collapsing is the unread notifications that those of a batch may replace, and
// those that they did.
type collapsing struct {
	unread map[collapseKey]int64
	users  []string // of what was replaced, with ids
	ids    []int64
}

// findCollapsing reads the unread notifications with the items' collapse keys.
// There is at most one to a user, sender and key: each replaced the one before it,
// unless that was marked unread again later. Index notifications_collapse.
func findCollapsing(batch *pgx.Batch, items []Item) *collapsing {
	c := &collapsing{}
	var users, senders, keys []string
	for i := range items {
		if it := &items[i]; it.Collapse != "" {
			users, senders, keys = append(users, string(it.UserID)), append(senders, it.Sender), append(keys, it.Collapse)
		}
	}
	if len(users) == 0 {
		return c
	}
	c.unread = make(map[collapseKey]int64)
	batch.Queue(`
		select k.u, k.s, k.k, max(n.id) from (select distinct u, s, k from unnest($1::text[], $2::text[], $3::text[]) as k(u, s, k)) k
		join notifications n on n.user_id = k.u and n.collapse_key = k.k and coalesce(n.sender, '') = k.s and n.read_at is null and n.gone_at is null
		group by 1, 2, 3`, users, senders, keys).Query(func(rows pgx.Rows) error {
		var user, sender, key string
		var id int64
		_, err := pgx.ForEachRow(rows, []any{&user, &sender, &key, &id}, func() error {
			c.unread[collapseKey{event.UserID(user), sender, key}] = id
			return nil
		})
		return err
	})
	return c
}

// replace notes that the item, whose place is id, replaces the unread one with
// its collapse key, and returns that one's place; 0: there is none.
func (c *collapsing) replace(it *Item, h *head, id int64) int64 {
	if it.Collapse == "" {
		return 0
	}
	k := collapseKey{it.UserID, it.Sender, it.Collapse}
	old := c.unread[k]
	c.unread[k] = id
	if old == 0 {
		return 0
	}
	h.unread = max(0, h.unread-1)
	if old > h.seenTo {
		h.unseen = max(0, h.unseen-1)
	}
	c.users, c.ids = append(c.users, string(it.UserID)), append(c.ids, old)
	return old
}

// save leaves tombstones of what was replaced.
func (c *collapsing) save(ctx context.Context, tx pgx.Tx, now time.Time) error {
	if len(c.ids) == 0 {
		return nil
	}
	_, err := tx.Exec(ctx, `
		update notifications n set gone_at = $3 from unnest($1::text[], $2::bigint[]) as k(u, i)
		where n.user_id = k.u and n.id = k.i`, c.users, c.ids, now)
	if err != nil {
		return fmt.Errorf("collapsing notifications: %w", err)
	}
	return nil
}

// Changed is a user whose counts have changed without a request of theirs.
type Changed struct {
	UserID event.UserID
	Counts event.Counts
}

// Expire leaves tombstones of what has expired before now, for up to limit
// users, and returns whose counts changed. Called again while it returns any.
func (s *Store) Expire(ctx context.Context, now time.Time, limit int) ([]Changed, error) {
	// Index notifications_expiry.
	rows, err := s.db.Query(ctx, `select distinct user_id from notifications where expires_at <= $1 and gone_at is null limit $2`, now, limit)
	if err != nil {
		return nil, fmt.Errorf("looking for what has expired: %w", err)
	}
	users, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return nil, fmt.Errorf("looking for what has expired: %w", err)
	}
	slices.Sort(users)
	changed := make([]Changed, 0, len(users))
	for _, u := range users {
		c := Changed{UserID: event.UserID(u)}
		err := s.db.Tx(ctx, func(tx pgx.Tx) error {
			var seenTo int64
			var err error
			if c.Counts, seenTo, err = lockCounts(ctx, tx, c.UserID); err != nil {
				return err
			}
			var unread, unseen int
			err = tx.QueryRow(ctx, `
				with gone as (update notifications set gone_at = $2 where user_id = $1 and expires_at <= $2 and gone_at is null returning id, read_at)
				select count(*) filter (where read_at is null), count(*) filter (where read_at is null and id > $3) from gone`,
				u, now, seenTo).Scan(&unread, &unseen)
			if err != nil {
				return err
			}
			if _, topic := c.UserID.Topic(); topic {
				return nil
			}
			c.Counts.Unread, c.Counts.Unseen = max(0, c.Counts.Unread-unread), max(0, c.Counts.Unseen-unseen)
			return saveCounts(ctx, tx, c.UserID, &c.Counts)
		})
		if err != nil {
			return changed, fmt.Errorf("expiring notifications: %w", err)
		}
		changed = append(changed, c)
	}
	return changed, nil
}
