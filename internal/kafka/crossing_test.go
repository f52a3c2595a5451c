package kafka_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"crier/internal/criertest"
	"crier/internal/kafka"
)

// worker is one kind of long-lived client.
type worker struct {
	name  string
	topic string
	// open makes the client, as its part does at a start; it is tried again where it
	// fails.
	open func(ctx context.Context, w *world) (user, error)
}

// user uses a client.
type user struct {
	// work has the client do its work once, for a value that was not worked before, and
	// says whether its effect is there.
	work  func(ctx context.Context, value string) error
	close func()
}

const crossingPartitions = 2

// workers are all kinds of clients that a part keeps for its life.
var workers = []worker{
	{"Produce", kafka.Notifications, func(_ context.Context, w *world) (user, error) {
		return user{func(ctx context.Context, value string) error {
			return w.Produce(ctx, kafka.Record{Topic: kafka.Notifications, Value: []byte(value)})
		}, func() {}}, nil
	}},
	{"ProduceAsync", kafka.Results, func(_ context.Context, w *world) (user, error) {
		return user{func(ctx context.Context, value string) error {
			done := make(chan error, 1)
			w.ProduceAsync(ctx, kafka.Record{Topic: kafka.Results, Value: []byte(value)}, func(_ kafka.Record, err error) { done <- err })
			select {
			case err := <-done:
				return err
			case <-ctx.Done():
				return ctx.Err()
			}
		}, func() {}}, nil
	}},
	{"Group", kafka.Triggers, func(_ context.Context, w *world) (user, error) {
		g, err := w.Group(kafka.GroupConfig{Name: "crossing", Topics: []string{kafka.Triggers}})
		if err != nil {
			return user{}, err
		}
		return user{func(ctx context.Context, value string) error {
			if err := w.outside(ctx, kafka.Triggers, 0, value); err != nil {
				return err
			}
			for {
				b, err := g.Poll(ctx, 1000)
				if err == nil {
					err = g.Commit(ctx, b)
				}
				g.Release()
				if err != nil {
					return err
				}
				if slices.Contains(values(b.Records), value) {
					return nil
				}
			}
		}, g.Close}, nil
	}},
	{"Tail", kafka.Deliveries, func(ctx context.Context, w *world) (user, error) {
		tail, err := w.Tail(ctx, kafka.Deliveries)
		if err != nil {
			return user{}, err
		}
		return user{func(ctx context.Context, value string) error {
			if err := w.outside(ctx, kafka.Deliveries, 1, value); err != nil {
				return err
			}
			for found := false; !found; {
				lost, err := tail.Poll(ctx, func(recs iter.Seq[*kafka.Record]) {
					for r := range recs {
						found = found || string(r.Value) == value
					}
				})
				if err != nil {
					return err
				}
				if len(lost) > 0 && !found {
					return errors.New("the place was lost: others read again what lay between")
				}
			}
			return nil
		}, tail.Close}, nil
	}},
	{"Mover", kafka.Ticks, func(_ context.Context, w *world) (user, error) {
		m, err := w.Client.Mover(kafka.MoverConfig{Group: "crossing-mover", Topic: kafka.Ticks, TransactionalID: "crossing", KeyFunc: func(r kafka.Record) (string, bool) {
			return string(r.Value), true
		}})
		if err != nil {
			return user{}, err
		}
		return user{func(ctx context.Context, value string) error {
			home := kafka.Partition([]byte(value), crossingPartitions)
			if err := w.outside(ctx, kafka.Ticks, crossingPartitions-1-home, value); err != nil {
				return err
			}
			for {
				if err := m.Step(ctx); err != nil {
					return err
				}
				found, err := w.holds(ctx, kafka.Ticks, home, value)
				if found || err != nil {
					return err
				}
			}
		}, m.Close}, nil
	}},
	{"Reread", kafka.Signals, func(_ context.Context, w *world) (user, error) {
		return user{func(ctx context.Context, value string) error {
			if err := w.outside(ctx, kafka.Signals, 0, value); err != nil {
				return err
			}
			found, err := w.holds(ctx, kafka.Signals, 0, value)
			if err == nil && !found {
				err = errors.New("it is not there")
			}
			return err
		}, func() {}}, nil
	}},
}

// outside writes a value as another program does, unaffected by faults and
// without knowledge of deleted topics.
func (w *world) outside(ctx context.Context, topic string, partition int32, value string) error {
	c, err := kgo.NewClient(kgo.SeedBrokers(w.brokers), kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.UnknownTopicRetries(0))
	if err != nil {
		return err
	}
	defer c.Close()
	return c.ProduceSync(ctx, &kgo.Record{Topic: w.prefix + topic, Partition: partition, Value: []byte(value)}).FirstErr()
}

