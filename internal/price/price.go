// Package price keeps the last tick of each symbol and source: the matcher writes it with
// each commit of its offsets, the gateway and a restarted matcher read it.
package price

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"crier/internal/decimal"
	"crier/internal/event"
	"crier/internal/postgres"
)

// Last is the last tick of a symbol, with its place.
type Last struct {
	event.Tick
	Place    event.Place
	Recorded time.Time
}

// Store is the last prices of one database. It is safe for concurrent use.
type Store struct {
	db *postgres.DB
}

// New makes a Store.
func New(db *postgres.DB) *Store { return &Store{db} }

// Put writes last ticks, one a symbol and source. Idempotent by place: in one topic, an
// earlier tick never replaces a later one.
func (s *Store) Put(ctx context.Context, last []Last) error {
	n := len(last)
	symbols, prices, sources, ids, topics := make([]string, n), make([]string, n), make([]string, n), make([]string, n), make([]string, n)
	times, recorded := make([]time.Time, n), make([]time.Time, n)
	parts, places := make([]int32, n), make([]int64, n)
	for i, l := range last {
		symbols[i], prices[i], sources[i], ids[i], topics[i] = l.Symbol, l.Price.String(), l.Source, l.ID, l.Place.TopicID
		times[i], recorded[i], parts[i], places[i] = l.Time, l.Recorded, l.Place.Partition, l.Place.Offset
	}
	// Sorted, so that two writers never wait for each other.
	_, err := s.db.Exec(ctx, `
		insert into prices as p (symbol, price, tick_time, source, tick_id, topic_id, partition, place, recorded_at)
		select * from unnest($1::text[], $2::numeric[], $3::timestamptz[], $4::text[], $5::text[], $6::uuid[], $7::int[], $8::bigint[], $9::timestamptz[]) as k(s, p, t, o, i, u, n, l, r)
		order by s, o
		on conflict (symbol, source) do update set price = excluded.price, tick_time = excluded.tick_time, tick_id = excluded.tick_id,
			topic_id = excluded.topic_id, partition = excluded.partition, place = excluded.place, recorded_at = excluded.recorded_at
		where p.topic_id <> excluded.topic_id or p.partition <> excluded.partition or p.place < excluded.place`,
		symbols, prices, times, sources, ids, topics, parts, places, recorded)
	if err != nil {
		return fmt.Errorf("writing %d last prices: %w", n, err)
	}
	return nil
}

// All reads the last tick of every symbol and source.
func (s *Store) All(ctx context.Context) ([]Last, error) {
	rows, err := s.db.Query(ctx, `select symbol, price::text, tick_time, source, tick_id, topic_id::text, partition, place, recorded_at from prices order by symbol, source`)
	if err != nil {
		return nil, fmt.Errorf("reading last prices: %w", err)
	}
	var out []Last
	var l Last
	var text string
	_, err = pgx.ForEachRow(rows, []any{&l.Symbol, &text, &l.Time, &l.Source, &l.ID, &l.Place.TopicID, &l.Place.Partition, &l.Place.Offset, &l.Recorded}, func() error {
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
