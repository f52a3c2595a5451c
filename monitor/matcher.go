package monitor

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"crier/internal/alert"
	"crier/internal/event"
	"crier/internal/kafka"
	"crier/internal/lifecycle"
	"crier/internal/price"
	"crier/internal/problem"
	"crier/monitor/match"
)

// matcher is the consumer group's member that matches. Its loop is one
// goroutine; the group's callbacks come from another while the loop polls, so
// mu guards everything below it.
type matcher struct {
	kafka   *kafka.Client
	group   *kafka.Group
	alerts  *alert.Store
	prices  *price.Store
	log     *slog.Logger
	metrics *metrics
	fail    func(string)

	mu         sync.Mutex
	partitions map[int32]*assigned
	topicID    string
	count      int32 // partitions of the topic
	snapshot   alert.Snapshot
	outbox     []kafka.Record // triggers not yet acknowledged
	changed    bool           // alerts may have changed since snapshot
	wake       func()         // ends the present poll

	committedAt time.Time
	checkedAt   time.Time
}

// assigned is one partition's index and how far it is committed.
type assigned struct {
	*match.Partition
	committed int64
}

// How often progress is committed, and changes are asked for without a hint.
const (
	commitEvery = time.Second
	changeCheck = 2 * time.Second
)

// alertsChanged is called by the listener.
func (m *matcher) alertsChanged() {
	m.mu.Lock()
	m.changed = true
	wake := m.wake
	m.mu.Unlock()
	wake()
}

func (m *matcher) run(ctx context.Context) error {
	var wait lifecycle.Backoff
	for ctx.Err() == nil {
		if err := m.step(ctx); err != nil && ctx.Err() == nil {
			m.log.Error("matching is interrupted", "error", err)
			_ = wait.Wait(ctx)
			continue
		}
		wait.Reset()
	}
	return nil
}

// step polls, matches, proposes and, when it is time, commits.
func (m *matcher) step(ctx context.Context) error {
	poll, cancel := context.WithTimeout(ctx, commitEvery)
	m.mu.Lock()
	if m.changed {
		cancel() // there is something to do at once
	}
	m.wake = cancel
	m.mu.Unlock()
	batch, err := m.group.Poll(poll, 5000)
	cancel()
	defer m.group.Release()
	if ctx.Err() != nil {
		return nil
	}
	if err != nil && !errors.Is(err, context.Canceled) && !errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	dead := m.apply(batch.Records)
	if err := m.refresh(ctx); err != nil {
		return errors.Join(err, m.propose(ctx, dead))
	}
	if err := m.propose(ctx, dead); err != nil {
		return err
	}
	due := time.Since(m.committedAt) >= commitEvery
	for _, p := range m.partitions {
		due = due || p.Next()-p.committed >= match.CommitWithin
	}
	if due {
		return m.commit(ctx)
	}
	return nil
}

// apply matches a batch, and returns the dead letters of what was no tick.
func (m *matcher) apply(recs []kafka.Record) []kafka.Record {
	var dead []kafka.Record
	for i := range recs {
		r := &recs[i]
		p := m.partitions[r.Partition]
		if p == nil {
			continue
		}
		if r.Marker {
			p.Advance(r.Offset+1, m.emit)
			continue
		}
		t, err := event.ParseTick(r.Value, r.Time)
		if err != nil {
			dead = append(dead, kafka.DeadLetter(r, string(problem.Of(err).Code), err.Error()))
			m.metrics.rejected.Inc()
			m.log.Warn("a tick was rejected", "partition", r.Partition, "offset", r.Offset, "reason", err)
			p.Advance(r.Offset+1, m.emit)
			continue
		}
		if kafka.Partition([]byte(t.Symbol), m.count) != r.Partition {
			m.metrics.misplaced.Inc()
			p.Advance(r.Offset+1, m.emit)
			continue
		}
		p.Apply(match.Tick{Tick: t, Offset: r.Offset, Recorded: r.Time}, m.emit)
		m.metrics.matched.Inc()
	}
	return dead
}

// emit notes a trigger to be proposed.
func (m *matcher) emit(f match.Match) {
	t := event.Trigger{
		AlertID: f.Alert.ID, UserID: f.Alert.UserID, Symbol: f.Alert.Symbol, Condition: f.Alert.Condition, Target: f.Alert.Target,
		Price: f.Tick.Price, Time: f.Tick.Time, Source: f.Tick.Source, TickID: f.Tick.ID,
		Topic: kafka.Ticks, TopicID: m.topicID, Partition: kafka.Partition([]byte(f.Alert.Symbol), m.count), Offset: f.Tick.Offset,
		Revision: f.Alert.Revision, RecordedAt: f.Tick.Recorded,
	}
	m.outbox = append(m.outbox, kafka.Record{Topic: kafka.Triggers, Key: []byte(f.Alert.UserID), Value: t.AppendJSON(nil)})
	m.metrics.proposed.Inc()
}

