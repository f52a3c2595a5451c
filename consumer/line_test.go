package consumer_test

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"crier/consumer"
	"crier/internal/criertest"
	"crier/internal/event"
	"crier/internal/kafka"
)

// mute is a broker that refuses what is produced while closed is set, and counts
// how often it did.
type mute struct {
	closed  atomic.Bool
	refused atomic.Int64
}

func newMute(t *testing.T) (*mute, string) {
	t.Helper()
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Close)
	m := &mute{}
	cluster.ControlKey(int16(kmsg.Produce), func(req kmsg.Request) (kmsg.Response, error, bool) {
		cluster.KeepControl()
		if !m.closed.Load() {
			return nil, nil, false
		}
		m.refused.Add(1)
		return refusal(req), nil, true
	})
	return m, cluster.ListenAddrs()[0]
}

// refusal answers a request to produce with an error that is no passing one.
func refusal(req kmsg.Request) kmsg.Response {
	r := req.(*kmsg.ProduceRequest)
	resp := r.ResponseKind().(*kmsg.ProduceResponse)
	for _, t := range r.Topics {
		rt := kmsg.NewProduceResponseTopic()
		rt.Topic, rt.TopicID = t.Topic, t.TopicID
		for _, p := range t.Partitions {
			rp := kmsg.NewProduceResponseTopicPartition()
			rp.Partition, rp.ErrorCode = p.Partition, kerr.PolicyViolation.Code
			rt.Partitions = append(rt.Partitions, rp)
		}
		resp.Topics = append(resp.Topics, rt)
	}
	return resp
}

// steps counts what a consumer has done, at its fail points.
type steps struct{ stored, told, committed, most atomic.Int64 }

func (s *steps) note(point string) {
	switch point {
	case "consumer.after-store":
		// This batch, and those that are not committed yet.
		if open := s.stored.Add(1) - s.committed.Load(); open > s.most.Load() {
			s.most.Store(open)
		}
	case "consumer.after-produce":
		s.told.Add(1)
	case "consumer.after-commit":
		s.committed.Add(1)
	}
}

// wantFirsts says that the deliveries of every user came first in the order of
// their places, n of them, and returns how many came in all.
func (w *world) wantFirsts(partitions int32, n int) (deliveries int) {
	w.t.Helper()
	firsts := make(map[string]int)
	_, ends, err := w.Bounds(w.t.Context(), kafka.Deliveries)
	if err != nil {
		w.t.Fatal(err)
	}
	got := 0
	for p := range partitions {
		err := w.Reread(w.t.Context(), kafka.Deliveries, p, 0, ends[p], func(r kafka.Record) bool {
			deliveries++
			var id int
			if _, err := fmt.Sscan(r.Header("id"), &id); err != nil {
				w.t.Errorf("a delivery's id is %q", r.Header("id"))
			}
			user := r.Header("user")
			if id > firsts[user]+1 {
				w.t.Errorf("user %s: place %d was delivered before %d", user, id, firsts[user]+1)
			}
			if id > firsts[user] {
				firsts[user], got = id, got+1
			}
			return true
		})
		if err != nil {
			w.t.Fatal(err)
		}
	}
	if got != n {
		w.t.Errorf("%d of %d were delivered", got, n)
	}
	return deliveries
}

// While a batch cannot be told of, the one behind it is stored, and no more: its
// deliveries wait, and no offset is committed. When Kafka takes them again, all is
// delivered, in order.
func TestStoredAheadOfAFailure(t *testing.T) {
	t.Parallel()
	m, addr := newMute(t)
	w := newWorld(t, addr)
	var want []string
	for i := range 30 {
		want = append(want, fmt.Sprint(i))
		w.send(titled(want[i]))
	}
	m.closed.Store(true)
	var s steps
	stop := w.start(consumer.Config{Batch: 5, FailFunc: s.note})
	criertest.Eventually(t, patience, "a batch is refused again and again, and the next one stored", func() bool {
		return m.refused.Load() >= 4 && s.stored.Load() >= 2
	})
	if done, err := w.Committed(t.Context(), kafka.ConsumerGroup, kafka.Notifications); err != nil || len(done) != 0 {
		t.Errorf("committed %v before anything was told of, %v", done, err)
	}
	if s.told.Load() != 0 {
		t.Errorf("%d batches count as told of", s.told.Load())
	}
	w.wantTitles(ann, want[:10]...)
	m.closed.Store(false)
	w.settled()
	stop()
	w.wantTitles(ann, want...)
	w.wantFirsts(1, len(want))
	if s.most.Load() != 2 {
		t.Errorf("%d batches were open at once, want 2", s.most.Load())
	}
	for i, r := range w.results()[:5] {
		if r.Status != event.StatusStored || r.Offset != int64(i) {
			t.Errorf("result %d: %+v", i, r)
		}
	}
}

