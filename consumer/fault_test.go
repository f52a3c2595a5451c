package consumer_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"crier/consumer"
	"crier/internal/criertest"
	"crier/internal/event"
	"crier/internal/kafka"
)

// While Kafka refuses what the consumer produces, or its commits, nothing is
// lost and nothing doubled in the inbox; offsets are committed only after what
// follows from the records was acknowledged.
func TestKafkaFaults(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		key  kmsg.Key
		fail func(req kmsg.Request, prefix string) kmsg.Response // nil: let it pass
	}{
		{"produce", kmsg.Produce, func(req kmsg.Request, _ string) kmsg.Response { return refusal(req) }},
		{"commit", kmsg.OffsetCommit, func(req kmsg.Request, prefix string) kmsg.Response {
			r := req.(*kmsg.OffsetCommitRequest)
			resp := r.ResponseKind().(*kmsg.OffsetCommitResponse)
			for _, t := range r.Topics {
				rt := kmsg.NewOffsetCommitResponseTopic()
				rt.Topic, rt.TopicID = t.Topic, t.TopicID
				for _, p := range t.Partitions {
					rp := kmsg.NewOffsetCommitResponseTopicPartition()
					rp.Partition, rp.ErrorCode = p.Partition, kerr.UnknownMemberID.Code
					rt.Partitions = append(rt.Partitions, rp)
				}
				resp.Topics = append(resp.Topics, rt)
			}
			return resp
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			cluster, err := kfake.NewCluster(kfake.NumBrokers(1))
			if err != nil {
				t.Fatal(err)
			}
			defer cluster.Close()
			w := newWorld(t, cluster.ListenAddrs()[0])
			var want []string
			for i := range 50 {
				want = append(want, fmt.Sprint(i))
				w.send(titled(want[i]))
			}
			var left atomic.Int64
			left.Store(4)
			cluster.ControlKey(int16(c.key), func(req kmsg.Request) (kmsg.Response, error, bool) {
				cluster.KeepControl()
				if left.Load() <= 0 {
					return nil, nil, false
				}
				if resp := c.fail(req, w.prefix); resp != nil {
					left.Add(-1)
					return resp, nil, true
				}
				return nil, nil, false
			})
			stop := w.start(consumer.Config{Batch: 7})
			criertest.Eventually(t, patience, "the faults happened", func() bool { return left.Load() <= 0 })
			w.send(titled("last"))
			w.settled()
			stop()
			w.wantTitles(ann, append(want, "last")...)
			// Each was delivered at least once, and a reader that takes each when its number
			// is next gets all. (Where the first record of a batch is refused and the rest
			// is not, they are produced again together.)
			next := 1
			for _, r := range w.all(kafka.Deliveries) {
				if r.Header("id") == fmt.Sprint(next) {
					next++
				}
			}
			if next != 52 {
				t.Errorf("in their order %d of 51 were delivered", next-1)
			}
		})
	}
}

// A consumer that ends between storing, producing and committing leaves a batch
// that is read again: it is answered as the first time, and delivered again
// with the same ids.
func TestReadAgain(t *testing.T) {
	t.Parallel()
	w := newWorld(t, criertest.Broker(t))
	w.send(titled("a"), record(`{"user_id":1,"title":"b","idempotency_key":"k"}`), record(`{"user_id":1,"title":"b","idempotency_key":"k"}`),
		record(`{"user_id":1,"title":"c","idempotency_key":"k"}`), record(`{`))
	stop := w.start(consumer.Config{})
	w.settled()
	stop()
	before := w.results()
	var got []string
	for _, r := range before {
		got = append(got, fmt.Sprintf("%s:%d", r.Status, r.ID))
	}
	if want := []string{"stored:1", "stored:2", "duplicate:2", "rejected:0", "rejected:0"}; !slices.Equal(got, want) {
		t.Fatalf("results %v, want %v", got, want)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	g, err := w.Group(kafka.GroupConfig{Name: kafka.ConsumerGroup, Topics: []string{kafka.Notifications}})
	if err != nil {
		t.Fatal(err)
	}
	// Back to the beginning, as if nothing had been committed.
	criertest.Eventually(t, patience, "the offsets are set back", func() bool {
		poll, stop := context.WithTimeout(ctx, 100*time.Millisecond)
		defer stop()
		if _, err := g.Poll(poll, 1); err != nil && !errors.Is(err, context.DeadlineExceeded) {
			return false
		}
		g.Release()
		return g.CommitOffsets(ctx, kafka.Notifications, map[int32]int64{0: 0}) == nil
	})
	g.Close()
	stop = w.start(consumer.Config{})
	w.settled()
	stop()
	w.wantTitles(ann, "a", "b")
	after := w.results()
	if len(after) != 2*len(before) {
		t.Fatalf("%d results, want each twice", len(after))
	}
	for i, r := range before {
		if a := after[len(before)+i]; a.Status != r.Status || a.ID != r.ID || a.EventID != r.EventID || a.Code != r.Code || a.Offset != r.Offset {
			t.Errorf("answered %+v, the first time %+v", a, r)
		}
	}
	deliveries := w.all(kafka.Deliveries)
	if len(deliveries) != 4 || string(deliveries[0].Value) != string(deliveries[2].Value) || string(deliveries[1].Value) != string(deliveries[3].Value) {
		t.Errorf("%d deliveries, want the same two twice", len(deliveries))
	}
}

// What goes out for a notification is what is stored, keyed by its user, and the
// order of each user's is that of the partition.
func TestDeliveries(t *testing.T) {
	t.Parallel()
	w := newWorld(t, criertest.Broker(t))
	w.start(consumer.Config{ExternalUsers: true, Batch: 10})
	users := []event.UserID{ann, bob, "https://id.example/ü|x"}
	want := make(map[event.UserID][]string)
	var recs []*kgo.Record
	for i := range 60 {
		u := users[i%3]
		title := fmt.Sprint(i)
		want[u] = append(want[u], title)
		recs = append(recs, record(`{"user_id":%q,"title":%q,"payload":{"n":%d},"priority":"high","kind":"k.x"}`, u, title, i))
	}
	w.send(recs...)
	w.settled()
	for _, u := range users {
		w.wantTitles(u, want[u]...)
	}
	last := make(map[string]int)
	for _, r := range w.all(kafka.Deliveries) {
		user := r.Header("user")
		last[user]++
		stored, err := w.inbox.Get(t.Context(), event.UserID(user), int64(last[user]))
		if err != nil {
			t.Fatal(err)
		}
		if r.Header("id") != fmt.Sprint(last[user]) || string(r.Key) != user || r.Header("kind") != "k.x" || string(r.Value) != string(stored.AppendJSON(nil)) {
			t.Errorf("delivery %s of %s, want %d:\n %s\n %s", r.Header("id"), user, last[user], r.Value, stored.AppendJSON(nil))
		}
	}
}

// A configuration that cannot work is refused with the variable's name, and a
// consumer without topics says which command makes them.
func TestConfig(t *testing.T) {
	t.Parallel()
	for _, cfg := range []consumer.Config{{Batch: -1, InboxRetention: time.Hour}, {Batch: 10_001, InboxRetention: time.Hour}, {InboxRetention: time.Second}} {
		if _, err := consumer.New(cfg, nil, nil, nil, nil); err == nil {
			t.Errorf("%+v was taken", cfg)
		}
	}
}
