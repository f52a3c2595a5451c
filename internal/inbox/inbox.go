// Package inbox keeps each user's notifications: their places (1, 2, 3 …
// without a hole), their idempotency, pages of them, and the counts.
//
// A place is given under the lock of the user's row in `inboxes`, in the
// transaction that stores the notification. Every write here takes that lock
// first, in order of user id, so that no two writers wait for each other.
// Postgres is authoritative for all of it; what is pushed is a copy.
package inbox

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"crier/internal/event"
	"crier/internal/postgres"
)

// ErrNotFound is a notification that is not in the user's inbox.
var ErrNotFound = errors.New("no such notification")

// ErrNoInbox is a user without an inbox.
var ErrNoInbox = errors.New("no such inbox")

// Store is the inboxes of one database. It is safe for concurrent use.
type Store struct {
	db *postgres.DB
}

// New makes a Store.
func New(db *postgres.DB) *Store { return &Store{db} }

// Item is one notification for one user, as it came.
type Item struct {
	UserID   event.UserID
	EventID  string
	Kind     string
	Title    string
	Body     string
	URL      string
	Payload  []byte
	Priority string
	Sender   string // who sent it: with Key it identifies the item
	Key      string // idempotency key; "" means that Origin identifies it
	Hash     []byte // of the content, compared when Key was seen before
	Origin   event.Origin
	Ends     time.Time // when it is worth nothing any more; zero: never
	Collapse string    // replaces the unread one with the same; "": none
	Author   string    // of a room's message
	// Recall only asks what was stored from this place before; nothing new is
	// stored, and an Outcome without a Status says that there was nothing.
	Recall bool
}

// Outcome is what became of an Item.
type Outcome struct {
	Status string // event.StatusStored, StatusDuplicate or StatusRejected
	// Stored is the notification, new or as it was stored the first time.
	Stored event.Stored
	Code   string // why it was rejected: user_not_found or idempotency_key_reused
	Reason string
	// Again says that nothing was written: the item was stored before.
	Again bool
	// Gone means that it was collapsed, expired or deleted since.
	Gone bool
	// At is the place that the inbox stood at after the item.
	At int64
}

// OpenInboxes makes the inboxes that are missing, empty. Existing ones are
// left as they are.
func OpenInboxes(ctx context.Context, tx pgx.Tx, users ...event.UserID) error {
	ids := sortedIDs(users)
	_, err := tx.Exec(ctx, `insert into inboxes (user_id) select unnest($1::text[]) on conflict do nothing`, ids)
	if err != nil {
		return fmt.Errorf("opening inboxes: %w", err)
	}
	return nil
}

func sortedIDs(users []event.UserID) []string {
	ids := make([]string, len(users))
	for i, u := range users {
		ids[i] = string(u)
	}
	slices.Sort(ids)
	return slices.Compact(ids)
}

// head is a locked row of `inboxes`.
type head struct {
	last, seenTo   int64
	unread, unseen int
	changed        bool
}

// Put stores items in the order given, within tx. An item that was stored
// before (the same origin, or the same sender and key with the same content)
// is answered as it was then. Items of users without an inbox are rejected.
// now becomes created_at.
func Put(ctx context.Context, tx pgx.Tx, now time.Time, items []Item) ([]Outcome, error) {
	if len(items) == 0 {
		return nil, nil
	}
	now = now.UTC().Truncate(time.Microsecond) // as exactly as Postgres keeps it
	heads, known, collapsing, err := look(ctx, tx, items)
	if err != nil {
		return nil, err
	}
	out := make([]Outcome, len(items))
	var fresh []int
	for i := range items {
		it := &items[i]
		h := heads[it.UserID]
		if h == nil {
			out[i] = noInbox(it)
			continue
		}
		if o, ok := known.answer(it); ok {
			out[i], out[i].At = o, h.last
			continue
		}
		switch {
		case it.Recall:
			out[i].At = h.last
			continue
		case !it.Ends.IsZero() && !it.Ends.After(now):
			out[i] = Outcome{Status: event.StatusRejected, Code: "expired", Reason: "expires_at: is over"}
			continue
		}
		s := h.next(it, now)
		s.Replaces = collapsing.replace(it, h, s.ID)
		s.Unread = h.unread
		out[i] = Outcome{Status: event.StatusStored, Stored: s, At: s.ID}
		known.add(it, s)
		fresh = append(fresh, i)
	}
	if err := insert(ctx, tx, items, out, fresh, heads); err != nil {
		return nil, err
	}
	return out, collapsing.save(ctx, tx, now)
}

