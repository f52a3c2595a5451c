package monitor

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"crier/internal/alert"
	"crier/internal/candle"
	"crier/internal/event"
	"crier/internal/kafka"
	"crier/internal/lifecycle"
	"crier/internal/postgres"
	"crier/internal/price"
	"crier/internal/telemetry"
	"crier/internal/user"
	"crier/monitor/feed"
)

// Monitor is the running part. It owns the feeds' goroutines, the matcher's
// loop, its listener to changes, and the mover's loop.
type Monitor struct {
	cfg     Config
	db      *postgres.DB
	kafka   *kafka.Client
	alerts  *alert.Store
	prices  *price.Store
	notes   *user.Store
	log     *slog.Logger
	metrics *metrics

	matcher    *matcher
	mover      *kafka.Mover      // nil where no tick can be misplaced
	moving     *lifecycle.Health // of the mover
	feeds      *lifecycle.Group  // stopped first
	ticked     sync.Map          // source -> time.Time: when its last tick was written; as many as there are feeds
	goroutines *lifecycle.Group
}

// New checks the configuration; it does no I/O.
func New(cfg Config, db *postgres.DB, k *kafka.Client, log *slog.Logger, reg prometheus.Registerer) (*Monitor, error) {
	if err := cfg.normalise(); err != nil {
		return nil, err
	}
	return &Monitor{cfg: cfg, db: db, kafka: k, alerts: alert.New(db, 0), prices: price.New(db), notes: user.New(db),
		log: log.With("part", "monitor"), metrics: newMetrics(reg)}, nil
}

// Topics are those that the part reads or writes.
var Topics = []string{kafka.Ticks, kafka.Triggers, kafka.DeadLetters}

// Start begins to match, then to feed.
func (m *Monitor) Start(ctx context.Context) error {
	if err := m.kafka.CheckTopics(ctx, Topics...); err != nil {
		return fmt.Errorf("starting the monitor: %w", err)
	}
	life := context.WithoutCancel(ctx)
	m.goroutines, m.feeds = lifecycle.NewGroup(life), lifecycle.NewGroup(life)
	if err := m.startMatcher(); err != nil {
		return err
	}
	if err := m.startMover(ctx); err != nil {
		return err
	}
	if err := m.startFeeds(ctx); err != nil {
		return err
	}
	m.log.Info("monitor started", "group", kafka.MatcherGroup, "feeds", m.cfg.Feeds, "symbols", m.cfg.Symbols)
	return nil
}

func (m *Monitor) startMatcher() error {
	m.matcher = &matcher{kafka: m.kafka, db: m.db, alerts: m.alerts, prices: m.prices, candles: candle.New(m.db), owner: newOwner(), log: m.log, health: lifecycle.NewHealth(m.log, "matching ticks"), repeats: lifecycle.NewRepeats(), metrics: m.metrics, fail: m.cfg.FailFunc,
		partitions: make(map[int32]*assigned), wake: func() {}}
	m.matcher.loading.Store(-1)
	var err error
	m.matcher.group, err = m.kafka.Group(kafka.GroupConfig{
		Name: kafka.MatcherGroup, Topics: []string{kafka.Ticks}, Markers: true,
		StartAt: m.matcher.assign, Revoked: m.matcher.revoke,
	})
	if err != nil {
		return fmt.Errorf("starting the matcher: %w", err)
	}
	m.goroutines.Go("matcher", m.matcher.run)
	m.goroutines.Go("candles' retention", m.prune)
	m.goroutines.Go("matcher's listener", func(ctx context.Context) error {
		err := m.db.Listen(ctx, m.log, alert.Channel, func(string) { m.matcher.alertsChanged() })
		if ctx.Err() != nil {
			return nil
		}
		return err
	})
	return nil
}

// newOwner names this process in its claims on partitions (RFC 9562, version 4).
func newOwner() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // it never fails
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

// startMover runs only where ticks can be misplaced.
func (m *Monitor) startMover(ctx context.Context) error {
	n, err := m.kafka.Partitions(ctx, kafka.Ticks)
	if err != nil {
		return fmt.Errorf("starting the mover: %w", err)
	}
	if n == 1 {
		return nil
	}
	m.mover, err = m.kafka.Mover(kafka.MoverConfig{
		Group: kafka.MoverGroup, Topic: kafka.Ticks, TransactionalID: kafka.MoverGroup + "-" + m.cfg.Instance,
		KeyFunc: func(r kafka.Record) (string, bool) {
			t, err := event.ParseTick(r.Value, r.Time)
			return t.Symbol, err == nil
		},
		Moved: func(n int) {
			m.metrics.moved.Add(float64(n))
			m.log.Info("ticks were moved to their symbol's partition", "count", n)
		},
	})
	if err != nil {
		return fmt.Errorf("starting the mover: %w", err)
	}
	m.moving = lifecycle.NewHealth(m.log, "moving misplaced ticks")
	m.goroutines.Go("mover", func(ctx context.Context) error {
		var wait lifecycle.Backoff
		for ctx.Err() == nil {
			err := m.mover.Step(ctx)
			if ctx.Err() != nil {
				break
			}
			m.moving.Report(err)
			if err != nil {
				_ = wait.Wait(ctx)
				continue
			}
			wait.Reset()
		}
		return nil
	})
	return nil
}

