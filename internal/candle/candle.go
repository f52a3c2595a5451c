// Package candle keeps candles in Postgres: open, high, low and close of each
// source of a symbol, by the second, the minute and the hour of the source's own
// time. The monitor writes them with its progress, the gateway reads them, and a
// restarted matcher makes its windows from them.
//
// What is written is what came since the last writing; it is added to what is
// there. Each row knows the offset of its last tick, so what is written again
// changes nothing.
package candle

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"crier/internal/decimal"
	"crier/internal/event"
	"crier/internal/postgres"
)

// Intervals are the lengths of candles there are.
var Intervals = []time.Duration{time.Second, time.Minute, time.Hour}

// Keep is how long candles of an interval are kept, back from their source's
// newest tick: seconds longer than any window that is looked at by the second,
// minutes longer than any window at all, hours for charts of years.
func Keep(interval time.Duration) time.Duration {
	switch interval {
	case time.Second:
		return 25 * time.Hour
	case time.Minute:
		return 31 * 24 * time.Hour
	}
	return 5 * 366 * 24 * time.Hour
}

// Candle is one source's prices of one symbol in one interval.
type Candle struct {
	Symbol, Source         string
	Interval               time.Duration
	Start                  time.Time
	Open, High, Low, Close decimal.Decimal
	Volume                 decimal.Decimal // of the ticks that say their size
	Ticks                  int64
	TopicID                string
	First, Last            int64 // offsets of its first and its newest tick
}

// Add takes a tick into the candle.
func (c *Candle) Add(t *event.Tick, offset int64) {
	if c.Ticks == 0 {
		c.Open, c.High, c.Low, c.First = t.Price, t.Price, t.Price, offset
	}
	if t.Price.Cmp(c.High) > 0 {
		c.High = t.Price
	}
	if t.Price.Cmp(c.Low) < 0 {
		c.Low = t.Price
	}
	c.Close, c.Last = t.Price, offset
	c.Ticks++
	if t.Size != nil {
		if sum := c.Volume.Add(*t.Size); sum.Cmp(decimal.Max()) < 0 {
			c.Volume = sum
		}
	}
}

// Store is the candles of one database. It is safe for concurrent use.
type Store struct{ db *postgres.DB }

// New makes a Store.
func New(db *postgres.DB) *Store { return &Store{db} }

// Put adds candles to what is there, within tx. Idempotent by offset: a tick at or
// before the last one of a row is in it.
func Put(ctx context.Context, tx pgx.Tx, list []Candle) error {
	// Sorted, so that two writers never wait for each other.
	slices.SortFunc(list, func(a, b Candle) int {
		for _, c := range []int{compare(a.Symbol, b.Symbol), compare(a.Source, b.Source), int(a.Interval/time.Second) - int(b.Interval/time.Second)} {
			if c != 0 {
				return c
			}
		}
		return a.Start.Compare(b.Start)
	})
	batch := &pgx.Batch{}
	for i := range list {
		c := &list[i]
		batch.Queue(`
			insert into candles as c (symbol, source, seconds, start, open, high, low, close, volume, ticks, topic_id, first_offset, last_offset)
			values ($1, $2, $3, $4, $5::numeric, $6::numeric, $7::numeric, $8::numeric, $9::numeric, $10, $11::uuid, $12, $13)
			on conflict (symbol, source, seconds, start) do update set
				high = greatest(c.high, excluded.high), low = least(c.low, excluded.low), close = excluded.close, volume = c.volume + excluded.volume,
				ticks = c.ticks + excluded.ticks, last_offset = excluded.last_offset, topic_id = excluded.topic_id,
				first_offset = case when c.topic_id = excluded.topic_id then c.first_offset else excluded.first_offset end
			where c.topic_id <> excluded.topic_id or c.last_offset < excluded.first_offset`,
			c.Symbol, c.Source, int(c.Interval/time.Second), c.Start, c.Open.String(), c.High.String(), c.Low.String(), c.Close.String(), c.Volume.String(), c.Ticks,
			c.TopicID, c.First, c.Last)
	}
	if batch.Len() == 0 {
		return nil
	}
	if err := tx.SendBatch(ctx, batch).Close(); err != nil {
		return fmt.Errorf("writing %d candles: %w", len(list), err)
	}
	return nil
}

func compare(a, b string) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

// Range chooses candles.
type Range struct {
	Symbol, Source string // Source "": the one with the newest tick
	Interval       time.Duration
	From, To       time.Time // From included, To not
	Limit          int       // the newest so many
}

const columns = `symbol, source, seconds, start, open::text, high::text, low::text, close::text, volume::text, ticks, topic_id::text, first_offset, last_offset`

// List reads candles in order of time.
func (s *Store) List(ctx context.Context, r Range) ([]Candle, error) {
	// The primary key.
	rows, err := s.db.Query(ctx, `
		select `+columns+` from candles where symbol = $1 and source = $2 and seconds = $3 and start >= $4 and start < $5 order by start desc limit $6`,
		r.Symbol, r.Source, int(r.Interval/time.Second), r.From, r.To, r.Limit)
	if err != nil {
		return nil, fmt.Errorf("reading candles: %w", err)
	}
	list, err := collect(rows)
	if err != nil {
		return nil, fmt.Errorf("reading candles: %w", err)
	}
	slices.Reverse(list)
	return list, nil
}