func noInbox(it *Item) Outcome {
	if topic, ok := it.UserID.Topic(); ok {
		return Outcome{Status: event.StatusRejected, Code: "topic_not_found", Reason: fmt.Sprintf("topic: there is no %s", topic)}
	}
	return Outcome{Status: event.StatusRejected, Code: "user_not_found", Reason: "user_id: no such user"}
}

// next gives an item its place. Topics have no reader of their own, so nothing
// is unread there.
func (h *head) next(it *Item, now time.Time) event.Stored {
	h.last++
	h.changed = true
	if _, topic := it.UserID.Topic(); !topic {
		h.unread++
		h.unseen++
	}
	s := event.Stored{
		ID: h.last, EventID: it.EventID, UserID: it.UserID, Kind: it.Kind, Title: it.Title, Body: it.Body, URL: it.URL,
		Payload: it.Payload, Priority: it.Priority, CreatedAt: now, Collapse: it.Collapse, Author: it.Author,
	}
	if !it.Ends.IsZero() {
		ends := it.Ends.UTC().Truncate(time.Microsecond)
		s.ExpiresAt = &ends
	}
	return s
}

// look locks the inboxes of items and reads what there is about them, in one
// round trip. The statements run in their order, so all but the first see what
// others have committed before the locks were given.
func look(ctx context.Context, tx pgx.Tx, items []Item) (map[event.UserID]*head, *knownItems, *collapsing, error) {
	batch := &pgx.Batch{}
	heads := lockHeads(batch, items)
	known := &knownItems{byOrigin: make(map[originKey][]knownItem, len(items)), byKey: make(map[senderKey]knownItem)}
	seen := known.lookForOrigins(batch, items)
	known.lookForKeys(batch, items)
	collapsing := findCollapsing(batch, items)
	if err := tx.SendBatch(ctx, batch).Close(); err != nil {
		return nil, nil, nil, fmt.Errorf("locking inboxes, and looking for what was stored before: %w", err)
	}
	if *seen {
		if err := known.findOrigins(ctx, tx, items); err != nil {
			return nil, nil, nil, err
		}
	}
	return heads, known, collapsing, nil
}

func lockHeads(batch *pgx.Batch, items []Item) map[event.UserID]*head {
	users := make([]event.UserID, len(items))
	for i := range items {
		users[i] = items[i].UserID
	}
	ids := sortedIDs(users)
	heads := make(map[event.UserID]*head, len(ids))
	batch.Queue(`
		select user_id, last_id, unread, unseen, seen_to from inboxes
		where user_id = any($1::text[]) order by user_id for update`, ids).Query(func(rows pgx.Rows) error {
		var id string
		var h head
		_, err := pgx.ForEachRow(rows, []any{&id, &h.last, &h.unread, &h.unseen, &h.seenTo}, func() error {
			locked := h
			heads[event.UserID(id)] = &locked
			return nil
		})
		return err
	})
	return heads
}

type originKey struct {
	user     event.UserID
	position event.Origin // without fingerprint
}

type senderKey struct {
	user        event.UserID
	sender, key string
}

// knownItem is an item that was stored, with what tells it from others.
type knownItem struct {
	stored event.Stored
	hash   string
	origin event.Origin
	gone   bool // collapsed, expired or deleted since
}

type knownItems struct {
	byOrigin map[originKey][]knownItem // more than one where an offset was given again
	byKey    map[senderKey]knownItem
}

func (k *knownItems) add(it *Item, s event.Stored) {
	ki := knownItem{stored: s, hash: string(it.Hash), origin: it.Origin}
	k.addOrigin(ki)
	if it.Key != "" {
		k.byKey[senderKey{it.UserID, it.Sender, it.Key}] = ki
	}
}

func (k *knownItems) addOrigin(ki knownItem) {
	at := originKey{ki.stored.UserID, ki.origin.Position()}
	k.byOrigin[at] = append(k.byOrigin[at], ki)
}