// holds says whether a partition holds a value, as Reread sees it.
func (w *world) holds(ctx context.Context, topic string, partition int32, value string) (found bool, err error) {
	_, ends, err := w.Bounds(ctx, topic)
	if err != nil {
		return false, err
	}
	err = w.Reread(ctx, topic, partition, 0, ends[partition], func(r kafka.Record) bool {
		found = string(r.Value) == value
		return !found
	})
	return found, err
}

// crossing is one fault that all kinds of clients meet.
type crossing struct {
	name string
	// at says when it happens: before clients are opened, while they run, or between two
	// lives of them.
	at    moment
	fault func(w *world, l *link)
	heal  func(w *world, l *link)
}

type moment int

const (
	beforeOpen moment = iota
	whileRunning
	betweenLives
)

func nothing(*world, *link) {}

func restore(_ *world, l *link) { l.restore() }

// refused is a fault of the producer.
func refused(e *kerr.Error) func(*world, *link) {
	return func(_ *world, l *link) { l.refuse.Store(e) }
}

func allAgain(w *world, _ *link) {
	for _, k := range workers {
		w.makeAgain(k.topic, crossingPartitions)
	}
}

var crossings = []crossing{
	{"no fault", whileRunning, nothing, nothing},
	{"peer not there at the start", beforeOpen, func(_ *world, l *link) { l.cut() }, restore},
	{"peer silent at the start", beforeOpen, func(_ *world, l *link) { l.hold() }, restore},
	{"metadata does not know the topics yet", beforeOpen, nothing, func(w *world, _ *link) {
		if _, err := w.EnsureTopics(w.t.Context(), layout(crossingPartitions)); err != nil {
			w.t.Fatal(err)
		}
	}},
	{"away until records expire", whileRunning, func(_ *world, l *link) { l.cut() }, restore},
	{"silent until records expire", whileRunning, func(_ *world, l *link) { l.hold() }, restore},
	{"fatal producer error: INVALID_PRODUCER_EPOCH", whileRunning, refused(kerr.InvalidProducerEpoch), restore},
	{"fatal producer error: PRODUCER_FENCED", whileRunning, refused(kerr.ProducerFenced), restore},
	{"fatal producer error: OUT_OF_ORDER_SEQUENCE_NUMBER", whileRunning, refused(kerr.OutOfOrderSequenceNumber), restore},
	{"fatal producer error: UNKNOWN_PRODUCER_ID", whileRunning, refused(kerr.UnknownProducerID), restore},
	{"transactional id fenced", whileRunning, func(w *world, _ *link) {
		c := w.client(kgo.TransactionalID(w.prefix + "crossing"))
		if _, _, err := c.ProducerID(w.t.Context()); err != nil {
			w.t.Fatal(err)
		}
	}, nothing},
	{"rebalances", whileRunning, func(w *world, _ *link) {
		for range 2 {
			for group, topic := range map[string]string{"crossing": kafka.Triggers, "crossing-mover": kafka.Ticks} {
				c := w.client(kgo.ConsumerGroup(w.prefix+group), kgo.ConsumeTopics(w.prefix+topic))
				ctx, cancel := context.WithTimeout(w.t.Context(), time.Second)
				c.PollFetches(ctx) // it has joined, or waits to
				cancel()
				c.Close()
			}
		}
	}, nothing},
	{"members thrown out", whileRunning, func(w *world, l *link) { w.throwOut("crossing", "crossing-mover") }, nothing},
	{"topics made again", whileRunning, allAgain, nothing},
	{"topics made again between two lives", betweenLives, allAgain, nothing},
	{"offsets go backwards", betweenLives, func(w *world, _ *link) {
		offsets := kadm.Offsets{}
		for _, group := range []struct{ name, topic string }{{"crossing", kafka.Triggers}, {"crossing-mover", kafka.Ticks}} {
			for p := range int32(crossingPartitions) {
				offsets.Add(kadm.Offset{Topic: w.prefix + group.topic, Partition: p, At: 1_000, LeaderEpoch: -1})
			}
			if err := w.admin().CommitAllOffsets(w.t.Context(), w.prefix+group.name, offsets); err != nil {
				w.t.Fatal(err)
			}
		}
	}, nothing},
	{"records deleted under readers", whileRunning, func(w *world, _ *link) {
		ends, err := w.admin().ListEndOffsets(w.t.Context(), w.prefix+kafka.Triggers, w.prefix+kafka.Ticks, w.prefix+kafka.Deliveries, w.prefix+kafka.Signals)
		if err != nil {
			w.t.Fatal(err)
		}
		if _, err := w.admin().DeleteRecords(w.t.Context(), ends.Offsets()); err != nil {
			w.t.Fatal(err)
		}
	}, nothing},
}

