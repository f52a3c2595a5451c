package kafka

import (
	"context"
	"errors"
	"fmt"
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
	c   *Client
	kgo *kgo.Client
}

// Group joins a consumer group.
func (c *Client) Group(cfg GroupConfig) (*Group, error) {
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
		kgo.FetchMaxWait(500*time.Millisecond),
	)
	if cfg.Markers {
		opts = append(opts, kgo.KeepControlRecords())
	}
	if cfg.StartAt != nil {
		opts = append(opts, kgo.AdjustFetchOffsetsFn(c.adjust(cfg.StartAt)))
	}
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
	k, err := kgo.NewClient(opts...)
	if err != nil {
		return nil, fmt.Errorf("joining group %s: %w", cfg.Name, err)
	}
	return &Group{c: c, kgo: k}, nil
}

func (c *Client) adjust(startAt func(context.Context, map[string]map[int32]int64) error) func(context.Context, map[string]map[int32]kgo.Offset) (map[string]map[int32]kgo.Offset, error) {
	return func(ctx context.Context, in map[string]map[int32]kgo.Offset) (map[string]map[int32]kgo.Offset, error) {
		bare := make(map[string]map[int32]int64, len(in))
		for t, ps := range in {
			m := make(map[int32]int64, len(ps))
			for p, o := range ps {
				if eo := o.EpochOffset(); eo.Offset >= 0 {
					m[p] = eo.Offset
				} else {
					m[p] = -1
				}
			}
			bare[c.bare(t)] = m
		}
		if err := startAt(ctx, bare); err != nil {
			return nil, err
		}
		for t, ps := range in {
			for p, o := range ps {
				if at := bare[c.bare(t)][p]; at >= 0 && at != o.EpochOffset().Offset {
					ps[p] = kgo.NewOffset().At(at)
				}
			}
		}
		return in, nil
	}
}

// Batch is what one Poll brought: each partition's records stand in order.
type Batch struct {
	Records []Record
}

// Poll waits for records, at most limit of them; with an error there are none.
// Errors that the client mends by itself are not returned.
func (g *Group) Poll(ctx context.Context, limit int) (Batch, error) {
	return g.taken(ctx, g.kgo.PollRecords(ctx, limit))
}

// PollNow is Poll without waiting: it brings what was read ahead, which may be
// nothing. It is for going on while an earlier batch is not released.
func (g *Group) PollNow(limit int) (Batch, error) {
	var none context.Context // the library's way to say that
	return g.taken(context.Background(), g.kgo.PollRecords(none, limit))
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
	for i := range b.Records {
		r := &b.Records[i]
		full := g.c.cfg.TopicPrefix + r.Topic
		if offsets[full] == nil {
			offsets[full] = make(map[int32]kgo.EpochOffset)
		}
		offsets[full][r.Partition] = kgo.EpochOffset{Epoch: -1, Offset: r.Offset + 1}
	}
	return g.commit(ctx, offsets)
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
	g.kgo.CommitOffsetsSync(ctx, offsets, func(_ *kgo.Client, _ *kmsgCommitRequest, resp *kmsgCommitResponse, err error) {
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
func (g *Group) Release() { g.kgo.AllowRebalance() }

// Close leaves the group, so that others take over at once.
func (g *Group) Close() { g.kgo.CloseAllowingRebalance() }
