package kafka

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// Mover brings records that another partitioner put into the wrong partition
// of a topic to the right one: each is produced there and its offset committed
// in one transaction (KIP-98, KIP-447), so that it is moved once. Readers of
// the topic pass over records in the wrong place.
type Mover struct {
	c       *Client
	session *kgo.GroupTransactSession
	topic   string
	keyFunc func(Record) (string, bool)
	moved   func(int)
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
	opts, err := c.cfg.options()
	if err != nil {
		return nil, err
	}
	s, err := kgo.NewGroupTransactSession(append(opts,
		kgo.TransactionalID(c.cfg.TopicPrefix+cfg.TransactionalID),
		kgo.TransactionTimeout(30*time.Second),
		kgo.ConsumerGroup(c.cfg.TopicPrefix+cfg.Group),
		kgo.ConsumeTopics(c.cfg.TopicPrefix+cfg.Topic),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.ProducerLinger(0),
		kgo.SessionTimeout(10*time.Second),
		kgo.HeartbeatInterval(time.Second),
	)...)
	if err != nil {
		return nil, fmt.Errorf("joining group %s: %w", cfg.Group, err)
	}
	return &Mover{c: c, session: s, topic: cfg.Topic, keyFunc: cfg.KeyFunc, moved: cfg.Moved}, nil
}

// moveTime bounds one transaction. It outlives the context of Step: a
// transaction left open would hold up all readers of the topic until the broker
// ends it.
const moveTime = 20 * time.Second

// Step reads a batch and moves what stands wrong in it, in one transaction.
func (m *Mover) Step(ctx context.Context) error {
	n, err := m.c.Partitions(ctx, m.topic)
	if err != nil {
		return err
	}
	fetches := m.session.PollRecords(ctx, 10_000)
	if fetches.IsClientClosed() {
		return errors.New("moving: the client is closed")
	}
	if fetches.NumRecords() == 0 {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		for _, fe := range fetches.Errors() {
			if !retriable(fe.Err) {
				return fmt.Errorf("reading %s[%d]: %w", fe.Topic, fe.Partition, fe.Err)
			}
		}
		return nil
	}
	work, cancel := context.WithTimeout(context.WithoutCancel(ctx), moveTime)
	defer cancel()
	moved, err := m.move(work, fetches, n)
	if err != nil {
		return fmt.Errorf("moving records of %s: %w", m.topic, err)
	}
	if moved > 0 && m.moved != nil {
		m.moved(moved)
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
		key, ok := m.keyFunc(r)
		if !ok || Partition([]byte(key), partitions) == r.Partition {
			continue
		}
		out := m.c.toKgo(&Record{Topic: m.topic, Key: []byte(key), Value: r.Value, Headers: r.Headers})
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

// Close leaves the group.
func (m *Mover) Close() { m.session.CloseAllowingRebalance() }