// answer says what to answer for an item that was seen before. From the same
// origin it is the same record read again, stored as the first time; from
// another it is a duplicate, or a misuse of the key.
func (k *knownItems) answer(it *Item) (Outcome, bool) {
	for _, ki := range k.byOrigin[originKey{it.UserID, it.Origin.Position()}] {
		if ki.origin.Same(it.Origin) {
			return Outcome{Status: event.StatusStored, Stored: ki.stored, Again: true, Gone: ki.gone}, true
		}
	}
	if it.Key == "" {
		return Outcome{}, false
	}
	ki, ok := k.byKey[senderKey{it.UserID, it.Sender, it.Key}]
	switch {
	case !ok:
		return Outcome{}, false
	case ki.hash == string(it.Hash):
		return Outcome{Status: event.StatusDuplicate, Stored: ki.stored, Again: true, Gone: ki.gone}, true
	}
	return Outcome{
		Status: event.StatusRejected, Code: "idempotency_key_reused",
		Reason: fmt.Sprintf("idempotency_key: was used for another notification (id %d) with other content", ki.stored.ID),
	}, true
}

const storedColumns = `n.user_id, n.id, n.event_id, n.kind, n.title, n.body, n.url, n.payload, n.priority, n.unread, n.created_at, n.read_at, n.archived_at,
	n.expires_at, coalesce(n.collapse_key, ''), coalesce(n.replaces, 0), coalesce(n.author, '')`

// present is what readers see: what is not a tombstone, and has not expired
// since the last sweep. It names the time that Postgres has.
const present = `n.gone_at is null and (n.expires_at is null or n.expires_at > now())`

// storedDest are the scan targets of storedColumns.
func storedDest(s *event.Stored, priority *int16, payload *string) []any {
	return []any{(*string)(&s.UserID), &s.ID, &s.EventID, &s.Kind, &s.Title, &s.Body, &s.URL, payload, priority, &s.Unread, &s.CreatedAt, &s.ReadAt, &s.ArchivedAt,
		&s.ExpiresAt, &s.Collapse, &s.Replaces, &s.Author}
}

func finish(s event.Stored, priority int16, payload string) event.Stored {
	s.Priority = event.Priorities[priority]
	s.Payload = nil
	if payload != "" {
		s.Payload = []byte(payload)
	}
	return s
}

const knownColumns = storedColumns + `, n.sender, n.idempotency_key, n.content_hash, n.origin_topic::text, n.origin_partition, n.origin_offset, coalesce(n.origin_fingerprint, 0), n.gone_at is not null`

// scan adds rows of knownColumns.
func (k *knownItems) scan(rows pgx.Rows) error {
	var s event.Stored
	var priority int16
	var payload string
	var sender, key *string
	var hash []byte
	var ki knownItem
	dest := append(storedDest(&s, &priority, &payload), &sender, &key, &hash, &ki.origin.TopicID, &ki.origin.Partition, &ki.origin.Offset, &ki.origin.Fingerprint, &ki.gone)
	_, err := pgx.ForEachRow(rows, dest, func() error {
		found := ki
		found.hash = string(hash)
		found.stored = finish(s, priority, payload)
		k.addOrigin(found)
		if sender != nil && key != nil {
			k.byKey[senderKey{s.UserID, *sender, *key}] = found
		}
		return nil
	})
	return err
}

// span is the offsets of one partition that items come from.
type span struct{ from, to int64 }

// lookForOrigins asks whether anything is stored from where the items come from,
// which is so only when they are read again. A batch is a stretch of a partition
// or a few, so that is one look into the index for each, where every item's own
// place would be as many as there are items.
func (k *knownItems) lookForOrigins(batch *pgx.Batch, items []Item) (seen *bool) {
	type partition struct {
		topic string
		id    int32
	}
	spans := make(map[partition]span)
	for i := range items {
		o := &items[i].Origin
		p := partition{o.TopicID, o.Partition}
		s, ok := spans[p]
		if !ok {
			s = span{o.Offset, o.Offset}
		}
		spans[p] = span{min(s.from, o.Offset), max(s.to, o.Offset)}
	}
	var topics []string
	var partitions []int32
	var from, to []int64
	for p, s := range spans {
		topics, partitions, from, to = append(topics, p.topic), append(partitions, p.id), append(from, s.from), append(to, s.to)
	}
	seen = new(bool)
	// Index notifications_from, whose order is asked for: without it the planner
	// may hope to come upon a row soon, and read the whole table where there is none.
	batch.Queue(`
		select exists (select from unnest($1::uuid[], $2::int[], $3::bigint[], $4::bigint[]) as k(t, p, a, b), lateral (
			select n.origin_offset from notifications n
			where n.origin_topic = k.t and n.origin_partition = k.p and n.origin_offset between k.a and k.b
			order by n.origin_topic, n.origin_partition, n.origin_offset limit 1) x)`,
		topics, partitions, from, to).QueryRow(func(row pgx.Row) error { return row.Scan(seen) })
	return seen
}

