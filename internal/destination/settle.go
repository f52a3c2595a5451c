package destination

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// Fates of a delivery after an attempt.
type Fate uint8

// They are in the order of what is left to be done.
const (
	Delivered Fate = iota
	Again          // after Wait
	GivenUp
)

// Result is how one attempt went.
type Result struct {
	DestinationID int64
	Epoch         int64 // of the lease under which it was made
	ItemID        int64
	Attempt       int // 1 for the first
	Request       string
	Status        int    // 0: there was no answer
	Error         string // "" where it went well
	Answer        string // its beginning
	Began         time.Time
	Took          time.Duration
	Fate          Fate
	Wait          time.Duration // until the next attempt
	Hold          time.Duration // how long the destination wants to be left alone
	Gone          bool          // it wants no more, ever
	Test          bool          // says nothing of the item's fate
}

// health is what a batch of results says of one destination.
type health struct {
	id            int64
	anyOK, lastOK bool
	gone          bool
	hold          time.Duration
}

// Settle notes results: every attempt in the log, deliveries that are done,
// those that are due again or given up, and what it means for their
// destinations. One that has known nothing but failures for failingLimit is
// disabled; so is one that is gone. It returns how many were disabled, by
// reason. Idempotent but for the log: a delivery that was settled before is
// not there any more.
//
// A delivery that succeeded is done, whoever reports it. Everything else is left to the
// present holder of the lease: an attempt under a lease that was claimed again since is
// only logged.
func (s *Store) Settle(ctx context.Context, results []Result, failingLimit time.Duration) (map[string]int64, error) {
	var disabled map[string]int64
	err := s.db.Tx(ctx, func(tx pgx.Tx) error {
		disabled = make(map[string]int64)
		ours, err := underLease(ctx, tx, results)
		if err != nil {
			return err
		}
		if err := judge(ctx, tx, ours, failingLimit, disabled); err != nil {
			return err
		}
		b := &pgx.Batch{}
		queueDone(b, results)
		queueFates(b, ours)
		queueLog(b, results)
		if err := tx.SendBatch(ctx, b).Close(); err != nil {
			return fmt.Errorf("noting %d attempts: %w", len(results), err)
		}
		return nil
	})
	return disabled, err
}

// underLease are the results whose lease was not claimed again since. It may have expired:
// until the next claim its last holder's results count.
func underLease(ctx context.Context, tx pgx.Tx, results []Result) ([]Result, error) {
	failed := false
	var ids []int64
	for i := range results {
		failed = failed || results[i].Error != ""
		if n := len(ids); n == 0 || ids[n-1] != results[i].DestinationID {
			ids = append(ids, results[i].DestinationID)
		}
	}
	if !failed {
		return results, nil // nothing that a lease is needed for
	}
	// The lock keeps them from being claimed until the commit. In order of their ids, as
	// everywhere.
	rows, _ := tx.Query(ctx, `select id, lease_epoch from destinations where id = any($1::bigint[]) order by id for no key update`, ids) // its error comes with the rows
	epochs := make(map[int64]int64, len(ids))
	var id, epoch int64
	if _, err := pgx.ForEachRow(rows, []any{&id, &epoch}, func() error { epochs[id] = epoch; return nil }); err != nil {
		return nil, fmt.Errorf("looking at the leases of destinations: %w", err)
	}
	ours := results[:0:0]
	for i := range results {
		if epoch, ok := epochs[results[i].DestinationID]; ok && epoch == results[i].Epoch {
			ours = append(ours, results[i])
		}
	}
	return ours, nil
}

