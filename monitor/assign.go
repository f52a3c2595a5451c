package monitor

import (
	"context"
	"time"

	"crier/internal/alert"
	"crier/internal/event"
	"crier/internal/kafka"
	"crier/internal/price"
	"crier/monitor/candle"
	"crier/monitor/match"
)

// assign builds the indexes of newly assigned partitions before their first
// tick is read, and says where reading starts: where the progress was saved that
// prices, candles and states are as of. Alerts that hold from an earlier place
// and were not yet taken are decided by reading their ticks again. What was
// already proposed and not yet decided is read first, so that an alert that fires
// again and again cools down from its last proposal.
func (m *matcher) assign(ctx context.Context, offsets map[string]map[int32]int64) error {
	ours := offsets[kafka.Ticks]
	if len(ours) == 0 {
		return nil
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	began := time.Now()
	m.loading.Store(0)
	defer m.loading.Store(-1)
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
	last, err := m.prices.All(ctx)
	if err != nil {
		return err
	}
	m.seed(fresh, last)
	loaded, err := m.load(ctx, fresh, proposals)
	if err != nil {
		return err
	}
	for n, p := range fresh {
		m.partitions[n] = p
	}
	m.changed = true
	m.metrics.loaded.Set(time.Since(began).Seconds())
	m.log.Info("matching", "partitions", ours, "alerts", loaded, "proposed", len(proposals), "took", time.Since(began).Round(time.Millisecond))
	return nil
}

// begin makes an empty index for each partition, with what was saved of it, and
// sets where it is read from.
func (m *matcher) begin(ctx context.Context, ours map[int32]int64) (map[int32]*assigned, error) {
	starts, ends, err := m.kafka.Bounds(ctx, kafka.Ticks)
	if err != nil {
		return nil, err
	}
	fresh := make(map[int32]*assigned, len(ours))
	for n, committed := range ours {
		saved, ok, err := m.alerts.Claim(ctx, n, m.topicID, m.owner)
		if err != nil {
			return nil, err
		}
		var states []alert.Standing
		// Without anything saved, all that is kept is read: so that the last price
		// of every symbol there is becomes known.
		start := max(committed, 0)
		switch {
		case ok && saved.TopicID == m.topicID:
			start = saved.Next
			if states, err = m.alerts.Standings(ctx, n); err != nil {
				return nil, err
			}
		case ok:
			start = 0 // the topic was made anew
			if err := m.alerts.ForgetStandings(ctx, n); err != nil {
				return nil, err
			}
		}
		if start > ends[n] {
			m.kafka.Truncated(kafka.MatcherGroup, kafka.Ticks, n, start, ends[n])
			start = ends[n]
			if err := m.rewind(ctx, n, start); err != nil {
				return nil, err
			}
		}
		if start < starts[n] {
			if ok || committed >= 0 {
				m.log.Error("ticks were removed before they were matched: alerts that they met do not fire (CRIER_TICKS_RETENTION)", "partition", n, "from", start, "to", starts[n])
				m.metrics.missed.Add(float64(starts[n] - start))
			}
			start = starts[n]
		}
		ours[n] = start
		p := &assigned{Partition: match.NewPartition(start), committed: start, offset: committed, saved: states, candles: candle.NewMaker(m.topicID)}
		p.emit = func(f match.Match) { m.found = append(m.found, found{n, f}); m.metrics.proposed.Inc() }
		fresh[n] = p
	}
	return fresh, nil
}

// rewind corrects what is saved of a partition that has lost ticks which were
// matched. Ticks that came between the loss and now cannot be told from those that
// were matched before it, and go unmatched.
func (m *matcher) rewind(ctx context.Context, n int32, next int64) error {
	last, err := m.prices.All(ctx)
	if err != nil {
		return err
	}
	var symbols []string
	for i := range last {
		if l := &last[i]; l.Place.TopicID == m.topicID && l.Place.Partition == n {
			symbols = append(symbols, l.Symbol)
		}
	}
	if err := m.candles.Rewind(ctx, m.topicID, symbols, next); err != nil {
		return err
	}
	if err := m.prices.Rewind(ctx, m.topicID, n, next); err != nil {
		return err
	}
	return m.alerts.HoldFrom(ctx, n, m.topicID, next)
}

// seed tells the indexes each symbol's last ticks before their start.
func (m *matcher) seed(fresh map[int32]*assigned, last []price.Last) {
	for _, l := range last {
		p := fresh[l.Place.Partition]
		if p == nil || l.Place.TopicID != m.topicID || l.Place.Offset >= p.Next() {
			continue
		}
		p.Seed(match.Tick{Tick: l.Tick, Offset: l.Place.Offset, Recorded: l.Recorded}, match.Clock{Time: l.StreamTime, Ticks: l.Ticks})
	}
}

// load fills fresh indexes with the alerts there are.
func (m *matcher) load(ctx context.Context, fresh map[int32]*assigned, proposals map[int64]proposal) (loaded int, err error) {
	expected, err := m.alerts.EstimateActive(ctx)
	if err != nil {
		return 0, err
	}
	windowed := make(map[int32][]match.Alert)
	for _, p := range fresh {
		p.Load(expected/int(m.count), standings(p.saved))
		p.saved = nil
	}
	snapshot, err := m.alerts.Active(ctx, func(a *alert.Alert) error {
		n := kafka.Partition([]byte(a.Symbol), m.count)
		p := fresh[n]
		if p == nil {
			return nil
		}
		if loaded++; loaded%100_000 == 0 {
			m.loading.Store(int64(loaded))
			m.metrics.alerts.Set(float64(loaded))
			if loaded%1_000_000 == 0 {
				m.log.Info("loading alerts", "loaded", loaded, "about", expected)
			}
		}
		ma := m.indexed(a, n)
		if done, ok := proposals[a.ID]; ok && done.Revision == a.Revision {
			ma.Proposed = true
			if done.RecordedAt.After(ma.LastFired) {
				ma.LastFired = done.RecordedAt
			}
		}
		switch p.Put(ma, p.emit) {
		case match.Windows:
			windowed[n] = append(windowed[n], ma) // candles are not read while rows stream in
		case match.History:
			p.late = append(p.late, ma)
		}
		return nil
	})
	if err != nil {
		return loaded, err
	}
	for n, list := range windowed {
		p := fresh[n]
		for i := range list {
			if err := m.seedWindows(ctx, p, &list[i]); err != nil {
				return loaded, err
			}
			if p.Put(list[i], p.emit) == match.History {
				p.late = append(p.late, list[i])
			}
		}
	}
	for _, p := range fresh {
		p.Loaded()
	}
	// The snapshot of an earlier assignment is kept: what is then read twice
	// changes nothing.
	if m.snapshot == "" {
		m.snapshot = snapshot
	}
	return loaded, nil
}

func standings(list []alert.Standing) []match.State {
	out := make([]match.State, len(list))
	for i, s := range list {
		out[i] = match.State{StateID: match.StateID{AlertID: s.AlertID, Symbol: s.Symbol, Source: s.Source}, Revision: s.Revision, Armed: s.Armed,
			Streak: s.Streak, Since: time.Unix(0, s.SinceNS), First: s.First, Best: s.Best, Group: s.Shared}
	}
	return out
}

// proposal is the last trigger that was proposed for an alert.
type proposal struct {
	Revision   int64
	RecordedAt time.Time
}

// proposals reads the triggers that the consumer has not yet decided.
func (m *matcher) proposals(ctx context.Context) (map[int64]proposal, error) {
	decided, err := m.kafka.Committed(ctx, kafka.ConsumerGroup, kafka.Triggers) // what it has committed is decided
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

// revoke saves and commits the partitions that go to another member and forgets
// them.
func (m *matcher) revoke(ctx context.Context, lost kafka.Assignment) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.outbox) == 0 && len(m.found) == 0 {
		// The library's context lives as long as its client; a partition that goes
		// uncommitted is matched again from its last commit.
		ctx, cancel := context.WithTimeout(ctx, stopWithin)
		defer cancel()
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