// autoWait is how long the exchange may take before the simulation stands in.
const autoWait = 5 * time.Second

// liveNote remembers that this installation has held live ticks: then
// invented ones must never be mixed in.
const liveNote = "live_ticks"

func (m *Monitor) startFeeds(ctx context.Context) error {
	cfg := m.cfg.feeds(m.log)
	cfg.ResumeFunc, cfg.GapFunc = m.lastProduced, m.gap
	list := m.cfg.Feeds
	if list == Auto {
		var err error
		if list, err = m.choose(ctx, cfg); err != nil {
			return err
		}
	}
	feeds, err := feed.Parse(list, cfg)
	if err != nil {
		return err
	}
	if len(feeds) > 0 {
		m.feeds.Go("watching the feeds", func(ctx context.Context) error { return m.watchFeeds(ctx, feeds) })
	}
	for _, f := range feeds {
		telemetry.Preset(m.metrics.ticks, f.Name())
		telemetry.Preset(m.metrics.missedTrades, f.Name())
		telemetry.Preset(m.metrics.healedTrades, f.Name())
		m.feeds.Go("feed "+f.Name(), func(ctx context.Context) error { return m.feed(ctx, f) })
	}
	return nil
}

func (m *Monitor) choose(ctx context.Context, cfg feed.Config) (string, error) {
	wait, cancel := context.WithTimeout(ctx, autoWait)
	defer cancel()
	err := feed.NewBinance(cfg).Reachable(wait)
	if err == nil {
		return "binance", nil
	}
	live, noteErr := m.notes.Noted(ctx, liveNote)
	if noteErr != nil {
		return "", noteErr
	}
	if live != "" {
		m.log.Warn("Binance cannot be reached; this installation holds live ticks, so no prices are invented: waiting for it", "error", err)
		return "binance", nil
	}
	m.log.Warn("PRICES ARE SIMULATED: Binance could not be reached within 5 s (set CRIER_FEEDS=binance to wait for it)", "error", err)
	return feed.SimulatedName, nil
}

// feed runs one feed, and runs it again after a failure.
func (m *Monitor) feed(ctx context.Context, f feed.Feed) error {
	var wait lifecycle.Backoff
	for {
		kind := feed.KindOf(f.Name())
		out := &tickWriter{m: m, ctx: ctx, kind: kind, live: kind == feed.Live}
		err := f.Run(ctx, out.emit)
		if flushErr := out.flush(ctx); err == nil {
			err = flushErr
		}
		if err == nil || ctx.Err() != nil {
			return nil
		}
		m.log.Error("a feed failed and is started again", "source", f.Name(), "error", err)
		if wait.Wait(ctx) != nil {
			return nil
		}
	}
}

// Failed is closed when the part has ended by itself; Err says why.
func (m *Monitor) Failed() <-chan struct{} { return m.goroutines.Context().Done() }

// Err is why the part has ended by itself.
func (m *Monitor) Err() error { return m.goroutines.Err() }

// Ready says why the part is not: while the index is filled no tick is matched, and
// one of its loops may fail.
func (m *Monitor) Ready(ctx context.Context) error {
	if m.matcher == nil {
		return nil
	}
	if n := m.matcher.loading.Load(); n >= 0 {
		return fmt.Errorf("alerts are being loaded, %d so far", n)
	}
	err := m.matcher.health.Ready(ctx)
	if m.moving != nil {
		err = errors.Join(err, m.moving.Ready(ctx))
	}
	return err
}

// Stop ends the feeds, waits until their ticks are acknowledged, then ends the
// matcher, which commits where it stands, and the mover.
func (m *Monitor) Stop(ctx context.Context) error {
	if m.goroutines == nil {
		return nil
	}
	// Each is bounded by itself, so that what is behind it has its time. A feed's last
	// ticks may never be acknowledged.
	feeding, cancel := context.WithTimeout(ctx, stopWithin)
	defer cancel()
	feedsErr := m.feeds.Stop(feeding)
	err := errors.Join(feedsErr, m.goroutines.Stop(ctx))
	leaving := lifecycle.NewGroup(context.WithoutCancel(ctx))
	leaving.Go("leaving the matchers", func(ctx context.Context) error { m.matcher.close(ctx); return nil })
	if m.mover != nil {
		leaving.Go("leaving the movers", func(context.Context) error { m.mover.Close(); return nil })
	}
	return errors.Join(err, leaving.Wait(ctx))
}