// judge changes destinations, in order of their ids.
func judge(ctx context.Context, tx pgx.Tx, results []Result, failingLimit time.Duration, disabled map[string]int64) error {
	all := make(map[int64]*health)
	var ids, goneIDs, holdIDs []int64
	var holds []time.Duration
	var anyOK, lastOK []bool
	for i := range results {
		r := &results[i]
		h := all[r.DestinationID]
		if h == nil {
			h = &health{id: r.DestinationID}
			all[r.DestinationID] = h
			ids = append(ids, h.id)
		}
		h.lastOK = r.Error == ""
		h.anyOK = h.anyOK || h.lastOK
		h.gone = h.gone || r.Gone
		h.hold = max(h.hold, r.Hold)
	}
	for _, id := range ids {
		h := all[id]
		anyOK, lastOK = append(anyOK, h.anyOK), append(lastOK, h.lastOK)
		if h.gone {
			goneIDs = append(goneIDs, id)
		}
		if h.hold > 0 {
			holdIDs, holds = append(holdIDs, id), append(holds, h.hold)
		}
	}
	// Most batches change no destination: rows are locked only where one is to be.
	if _, err := tx.Exec(ctx, `
		update destinations d set failing_since = case when k.last_ok then null when k.any_ok then now() else coalesce(d.failing_since, now()) end
		from unnest($1::bigint[], $2::bool[], $3::bool[]) as k(id, any_ok, last_ok)
		where d.id = k.id and (k.any_ok and d.failing_since is not null or not k.last_ok and d.failing_since is null)`, ids, anyOK, lastOK); err != nil {
		return fmt.Errorf("noting destinations' health: %w", err)
	}
	if len(holdIDs) > 0 {
		if _, err := tx.Exec(ctx, `
			update destinations d set hold_until = greatest(coalesce(d.hold_until, now()), now() + k.hold)
			from unnest($1::bigint[], $2::interval[]) as k(id, hold) where d.id = k.id`, holdIDs, holds); err != nil {
			return fmt.Errorf("noting that destinations want to be left alone: %w", err)
		}
	}
	for _, why := range []struct {
		reason, also string
		ids          []int64
		args         []any
	}{{Gone, "", goneIDs, nil}, {Failing, " and failing_since <= now() - $3::interval", ids, []any{failingLimit}}} {
		if len(why.ids) == 0 {
			continue
		}
		tag, err := tx.Exec(ctx, `
			update destinations set enabled = false, disabled_reason = $2, untold = true
			where id = any($1::bigint[]) and enabled`+why.also, append([]any{why.ids, why.reason}, why.args...)...)
		if err != nil {
			return fmt.Errorf("disabling destinations: %w", err)
		}
		if n := tag.RowsAffected(); n > 0 {
			disabled[why.reason] = n
		}
	}
	return nil
}

func queueDone(b *pgx.Batch, results []Result) {
	var to, items []int64
	for i := range results {
		if r := &results[i]; r.Fate == Delivered || r.Test {
			to, items = append(to, r.DestinationID), append(items, r.ItemID)
		}
	}
	if len(to) > 0 { // the primary key
		b.Queue(`delete from pushes p using unnest($1::bigint[], $2::bigint[]) as k(d, i) where p.destination_id = k.d and p.item_id = k.i`, to, items)
	}
}

func queueFates(b *pgx.Batch, results []Result) {
	var againTo, againItems, upTo, upItems []int64
	var againN, upN []int32
	var waits []time.Duration
	for i := range results {
		r := &results[i]
		switch {
		case r.Fate == Delivered, r.Test:
		case r.Fate == Again:
			againTo, againItems, againN, waits = append(againTo, r.DestinationID), append(againItems, r.ItemID), append(againN, int32(r.Attempt)), append(waits, r.Wait)
		default:
			upTo, upItems, upN = append(upTo, r.DestinationID), append(upItems, r.ItemID), append(upN, int32(r.Attempt))
		}
	}
	// All by the primary key.
	if len(againTo) > 0 {
		b.Queue(`update pushes p set attempts = k.n, due_at = now() + k.w
			from unnest($1::bigint[], $2::bigint[], $3::int[], $4::interval[]) as k(d, i, n, w) where p.destination_id = k.d and p.item_id = k.i`,
			againTo, againItems, againN, waits)
	}
	if len(upTo) > 0 {
		b.Queue(`update pushes p set attempts = k.n, due_at = null, failed_at = now()
			from unnest($1::bigint[], $2::bigint[], $3::int[]) as k(d, i, n) where p.destination_id = k.d and p.item_id = k.i`, upTo, upItems, upN)
	}
}

func queueLog(b *pgx.Batch, results []Result) {
	n := len(results)
	to, items, attempts, requests, statuses := make([]int64, n), make([]int64, n), make([]int32, n), make([]string, n), make([]int32, n)
	errs, answers, began, took := make([]string, n), make([]string, n), make([]time.Time, n), make([]int32, n)
	for i := range results {
		r := &results[i]
		to[i], items[i], attempts[i], requests[i], statuses[i] = r.DestinationID, r.ItemID, int32(r.Attempt), r.Request, int32(r.Status)
		errs[i], answers[i], began[i], took[i] = r.Error, r.Answer, r.Began, int32(r.Took.Milliseconds())
	}
	b.Queue(`
		insert into push_attempts (destination_id, item_id, attempt, request, status, error, answer, began_at, took_ms)
		select * from unnest($1::bigint[], $2::bigint[], $3::int[], $4::text[], $5::int[], $6::text[], $7::text[], $8::timestamptz[], $9::int[])`,
		to, items, attempts, requests, statuses, errs, answers, began, took)
}
