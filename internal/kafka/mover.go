package kafka

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"crier/internal/lifecycle"
)

// Mover brings records that another partitioner put into the wrong partition
// of a topic to the right one: each is produced there and its offset committed
// in one transaction (KIP-98, KIP-447), so that it is moved once. Readers of
// the topic pass over records in the wrong place.
type Mover struct {
	c       *Client
	cfg     MoverConfig
	session *moverSession
	topics  watch
}

// moverSession is a transactional client, which can be ended whatever Kafka does.
type moverSession struct {
	*kgo.GroupTransactSession
	cancel context.CancelFunc
}

// MoverConfig describes a Mover.
type MoverConfig struct {
	Group string
	Topic string
	// TransactionalID must differ between running movers and stay the same for
	// one that is restarted.
	TransactionalID string
	// KeyFunc tells a record's right key; false: it cannot be read, leave it.
	KeyFunc func(Record) (string, bool)
	// Moved is told how many records each committed transaction moved.
	Moved func(int)
}

// Mover joins the group that moves.
func (c *Client) Mover(cfg MoverConfig) (*Mover, error) {
	m := &Mover{c: c, cfg: cfg, topics: watch{c: c, topics: []string{cfg.Topic}}}
	return m, m.open(false)
}

// open begins a session. again says that the topic was made again: what was
// committed is of the one that is gone.
func (m *Mover) open(again bool) error {
	opts, err := m.c.cfg.options()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	s, err := kgo.NewGroupTransactSession(append(opts,
		kgo.WithContext(ctx),
		kgo.TransactionalID(m.c.cfg.TopicPrefix+m.cfg.TransactionalID),
		kgo.TransactionTimeout(30*time.Second),
		kgo.ConsumerGroup(m.c.cfg.TopicPrefix+m.cfg.Group),
		kgo.ConsumeTopics(m.c.cfg.TopicPrefix+m.cfg.Topic),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.AdjustFetchOffsetsFn(m.startAt(again)),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.ProducerLinger(0),
		kgo.SessionTimeout(10*time.Second),
		kgo.HeartbeatInterval(3*time.Second), // a rebalance is noticed in time; each one wakes an idle process
	)...)
	if err != nil {
		cancel()
		return fmt.Errorf("joining group %s: %w", m.cfg.Group, err)
	}
	m.session = &moverSession{s, cancel}
	return nil
}

// startAt goes on from the end of a partition that has lost records which were
// moved: what is moved twice counts twice.
func (m *Mover) startAt(again bool) func(context.Context, map[string]map[int32]kgo.Offset) (map[string]map[int32]kgo.Offset, error) {
	return func(ctx context.Context, in map[string]map[int32]kgo.Offset) (map[string]map[int32]kgo.Offset, error) {
		_, ends, err := m.c.Bounds(ctx, m.cfg.Topic)
		if err != nil {
			return nil, err
		}
		for _, partitions := range in {
			for p, o := range partitions {
				switch at := o.EpochOffset().Offset; {
				case again:
					partitions[p] = kgo.NewOffset().AtStart()
				case at > ends[p]:
					m.c.Truncated(m.cfg.Group, m.cfg.Topic, p, at, ends[p])
					partitions[p] = kgo.NewOffset().At(ends[p])
				}
			}
		}
		return in, nil
	}
}

// reopen replaces the session: a transactional client that was fenced, or whose
// transaction failed in a way that it cannot recover from, never works again.
func (m *Mover) reopen(again bool) error {
	before := m.session
	if err := m.open(again); err != nil {
		return err // the old one fails again, and this is tried again
	}
	before.leave()
	return nil
}

// moveTime bounds one transaction. It outlives the context of Step: a
// transaction left open would hold up all readers of the topic until the broker
// ends it.
const moveTime = 20 * time.Second

// Step reads a batch and moves what stands wrong in it, in one transaction.
func (m *Mover) Step(ctx context.Context) error {
	n, err := m.c.Partitions(ctx, m.cfg.Topic)
	if err != nil {
		return err
	}
	if err := m.topics.check(ctx, func() error { return m.reopen(true) }); err != nil {
		return err
	}
	outer := ctx
	ctx, polled := context.WithTimeout(ctx, newPartitionCheck)
	defer polled()
	fetches := m.session.PollRecords(ctx, 10_000)
	if fetches.IsClientClosed() {
		return errors.New("moving: the client is closed")
	}
	if fetches.NumRecords() == 0 {
		for _, fe := range fetches.Errors() {
			if !retriable(fe.Err) && ctx.Err() == nil {
				return fmt.Errorf("reading %s[%d]: %w", fe.Topic, fe.Partition, fe.Err)
			}
		}
		return nil
	}
	drained, free := lifecycle.Draining(outer, leaveLimit)
	defer free()
	work, cancel := context.WithTimeout(drained, moveTime)
	defer cancel()
	// A record that was sent and not acknowledged is waited for without an end; with
	// its client it is given up, and the transaction with it.
	defer context.AfterFunc(work, m.session.cancel)()
	moved, err := m.move(work, fetches, n)
	if err != nil {
		// Nothing of the transaction counts, and what was read is read again.
		return errors.Join(fmt.Errorf("moving records of %s: %w", m.cfg.Topic, err), m.reopen(false))
	}
	if moved > 0 && m.cfg.Moved != nil {
		m.cfg.Moved(moved)
	}
	return nil
}

// move returns how many records a committed transaction has moved. After an
// error, or when another member has got the partitions meanwhile, the session
// goes back to what was committed.
func (m *Mover) move(ctx context.Context, fetches kgo.Fetches, partitions int32) (moved int, err error) {
	if err := m.session.Begin(); err != nil {
		_, endErr := m.session.End(ctx, kgo.TryAbort)
		return 0, errors.Join(fmt.Errorf("beginning a transaction: %w", err), endErr)
	}
	promise := kgo.AbortingFirstErrPromise(m.session.Client())
	for _, r := range m.c.records(fetches) {
		key, ok := m.cfg.KeyFunc(r)
		if !ok || Partition([]byte(key), partitions) == r.Partition {
			continue
		}
		out := m.c.toKgo(&Record{Topic: m.cfg.Topic, Key: []byte(key), Value: r.Value, Headers: r.Headers})
		out.Timestamp = r.Time // it is the same record, and this client has no delivery timeout
		m.session.Produce(ctx, out, promise.Promise())
		moved++
	}
	failed := promise.Err()
	committed, err := m.session.End(ctx, failed == nil)
	if err = errors.Join(failed, err); err != nil || !committed {
		return 0, err
	}
	return moved, nil
}

// Close leaves the group. It takes a few seconds at most, whatever Kafka does.
func (m *Mover) Close() { m.session.leave() }

func (s *moverSession) leave() {
	ctx, cancel := context.WithTimeout(context.Background(), leaveLimit)
	defer cancel()
	_ = s.Client().LeaveGroupContext(ctx) // see leaveLimit
	s.cancel()
	s.CloseAllowingRebalance()
}
