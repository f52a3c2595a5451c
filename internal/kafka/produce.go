package kafka

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

// ErrUnacknowledged says that the wait for Kafka's acknowledgement has ended and
// that nothing is known: the records may be written, or may still be.
var ErrUnacknowledged = errors.New("no acknowledgement from Kafka in time: whether it was written is not known")

// produceLimit bounds a Produce whose context has no end: a record that was sent
// and not acknowledged, because its broker hangs, is neither failed by the library
// nor forgotten by it, since it must be sent first again (KIP-98: sequence numbers
// without holes).
const produceLimit = 30 * time.Second

// Produce writes records and returns when all in-sync replicas have each of
// them, with Partition and Offset set in recs. It returns when ctx ends, or
// after 30 s, whatever Kafka does: then, and after any other error, some may have
// been written all the same. A topic that was deleted and made again is produced
// to under its new id.
func (c *Client) Produce(ctx context.Context, recs ...Record) error {
	if len(recs) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeoutCause(ctx, produceLimit, fmt.Errorf("waited %v", produceLimit))
	defer cancel()
	all := make([]*Record, len(recs))
	for i := range recs {
		all[i] = &recs[i]
	}
	gone, err := c.produce(ctx, all)
	if len(gone) > 0 && c.adoptTopics(ctx, gone) {
		_, err = c.produce(ctx, gone) // what is said to have no topic was not written
	}
	if err != nil {
		return fmt.Errorf("producing to %s: %w", recs[0].Topic, err)
	}
	return nil
}

// attempt collects the acknowledgements of the records of one produce.
type attempt struct {
	done chan struct{}

	mu   sync.Mutex // guards the rest
	left int
	gone []int // records whose topic Kafka does not know
	err  error // the first; one that says more than that a topic is unknown, if any
}

// acknowledge is called by the library for each record.
func (a *attempt) acknowledge(i int, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if err != nil {
		if isGone(err) {
			a.gone = append(a.gone, i)
		}
		if a.err == nil || isGone(a.err) {
			a.err = err
		}
	}
	if a.left--; a.left == 0 {
		close(a.done)
	}
}

// produce is one attempt. It returns the records whose topic Kafka does not know,
// where no other has failed.
func (c *Client) produce(ctx context.Context, recs []*Record) (gone []*Record, err error) {
	a := &attempt{done: make(chan struct{}), left: len(recs)}
	out := make([]*kgo.Record, len(recs))
	for i, r := range recs {
		out[i] = c.toKgo(r)
		dead := r.Topic == DeadLetters
		c.kgo.Produce(ctx, out[i], func(_ *kgo.Record, err error) {
			if dead && err == nil {
				c.deadLetters.Add(1)
			}
			a.acknowledge(i, err)
		})
	}
	select {
	case <-a.done:
	case <-ctx.Done():
		// The library still owns the records that are on their way.
		return nil, fmt.Errorf("%w: %w", ErrUnacknowledged, context.Cause(ctx))
	}
	if a.err != nil && !isGone(a.err) {
		return nil, a.err
	}
	for i, k := range out {
		recs[i].Partition, recs[i].Offset = k.Partition, k.Offset
	}
	for _, i := range a.gone {
		gone = append(gone, recs[i])
	}
	return gone, a.err
}

// ProduceAsync writes one record and calls done when it is acknowledged or has
// failed; done must not block. It blocks itself only while 100,000 records wait,
// and to find a topic that was made again.
func (c *Client) ProduceAsync(ctx context.Context, r Record, done func(Record, error)) {
	c.mu.Lock()
	stale := c.stale[r.Topic]
	c.mu.Unlock()
	if stale {
		c.adopt(ctx, r.Topic)
	}
	c.kgo.Produce(ctx, c.toKgo(&r), func(k *kgo.Record, err error) {
		if isGone(err) {
			c.mu.Lock()
			c.stale[r.Topic] = true
			c.mu.Unlock()
		}
		if err == nil && r.Topic == DeadLetters {
			c.deadLetters.Add(1)
		}
		r.Partition, r.Offset = k.Partition, k.Offset
		done(r, err)
	})
}

// isGone says that Kafka does not know the topic that was meant: it is missing, or
// was made again and has another id.
func isGone(err error) bool {
	return errors.Is(err, kerr.UnknownTopicID) || errors.Is(err, kerr.UnknownTopicOrPartition)
}

// adoptTopics is adopt for the topics of records.
func (c *Client) adoptTopics(ctx context.Context, recs []*Record) bool {
	adopted := make(map[string]bool, 1)
	for _, r := range recs {
		if !adopted[r.Topic] && !c.adopt(ctx, r.Topic) {
			return false
		}
		adopted[r.Topic] = true
	}
	return true
}

// adoptAgain is the least time between two adoptions of a topic: each fails what other
// callers have buffered for it, which they produce again.
const adoptAgain = time.Second

// adopt has the producer go by the topic's present id: the library keeps the first that it
// has seen. It is called when Kafka did not know the id, so nothing has to be remembered
// of it. false: there is no such topic, or Kafka is away.
func (c *Client) adopt(ctx context.Context, topic string) bool {
	c.mu.Lock()
	delete(c.topics, topic) // the metadata may be of the topic that was deleted
	c.mu.Unlock()
	now, err := c.info(ctx, topic)
	if err != nil {
		return false
	}
	c.mu.Lock()
	due := time.Since(c.adopted[topic]) >= adoptAgain
	if due {
		c.adopted[topic] = time.Now()
	}
	delete(c.stale, topic)
	c.mu.Unlock()
	if due {
		c.kgo.PurgeTopicsFromProducing(c.cfg.TopicPrefix + topic)
		if c.cfg.Log != nil {
			c.cfg.Log.Warn("Kafka did not know the topic that was produced to; producing to the one that exists now", "topic", topic, "topic_id", now.id)
		}
	}
	return true
}
