package consumer_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kgo"

	"crier/consumer"
	"crier/internal/criertest"
	"crier/internal/event"
	"crier/internal/inbox"
	"crier/internal/kafka"
	"crier/internal/postgres"
)

const (
	ann      event.UserID = "1"
	bob      event.UserID = "2"
	patience              = 60 * time.Second
)

// world is a consumer's surroundings: topics and a database of its own, with
// the inboxes of ann and bob.
type world struct {
	*kafka.Client
	t      *testing.T
	db     *postgres.DB
	inbox  *inbox.Store
	prefix string
	raw    *kgo.Client
}

func newWorld(t *testing.T, brokers string) *world {
	t.Helper()
	return newWorldOf(t, brokers, 1)
}

func newWorldOf(t *testing.T, brokers string, partitions int32) *world {
	t.Helper()
	w := &world{t: t, prefix: criertest.TopicPrefix(t)}
	var err error
	if w.Client, err = kafka.Open(kafka.Config{Brokers: []string{brokers}, TopicPrefix: w.prefix, Log: slog.New(slog.DiscardHandler)}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.Client.Close)
	if _, err := w.EnsureTopics(t.Context(), kafka.Layout{Partitions: partitions, Replicas: 1, TicksRetention: time.Hour, TicksBytes: 1 << 30}); err != nil {
		t.Fatal(err)
	}
	w.db = criertest.Database(t, 0)
	if err := w.db.Tx(t.Context(), func(tx pgx.Tx) error { return inbox.OpenInboxes(t.Context(), tx, ann, bob) }); err != nil {
		t.Fatal(err)
	}
	w.inbox = inbox.New(w.db)
	if w.raw, err = kgo.NewClient(kgo.SeedBrokers(brokers), kgo.ProducerBatchMaxBytes(18<<20), kgo.MaxBufferedBytes(256<<20)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.raw.Close)
	return w
}

// start runs a consumer until the returned func, or the end of the test.
func (w *world) start(cfg consumer.Config) (stop func()) {
	w.t.Helper()
	if cfg.InboxRetention == 0 {
		cfg.InboxRetention = time.Hour
	}
	c, err := consumer.New(cfg, w.db, w.Client, slog.New(slog.DiscardHandler), prometheus.NewRegistry())
	if err != nil {
		w.t.Fatal(err)
	}
	if err := c.Start(w.t.Context()); err != nil {
		w.t.Fatal(err)
	}
	var once sync.Once
	stop = func() {
		once.Do(func() {
			ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
			defer cancel()
			if err := c.Stop(ctx); err != nil {
				w.t.Errorf("stopping: %v", err)
			}
			if err := c.Err(); err != nil {
				w.t.Errorf("the consumer ended by itself: %v", err)
			}
		})
	}
	w.t.Cleanup(stop)
	return stop
}

// send produces records to `notifications`.
func (w *world) send(recs ...*kgo.Record) {
	w.t.Helper()
	for _, r := range recs {
		r.Topic = w.prefix + kafka.Notifications
	}
	if err := w.raw.ProduceSync(w.t.Context(), recs...).FirstErr(); err != nil {
		w.t.Fatal(err)
	}
}

func record(format string, args ...any) *kgo.Record {
	return &kgo.Record{Value: fmt.Appendf(nil, format, args...)}
}

// titled is a notification for ann.
func titled(title string) *kgo.Record { return record(`{"user_id":1,"title":%q}`, title) }

// settled waits until everything that was sent is committed.
func (w *world) settled() {
	w.t.Helper()
	criertest.Eventually(w.t, patience, "all records are committed", func() bool {
		_, ends, err := w.Bounds(w.t.Context(), kafka.Notifications)
		if err != nil {
			return false
		}
		done, err := w.Committed(w.t.Context(), kafka.ConsumerGroup, kafka.Notifications)
		return err == nil && done[0] == ends[0]
	})
}

// all reads a topic.
func (w *world) all(topic string) []kafka.Record {
	w.t.Helper()
	_, ends, err := w.Bounds(w.t.Context(), topic)
	if err != nil {
		w.t.Fatal(err)
	}
	var out []kafka.Record
	if err := w.Reread(w.t.Context(), topic, 0, 0, ends[0], func(r kafka.Record) bool { out = append(out, r); return true }); err != nil {
		w.t.Fatal(err)
	}
	return out
}

func (w *world) results() []event.Result {
	w.t.Helper()
	var out []event.Result
	for _, r := range w.all(kafka.Results) {
		var x event.Result
		if err := json.Unmarshal(r.Value, &x); err != nil {
			w.t.Fatalf("%.200s: %v", r.Value, err)
		}
		out = append(out, x)
	}
	return out
}

func (w *world) titles(user event.UserID) []string {
	w.t.Helper()
	list, err := w.inbox.After(w.t.Context(), user, 0, 1_000_000)
	if err != nil {
		w.t.Fatal(err)
	}
	var out []string
	for i, s := range list {
		if s.ID != int64(i+1) {
			w.t.Errorf("place %d holds id %d", i+1, s.ID)
		}
		out = append(out, s.Title)
	}
	return out
}

func (w *world) wantTitles(user event.UserID, want ...string) {
	w.t.Helper()
	if got := w.titles(user); !slices.Equal(got, want) {
		w.t.Errorf("user %s has %q, want %q", user, got, want)
	}
}
