package destination

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"crier/internal/event"
)

// Item is data that was pushed in for an account.
type Item struct {
	AccountID event.AccountID
	EventID   string
	Data      []byte
	Key       string // idempotency key; "" means that Origin identifies it
	Hash      []byte // of the data, compared when Key was seen before
	Origin    event.Origin
}

// Taken is what became of an Item.
type Taken struct {
	Status string // event.StatusStored, StatusDuplicate or StatusRejected
	Code   string // why it was rejected: account_not_found or idempotency_key_reused
	Reason string
	Again  bool // nothing was written: it was taken before
}

type itemKey struct {
	account event.AccountID
	key     string
}

type intake struct {
	now          time.Time
	destinations map[event.AccountID][]int64
	accounts     map[event.AccountID]bool
	byOrigin     map[event.Origin][]event.Origin // by position
	byKey        map[itemKey]string              // its hash
}

// Take stores items, and what is to be delivered of them, within tx. An item
// from a place that was seen before is answered as stored and changes nothing.
func Take(ctx context.Context, tx pgx.Tx, items []Item, now time.Time) ([]Taken, error) {
	if len(items) == 0 {
		return nil, nil
	}
	in := &intake{now: now, destinations: make(map[event.AccountID][]int64), accounts: make(map[event.AccountID]bool),
		byOrigin: make(map[event.Origin][]event.Origin), byKey: make(map[itemKey]string)}
	if err := in.lock(ctx, tx, items); err != nil {
		return nil, err
	}
	if err := in.findKnown(ctx, tx, items); err != nil {
		return nil, err
	}
	out := make([]Taken, len(items))
	var fresh []*Item
	for i := range items {
		it := &items[i]
		k := itemKey{it.AccountID, it.Key}
		hash, keyed := in.byKey[k]
		switch {
		case in.taken(it.Origin):
			out[i] = Taken{Status: event.StatusStored, Again: true}
		case !in.accounts[it.AccountID]:
			out[i] = Taken{Status: event.StatusRejected, Code: "account_not_found", Reason: "account_id: no such account"}
		case it.Key != "" && keyed && hash == string(it.Hash):
			out[i] = Taken{Status: event.StatusDuplicate, Again: true}
		case it.Key != "" && keyed:
			out[i] = Taken{Status: event.StatusRejected, Code: "idempotency_key_reused", Reason: "idempotency_key: was used for other data"}
		default:
			out[i] = Taken{Status: event.StatusStored}
			in.note(it.Origin)
			if it.Key != "" {
				in.byKey[k] = string(it.Hash)
			}
			fresh = append(fresh, it)
		}
	}
	return out, in.store(ctx, tx, fresh)
}

// taken reports whether the record was taken before.
func (in *intake) taken(o event.Origin) bool {
	return slices.ContainsFunc(in.byOrigin[o.Position()], o.Same)
}

func (in *intake) note(o event.Origin) {
	in.byOrigin[o.Position()] = append(in.byOrigin[o.Position()], o)
}

// lock keeps the accounts and destinations of the items from being removed, and
// a destination's worker from finding nothing more to do, until the commit.
func (in *intake) lock(ctx context.Context, tx pgx.Tx, items []Item) error {
	var ids []int64
	for i := range items {
		ids = append(ids, int64(items[i].AccountID))
	}
	slices.Sort(ids)
	ids = slices.Compact(ids)
	var account event.AccountID
	var id int64
	rows, _ := tx.Query(ctx, `select id from accounts where id = any($1::bigint[]) order by id for key share`, ids) // its error comes with the rows
	if _, err := pgx.ForEachRow(rows, []any{&account}, func() error { in.accounts[account] = true; return nil }); err != nil {
		return fmt.Errorf("locking accounts: %w", err)
	}
	// Index destinations_account.
	rows, _ = tx.Query(ctx, `select id, account_id from destinations where account_id = any($1::bigint[]) order by id for key share`, ids) // its error comes with the rows
	_, err := pgx.ForEachRow(rows, []any{&id, &account}, func() error {
		in.destinations[account] = append(in.destinations[account], id)
		return nil
	})
	if err != nil {
		return fmt.Errorf("locking destinations: %w", err)
	}
	return nil
}

func (in *intake) findKnown(ctx context.Context, tx pgx.Tx, items []Item) error {
	n := len(items)
	topics, parts, offsets := make([]string, n), make([]int32, n), make([]int64, n)
	var accounts []int64
	var keys []string
	for i := range items {
		it := &items[i]
		topics[i], parts[i], offsets[i] = it.Origin.TopicID, it.Origin.Partition, it.Origin.Offset
		if it.Key != "" {
			accounts, keys = append(accounts, int64(it.AccountID)), append(keys, it.Key)
		}
	}
	var at event.Origin
	// Index incoming_items_from.
	rows, _ := tx.Query(ctx, `
		select k.t::text, k.p, k.o, coalesce(i.origin_fingerprint, 0) from unnest($1::uuid[], $2::int[], $3::bigint[]) as k(t, p, o)
		join incoming_items i on i.origin_topic = k.t and i.origin_partition = k.p and i.origin_offset = k.o`, topics, parts, offsets) // its error comes with the rows
	if _, err := pgx.ForEachRow(rows, []any{&at.TopicID, &at.Partition, &at.Offset, &at.Fingerprint}, func() error { in.note(at); return nil }); err != nil {
		return fmt.Errorf("looking for items that were taken before: %w", err)
	}
	if len(keys) == 0 {
		return nil
	}
	var k itemKey
	var hash []byte
	// Index incoming_items_key.
	rows, _ = tx.Query(ctx, `
		select i.account_id, i.idempotency_key, i.content_hash from unnest($1::bigint[], $2::text[]) as k(a, i)
		join incoming_items i on i.account_id = k.a and i.idempotency_key = k.i`, accounts, keys) // its error comes with the rows
	if _, err := pgx.ForEachRow(rows, []any{&k.account, &k.key, &hash}, func() error { in.byKey[k] = string(hash); return nil }); err != nil {
		return fmt.Errorf("looking for keys that were used before: %w", err)
	}
	return nil
}

