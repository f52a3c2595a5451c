package kafka

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

// Assignment is a set of partitions by topic.
type Assignment map[string][]int32

// GroupConfig describes a consumer group's member.
type GroupConfig struct {
	Name   string // of the group, without the prefix
	Topics []string
	// Markers brings transactions' markers too, as records with Marker set: who
	// counts places must see that they were passed.
	Markers bool
	// StartAt changes where newly assigned partitions are read from; it gets
	// the committed offsets (-1: none) by topic and partition, in place. It runs
	// before the first record of those partitions, while heartbeats go on.
	StartAt func(ctx context.Context, offsets map[string]map[int32]int64) error
	// Revoked is called when partitions go to another member, after the last
	// Poll's batch was settled.
	Revoked func(ctx context.Context, lost Assignment)
}

// Group reads topics together with the group's other members: Poll, do the
// effect, Commit, Release, and again. From a Poll that brought something to
// Release no rebalance takes partitions away, however many polls lie in between.
// One goroutine polls and releases; others may commit meanwhile.
type Group struct {
	c      *Client
	cfg    GroupConfig
	kgo    atomic.Pointer[member] // replaced when a topic was made again
	topics watch
}

// Group joins a consumer group.
func (c *Client) Group(cfg GroupConfig) (*Group, error) {
	g := &Group{c: c, cfg: cfg, topics: watch{c: c, topics: cfg.Topics}}
	k, err := c.join(cfg)
	if err != nil {
		return nil, err
	}
	g.kgo.Store(k)
	return g, nil
}

// member is a group's client, which can be ended whatever Kafka does.
type member struct {
	*kgo.Client
	cancel context.CancelFunc // ends its requests
}

// leaveLimit bounds the request to leave a group, which the library repeats for
// half a minute while Kafka is away. The group finds out all the same, when the
// session runs out.
const leaveLimit = 2 * time.Second

// leave leaves the group, so that others take over at once, and ends the client.
func (m *member) leave() {
	ctx, cancel := context.WithTimeout(context.Background(), leaveLimit)
	defer cancel()
	m.AllowRebalance()
	_ = m.LeaveGroupContext(ctx) // see leaveLimit
	m.cancel()
	m.CloseAllowingRebalance()
}

// join makes a group's member.
func (c *Client) join(cfg GroupConfig) (*member, error) {
	opts, err := c.cfg.options()
	if err != nil {
		return nil, err
	}
	topics := make([]string, len(cfg.Topics))
	for i, t := range cfg.Topics {
		topics[i] = c.cfg.TopicPrefix + t
	}
	opts = append(opts,
		kgo.ConsumerGroup(c.cfg.TopicPrefix+cfg.Name),
		kgo.ConsumeTopics(topics...),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.DisableAutoCommit(),
		kgo.BlockRebalanceOnPoll(),
		kgo.Balancers(kgo.CooperativeStickyBalancer()),
		// A member that died is noticed within this; a batch takes far less.
		kgo.SessionTimeout(10*time.Second),
		kgo.HeartbeatInterval(time.Second),
		kgo.RebalanceTimeout(60*time.Second),
		kgo.FetchMaxBytes(32<<20),
		kgo.FetchMaxPartitionBytes(maxDeadLetterRecord),
		kgo.FetchMaxWait(idleFetch),
	)
	if cfg.Markers {
		opts = append(opts, kgo.KeepControlRecords())
	}
	opts = append(opts, kgo.AdjustFetchOffsetsFn(c.startAt(cfg.Name, cfg.StartAt)))
	if cfg.Revoked != nil {
		revoked := func(ctx context.Context, _ *kgo.Client, lost map[string][]int32) {
			bare := make(Assignment, len(lost))
			for t, ps := range lost {
				bare[c.bare(t)] = ps
			}
			cfg.Revoked(ctx, bare)
		}
		opts = append(opts, kgo.OnPartitionsRevoked(revoked), kgo.OnPartitionsLost(revoked))
	}
	ctx, cancel := context.WithCancel(context.Background())
	k, err := kgo.NewClient(append(opts, kgo.WithContext(ctx))...)
	if err != nil {
		cancel()
		return nil, fmt.Errorf("joining group %s: %w", cfg.Name, err)
	}
	return &member{k, cancel}, nil
}

// rejoin leaves the group and joins it again, with what was read of a topic that is
// gone forgotten: the library stays with the topic's old id. Nothing is polled and
// not released when it is called.
func (g *Group) rejoin() error {
	k, err := g.c.join(g.cfg)
	if err != nil {
		return err
	}
	g.kgo.Load().leave()
	g.kgo.Store(k)
	return nil
}

// Batch is what one Poll brought: each partition's records stand in order.
type Batch struct {
	Records []Record
}

