// Package candle makes candles of ticks as they are matched: what came since the
// last writing, by source and symbol, second, minute and hour. The monitor writes
// them in the transaction that saves how far it has matched.
//
// Its neighbours are internal/candle, which adds them to what is stored, and
// monitor, whose one goroutine uses it. It holds a candle for each interval that
// was touched since the last writing, and no more.
package candle

import (
	"time"

	"crier/internal/candle"
	"crier/internal/event"
)

// Maker makes the candles of one partition. Not safe for concurrent use.
type Maker struct {
	topicID string
	open    map[key]*candle.Candle
	// The candles of the last tick: most ticks fall into the same.
	last     [3]*candle.Candle
	lastName [2]string
}

type key struct {
	symbol, source string
	interval       time.Duration
	start          int64
}

// NewMaker makes candles of a topic's ticks.
func NewMaker(topicID string) *Maker {
	return &Maker{topicID: topicID, open: make(map[key]*candle.Candle)}
}

// Add takes a tick, at its stream's time, which never runs backwards.
func (m *Maker) Add(t *event.Tick, offset int64, at time.Time) {
	same := m.lastName == [2]string{t.Symbol, t.Source}
	m.lastName = [2]string{t.Symbol, t.Source}
	for i, interval := range candle.Intervals {
		start := at.Truncate(interval)
		c := m.last[i]
		if !same || c == nil || !c.Start.Equal(start) {
			k := key{t.Symbol, t.Source, interval, start.Unix()}
			if c = m.open[k]; c == nil {
				c = &candle.Candle{Symbol: t.Symbol, Source: t.Source, Interval: interval, Start: start, TopicID: m.topicID}
				m.open[k] = c
			}
			m.last[i] = c
		}
		c.Add(t, offset)
	}
}

// Len is how many candles wait to be written.
func (m *Maker) Len() int { return len(m.open) }

// Pending is what has come since Written, for writing.
func (m *Maker) Pending() []candle.Candle {
	out := make([]candle.Candle, 0, len(m.open))
	for _, c := range m.open {
		out = append(out, *c)
	}
	return out
}

// Written forgets what Pending has given.
func (m *Maker) Written() {
	clear(m.open)
	m.last, m.lastName = [3]*candle.Candle{}, [2]string{}
}