// store inserts what is new. Idempotent by incoming_items_from: whoever reads
// the same records meanwhile waits here, and then finds them.
func (in *intake) store(ctx context.Context, tx pgx.Tx, fresh []*Item) error {
	if len(fresh) == 0 {
		return nil
	}
	n := len(fresh)
	accounts, ids, data, keys, hashes := make([]int64, n), make([]string, n), make([]string, n), make([]*string, n), make([][]byte, n)
	topics, parts, offsets, fingerprints := make([]string, n), make([]int32, n), make([]int64, n), make([]int64, n)
	for i, it := range fresh {
		accounts[i], ids[i], data[i] = int64(it.AccountID), it.EventID, string(it.Data)
		topics[i], parts[i], offsets[i], fingerprints[i] = it.Origin.TopicID, it.Origin.Partition, it.Origin.Offset, it.Origin.Fingerprint
		if it.Key != "" {
			keys[i], hashes[i] = &it.Key, it.Hash
		}
	}
	var to, items []int64
	var id int64
	var account event.AccountID
	rows, _ := tx.Query(ctx, `
		insert into incoming_items (account_id, event_id, data, idempotency_key, content_hash, origin_topic, origin_partition, origin_offset, origin_fingerprint, created_at)
		select a, e, d, k, h, t, p, o, f, $10 from unnest($1::bigint[], $2::text[], $3::text[], $4::text[], $5::bytea[], $6::uuid[], $7::int[], $8::bigint[], $9::bigint[])
			with ordinality as u(a, e, d, k, h, t, p, o, f, place) order by place
		on conflict do nothing returning id, account_id`,
		accounts, ids, data, keys, hashes, topics, parts, offsets, fingerprints, in.now) // its error comes with the rows
	_, err := pgx.ForEachRow(rows, []any{&id, &account}, func() error {
		for _, d := range in.destinations[account] {
			to, items = append(to, d), append(items, id)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("storing items: %w", err)
	}
	return enqueue(ctx, tx, to, items, false)
}

// enqueue notes that items are due at destinations, whose rows the caller has
// locked for key share at least.
func enqueue(ctx context.Context, tx pgx.Tx, to, items []int64, test bool) error {
	if len(to) == 0 {
		return nil
	}
	_, err := tx.Exec(ctx, `
		insert into pushes (destination_id, item_id, test, due_at)
		select d, i, $3, now() from unnest($1::bigint[], $2::bigint[]) as k(d, i)
		on conflict (destination_id, item_id) do update set due_at = now(), failed_at = null, attempts = 0`, to, items, test)
	if err != nil {
		return fmt.Errorf("queueing %d deliveries: %w", len(to), err)
	}
	return wake(ctx, tx, to)
}

// wake has destinations worked now. Whose work is due already is left alone, so
// that nobody waits for its row.
func wake(ctx context.Context, tx pgx.Tx, ids []int64) error {
	ids = slices.Clone(ids)
	slices.Sort(ids)
	_, err := tx.Exec(ctx, `
		update destinations set due_at = now() where id in (
			select id from destinations where id = any($1::bigint[]) and (due_at is null or due_at > now()) order by id for no key update)`, slices.Compact(ids))
	if err != nil {
		return fmt.Errorf("waking destinations: %w", err)
	}
	return nil
}

// Push queues one item for some destinations of an account, within tx: for what
// does not come over `incoming`. A test is tried once, out of turn. It returns
// the item's id.
func Push(ctx context.Context, tx pgx.Tx, account event.AccountID, to []int64, eventID string, data []byte, test bool, now time.Time) (int64, error) {
	to = slices.Clone(to)
	slices.Sort(to)
	rows, _ := tx.Query(ctx, `select id from destinations where account_id = $1 and id = any($2::bigint[]) order by id for key share`, account, to) // its error comes with the rows
	found, err := pgx.CollectRows(rows, pgx.RowTo[int64])
	if err != nil {
		return 0, fmt.Errorf("locking destinations: %w", err)
	}
	if len(found) == 0 {
		return 0, ErrNotFound
	}
	var id int64
	err = tx.QueryRow(ctx, `insert into incoming_items (account_id, event_id, data, created_at) values ($1, $2, $3, $4) returning id`,
		account, eventID, string(data), now).Scan(&id)
	if err != nil {
		return 0, fmt.Errorf("storing an item: %w", err)
	}
	items := make([]int64, len(found))
	for i := range items {
		items[i] = id
	}
	return id, enqueue(ctx, tx, found, items, test)
}

// Test sends an example to one destination, which must be enabled.
func (s *Store) Test(ctx context.Context, d Destination, eventID string, data []byte, now time.Time) (int64, error) {
	if !d.Enabled {
		return 0, ErrDisabled
	}
	var id int64
	err := s.db.Tx(ctx, func(tx pgx.Tx) (err error) {
		id, err = Push(ctx, tx, d.AccountID, []int64{d.ID}, eventID, data, true, now)
		return err
	})
	return id, err
}
