package monitor

import (
	"context"
	"time"

	"crier/internal/alert"
	"crier/internal/event"
	"crier/internal/kafka"
	"crier/monitor/match"
)

// consumerGroup is who reads `triggers` (consumer.Group): what it has committed
// is decided.
const consumerGroup = "crier-consumer"

// assign builds the indexes of newly assigned partitions before their first
// tick is read, and says where reading starts: at the lesser of what was
// committed and the lowest place of an alert not yet taken. What was already
// proposed and not yet decided is read first, so that an alert that fires again
// and again cools down from its last proposal.
func (m *matcher) assign(ctx context.Context, offsets map[string]map[int32]int64) error {
	ours := offsets[kafka.Ticks]
	if len(ours) == 0 {
		return nil
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	var err error
	if m.topicID, err = m.kafka.TopicID(ctx, kafka.Ticks); err != nil {
		return err
	}
	if m.count, err = m.kafka.Partitions(ctx, kafka.Ticks); err != nil {
		return err
	}
	fresh, err := m.begin(ctx, ours)
	if err != nil {
		return err
	}
	proposals, err := m.proposals(ctx)
	if err != nil {
		return err
	}
	if err := m.seed(ctx, fresh); err != nil {
		return err
	}
	loaded := 0
	snapshot, err := m.alerts.Active(ctx, func(a alert.Alert) error {
		n := kafka.Partition([]byte(a.Symbol), m.count)
		p := fresh[n]
		if p == nil {
			return nil
		}
		loaded++
		ma := m.indexed(&a, n)
		if done, ok := proposals[a.ID]; ok && done.Revision == a.Revision {
			ma.Proposed = true
			if done.RecordedAt.After(ma.LastFired) {
				ma.LastFired = done.RecordedAt
			}
		}
		if p.Put(ma, m.emit) {
			// Its deciding ticks are read by the loop, not while rows stream in.
			p.Defer(ma)
		}
		return nil
	})
	if err != nil {
		return err
	}
	// The snapshot of an earlier assignment is kept: what is then read twice
	// changes nothing.
	if m.snapshot == "" {
		m.snapshot = snapshot
	}
	for n, p := range fresh {
		m.partitions[n] = p
	}
	m.changed = true
	m.log.Info("matching", "partitions", ours, "alerts", loaded, "proposed", len(proposals))
	return nil
}

// begin makes an empty index for each partition and sets where it is read from.
func (m *matcher) begin(ctx context.Context, ours map[int32]int64) (map[int32]*assigned, error) {
	starts, _, err := m.kafka.Bounds(ctx, kafka.Ticks)
	if err != nil {
		return nil, err
	}
	untaken, elsewhere, err := m.alerts.LowestUntaken(ctx, m.topicID)
	if err != nil {
		return nil, err
	}
	fresh := make(map[int32]*assigned, len(ours))
	for n, committed := range ours {
		// Without a commit, all that is kept is read: so that the last price of
		// every symbol there is becomes known.
		committed = max(committed, 0)
		start := committed
		if place, ok := untaken[n]; ok {
			start = min(start, place)
		}
		if elsewhere {
			start = 0
		}
		start = max(start, starts[n])
		ours[n] = start
		fresh[n] = &assigned{Partition: match.NewPartition(start, committed), committed: committed}
	}
	return fresh, nil
}

// seed tells the indexes each symbol's last ticks before their start. Prices
// stand as of the commit: one whose place is before the start is the last
// before it, even where matching starts earlier than the commit; of the others
// only that they are there is known.
func (m *matcher) seed(ctx context.Context, fresh map[int32]*assigned) error {
	last, err := m.prices.All(ctx)
	if err != nil {
		return err
	}
	for _, l := range last {
		p := fresh[l.Place.Partition]
		if p == nil || l.Place.TopicID != m.topicID {
			continue
		}
		if l.Place.Offset < p.Next() {
			p.Seed(match.Tick{Tick: l.Tick, Offset: l.Place.Offset, Recorded: l.Recorded})
		} else {
			p.Unknown(l.Symbol, l.Source)
		}
	}
	return nil
}

// proposal is the last trigger that was proposed for an alert.
type proposal struct {
	Revision   int64
	RecordedAt time.Time
}

// proposals reads the triggers that the consumer has not yet decided.
func (m *matcher) proposals(ctx context.Context) (map[int64]proposal, error) {
	decided, err := m.kafka.Committed(ctx, consumerGroup, kafka.Triggers)
	if err != nil {
		return nil, err
	}
	_, ends, err := m.kafka.Bounds(ctx, kafka.Triggers)
	if err != nil {
		return nil, err
	}
	out := make(map[int64]proposal)
	for n, end := range ends {
		err := m.kafka.Reread(ctx, kafka.Triggers, n, decided[n], end, func(r kafka.Record) bool {
			if t, err := event.ParseTrigger(r.Value); err == nil {
				out[t.AlertID] = proposal{t.Revision, t.RecordedAt}
			}
			return true
		})
		if err != nil {
			return nil, err
		}
	}
	return out, nil
}

// revoke commits the partitions that go to another member and forgets them.
func (m *matcher) revoke(ctx context.Context, lost kafka.Assignment) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.outbox) == 0 {
		if err := m.commit(ctx); err != nil {
			m.log.Warn("committing revoked partitions", "error", err)
		}
	}
	for _, n := range lost[kafka.Ticks] {
		delete(m.partitions, n)
	}
	if len(lost[kafka.Ticks]) > 0 {
		m.log.Info("partitions were revoked", "partitions", lost[kafka.Ticks])
	}
}