func collect(rows pgx.Rows) ([]Candle, error) {
	var out []Candle
	var c Candle
	var seconds int
	var text [5]string
	_, err := pgx.ForEachRow(rows, []any{&c.Symbol, &c.Source, &seconds, &c.Start, &text[0], &text[1], &text[2], &text[3], &text[4], &c.Ticks, &c.TopicID, &c.First, &c.Last}, func() error {
		c.Interval, c.Start = time.Duration(seconds)*time.Second, c.Start.UTC()
		for i, into := range []*decimal.Decimal{&c.Open, &c.High, &c.Low, &c.Close, &c.Volume} {
			var err error
			if *into, err = decimal.Parse(text[i]); err != nil {
				return err
			}
		}
		out = append(out, c)
		return nil
	})
	return out, err
}

// DayBefore is, for each symbol and source, the last price at or before 24 hours
// before its newest tick; without one, the first price that is kept of it.
func (s *Store) DayBefore(ctx context.Context) (map[[2]string]decimal.Decimal, error) {
	// For each row of prices, one look at the primary key of candles.
	rows, err := s.db.Query(ctx, `
		select p.symbol, p.source, coalesce(
			(select close from candles c where c.symbol = p.symbol and c.source = p.source and c.seconds = 60
				and c.start <= to_timestamp(p.stream_ns / 1000000000) - interval '24 hours 1 minute' order by c.start desc limit 1),
			(select open from candles c where c.symbol = p.symbol and c.source = p.source and c.seconds = 60
				and c.start > to_timestamp(p.stream_ns / 1000000000) - interval '24 hours 1 minute' order by c.start limit 1))::text
		from prices p where p.stream_ns is not null`)
	if err != nil {
		return nil, fmt.Errorf("reading the prices of the day before: %w", err)
	}
	out := make(map[[2]string]decimal.Decimal)
	var symbol, source string
	var text *string
	_, err = pgx.ForEachRow(rows, []any{&symbol, &source, &text}, func() error {
		if text == nil {
			return nil
		}
		d, err := decimal.Parse(*text)
		out[[2]string{symbol, source}] = d
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("reading the prices of the day before: %w", err)
	}
	return out, nil
}

// Prune removes candles that are older than Keep says, back from their source's
// newest tick, and tells how many.
func (s *Store) Prune(ctx context.Context) (int64, error) {
	var n int64
	for _, interval := range Intervals {
		tag, err := s.db.Exec(ctx, `
			delete from candles c using prices p
			where c.symbol = p.symbol and c.source = p.source and c.seconds = $1 and c.start < to_timestamp(p.stream_ns / 1000000000) - $2 * interval '1 second'`,
			int(interval/time.Second), int64(Keep(interval)/time.Second))
		if err != nil {
			return n, fmt.Errorf("removing old candles: %w", err)
		}
		n += tag.RowsAffected()
	}
	return n, nil
}

// Rewind notes that the symbols' partition of `ticks` has lost what was at and after
// an offset, which other ticks will have: they are to be counted.
func (s *Store) Rewind(ctx context.Context, topicID string, symbols []string, next int64) error {
	_, err := s.db.Exec(ctx, `update candles set last_offset = $3 where topic_id = $1::uuid and symbol = any($2::text[]) and last_offset > $3`, topicID, symbols, next-1)
	if err != nil {
		return fmt.Errorf("correcting the offsets of candles: %w", err)
	}
	return nil
}

// Bounds are the lowest and the highest price of a source within a window that ends at
// until, or with the source's newest candle if until is zero; ok is false where there
// are none. The window begins with a whole candle, as the matcher's does.
func (s *Store) Bounds(ctx context.Context, symbol, source string, interval, length time.Duration, until time.Time) (low, high decimal.Decimal, ok bool, err error) {
	seconds := int(interval / time.Second)
	if until.IsZero() {
		var newest *time.Time
		if err := s.db.QueryRow(ctx, `select max(start) from candles where symbol = $1 and source = $2 and seconds = $3`, symbol, source, seconds).Scan(&newest); err != nil {
			return low, high, false, fmt.Errorf("reading the newest candle: %w", err)
		}
		if newest == nil {
			return low, high, false, nil
		}
		until = *newest
	}
	var lowest, highest *string
	// The primary key.
	err = s.db.QueryRow(ctx, `select min(low)::text, max(high)::text from candles where symbol = $1 and source = $2 and seconds = $3 and start >= $4`,
		symbol, source, seconds, until.Add(-length).Truncate(interval)).Scan(&lowest, &highest)
	if err != nil {
		return low, high, false, fmt.Errorf("reading a window of candles: %w", err)
	}
	if lowest == nil || highest == nil {
		return low, high, false, nil
	}
	if low, err = decimal.Parse(*lowest); err == nil {
		high, err = decimal.Parse(*highest)
	}
	return low, high, err == nil, err
}