// propose produces what apply and refresh have found, and takes the alerts that
// are thereby settled. The outbox is kept until it is acknowledged.
func (m *matcher) propose(ctx context.Context, dead []kafka.Record) error {
	work, cancel := context.WithTimeout(context.WithoutCancel(ctx), 30*time.Second)
	defer cancel()
	m.outbox = append(m.outbox, dead...)
	if len(m.outbox) > 0 {
		m.fail("matcher.before-propose")
		if err := m.kafka.Produce(work, m.outbox...); err != nil {
			return err
		}
		m.outbox = m.outbox[:0]
		m.fail("matcher.after-propose")
	}
	var taken []alert.Revision
	for n, p := range m.partitions {
		if err := m.resolve(work, n, p); err != nil {
			return err
		}
		if len(m.outbox) > 0 {
			continue // what is ready goes with the next round, once these are out
		}
		for _, a := range p.Ready() {
			taken = append(taken, alert.Revision{ID: a.ID, Revision: a.Revision})
		}
	}
	if len(taken) > 0 {
		if err := m.alerts.Take(work, taken); err != nil {
			return err
		}
		m.fail("matcher.after-take")
	}
	if len(m.outbox) > 0 {
		return m.propose(ctx, nil)
	}
	return nil
}

// resolve decides alerts that came due and whose symbol's last tick has to be
// read again.
func (m *matcher) resolve(ctx context.Context, n int32, p *assigned) error {
	for _, a := range p.Unresolved() {
		if err := m.putWithHistory(ctx, n, p, a); err != nil {
			return err
		}
	}
	return nil
}

// commit writes the last prices, then the offsets.
func (m *matcher) commit(ctx context.Context) error {
	work, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	next := make(map[int32]int64)
	var last []price.Last
	alerts := 0
	for n, p := range m.partitions {
		alerts += p.Len()
		if p.Next() <= p.committed {
			continue
		}
		next[n] = p.Next()
		for _, t := range p.Last(p.committed) {
			last = append(last, price.Last{Tick: t.Tick, Recorded: t.Recorded, Place: event.Place{TopicID: m.topicID, Partition: n, Offset: t.Offset}})
		}
	}
	m.metrics.alerts.Set(float64(alerts))
	m.committedAt = time.Now()
	if len(next) == 0 {
		return nil
	}
	if len(last) > 0 {
		if err := m.prices.Put(work, last); err != nil {
			return err
		}
	}
	m.fail("matcher.before-commit")
	if err := m.group.CommitOffsets(work, kafka.Ticks, next); err != nil {
		return err
	}
	for n, at := range next {
		m.partitions[n].committed = at
	}
	m.fail("matcher.after-commit")
	return nil
}

// refresh puts what has changed among the alerts into the index.
func (m *matcher) refresh(ctx context.Context) error {
	if m.snapshot == "" || !m.changed && time.Since(m.checkedAt) < changeCheck {
		return nil
	}
	m.changed, m.checkedAt = false, time.Now()
	changes, next, err := m.alerts.Changes(ctx, m.snapshot)
	if err != nil {
		m.changed = true
		return err
	}
	for i := range changes {
		if err := m.put(ctx, &changes[i]); err != nil {
			m.changed = true
			return err
		}
	}
	m.snapshot = next
	return nil
}

// put sets or removes one alert in the partition of its symbol, if it is ours.
func (m *matcher) put(ctx context.Context, a *alert.Alert) error {
	n := kafka.Partition([]byte(a.Symbol), m.count)
	p := m.partitions[n]
	if p == nil {
		return nil
	}
	if a.State != alert.Created {
		p.Remove(a.ID, a.Revision)
		return nil
	}
	ma := m.indexed(a, n)
	if !p.Put(ma, m.emit) {
		return nil
	}
	return m.putWithHistory(ctx, n, p, ma)
}

func (m *matcher) putWithHistory(ctx context.Context, n int32, p *assigned, a match.Alert) error {
	m.metrics.reread.Inc()
	ticks, err := history(ctx, m.kafka, n, &a, p.Next())
	if err != nil {
		return err
	}
	p.PutWith(a, ticks, m.emit)
	return nil
}

// indexed is an alert as the index takes it. One that holds from a place in
// another topic of the name, or in another partition than its symbol's now,
// holds from the start.
func (m *matcher) indexed(a *alert.Alert, partition int32) match.Alert {
	out := match.Alert{
		ID: a.ID, Revision: a.Revision, UserID: a.UserID, Symbol: a.Symbol, Source: a.Source, Condition: a.Condition, Target: a.Target,
		Every: a.Repeat == alert.Every, Cooldown: a.Cooldown, Place: a.Place.Offset, Taken: a.Taken,
	}
	if a.ExpiresAt != nil {
		out.ExpiresAt = *a.ExpiresAt
	}
	if a.LastFiredAt != nil {
		out.LastFired = *a.LastFiredAt
	}
	if a.Place.TopicID != m.topicID || a.Place.Partition != partition {
		out.Place, out.Taken = 0, false
	}
	return out
}

// close commits where the matcher stands and leaves the group.
func (m *matcher) close(ctx context.Context) {
	m.mu.Lock()
	if len(m.outbox) == 0 {
		if err := m.commit(ctx); err != nil {
			m.log.Warn("committing at the end", "error", err)
		}
	}
	m.mu.Unlock()
	m.group.Close()
}