// Stop ends with both batches in flight told of and committed: what is stored,
// delivered and committed is the same. The rest is for the next consumer.
func TestStopWithTwoInFlight(t *testing.T) {
	t.Parallel()
	m, addr := newMute(t)
	w := newWorld(t, addr)
	var want []string
	for i := range 30 {
		want = append(want, fmt.Sprint(i))
		w.send(titled(want[i]))
	}
	m.closed.Store(true)
	var s steps
	stop := w.start(consumer.Config{Batch: 5, FailFunc: s.note})
	criertest.Eventually(t, patience, "two batches are in flight", func() bool { return m.refused.Load() >= 1 && s.stored.Load() >= 2 })
	var stopping sync.WaitGroup
	stopping.Go(stop)
	m.closed.Store(false)
	stopping.Wait()
	stored := len(w.titles(ann))
	done, err := w.Committed(t.Context(), kafka.ConsumerGroup, kafka.Notifications)
	if err != nil || done[0] != int64(stored) || stored < 10 {
		t.Errorf("stored %d, committed %v, %v; want at least the two batches, and the same", stored, done, err)
	}
	w.wantFirsts(1, stored)
	stop = w.start(consumer.Config{})
	w.settled()
	stop()
	w.wantTitles(ann, want...)
	if n := w.wantFirsts(1, len(want)); n != len(want) {
		t.Errorf("%d deliveries of %d: something was read again after an orderly end", n, len(want))
	}
}

// A consumer that joins while another has two batches in flight gets partitions
// only when both are committed: nothing is read twice, and each user's order holds.
func TestJoinWithTwoInFlight(t *testing.T) {
	t.Parallel()
	m, addr := newMute(t)
	const partitions, users, each = 4, 12, 20
	w := newWorldOf(t, addr, partitions)
	var recs []*kgo.Record
	for i := range users * each {
		user := fmt.Sprint("user-", i%users)
		r := record(`{"user_id":%q,"title":%q}`, user, fmt.Sprint(i/users))
		r.Key = []byte(user)
		recs = append(recs, r)
	}
	w.send(recs...)
	m.closed.Store(true)
	var one, two steps
	// Both batches together hold records of all partitions.
	const batch = users * each / 2
	stopOne := w.start(consumer.Config{Batch: batch, ExternalUsers: true, FailFunc: one.note})
	criertest.Eventually(t, patience, "two batches are in flight", func() bool { return m.refused.Load() >= 1 && one.stored.Load() >= 2 })
	stopTwo := w.start(consumer.Config{Batch: batch, ExternalUsers: true, FailFunc: two.note})
	criertest.Eventually(t, patience, "a second consumer has joined", func() bool {
		groups, err := kadm.NewClient(w.raw).DescribeGroups(t.Context(), w.prefix+kafka.ConsumerGroup)
		return err == nil && len(groups[w.prefix+kafka.ConsumerGroup].Members) == 2
	})
	before := m.refused.Load()
	criertest.Eventually(t, patience, "the first one had the time to hear of it", func() bool { return m.refused.Load() >= before+5 })
	if two.stored.Load() != 0 {
		t.Error("the second consumer stores what the first one is about to commit")
	}
	m.closed.Store(false)
	criertest.Eventually(t, patience, "all records are committed", func() bool {
		_, ends, err := w.Bounds(t.Context(), kafka.Notifications)
		if err != nil {
			return false
		}
		done, err := w.Committed(t.Context(), kafka.ConsumerGroup, kafka.Notifications)
		for p, end := range ends {
			if end > 0 && done[p] != end {
				return false
			}
		}
		return err == nil
	})
	stopOne()
	stopTwo()
	var titles []string
	for i := range each {
		titles = append(titles, fmt.Sprint(i))
	}
	for i := range users {
		w.wantTitles(event.UserID(fmt.Sprint("user-", i)), titles...)
	}
	if n := w.wantFirsts(partitions, users*each); n != users*each {
		t.Errorf("%d deliveries of %d: partitions went while something of them was not committed", n, users*each)
	}
}
