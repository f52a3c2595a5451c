package destination

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"crier/internal/event"
)

// Target is a destination as its worker needs it.
type Target struct {
	ID        int64
	AccountID event.AccountID
	URL       string
	Method    string
	Headers   map[string]string
	Ordered   bool
	Rate      float64
	Secrets   [][]byte // the present one first, then one that still holds
}

// Job is one item to be delivered.
type Job struct {
	ItemID   int64
	EventID  string
	Data     []byte
	Attempts int // made already
	Test     bool
}

// Lease is the right to work a destination. Every claim has an epoch of its own, by
// which results of an earlier holder are recognised, even of the same process.
type Lease struct {
	DestinationID int64
	Epoch         int64
}

// Claim takes up to limit leases of destinations whose work is due and whom nobody
// is at. They are shared between owners (who may have several accounts; all anonymous
// ones count as one owner's): each gets another only while it holds no more than would
// then be free, so whoever comes with a first one finds a slot, however many the others
// would fill with destinations that do not answer. Of one owner those come first that
// have waited longest. more reports that destinations were left that are due.
func (s *Store) Claim(ctx context.Context, me string, lease time.Duration, limit int) (leases []Lease, more bool, err error) {
	rows, _ := s.db.Query(ctx, claimable, me, lease, limit) // its error comes with the rows
	var l Lease
	var due int64
	_, err = pgx.ForEachRow(rows, []any{&l.DestinationID, &l.Epoch, &due}, func() error {
		if l.DestinationID > 0 {
			leases = append(leases, l)
		}
		return nil
	})
	if err != nil {
		return nil, false, fmt.Errorf("claiming destinations: %w", err)
	}
	return leases, due > int64(len(leases)), nil
}

// Indexes destinations_due and destinations_leased. A rank is how many the owner holds
// with this one; the list is in its order, so that free slots and ranks meet once.
const claimable = `
	with owned as (
		select d.id, d.due_at, coalesce('user ' || a.owner, case when a.anonymous then 'anonymous' else 'account ' || a.id end) as owner,
			coalesce(d.leased_by = $1 and d.leased_until > now(), false) as held
		from destinations d join accounts a on a.id = d.account_id
		where d.enabled and d.due_at <= now() and (d.hold_until is null or d.hold_until <= now()) and (d.leased_until is null or d.leased_until <= now())
			or d.leased_by = $1 and d.leased_until > now()),
	ranked as (
		select id, due_at, row_number() over (partition by owner order by not held, due_at, id) as rank from owned),
	listed as (
		select r.id, r.rank, row_number() over (order by r.rank, r.due_at, r.id) as n from ranked r join owned o on o.id = r.id where not o.held),
	claimed as (
		update destinations set leased_by = $1, leased_until = now() + $2::interval, lease_epoch = lease_epoch + 1 where id in (
			select id from destinations where id in (select id from listed where n <= $3 and rank <= $3 - n + 1)
				and (leased_until is null or leased_until <= now()) for no key update skip locked)
		returning id, lease_epoch)
	select coalesce(c.id, 0), coalesce(c.lease_epoch, 0), t.due from (select count(*) as due from listed) t left join claimed c on true`

// Renew prolongs leases that have not run out, and returns whose were. Those of
// destinations that are disabled now, or shall be left alone, are not: their
// workers shall stop.
func (s *Store) Renew(ctx context.Context, me string, lease time.Duration, ids []int64) ([]int64, error) {
	rows, _ := s.db.Query(ctx, `
		update destinations set leased_until = now() + $2::interval where id in (
			select id from destinations where id = any($3::bigint[]) and leased_by = $1 and leased_until > now() and enabled
			order by id for no key update)
		returning id`, me, lease, ids) // its error comes with the rows
	kept, err := pgx.CollectRows(rows, pgx.RowTo[int64])
	if err != nil {
		return nil, fmt.Errorf("renewing leases: %w", err)
	}
	return kept, nil
}

// Bounds of one Load.
const (
	loadJobs  = 256
	loadBytes = 1 << 20
)

