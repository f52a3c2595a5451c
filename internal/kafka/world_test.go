package kafka_test

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"crier/internal/criertest"
	"crier/internal/kafka"
)

const patience = 60 * time.Second

// world is topics of a test's own on one of the brokers.
type world struct {
	*kafka.Client
	t       *testing.T
	brokers string
	prefix  string
	cfg     kafka.Config
	raw     *kgo.Client // for what our own client does not do
}

func newWorld(t *testing.T, brokers string, partitions int32) *world {
	t.Helper()
	w := &world{t: t, brokers: brokers, prefix: criertest.TopicPrefix(t)}
	w.cfg = kafka.Config{Brokers: []string{brokers}, TopicPrefix: w.prefix, Log: slog.New(slog.NewTextHandler(t.Output(), nil))}
	w.Client = w.open()
	w.raw = w.client()
	if partitions > 0 {
		if _, err := w.EnsureTopics(t.Context(), layout(partitions)); err != nil {
			t.Fatal(err)
		}
	}
	return w
}

func layout(partitions int32) kafka.Layout {
	return kafka.Layout{Partitions: partitions, Replicas: 1, TicksRetention: 24 * time.Hour, TicksBytes: 1 << 30}
}

func (w *world) open() *kafka.Client {
	w.t.Helper()
	c, err := kafka.Open(w.cfg)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(c.Close)
	return c
}

func (w *world) client(opts ...kgo.Opt) *kgo.Client {
	w.t.Helper()
	c, err := kgo.NewClient(append(opts, kgo.SeedBrokers(w.brokers), kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ProducerBatchMaxBytes(18<<20),
		kgo.UnknownTopicRetries(-1))...) // a busy broker knows a topic some time after it was made
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(c.Close)
	return c
}

func (w *world) admin() *kadm.Client { return kadm.NewClient(w.raw) }

// put writes values into one partition.
func (w *world) put(topic string, partition int32, values ...string) {
	w.t.Helper()
	var recs []*kgo.Record
	for _, v := range values {
		recs = append(recs, &kgo.Record{Topic: w.prefix + topic, Partition: partition, Value: []byte(v)})
	}
	if err := w.raw.ProduceSync(w.t.Context(), recs...).FirstErr(); err != nil {
		w.t.Fatal(err)
	}
}

// numbered are the values PREFIX0 … PREFIX(n-1).
func numbered(prefix string, n int) []string {
	out := make([]string, n)
	for i := range out {
		out[i] = fmt.Sprint(prefix, i)
	}
	return out
}

// group joins one; it leaves at the end of the test.
func (w *world) group(cfg kafka.GroupConfig) *kafka.Group {
	w.t.Helper()
	g, _ := w.leaving(cfg)
	return g
}

// leaving is group; leave makes it leave earlier.
func (w *world) leaving(cfg kafka.GroupConfig) (g *kafka.Group, leave func()) {
	w.t.Helper()
	g, err := w.Group(cfg)
	if err != nil {
		w.t.Fatal(err)
	}
	leave = sync.OnceFunc(g.Close)
	w.t.Cleanup(leave)
	return g, leave
}

// take polls until n records came, committing each batch or none.
func (w *world) take(g *kafka.Group, n int, commit bool) []kafka.Record {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), patience)
	defer cancel()
	var out []kafka.Record
	for len(out) < n {
		b, err := g.Poll(ctx, 1000)
		if err != nil {
			w.t.Fatalf("after %d of %d records: %v", len(out), n, err)
		}
		out = append(out, b.Records...)
		if commit {
			if err := g.Commit(ctx, b); err != nil {
				w.t.Fatal(err)
			}
		}
		g.Release()
	}
	return out
}

func values(recs []kafka.Record) []string {
	var out []string
	for _, r := range recs {
		out = append(out, string(r.Value))
	}
	return out
}

func sorted(s []string) []string {
	s = slices.Clone(s)
	slices.Sort(s)
	return s
}

// all reads every record of a topic's partition as Reread gives them.
func (w *world) all(topic string, partition int32) []kafka.Record {
	w.t.Helper()
	_, ends, err := w.Bounds(w.t.Context(), topic)
	if err != nil {
		w.t.Fatal(err)
	}
	return w.reread(topic, partition, 0, ends[partition])
}

func (w *world) reread(topic string, partition int32, from, to int64) []kafka.Record {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), patience)
	defer cancel()
	var out []kafka.Record
	if err := w.Reread(ctx, topic, partition, from, to, func(r kafka.Record) bool { out = append(out, r); return true }); err != nil {
		w.t.Fatalf("reading %s[%d] from %d to %d: %v", topic, partition, from, to, err)
	}
	return out
}

// transact writes values into a partition in one transaction.
func (w *world) transact(topic string, partition int32, end kgo.TransactionEndTry, values ...string) {
	w.t.Helper()
	c := w.client(kgo.TransactionalID(w.prefix + criertest.TopicPrefix(w.t)))
	defer c.Close()
	if err := c.BeginTransaction(); err != nil {
		w.t.Fatal(err)
	}
	for _, v := range values {
		if err := c.ProduceSync(w.t.Context(), &kgo.Record{Topic: w.prefix + topic, Partition: partition, Value: []byte(v)}).FirstErr(); err != nil {
			w.t.Fatal(err)
		}
	}
	if err := c.EndTransaction(w.t.Context(), end); err != nil {
		w.t.Fatal(err)
	}
}
