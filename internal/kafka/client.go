package kafka

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"crier/internal/event"
)

// Client produces and asks the cluster questions; Group, Tail and Mover make
// readers with connections of their own. It is safe for concurrent use. Close
// waits for nothing: what was produced with Produce has been acknowledged.
type Client struct {
	cfg Config
	kgo *kgo.Client

	truncations atomic.Int64
	deadLetters atomic.Int64

	mu      sync.Mutex // guards the rest
	topics  map[string]topicInfo
	adopted map[string]time.Time // by topic: when the producer last went over to its present id
	stale   map[string]bool
}

// topicInfo is what metadata said, and when.
type topicInfo struct {
	id         string
	partitions int32
	read       time.Time
}

// topicInfoAge is how long metadata is believed: a topic deleted and made
// anew, or grown, is noticed within it.
const topicInfoAge = 2 * time.Second

// Open makes a client; it connects at first use.
func Open(cfg Config) (*Client, error) {
	opts, err := cfg.options()
	if err != nil {
		return nil, err
	}
	opts = append(opts,
		kgo.ProducerLinger(0),
		kgo.ProducerBatchCompression(kgo.NoCompression()),
		// Dead letters are the largest; brokers and topics have their own,
		// smaller limits, so batches of small records are kept below 1 MB.
		kgo.ProducerBatchMaxBytesFn(batchLimit(cfg.TopicPrefix)),
		kgo.MaxBufferedRecords(100_000),
		kgo.RecordDeliveryTimeout(cmp.Or(cfg.DeliveryTimeout, DefaultDeliveryTimeout)),
		kgo.RecordPartitioner(kgo.StickyKeyPartitioner(nil)),
	)
	k, err := kgo.NewClient(opts...)
	if err != nil {
		return nil, fmt.Errorf("making a Kafka client: %w", err)
	}
	return &Client{cfg: cfg, kgo: k, topics: make(map[string]topicInfo), adopted: make(map[string]time.Time), stale: make(map[string]bool)}, nil
}

func batchLimit(prefix string) func(string) int32 {
	return func(topic string) int32 {
		switch topic {
		case prefix + DeadLetters:
			return maxDeadLetterRecord
		case prefix + Notifications:
			return maxNotificationRecord
		}
		return 1_000_000 // below the default max.message.bytes of 1,048,588
	}
}

// Close ends the client's connections.
func (c *Client) Close() { c.kgo.Close() }

// Ping asks any broker whether it is there.
func (c *Client) Ping(ctx context.Context) error {
	if err := c.kgo.Ping(ctx); err != nil {
		return fmt.Errorf("reaching Kafka at %v: %w", c.cfg.Brokers, err)
	}
	return nil
}

// info reads a topic's id and number of partitions, from memory if fresh.
func (c *Client) info(ctx context.Context, topic string) (topicInfo, error) {
	c.mu.Lock()
	known, ok := c.topics[topic]
	c.mu.Unlock()
	if ok && time.Since(known.read) < topicInfoAge {
		return known, nil
	}
	full := c.cfg.TopicPrefix + topic
	md, err := kadm.NewClient(c.kgo).Metadata(ctx, full)
	if err != nil {
		return topicInfo{}, fmt.Errorf("reading metadata of topic %s: %w", full, err)
	}
	t, ok := md.Topics[full]
	if !ok {
		return topicInfo{}, fmt.Errorf("reading metadata of topic %s: %w", full, kerr.UnknownTopicOrPartition)
	}
	if t.Err != nil {
		return topicInfo{}, fmt.Errorf("reading metadata of topic %s: %w", full, t.Err)
	}
	known = topicInfo{id: uuidText(t.ID), partitions: int32(len(t.Partitions)), read: time.Now()}
	c.mu.Lock()
	c.topics[topic] = known
	c.mu.Unlock()
	return known, nil
}

// Partitions is how many partitions a topic has.
func (c *Client) Partitions(ctx context.Context, topic string) (int32, error) {
	i, err := c.info(ctx, topic)
	return i.partitions, err
}

// TopicID is the id that Kafka gave the topic when it was made (KIP-516).
func (c *Client) TopicID(ctx context.Context, topic string) (string, error) {
	i, err := c.info(ctx, topic)
	return i.id, err
}

// EndOf is the place that the next record with this key will take in a topic.
func (c *Client) EndOf(ctx context.Context, topic, key string) (event.Place, error) {
	i, err := c.info(ctx, topic)
	if err != nil {
		return event.Place{}, err
	}
	p := Partition([]byte(key), i.partitions)
	_, ends, err := c.Bounds(ctx, topic)
	if err != nil {
		return event.Place{}, err
	}
	return event.Place{TopicID: i.id, Partition: p, Offset: ends[p]}, nil
}

// Bounds are the first offset kept and the next to be given, by partition.
func (c *Client) Bounds(ctx context.Context, topic string) (starts, ends map[int32]int64, err error) {
	adm, full := kadm.NewClient(c.kgo), c.cfg.TopicPrefix+topic
	starts, ends = make(map[int32]int64), make(map[int32]int64)
	for _, ask := range []struct {
		list func(context.Context, ...string) (kadm.ListedOffsets, error)
		into map[int32]int64
	}{{adm.ListStartOffsets, starts}, {adm.ListEndOffsets, ends}} {
		listed, err := ask.list(ctx, full)
		if err == nil {
			err = listed.Error()
		}
		if err != nil {
			return nil, nil, fmt.Errorf("reading the bounds of topic %s: %w", full, err)
		}
		listed.Each(func(o kadm.ListedOffset) { ask.into[o.Partition] = o.Offset })
	}
	return starts, ends, nil
}

// Committed is where a group has got to in a topic; partitions without a
// commit are absent.
func (c *Client) Committed(ctx context.Context, group, topic string) (map[int32]int64, error) {
	full := c.cfg.TopicPrefix + topic
	offsets, err := kadm.NewClient(c.kgo).FetchOffsets(ctx, c.cfg.TopicPrefix+group)
	if err != nil {
		if errors.Is(err, kerr.GroupIDNotFound) {
			return nil, nil
		}
		return nil, fmt.Errorf("reading what group %s has committed: %w", group, err)
	}
	out := make(map[int32]int64)
	offsets.Each(func(o kadm.OffsetResponse) {
		if o.Topic == full && o.Err == nil && o.At >= 0 {
			out[o.Partition] = o.At
		}
	})
	return out, nil
}