// Load reads a destination as it is now, and what is due there but the items
// excluded; nothing, if it is disabled, to be left alone, or another process's.
// Of an ordered destination it is the items up to the first that is not due.
func (s *Store) Load(ctx context.Context, me string, id int64, exclude []int64) (Target, []Job, error) {
	t := Target{ID: id}
	if exclude == nil {
		exclude = []int64{} // nil would be null, which nothing is unequal to
	}
	// The destination is read last: what was pushed in after a change of it must not be
	// delivered as before the change.
	var batch pgx.Batch
	var inOrder, sideBySide []Job
	batch.Queue(orderedJobs, id, exclude, loadJobs, loadBytes).Query(func(rows pgx.Rows) (err error) {
		inOrder, err = scanJobs(rows)
		return err
	})
	batch.Queue(unorderedJobs, id, exclude, loadJobs, loadBytes).Query(func(rows pgx.Rows) (err error) {
		sideBySide, err = scanJobs(rows)
		return err
	})
	var headers string
	var secret, old []byte
	batch.Queue(`
		select account_id, url, http_method, headers, ordered, rate, secret, case when old_secret_ends > now() then old_secret end
		from destinations where id = $1 and enabled and leased_by = $2 and leased_until > now() and (hold_until is null or hold_until <= now())`,
		id, me).QueryRow(func(row pgx.Row) error {
		return row.Scan(&t.AccountID, &t.URL, &t.Method, &headers, &t.Ordered, &t.Rate, &secret, &old)
	})
	err := s.db.SendBatch(ctx, &batch).Close()
	if errors.Is(err, pgx.ErrNoRows) {
		return t, nil, nil
	}
	if err == nil {
		err = json.Unmarshal([]byte(headers), &t.Headers)
	}
	if err != nil {
		return t, nil, fmt.Errorf("reading destination %d and what is due there: %w", id, err)
	}
	if t.Secrets = [][]byte{secret}; len(old) > 0 {
		t.Secrets = append(t.Secrets, old)
	}
	if t.Ordered {
		return t, inOrder, nil
	}
	return t, sideBySide, nil
}

// scanJobs reads jobs up to the first that is not due; tests are not in turn.
func scanJobs(rows pgx.Rows) ([]Job, error) {
	var jobs []Job
	var j Job
	var due bool
	held := false
	_, err := pgx.ForEachRow(rows, []any{&j.ItemID, &j.Attempts, &j.Test, &due, &j.EventID, &j.Data}, func() error {
		held = held || !due
		if j.Test || !held {
			jobs = append(jobs, j)
			jobs[len(jobs)-1].Data = append([]byte(nil), j.Data...)
		}
		return nil
	})
	return jobs, err
}

// The data is read up to loadBytes, and one item more. Of the two that which does not fit
// the destination reads nothing.
const (
	// Index pushes_due.
	unorderedJobs = `
		select item_id, attempts, test, true, event_id, data from (
			select p.*, i.event_id, i.data, sum(octet_length(i.data)) over (order by p.due_at, p.item_id) - octet_length(i.data) as before
			from (select * from pushes where destination_id = $1 and due_at <= now() and item_id <> all($2::bigint[])
				and not (select ordered from destinations where id = $1)
				order by due_at, item_id limit $3) p
			join incoming_items i on i.id = p.item_id) j
		where before < $4 order by due_at, item_id`
	// The primary key. Tests come first: they are not in turn.
	orderedJobs = `
		select item_id, attempts, test, due_at <= now(), event_id, data from (
			select p.*, i.event_id, i.data, sum(octet_length(i.data)) over (order by not p.test, p.item_id) - octet_length(i.data) as before
			from (select * from pushes where destination_id = $1 and due_at is not null and item_id <> all($2::bigint[]) and (not test or due_at <= now())
				and (select ordered from destinations where id = $1)
				order by item_id limit $3) p
			join incoming_items i on i.id = p.item_id) j
		where before < $4 order by not test, item_id`
)

// Release gives a lease back, and notes when there is work again: now, if
// there is more that its worker has left to others.
func (s *Store) Release(ctx context.Context, me string, id int64, more bool) error {
	return s.db.Tx(ctx, func(tx pgx.Tx) error {
		// Whoever adds work now holds the row for key share; this waits for the
		// commit, and the next statement sees what was added.
		var ours bool
		err := tx.QueryRow(ctx, `select leased_by = $2 from destinations where id = $1 and leased_by is not null for update`, id, me).Scan(&ours)
		if errors.Is(err, pgx.ErrNoRows) || err == nil && !ours {
			return nil
		}
		if err != nil {
			return fmt.Errorf("locking destination %d: %w", id, err)
		}
		_, err = tx.Exec(ctx, `
			update destinations d set leased_by = null, leased_until = null, due_at = case
				when $2 then now()
				when d.ordered then least(
					(select due_at from pushes where destination_id = d.id and due_at is not null and not test order by item_id limit 1),
					(select min(due_at) from pushes where destination_id = d.id and due_at is not null and test))
				else (select min(due_at) from pushes where destination_id = d.id and due_at is not null) end
			where id = $1`, id, more)
		if err != nil {
			return fmt.Errorf("releasing destination %d: %w", id, err)
		}
		return nil
	})
}

// Untold are destinations that were disabled and whose owners do not know yet.
func (s *Store) Untold(ctx context.Context, limit int) ([]Destination, error) {
	rows, _ := s.db.Query(ctx, `select `+columns+` from destinations d where d.untold order by d.id limit $1`, limit) // its error comes with the rows
	list, err := pgx.CollectRows(rows, scan)
	if err != nil {
		return nil, fmt.Errorf("reading disabled destinations: %w", err)
	}
	return list, nil
}

// Told notes that a destination's owner was told.
func (s *Store) Told(ctx context.Context, id int64) error {
	if _, err := s.db.Exec(ctx, `update destinations set untold = false where id = $1`, id); err != nil {
		return fmt.Errorf("noting that an owner was told: %w", err)
	}
	return nil
}
