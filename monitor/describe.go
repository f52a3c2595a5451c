package monitor

import (
	"context"

	"crier/internal/alert"
	"crier/internal/decimal"
	"crier/internal/event"
	"crier/internal/kafka"
	"crier/monitor/match"
)

// describeAtOnce is how many alerts are read together to say what was met.
const describeAtOnce = 5000

// describe makes triggers of what was found. The index holds of an alert what it
// needs to match it; whose it is and what it asks is read from Postgres now. A
// newer revision there means that this one no longer counts.
func (m *matcher) describe(ctx context.Context) error {
	for len(m.found) > 0 {
		part := m.found[:min(describeAtOnce, len(m.found))]
		ids := make([]int64, len(part))
		for i := range part {
			ids[i] = part[i].ID
		}
		alerts, err := m.alerts.ByID(ctx, ids)
		if err != nil {
			return err
		}
		for i := range part {
			f := &part[i]
			a, ok := alerts[f.ID]
			if !ok || a.Revision != f.Revision {
				m.metrics.superseded.Inc()
				continue
			}
			t := m.trigger(f, &a)
			m.outbox = append(m.outbox, kafka.Record{Topic: kafka.Triggers, Key: []byte(t.UserID), Value: t.AppendJSON(nil)})
		}
		m.found = m.found[len(part):]
	}
	m.found = nil
	return nil
}

func (m *matcher) trigger(f *found, a *alert.Alert) event.Trigger {
	t := event.Trigger{
		AlertID: a.ID, UserID: a.UserID, Symbol: a.Symbol, Price: f.Tick.Price, Time: f.Tick.Time, Source: f.Tick.Source, TickID: f.Tick.ID,
		Topic: kafka.Ticks, TopicID: m.topicID, Partition: f.partition, Offset: f.Tick.Offset, Revision: f.Revision, RecordedAt: f.Tick.Recorded,
	}
	t.SetRule(a.Rule())
	if b := f.Before; b != nil {
		t.Before = &event.TickBefore{Price: b.Price, Time: b.Time, Source: b.Source, Offset: b.Offset}
	}
	t.Reference, t.Change = f.Reference, changeText(f)
	return t
}

// changeText is the change that met an alert in percent, "" where there is
// nothing to measure it from.
func changeText(f *found) string {
	from := f.Reference
	if from == nil && f.Before != nil {
		from = &f.Before.Price
	}
	if from == nil || from.Sign() <= 0 {
		return ""
	}
	var p decimal.Percent
	if f.Tick.Price.Cmp(*from) < 0 {
		return p.Fall(*from, f.Tick.Price).Neg().Trunc(2).String()
	}
	return "+" + p.Change(*from, f.Tick.Price).Trunc(2).String()
}

// indexed is an alert as the index takes it. One that holds from a place in
// another topic of the name, or in another partition than its symbol's now,
// holds from the start.
func (m *matcher) indexed(a *alert.Alert, partition int32) match.Alert {
	out := match.Alert{
		ID: a.ID, Revision: a.Revision, Symbol: a.Symbol, Source: a.Source, Rule: a.Rule(),
		Every: a.Repeat == alert.Every, Cooldown: a.Cooldown, Place: a.Place.Offset, Taken: a.Taken,
	}
	if a.ExpiresAt != nil {
		out.ExpiresAt = *a.ExpiresAt
	}
	if a.Snoozed != nil {
		out.Snoozed = *a.Snoozed
	}
	if a.LastFiredAt != nil {
		out.LastFired = *a.LastFiredAt
	}
	if a.Place.TopicID != m.topicID || a.Place.Partition != partition {
		out.Place, out.Taken = 0, false
	}
	return out
}
