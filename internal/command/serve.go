package command

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"crier/internal/kafka"
	"crier/internal/lifecycle"
	"crier/internal/postgres"
	"crier/internal/telemetry"
)

// part is a running part of the program.
type part interface {
	Start(ctx context.Context) error
	Stop(ctx context.Context) error
	Failed() <-chan struct{}
	Err() error
}

// host is what parts stand on, and what has been started, to be stopped in the
// opposite order.
type host struct {
	e     *env
	db    *postgres.DB
	kafka *kafka.Client
	reg   *prometheus.Registry
	admin *telemetry.Admin
	stack lifecycle.Stack
	parts []part

	deadline time.Time // of the start
}

// open opens the admin listener and waits until Postgres and Kafka answer.
func (h *host) open(k kafkaFlags, d databaseFlags, a adminFlags, s startFlags) error {
	h.reg = telemetry.NewRegistry(Version)
	h.admin = telemetry.NewAdmin(a.AdminAddr, h.reg, h.e.log)
	h.admin.CommandLine = append([]string{os.Args[0]}, h.e.shownArgs...)
	if err := h.admin.Start(h.e.ctx); err != nil {
		return err
	}
	h.stack.Push("admin listener", h.admin.Stop)
	h.deadline = time.Now().Add(s.StartTimeout)
	err := h.await(func(ctx context.Context) (err error) {
		h.db, err = d.open(ctx)
		return err
	})
	if err != nil {
		return err
	}
	h.stack.Push("pool", func(context.Context) error { h.db.Close(); return nil })
	if h.kafka, err = k.open(h.e.log); err != nil {
		return err
	}
	h.stack.Push("Kafka client", func(context.Context) error { h.kafka.Close(); return nil })
	h.reg.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{Name: "crier_kafka_truncations_total",
		Help: "Times a partition was found to have lost acknowledged records that were already read."}, func() float64 { return float64(h.kafka.Truncations()) }))
	h.reg.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{Name: "crier_dead_letters_total",
		Help: "Records written to dead-letters."}, func() float64 { return float64(h.kafka.DeadLetters()) }))
	if err := h.await(h.kafka.Ping); err != nil {
		return err
	}
	h.admin.Check("postgres", h.db.Ping)
	h.admin.Check("kafka", h.kafka.Ping)
	return nil
}

// A start asks again for what is missing, and logs it, this often.
const (
	startRetry = time.Second
	startLog   = 10 * time.Second
	startTry   = 10 * time.Second // bounds one try
)

// await tries until something works that a part needs, or the start has taken too
// long: then the error is that of the last try. Meanwhile /readyz names it.
func (h *host) await(try func(context.Context) error) error {
	var missing atomic.Pointer[error]
	h.admin.Check("start", func(context.Context) error {
		if err := missing.Load(); err != nil {
			return *err
		}
		return nil
	})
	var logged time.Time
	for {
		ctx, cancel := context.WithTimeoutCause(h.e.ctx, startTry, fmt.Errorf("no answer within %v", startTry))
		err := try(ctx)
		cancel()
		if err == nil || postgres.Misconfigured(err) {
			missing.Store(nil)
			return err
		}
		if h.e.ctx.Err() != nil {
			return context.Cause(h.e.ctx)
		}
		if time.Until(h.deadline) < startRetry {
			return err
		}
		missing.Store(&err)
		if time.Since(logged) >= startLog {
			logged = time.Now()
			h.e.log.Warn("waiting to start", "for", time.Until(h.deadline).Round(time.Second), "missing", oneLine(err))
		}
		if lifecycle.Sleep(h.e.ctx, startRetry) != nil {
			return context.Cause(h.e.ctx)
		}
	}
}

// start starts a part; it is stopped before all that was started before it.
func (h *host) start(name string, p part) error {
	h.parts = append(h.parts, p)
	h.stack.Push(name, p.Stop)
	if err := p.Start(h.e.ctx); err != nil {
		return err
	}
	if r, ok := p.(interface{ Ready(context.Context) error }); ok && h.admin != nil {
		h.admin.Check(name, r.Ready)
	}
	return nil
}

// wait returns when the program is told to stop, or a part has failed.
func (h *host) wait() error {
	failed := make(chan error, len(h.parts))
	watch := lifecycle.NewGroup(h.e.ctx)
	for _, p := range h.parts {
		watch.Go("watching a part", func(ctx context.Context) error {
			select {
			case <-p.Failed():
				failed <- p.Err()
			case <-ctx.Done():
			}
			return nil
		})
	}
	var err error
	select {
	case <-h.e.ctx.Done():
		h.e.log.Info("stopping", "reason", context.Cause(h.e.ctx))
	case err = <-failed:
		h.e.log.Error("a part has failed; stopping", "error", err)
	}
	_ = watch.Stop(context.WithoutCancel(h.e.ctx)) // they only wait for the context
	return err
}

// stop takes everything apart within the promised time.
func (h *host) stop(err error) error {
	if cause := context.Cause(h.e.ctx); cause != nil && (errors.Is(err, cause) || errors.Is(err, context.Canceled)) {
		h.e.log.Info("stopping before the start was complete", "reason", cause)
		err = nil // as after it
	}
	if h.admin != nil {
		h.admin.Ready(false)
	}
	limit := h.e.ShutdownLimit - h.e.ShutdownLimit/20
	ctx, cancel := context.WithTimeoutCause(context.WithoutCancel(h.e.ctx), limit, fmt.Errorf("stopping took more than %v", limit))
	defer cancel()
	stopErr := h.stack.Stop(ctx)
	if stopErr != nil {
		h.e.log.Error("stopping", "error", stopErr)
	}
	return errors.Join(err, stopErr)
}

// serve runs a part alone, which needs these topics, until the program is told to
// stop.
func (e *env) serve(k kafkaFlags, d databaseFlags, a adminFlags, s startFlags, topics []string, parts func(h *host) error) (err error) {
	h := &host{e: e}
	defer func() { err = h.stop(err) }()
	if err := h.open(k, d, a, s); err != nil {
		return err
	}
	if err := h.await(h.db.CheckSchema); err != nil {
		return err
	}
	if err := h.db.CheckRights(e.ctx); err != nil {
		return err
	}
	if err := h.await(func(ctx context.Context) error { return h.kafka.CheckTopics(ctx, topics...) }); err != nil {
		return err
	}
	if err := parts(h); err != nil {
		return err
	}
	h.admin.Ready(true)
	return h.wait()
}
