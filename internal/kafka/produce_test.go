package kafka_test

import (
	"context"
	"errors"
	"log/slog"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"crier/internal/criertest"
	"crier/internal/kafka"
)

// faulty is a broker of a test's own whose produce requests can be answered with
// an error, or not at all.
type faulty struct {
	*kafka.Client
	refuse atomic.Pointer[kerr.Error]    // nil: they are served
	silent atomic.Pointer[chan struct{}] // no answer until it is closed; nil: at once
}

func newFaulty(t *testing.T, delivery time.Duration) *faulty {
	t.Helper()
	f := &faulty{}
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, kafka.Triggers, kafka.Deliveries))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Close)
	cluster.ControlKey(int16(kmsg.Produce), func(req kmsg.Request) (kmsg.Response, error, bool) {
		cluster.KeepControl()
		if silent := f.silent.Load(); silent != nil {
			cluster.SleepControl(func() { <-*silent }) // other requests go on
			return nil, nil, false
		}
		fault := f.refuse.Load()
		if fault == nil {
			return nil, nil, false
		}
		r := req.(*kmsg.ProduceRequest)
		resp := r.ResponseKind().(*kmsg.ProduceResponse)
		for _, rt := range r.Topics {
			st := kmsg.NewProduceResponseTopic()
			st.Topic, st.TopicID = rt.Topic, rt.TopicID
			for _, rp := range rt.Partitions {
				sp := kmsg.NewProduceResponseTopicPartition()
				sp.Partition, sp.ErrorCode = rp.Partition, fault.Code
				st.Partitions = append(st.Partitions, sp)
			}
			resp.Topics = append(resp.Topics, st)
		}
		return resp, nil, true
	})
	f.Client, err = kafka.Open(kafka.Config{Brokers: cluster.ListenAddrs(), Log: slog.New(slog.DiscardHandler), DeliveryTimeout: delivery})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(f.Close)
	return f
}

// Records that could not be produced are produced later as they are, however long
// Kafka was away: the caller keeps them and tries again.
func TestProduceAgainAfterTimeout(t *testing.T) {
	t.Parallel()
	const delivery = time.Second // the least that the library takes
	f := newFaulty(t, delivery)
	recs := []kafka.Record{{Topic: kafka.Triggers, Value: []byte("1")}, {Topic: kafka.Triggers, Value: []byte("2")}}
	f.refuse.Store(kerr.NotLeaderForPartition)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := f.Produce(ctx, recs...); !errors.Is(err, kgo.ErrRecordTimeout) {
		t.Fatalf("while Kafka is away: %v", err)
	}
	f.refuse.Store(nil)
	if err := f.Produce(ctx, recs...); err != nil {
		t.Fatalf("once it is back: %v", err)
	}
	if recs[1].Offset != 1 {
		t.Errorf("%+v", recs[1])
	}
}

// Whatever a broker answers, the producer goes on once it answers as it should,
// without being made again.
func TestProducerOutlivesErrors(t *testing.T) {
	t.Parallel()
	f := newFaulty(t, time.Second)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for _, fault := range []*kerr.Error{
		kerr.InvalidProducerEpoch, kerr.ProducerFenced, kerr.OutOfOrderSequenceNumber, kerr.UnknownProducerID, kerr.InvalidProducerIDMapping, kerr.NotEnoughReplicas,
		kerr.NotLeaderForPartition, kerr.KafkaStorageError, kerr.TopicAuthorizationFailed, kerr.ClusterAuthorizationFailed, kerr.UnknownServerError, kerr.RequestTimedOut,
		kerr.UnknownTopicOrPartition, kerr.UnknownTopicID, kerr.InvalidRecord, kerr.PolicyViolation,
	} {
		f.refuse.Store(fault)
		attempt, cancel := context.WithTimeout(ctx, 2*time.Second)
		err := f.Produce(attempt, kafka.Record{Topic: kafka.Triggers, Value: []byte(fault.Message)})
		cancel()
		if err == nil {
			t.Errorf("%v: acknowledged", fault)
		}
		f.refuse.Store(nil)
		if err := f.Produce(ctx, kafka.Record{Topic: kafka.Triggers, Value: []byte("after " + fault.Message)}); err != nil {
			t.Errorf("after %v: %v", fault, err)
		}
	}
}

