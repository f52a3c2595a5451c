package kafka

import (
	"context"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

type (
	kmsgCommitRequest  = kmsg.OffsetCommitRequest
	kmsgCommitResponse = kmsg.OffsetCommitResponse
)

// newPartitionCheck is how often a tail looks for partitions added to its topics.
const newPartitionCheck = 5 * time.Second

// Tail follows whole topics from their ends, without a group. It is used by
// one goroutine.
type Tail struct {
	c       *Client
	kgo     *kgo.Client
	topics  []string
	known   map[string]map[int32]bool
	checked time.Time
}

// Tail resolves the present ends of the topics before it returns: every record
// produced after that will be read.
func (c *Client) Tail(ctx context.Context, topics ...string) (*Tail, error) {
	opts, err := c.cfg.options()
	if err != nil {
		return nil, err
	}
	t := &Tail{c: c, topics: topics, known: make(map[string]map[int32]bool), checked: time.Now()}
	start := make(map[string]map[int32]kgo.Offset)
	for _, topic := range topics {
		_, ends, err := c.Bounds(ctx, topic)
		if err != nil {
			return nil, err
		}
		full := c.cfg.TopicPrefix + topic
		start[full], t.known[topic] = make(map[int32]kgo.Offset), make(map[int32]bool)
		for p, end := range ends {
			start[full][p] = kgo.NewOffset().At(end)
			t.known[topic][p] = true
		}
	}
	t.kgo, err = kgo.NewClient(append(opts,
		kgo.ConsumePartitions(start),
		kgo.ConsumeResetOffset(kgo.NoResetOffset()),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.FetchMaxPartitionBytes(8<<20),
		kgo.FetchMaxWait(500*time.Millisecond),
	)...)
	if err != nil {
		return nil, fmt.Errorf("tailing %v: %w", topics, err)
	}
	return t, nil
}

// Poll waits for records. lost names the topics whose place was lost (the
// records it stood at are gone, or the topic was made anew): they go on from
// their present end, and what lay between was not read.
func (t *Tail) Poll(ctx context.Context) (recs []Record, lost []string, err error) {
	if time.Since(t.checked) > newPartitionCheck {
		t.checked = time.Now()
		if err := t.addPartitions(ctx); err != nil {
			return nil, nil, err
		}
	}
	wait, cancel := context.WithTimeout(ctx, newPartitionCheck)
	defer cancel()
	fetches := t.kgo.PollRecords(wait, 10_000)
	if ctx.Err() != nil {
		return nil, nil, context.Cause(ctx)
	}
	seen := make(map[string]bool)
	for _, fe := range fetches.Errors() {
		if fe.Topic == "" || retriable(fe.Err) && !isDataLoss(fe.Err) {
			continue
		}
		topic := t.c.bare(fe.Topic)
		if !seen[topic] {
			seen[topic] = true
			lost = append(lost, topic)
		}
		if err := t.restart(ctx, topic); err != nil {
			return nil, lost, err
		}
	}
	return t.c.records(fetches), lost, nil
}

// restart reads a topic's partitions from their present ends.
func (t *Tail) restart(ctx context.Context, topic string) error {
	_, ends, err := t.c.Bounds(ctx, topic)
	if err != nil {
		return err
	}
	full := t.c.cfg.TopicPrefix + topic
	t.kgo.PurgeTopicsFromConsuming(full)
	at := make(map[int32]kgo.Offset, len(ends))
	t.known[topic] = make(map[int32]bool)
	for p, end := range ends {
		at[p] = kgo.NewOffset().At(end)
		t.known[topic][p] = true
	}
	t.kgo.AddConsumePartitions(map[string]map[int32]kgo.Offset{full: at})
	return nil
}

// addPartitions begins to read partitions that were added since: from 0, for
// all that is in them came after this tail began.
func (t *Tail) addPartitions(ctx context.Context) error {
	for _, topic := range t.topics {
		n, err := t.c.Partitions(ctx, topic)
		if err != nil {
			// Kafka is away, or the topic is: Poll says so in its own way.
			continue
		}
		add := make(map[int32]kgo.Offset)
		for p := range n {
			if !t.known[topic][p] {
				add[p] = kgo.NewOffset().At(0)
				t.known[topic][p] = true
			}
		}
		if len(add) > 0 {
			t.kgo.AddConsumePartitions(map[string]map[int32]kgo.Offset{t.c.cfg.TopicPrefix + topic: add})
		}
	}
	return nil
}

// Close ends the tail's connections.
func (t *Tail) Close() { t.kgo.Close() }
