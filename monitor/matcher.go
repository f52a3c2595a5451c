package monitor

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"

	"crier/internal/alert"
	"crier/internal/candle"
	"crier/internal/event"
	"crier/internal/kafka"
	"crier/internal/lifecycle"
	"crier/internal/postgres"
	"crier/internal/price"
	"crier/internal/problem"
	maker "crier/monitor/candle"
	"crier/monitor/match"
)

// matcher is the consumer group's member that matches. Its loop is one
// goroutine; the group's callbacks come from another while the loop polls, so
// mu guards everything below it.
type matcher struct {
	kafka   *kafka.Client
	group   *kafka.Group
	db      *postgres.DB
	alerts  *alert.Store
	prices  *price.Store
	candles *candle.Store
	owner   string // in the claims on partitions: this process
	log     *slog.Logger
	health  *lifecycle.Health
	repeats *lifecycle.Repeats
	metrics *metrics
	fail    func(string)

	// loading is how many alerts have been read into indexes that are not ready, -1
	// while none is being filled.
	loading atomic.Int64

	mu         sync.Mutex
	partitions map[int32]*assigned
	topicID    string
	count      int32 // partitions of the topic
	snapshot   alert.Snapshot
	found      []found        // matches that are not yet triggers
	outbox     []kafka.Record // triggers not yet acknowledged
	changed    bool           // alerts may have changed since snapshot
	wake       func()         // ends the present poll

	committedAt time.Time
	checkedAt   time.Time
}

// assigned is one partition's index, and how far it is saved and committed.
type assigned struct {
	*match.Partition
	committed int64 // progress that is saved
	offset    int64 // what Kafka has of it
	emit      func(match.Match)
	candles   *maker.Maker
	saved     []alert.Standing // while it is loaded
	late      []match.Alert    // to be put once what decides them has been read
	take      []alert.Revision // to be taken with the next progress
	changed   []alert.Standing // to be saved with it
	removed   []alert.Standing
}

// found is a match in a partition.
type found struct {
	partition int32
	match.Match
}

// How often progress is committed, and changes are asked for without a hint.
const (
	commitEvery = time.Second
	changeCheck = 2 * time.Second
)

// commitWithin is how many ticks a partition may be ahead of its commit: what is
// matched again after a crash.
const commitWithin = 1 << 16

// alertsChanged is called by the listener.
func (m *matcher) alertsChanged() {
	m.mu.Lock()
	m.changed = true
	wake := m.wake
	m.mu.Unlock()
	wake()
}

func (m *matcher) run(ctx context.Context) error {
	work, cancel := lifecycle.Draining(ctx, stopWithin)
	defer cancel()
	var wait lifecycle.Backoff
	for ctx.Err() == nil {
		err := m.step(ctx, work)
		if ctx.Err() != nil {
			break
		}
		m.health.Report(err)
		if err != nil {
			_ = wait.Wait(ctx)
			continue
		}
		wait.Reset()
	}
	return nil
}

// stopWithin is how long a step that was begun may take after a stop: the matcher
// then commits where it stands and leaves its group, all within 10 s.
const stopWithin = 3 * time.Second

// step polls, matches, proposes and, when it is time, commits. What it has polled is
// proposed within work, which outlives ctx by a little.
func (m *matcher) step(ctx, work context.Context) error {
	poll, cancel := context.WithTimeout(ctx, commitEvery)
	m.mu.Lock()
	if m.changed && m.snapshot != "" {
		cancel() // there is something to do at once; without an index, refresh has nothing to read
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
		return errors.Join(err, m.propose(work, dead))
	}
	if err := m.propose(work, dead); err != nil {
		return err
	}
	due := time.Since(m.committedAt) >= commitEvery
	for _, p := range m.partitions {
		due = due || p.Next()-p.committed >= commitWithin
	}
	if due {
		return m.commit(work)
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
			p.Advance(r.Offset+1, p.emit)
			continue
		}
		t, err := event.ParseTick(r.Value, r.Time)
		if err != nil {
			dead = append(dead, kafka.DeadLetter(r, string(problem.Of(err).Code), err.Error()))
			m.metrics.rejected.Inc()
			if write, skipped := m.repeats.Next("tick"); write {
				m.log.Warn("a tick was rejected", "partition", r.Partition, "offset", r.Offset, "reason", err, "others_since", skipped)
			}
			p.Advance(r.Offset+1, p.emit)
			continue
		}
		if kafka.Partition([]byte(t.Symbol), m.count) != r.Partition {
			m.metrics.misplaced.Inc()
			p.Advance(r.Offset+1, p.emit)
			continue
		}
		if at, ok := p.Apply(match.Tick{Tick: t, Offset: r.Offset, Recorded: r.Time}, p.emit); ok {
			p.candles.Add(&t, r.Offset, at)
		}
		m.metrics.matched.Inc()
	}
	return dead
}

// propose produces what apply and refresh have found, and puts the alerts that
// had to wait for it. The outbox is kept until it is acknowledged.
func (m *matcher) propose(ctx context.Context, dead []kafka.Record) error {
	work, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	m.outbox = append(m.outbox, dead...)
	for {
		if err := m.describe(work); err != nil {
			return err
		}
		if len(m.outbox) > 0 {
			m.fail("matcher.before-propose")
			if err := m.kafka.Produce(work, m.outbox...); err != nil {
				return err
			}
			m.outbox = m.outbox[:0]
			m.fail("matcher.after-propose")
		}
		for n, p := range m.partitions {
			if err := m.resolve(work, n, p); err != nil {
				return err
			}
		}
		if len(m.found) == 0 {
			return nil
		}
	}
}

