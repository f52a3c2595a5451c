// Package price keeps the last tick of each symbol and source: the matcher writes it with
// each commit of its offsets, the gateway and a restarted matcher read it.
package price

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"crier/internal/decimal"
	"crier/internal/event"
	"crier/internal/postgres"
)

// Last is the last tick of a symbol, with its place.
type Last struct {
	event.Tick
	Place    event.Place
	Recorded time.Time
	// The clock of the source's ticks: their time, which never runs backwards, and
	// their number.
	StreamTime time.Time
	Ticks      int64
}

// Store is the last prices of one database. It is safe for concurrent use.
type Store struct {
	db *postgres.DB
}

// New makes a Store.
func New(db *postgres.DB) *Store { return &Store{db} }

// Put writes last ticks, one a symbol and source. Idempotent by place: in one topic, an
// earlier tick never replaces a later one.
func (s *Store) Put(ctx context.Context, last []Last) error { return put(ctx, s.db, last) }

// boundTimes replaces times that no tick may have any more, since they lie far after its
// arrival: an earlier version took them.
func (l *Last) boundTimes() {
	if latest := l.Recorded.Add(event.MaxAhead); l.StreamTime.After(latest) {
		l.StreamTime = l.Recorded
	}
	if latest := l.Recorded.Add(event.MaxAhead); l.Time.After(latest) {
		l.Time = l.Recorded
	}
}

// PutTx is Put within a transaction.
func PutTx(ctx context.Context, tx pgx.Tx, last []Last) error { return put(ctx, tx, last) }

func put(ctx context.Context, db interface {
	Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error)
}, last []Last) error {
	n := len(last)
	symbols, prices, sources, ids, topics := make([]string, n), make([]string, n), make([]string, n), make([]string, n), make([]string, n)
	times, recorded := make([]time.Time, n), make([]time.Time, n)
	parts, places, streams, counts := make([]int32, n), make([]int64, n), make([]int64, n), make([]int64, n)
	for i, l := range last {
		symbols[i], prices[i], sources[i], ids[i], topics[i] = l.Symbol, l.Price.String(), l.Source, l.ID, l.Place.TopicID
		times[i], recorded[i], parts[i], places[i] = l.Time, l.Recorded, l.Place.Partition, l.Place.Offset
		if counts[i] = l.Ticks; l.StreamTime.IsZero() {
			l.StreamTime = l.Time
		}
		streams[i] = l.StreamTime.UnixNano()
	}
	// Sorted, so that two writers never wait for each other.
	_, err := db.Exec(ctx, `
		insert into prices as p (symbol, price, tick_time, source, tick_id, topic_id, partition, place, recorded_at, stream_ns, ticks)
		select * from unnest($1::text[], $2::numeric[], $3::timestamptz[], $4::text[], $5::text[], $6::uuid[], $7::int[], $8::bigint[], $9::timestamptz[], $10::bigint[], $11::bigint[]) as k(s, p, t, o, i, u, n, l, r, c, m)
		order by s, o
		on conflict (symbol, source) do update set price = excluded.price, tick_time = excluded.tick_time, tick_id = excluded.tick_id,
			topic_id = excluded.topic_id, partition = excluded.partition, place = excluded.place, recorded_at = excluded.recorded_at,
			stream_ns = excluded.stream_ns, ticks = excluded.ticks
		where p.topic_id <> excluded.topic_id or p.partition <> excluded.partition or p.place < excluded.place`,
		symbols, prices, times, sources, ids, topics, parts, places, recorded, streams, counts)
	if err != nil {
		return fmt.Errorf("writing %d last prices: %w", n, err)
	}
	return nil
}

// All reads the last tick of every symbol and source.
func (s *Store) All(ctx context.Context) ([]Last, error) {
	rows, err := s.db.Query(ctx, `select symbol, price::text, tick_time, source, tick_id, topic_id::text, partition, place, recorded_at, stream_ns, ticks from prices order by symbol, source`)
	if err != nil {
		return nil, fmt.Errorf("reading last prices: %w", err)
	}
	var out []Last
	var l Last
	var text string
	var stream *int64
	_, err = pgx.ForEachRow(rows, []any{&l.Symbol, &text, &l.Time, &l.Source, &l.ID, &l.Place.TopicID, &l.Place.Partition, &l.Place.Offset, &l.Recorded, &stream, &l.Ticks}, func() error {
		l.StreamTime = l.Time
		if stream != nil {
			l.StreamTime = time.Unix(0, *stream).UTC()
		}
		l.boundTimes()
		var err error
		l.Price, err = decimal.Parse(text)
		out = append(out, l)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("reading last prices: %w", err)
	}
	return out, nil
}

// Rewind notes that a partition of `ticks` has lost what was at and after an offset,
// which other ticks will have: their prices are newer all the same.
func (s *Store) Rewind(ctx context.Context, topicID string, partition int32, next int64) error {
	_, err := s.db.Exec(ctx, `update prices set place = $3 where topic_id = $1::uuid and partition = $2 and place > $3`, topicID, partition, next-1)
	if err != nil {
		return fmt.Errorf("correcting the offsets of last prices: %w", err)
	}
	return nil
}