// A broker that takes a record and never answers holds up its caller until the
// context ends, and no longer; what comes of the record is said to be unknown.
func TestProduceIsBounded(t *testing.T) {
	t.Parallel()
	f := newFaulty(t, 0)
	if err := f.Produce(t.Context(), kafka.Record{Topic: kafka.Triggers, Value: []byte("0")}); err != nil {
		t.Fatal(err)
	}
	silent := make(chan struct{})
	f.silent.Store(&silent)
	for i := range 3 {
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		began := time.Now()
		err := f.Produce(ctx, kafka.Record{Topic: kafka.Triggers, Value: []byte("1")})
		cancel()
		if i == 0 && !errors.Is(err, kafka.ErrUnacknowledged) || err == nil || time.Since(began) > patience/2 {
			t.Fatalf("attempt %d: %v after %v", i, err, time.Since(began))
		}
	}
	f.silent.Store(nil)
	close(silent)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := f.Produce(ctx, kafka.Record{Topic: kafka.Triggers, Value: []byte("2")}); err != nil {
		t.Fatalf("once it answers: %v", err)
	}
}

// A topic that is deleted and made again under a running producer is produced to
// again, by Produce and by ProduceAsync.
func TestProduceToATopicMadeAgain(t *testing.T) {
	t.Parallel()
	criertest.Kafkas(t, func(t *testing.T, brokers string) {
		w := newWorld(t, brokers, 2)
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		async := func(topic, value string) error {
			done := make(chan error, 1)
			w.ProduceAsync(ctx, kafka.Record{Topic: topic, Value: []byte(value)}, func(_ kafka.Record, err error) { done <- err })
			return <-done
		}
		for round := range 2 {
			// What was produced to by the one may be produced to by the other later.
			if err := async(kafka.Results, "before"); err != nil {
				t.Fatal(err)
			}
			w.makeAgain(kafka.Results, 2)
			for _, topic := range []string{kafka.Notifications, kafka.Ticks} {
				if err := w.Produce(ctx, kafka.Record{Topic: topic, Value: []byte("before")}); err != nil {
					t.Fatal(err)
				}
				w.makeAgain(topic, 2)
			}
			criertest.Eventually(t, patience, "Produce finds the new topic", func() bool {
				return w.Produce(ctx, kafka.Record{Topic: kafka.Notifications, Value: []byte("after")}) == nil
			})
			criertest.Eventually(t, patience, "ProduceAsync finds the new topic", func() bool {
				return async(kafka.Ticks, "after") == nil
			})
			criertest.Eventually(t, patience, "Produce finds the new topic, to which only ProduceAsync had produced", func() bool {
				return w.Produce(ctx, kafka.Record{Topic: kafka.Results, Value: []byte("after")}) == nil
			})
			for _, topic := range []string{kafka.Notifications, kafka.Ticks, kafka.Results} {
				if recs := append(w.all(topic, 0), w.all(topic, 1)...); len(recs) != 1 {
					t.Errorf("round %d: %d records in the new %s, not one: %+v", round, len(recs), topic, recs)
				}
			}
		}
	})
}

// makeAgain deletes a topic and makes it again, as an operator does who wants its
// offsets to begin again. It returns when the broker knows the new one: until then
// it still takes records for the old one, and they go with it.
func (w *world) makeAgain(topic string, partitions int32) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), patience)
	defer cancel()
	before := w.topicID(ctx, topic)
	if r, err := w.admin().DeleteTopics(ctx, w.prefix+topic); err != nil || r.Error() != nil {
		w.t.Fatal(err, r.Error())
	}
	criertest.Eventually(w.t, patience, topic+" is made again", func() bool {
		r, err := w.admin().CreateTopics(ctx, partitions, 1, nil, w.prefix+topic)
		return err == nil && r.Error() == nil
	})
	criertest.Eventually(w.t, patience, "the broker knows the new "+topic, func() bool {
		now := w.topicID(ctx, topic)
		return now != before && now != [16]byte{}
	})
}

// topicID is the id by which the broker knows a topic at this moment; zero: it knows
// none.
func (w *world) topicID(ctx context.Context, topic string) [16]byte {
	w.t.Helper()
	req := kmsg.NewPtrMetadataRequest()
	of := kmsg.NewMetadataRequestTopic()
	of.Topic = kmsg.StringPtr(w.prefix + topic)
	req.Topics = append(req.Topics, of)
	md, err := req.RequestWith(ctx, w.raw)
	if err != nil {
		w.t.Fatal(err)
	}
	return md.Topics[0].TopicID
}
