package monitor

import (
	"context"
	"time"

	"crier/internal/candle"
	"crier/internal/event"
	"crier/internal/kafka"
	"crier/monitor/match"
)

// firstLook is how many records before an offset are read first when looking
// for a symbol's last tick; each further look goes eight times as far back.
const firstLook = 10_000

// lastBefore reads back for the last tick of a symbol (and source, unless "")
// before an offset of a partition; nil: none is kept.
func lastBefore(ctx context.Context, k *kafka.Client, partition int32, symbol, source string, offset int64) (*match.Tick, error) {
	starts, _, err := k.Bounds(ctx, kafka.Ticks)
	if err != nil {
		return nil, err
	}
	n, err := k.Partitions(ctx, kafka.Ticks)
	if err != nil {
		return nil, err
	}
	if kafka.Partition([]byte(symbol), n) != partition {
		return nil, nil
	}
	for to, look := offset, int64(firstLook); to > starts[partition]; look *= 8 {
		from := max(to-look, starts[partition])
		var last *match.Tick
		err := k.Reread(ctx, kafka.Ticks, partition, from, to, func(r kafka.Record) bool {
			if t, err := event.ParseTick(r.Value, r.Time); err == nil && t.Symbol == symbol && (source == "" || t.Source == source) {
				last = &match.Tick{Tick: t, Offset: r.Offset, Recorded: r.Time}
			}
			return true
		})
		if err != nil || last != nil {
			return last, err
		}
		to = from
	}
	return nil, nil
}

// histories reads again what decides alerts that were heard of after their
// places: the ticks of their symbols from there up to where the index stands, and
// before them the last one that counts. One reading serves all of them; it begins
// somewhat earlier, so that times which ran backwards do so again.
func histories(ctx context.Context, k *kafka.Client, partition int32, p *match.Partition, late []match.Alert) (map[string][]match.Tick, error) {
	from := p.Next()
	out := make(map[string][]match.Tick)
	for i := range late {
		from = min(from, p.HistoryFrom(&late[i]))
		out[late[i].Symbol] = nil
	}
	err := k.Reread(ctx, kafka.Ticks, partition, max(0, from-firstLook), p.Next(), func(r kafka.Record) bool {
		t, err := event.ParseTick(r.Value, r.Time)
		if err != nil {
			return true
		}
		if list, wanted := out[t.Symbol]; wanted {
			out[t.Symbol] = append(list, match.Tick{Tick: t, Offset: r.Offset, Recorded: r.Time})
		}
		return true
	})
	if err != nil {
		return nil, err
	}
	for i := range late {
		a := &late[i]
		if opened(out[a.Symbol], a) {
			continue
		}
		last, err := lastBefore(ctx, k, partition, a.Symbol, a.Source, max(0, from-firstLook))
		if err != nil {
			return nil, err
		}
		if last != nil {
			out[a.Symbol] = append([]match.Tick{*last}, out[a.Symbol]...)
		}
	}
	return out, nil
}

// opened says whether a tick that counts for the alert stands before its place.
func opened(ticks []match.Tick, a *match.Alert) bool {
	for i := range ticks {
		if t := &ticks[i]; t.Offset < a.Place && (a.Source == "" || t.Source == a.Source) {
			return true
		}
	}
	return false
}

// seedWindows tells the index what candles know of the streams that an alert's
// window looks at. The candles must be as of where the index stands.
func (m *matcher) seedWindows(ctx context.Context, p *assigned, a *match.Alert) error {
	for _, want := range p.Wants(a) {
		var buckets [2][]match.Bucket
		for i, unit := range []time.Duration{time.Second, time.Minute} {
			back := time.Hour
			if unit == time.Minute {
				back = event.MaxWindow
			}
			list, err := m.candles.List(ctx, candle.Range{Symbol: want.Symbol, Source: want.Source, Interval: unit,
				From: want.Time.Add(-back - unit), To: want.Time.Add(unit), Limit: int(back/unit) + 3})
			if err != nil {
				return err
			}
			for _, c := range list {
				b := match.Bucket{N: c.Start.Unix() / int64(unit/time.Second), Low: c.Low, High: c.High, First: c.First}
				if c.TopicID != m.topicID {
					b.First = 0 // an offset of another topic of the name
				}
				buckets[i] = append(buckets[i], b)
			}
		}
		p.SeedBuckets(want.Symbol, want.Source, buckets[0], buckets[1])
	}
	return nil
}
