package monitor

import (
	"context"

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

// history reads again what decides an alert that was heard of after its place:
// the last tick before the place, and those from there up to next.
func history(ctx context.Context, k *kafka.Client, partition int32, a *match.Alert, next int64) ([]match.Tick, error) {
	var out []match.Tick
	last, err := lastBefore(ctx, k, partition, a.Symbol, a.Source, a.Place)
	if err != nil {
		return nil, err
	}
	if last != nil {
		out = append(out, *last)
	}
	err = k.Reread(ctx, kafka.Ticks, partition, a.Place, next, func(r kafka.Record) bool {
		if t, err := event.ParseTick(r.Value, r.Time); err == nil && t.Symbol == a.Symbol && (a.Source == "" || t.Source == a.Source) {
			out = append(out, match.Tick{Tick: t, Offset: r.Offset, Recorded: r.Time})
		}
		return true
	})
	return out, err
}