// Poll waits for records, at most limit of them; with an error there are none. Release
// is called after each, whatever it brought: until then no rebalance goes on.
// Errors that the client retries itself are not returned. A topic that was deleted
// and made again is read from its beginning within seconds.
func (g *Group) Poll(ctx context.Context, limit int) (Batch, error) {
	if err := g.topics.check(ctx, g.rejoin); err != nil {
		return Batch{}, err
	}
	wait, cancel := context.WithTimeout(ctx, newPartitionCheck)
	defer cancel()
	batch, err := g.taken(wait, g.kgo.Load().PollRecords(wait, limit))
	if wait.Err() != nil && ctx.Err() == nil && len(batch.Records) == 0 {
		return Batch{}, nil // nothing came in a while
	}
	return batch, err
}

// PollNow is Poll without waiting: it brings what was read ahead, which may be
// nothing. It is for going on while an earlier batch is not released.
func (g *Group) PollNow(limit int) (Batch, error) {
	var none context.Context // the library's way to say that
	return g.taken(context.Background(), g.kgo.Load().PollRecords(none, limit))
}

func (g *Group) taken(ctx context.Context, fetches kgo.Fetches) (Batch, error) {
	if fetches.IsClientClosed() {
		return Batch{}, errors.New("reading as a group: the client is closed")
	}
	// What was read is never thrown away: the client would not read it again, and
	// a later commit would pass it over. An error beside records comes back with
	// the next Poll.
	if fetches.NumRecords() > 0 {
		return Batch{g.c.records(fetches)}, nil
	}
	if err := ctx.Err(); err != nil {
		return Batch{}, context.Cause(ctx)
	}
	var failed error
	for _, fe := range fetches.Errors() {
		if !retriable(fe.Err) {
			failed = errors.Join(failed, fmt.Errorf("reading %s partition %d: %w", fe.Topic, fe.Partition, fe.Err))
		}
	}
	return Batch{}, failed
}

func (c *Client) records(fetches kgo.Fetches) []Record {
	out := make([]Record, 0, fetches.NumRecords())
	fetches.EachTopic(func(t kgo.FetchTopic) {
		topic, id := c.bare(t.Topic), uuidText(t.TopicID)
		t.EachRecord(func(k *kgo.Record) { out = append(out, c.fromKgo(k, topic, id)) })
	})
	return out
}

// retriable errors are those that the library goes on after: a broker that is
// away, a topic that is being moved or made.
func retriable(err error) bool {
	var loss *kgo.ErrDataLoss
	return kerr.IsRetriable(err) || errors.As(err, &loss) || errors.Is(err, context.DeadlineExceeded) || kgo.IsRetryableBrokerErr(err)
}

// Commit says that everything up to and including these records has had its
// effect. It does not let rebalances go on: Release does.
func (g *Group) Commit(ctx context.Context, b Batch) error {
	offsets := make(map[string]map[int32]kgo.EpochOffset)
	last := make(map[string]map[int32]*Record)
	for i := range b.Records {
		r := &b.Records[i]
		full := g.c.cfg.TopicPrefix + r.Topic
		if offsets[full] == nil {
			offsets[full], last[full] = make(map[int32]kgo.EpochOffset), make(map[int32]*Record)
		}
		offsets[full][r.Partition] = kgo.EpochOffset{Epoch: -1, Offset: r.Offset + 1}
		last[full][r.Partition] = r
	}
	return g.commit(withFingerprints(ctx, last), offsets)
}

// CommitOffsets says that everything before these offsets of one topic has had
// its effect. It does not let rebalances go on: Release does.
func (g *Group) CommitOffsets(ctx context.Context, topic string, next map[int32]int64) error {
	m := make(map[int32]kgo.EpochOffset, len(next))
	for p, o := range next {
		m[p] = kgo.EpochOffset{Epoch: -1, Offset: o}
	}
	return g.commit(ctx, map[string]map[int32]kgo.EpochOffset{g.c.cfg.TopicPrefix + topic: m})
}

func (g *Group) commit(ctx context.Context, offsets map[string]map[int32]kgo.EpochOffset) error {
	var failed error
	for t, ps := range offsets {
		if len(ps) == 0 {
			delete(offsets, t)
		}
	}
	if len(offsets) == 0 {
		return nil
	}
	g.kgo.Load().CommitOffsetsSync(ctx, offsets, func(_ *kgo.Client, _ *kmsgCommitRequest, resp *kmsgCommitResponse, err error) {
		failed = err
		if resp == nil {
			return
		}
		for _, t := range resp.Topics {
			for _, p := range t.Partitions {
				failed = errors.Join(failed, kerr.ErrorForCode(p.ErrorCode))
			}
		}
	})
	if failed != nil {
		return fmt.Errorf("committing offsets: %w", failed)
	}
	return nil
}

// Release lets rebalances go on. What was polled and not committed is read again
// by whoever gets its partitions.
func (g *Group) Release() { g.kgo.Load().AllowRebalance() }

// Close leaves the group, so that others take over at once. It takes a few seconds
// at most, whatever Kafka does.
func (g *Group) Close() { g.kgo.Load().leave() }