// throwOut removes the members of groups, as a coordinator does with one that was silent.
func (w *world) throwOut(groups ...string) {
	w.t.Helper()
	for _, group := range groups {
		described, err := w.admin().DescribeGroups(w.t.Context(), w.prefix+group)
		if err != nil {
			w.t.Fatal(err)
		}
		req := kmsg.NewPtrLeaveGroupRequest()
		req.Group = w.prefix + group
		for _, m := range described[w.prefix+group].Members {
			member := kmsg.NewLeaveGroupRequestMember()
			member.MemberID = m.MemberID
			req.Members = append(req.Members, member)
		}
		if _, err := req.RequestWith(w.t.Context(), w.raw); err != nil {
			w.t.Fatal(err)
		}
	}
}

// Every kind of client that lives as long as its part goes on by itself after every
// fault, without being made again, and works within seconds; and it starts whenever what
// it needs is there.
func TestEveryClientOutlivesEveryFault(t *testing.T) {
	t.Parallel()
	criertest.Kafkas(t, func(t *testing.T, brokers string) {
		var all sync.WaitGroup
		for _, c := range crossings { // at once: they are mostly waits
			all.Go(func() { t.Run(c.name, func(t *testing.T) { c.run(t, brokers) }) })
		}
		all.Wait()
	})
}

// faultTime is how long a fault lasts: longer than a record may wait to be sent.
const faultTime = 2500 * time.Millisecond

// backWithin is how soon each client must work again.
const backWithin = 30 * time.Second

func (c *crossing) run(t *testing.T, brokers string) {
	l := newLink()
	defer l.restore()
	partitions := int32(crossingPartitions)
	if strings.HasPrefix(c.name, "metadata") {
		partitions = 0
	}
	w := newWorld(t, brokers, partitions)
	w.cfg.Dial, w.cfg.DeliveryTimeout, w.cfg.Log = l.dial, time.Second, slog.New(slog.NewTextHandler(t.Output(), nil)) // the least that the library takes
	if c.at == beforeOpen {
		c.fault(w, l)
	}
	var ready, ended sync.WaitGroup
	healed := make(chan struct{})
	for _, k := range workers {
		own := *w
		own.Client = own.open()
		ready.Add(1)
		ended.Go(func() {
			if err := c.live(&own, k, healed, sync.OnceFunc(ready.Done)); err != nil {
				t.Errorf("%s: %v", k.name, err)
			}
		})
	}
	if c.at != beforeOpen {
		ready.Wait()
		c.fault(w, l)
	}
	time.Sleep(faultTime)
	c.heal(w, l)
	close(healed)
	ended.Wait()
}

// live is the life of one client: it works, meets the fault, and works again.
func (c *crossing) live(w *world, k worker, healed <-chan struct{}, ready func()) error {
	defer ready()
	var u user
	open := func() error {
		return attempts(healed, func(ctx context.Context) (err error) {
			u, err = k.open(ctx, w)
			return err
		})
	}
	works := func(when string) error {
		n := 0
		err := attempts(healed, func(ctx context.Context) error {
			n++
			return u.work(ctx, fmt.Sprint(when, n))
		})
		if err != nil {
			return fmt.Errorf("working %s the fault: %w", when, err)
		}
		return nil
	}
	if err := open(); err != nil {
		return fmt.Errorf("beginning: %w", err)
	}
	defer func() { u.close() }()
	if c.at != beforeOpen {
		if err := works("before"); err != nil {
			return err
		}
		if c.at == betweenLives {
			u.close()
		}
		ready()
		for n := 0; c.at == whileRunning && !done(healed); n++ { // it may fail, and must not hang
			ctx, cancel := context.WithTimeout(context.Background(), time.Second)
			_ = u.work(ctx, fmt.Sprint("during", n))
			cancel()
		}
		<-healed
		if c.at == betweenLives {
			if err := open(); err != nil {
				return fmt.Errorf("beginning again: %w", err)
			}
		}
	}
	return works("after")
}

func done(ch <-chan struct{}) bool {
	select {
	case <-ch:
		return true
	default:
		return false
	}
}

// attempts tries until it succeeds: without an end while the fault lasts, and for
// backWithin from then on.
func attempts(healed <-chan struct{}, fn func(ctx context.Context) error) error {
	var deadline time.Time
	for {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		err := fn(ctx)
		cancel()
		if err == nil {
			return nil
		}
		if deadline.IsZero() && done(healed) {
			deadline = time.Now().Add(backWithin)
		}
		if !deadline.IsZero() && time.Now().After(deadline) {
			return err
		}
		time.Sleep(50 * time.Millisecond)
	}
}