// resolve puts alerts whose ticks or windows have to be read first. Everything
// found before was acknowledged.
func (m *matcher) resolve(ctx context.Context, n int32, p *assigned) error {
	late := append(p.late, p.Unresolved()...)
	if len(late) == 0 {
		return nil
	}
	p.late = late // until they are in
	m.metrics.reread.Add(float64(len(late)))
	for i := range late {
		if len(p.Wants(&late[i])) == 0 {
			continue
		}
		// Candles are as of the last commit: it is made to be now.
		if len(m.found) > 0 {
			return nil // in the next round
		}
		if err := m.save(ctx, n, p); err != nil {
			return err
		}
		if err := m.seedWindows(ctx, p, &late[i]); err != nil {
			return err
		}
	}
	var again []match.Alert
	for i := range late {
		if p.Put(late[i], p.emit) != match.Nothing {
			again = append(again, late[i])
		}
	}
	if len(again) > 0 {
		ticks, err := histories(ctx, m.kafka, n, p.Partition, again)
		if err != nil {
			return err
		}
		for i := range again {
			p.PutWith(again[i], ticks[again[i].Symbol], p.emit)
		}
	}
	p.late = nil
	return nil
}

// commit saves each partition with its progress, then commits the offsets.
func (m *matcher) commit(ctx context.Context) error {
	work, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	next := make(map[int32]int64)
	alerts, symbols := 0, 0
	for n, p := range m.partitions {
		alerts += p.Len()
		symbols += p.Symbols()
		if err := m.save(work, n, p); err != nil {
			if errors.Is(err, alert.ErrNotOwner) {
				m.log.Warn("a partition has gone to another matcher", "partition", n)
				delete(m.partitions, n)
				continue
			}
			return err
		}
		if p.committed > p.offset {
			next[n] = p.committed
		}
	}
	m.metrics.alerts.Set(float64(alerts))
	m.metrics.symbols.Set(float64(symbols))
	m.committedAt = time.Now()
	if len(next) == 0 {
		return nil
	}
	m.fail("matcher.before-commit")
	if err := m.group.CommitOffsets(work, kafka.Ticks, next); err != nil {
		return err
	}
	for n, at := range next {
		m.partitions[n].offset = at
	}
	m.fail("matcher.after-commit")
	return nil
}

// save writes what a partition knows as of where it stands, in one transaction:
// progress, last prices, candles, where alerts stand, and which are taken.
func (m *matcher) save(ctx context.Context, n int32, p *assigned) error {
	m.gather(p, n)
	next := p.Next()
	if next <= p.committed && len(p.take) == 0 && len(p.changed) == 0 && len(p.removed) == 0 {
		return nil
	}
	var last []price.Last
	p.Last(p.committed, func(t *match.Tick, c match.Clock) {
		last = append(last, price.Last{Tick: t.Tick, Recorded: t.Recorded, Place: event.Place{TopicID: m.topicID, Partition: n, Offset: t.Offset}, StreamTime: c.Time, Ticks: c.Ticks})
	})
	err := m.db.Tx(ctx, func(tx pgx.Tx) error {
		if err := alert.SaveProgress(ctx, tx, n, m.owner, alert.Progress{TopicID: m.topicID, Next: next}, p.changed, p.removed); err != nil {
			return err
		}
		if len(last) > 0 {
			if err := price.PutTx(ctx, tx, last); err != nil {
				return err
			}
		}
		if err := candle.Put(ctx, tx, p.candles.Pending()); err != nil {
			return err
		}
		if len(p.take) > 0 {
			return alert.Take(ctx, tx, p.take)
		}
		return nil
	})
	if err != nil {
		return err
	}
	took := len(p.take) > 0
	p.candles.Written()
	p.committed, p.take, p.changed, p.removed = next, nil, nil, nil
	if took {
		m.fail("matcher.after-take")
	}
	return nil
}

// gather takes over from the index what is to be saved; it is kept until it is.
func (m *matcher) gather(p *assigned, n int32) {
	for _, a := range p.Ready() {
		p.take = append(p.take, alert.Revision{ID: a.ID, Revision: a.Revision})
	}
	changed, removed := p.Dirty()
	for _, s := range changed {
		since := int64(0)
		if s.Streak {
			since = s.Since.UnixNano()
		}
		p.changed = append(p.changed, alert.Standing{AlertID: s.AlertID, Symbol: s.Symbol, Source: s.Source, Partition: n, Revision: s.Revision,
			Armed: s.Armed, Streak: s.Streak, SinceNS: since, First: s.First, Best: s.Best, Shared: s.Group})
	}
	for _, id := range removed {
		p.removed = append(p.removed, alert.Standing{AlertID: id.AlertID, Symbol: id.Symbol, Source: id.Source})
	}
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
		m.put(&changes[i])
	}
	m.snapshot = next
	return nil
}

// put sets or removes one alert in the partition of its symbol, if it is ours.
func (m *matcher) put(a *alert.Alert) {
	n := kafka.Partition([]byte(a.Symbol), m.count)
	p := m.partitions[n]
	if p == nil {
		return
	}
	if a.State != alert.Created {
		p.Remove(a.ID, a.Revision)
		return
	}
	ma := m.indexed(a, n)
	if p.Put(ma, p.emit) != match.Nothing {
		p.late = append(p.late, ma)
	}
}

// close commits where the matcher stands and leaves the group.
func (m *matcher) close(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, stopWithin)
	defer cancel()
	m.mu.Lock()
	if len(m.outbox) == 0 && len(m.found) == 0 {
		if err := m.commit(ctx); err != nil {
			m.log.Warn("committing at the end", "error", err)
		}
	}
	m.mu.Unlock()
	m.group.Close()
}