func (k *knownItems) lookForKeys(batch *pgx.Batch, items []Item) {
	var users, senders, keys []string
	for i := range items {
		if it := &items[i]; it.Key != "" {
			users, senders, keys = append(users, string(it.UserID)), append(senders, it.Sender), append(keys, it.Key)
		}
	}
	if len(keys) == 0 {
		return
	}
	// Index notifications_key.
	batch.Queue(`select `+knownColumns+`
		from unnest($1::text[], $2::text[], $3::text[]) as k(u, s, i)
		join notifications n on n.user_id = k.u and n.sender = k.s and n.idempotency_key = k.i`,
		users, senders, keys).Query(k.scan)
}

// findOrigins reads what was stored from the items' own places.
func (k *knownItems) findOrigins(ctx context.Context, tx pgx.Tx, items []Item) error {
	n := len(items)
	users, topics, parts, offsets := make([]string, n), make([]string, n), make([]int32, n), make([]int64, n)
	for i := range items {
		it := &items[i]
		users[i], topics[i], parts[i], offsets[i] = string(it.UserID), it.Origin.TopicID, it.Origin.Partition, it.Origin.Offset
	}
	// Index notifications_from.
	rows, err := tx.Query(ctx, `select `+knownColumns+`
		from unnest($1::text[], $2::uuid[], $3::int[], $4::bigint[]) as k(u, t, p, o)
		join notifications n on n.origin_topic = k.t and n.origin_partition = k.p and n.origin_offset = k.o and n.user_id = k.u`,
		users, topics, parts, offsets)
	if err == nil {
		err = k.scan(rows)
	}
	if err != nil {
		return fmt.Errorf("looking for what was stored before: %w", err)
	}
	return nil
}

func insert(ctx context.Context, tx pgx.Tx, items []Item, out []Outcome, fresh []int, heads map[event.UserID]*head) error {
	if len(fresh) == 0 {
		return nil
	}
	var users []string
	for u, h := range heads {
		if h.changed {
			users = append(users, string(u))
		}
	}
	slices.Sort(users)
	lasts, unreads, unseens := make([]int64, len(users)), make([]int32, len(users)), make([]int32, len(users))
	for i, u := range users {
		h := heads[event.UserID(u)]
		lasts[i], unreads[i], unseens[i] = h.last, int32(h.unread), int32(h.unseen)
	}
	batch := &pgx.Batch{}
	for len(fresh) > 0 {
		c, n := chunk(items, out, fresh)
		fresh = fresh[n:]
		if len(fresh) == 0 {
			batch.Queue(insertSQL, c.args()...)
		} else if _, err := tx.Exec(ctx, insertSQL, c.args()...); err != nil {
			return fmt.Errorf("storing notifications: %w", err)
		}
	}
	batch.Queue(`
		update inboxes i set last_id = k.l, unread = k.r, unseen = k.s, version = version + 1
		from unnest($1::text[], $2::bigint[], $3::int[], $4::int[]) as k(u, l, r, s) where i.user_id = k.u`,
		users, lasts, unreads, unseens)
	if err := tx.SendBatch(ctx, batch).Close(); err != nil {
		return fmt.Errorf("storing notifications: %w", err)
	}
	return nil
}

// Idempotent by notifications_from and notifications_key; the row locks on
// `inboxes` make sure that findKnown saw what they would refuse.
const insertSQL = `
	insert into notifications (user_id, id, event_id, kind, title, body, url, payload, priority, unread, created_at,
		sender, idempotency_key, content_hash, origin_topic, origin_partition, origin_offset, expires_at, collapse_key, replaces, author, origin_fingerprint)
	select * from unnest($1::text[], $2::bigint[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[],
		$9::smallint[], $10::int[], $11::timestamptz[], $12::text[], $13::text[], $14::bytea[], $15::uuid[], $16::int[], $17::bigint[],
		$18::timestamptz[], $19::text[], $20::bigint[], $21::text[], $22::bigint[])`

// chunkBytes bounds one statement: Postgres takes no message above 1 GB, and all
// of it stands in memory here and there.
const chunkBytes = 16 << 20

// chunk turns the first of the fresh items into columns, and says how many.
func chunk(items []Item, out []Outcome, fresh []int) (c *columns, n int) {
	c = newColumns(min(len(fresh), 1000))
	for size := 0; n < len(fresh) && (n == 0 || size < chunkBytes); n++ {
		s := &out[fresh[n]].Stored
		c.add(&items[fresh[n]], s)
		size += len(s.Title) + len(s.Body) + len(s.Payload)
	}
	return c, n
}
