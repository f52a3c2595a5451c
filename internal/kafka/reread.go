package kafka

import (
	"context"
	"errors"
	"fmt"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

func isDataLoss(err error) bool {
	var loss *kgo.ErrDataLoss
	return errors.As(err, &loss)
}

// Reread calls fn with every record of one partition from offset `from` (or
// the first that is kept) up to but not including `to`, in order. It returns
// when all were read, or fn returns false. Records that are lost meanwhile, as with
// a topic that is deleted and made again, are an error.
func (c *Client) Reread(ctx context.Context, topic string, partition int32, from, to int64, fn func(Record) bool) error {
	starts, ends, err := c.Bounds(ctx, topic)
	if err != nil {
		return err
	}
	from, to = max(from, starts[partition]), min(to, ends[partition])
	if from >= to {
		return nil
	}
	id, err := c.TopicID(ctx, topic)
	if err != nil {
		return err
	}
	opts, err := c.cfg.options()
	if err != nil {
		return err
	}
	full := c.cfg.TopicPrefix + topic
	k, err := kgo.NewClient(append(opts,
		kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{full: {partition: kgo.NewOffset().At(from)}}),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		// Transactions' markers take offsets too; seeing them tells the end of a
		// range whose last records were aborted.
		kgo.KeepControlRecords(),
		kgo.FetchMaxPartitionBytes(8<<20),
	)...)
	if err != nil {
		return fmt.Errorf("reading %s[%d] again: %w", topic, partition, err)
	}
	defer k.Close()
	for {
		wait, cancel := context.WithTimeout(ctx, newPartitionCheck)
		fetches := k.PollRecords(wait, 10_000)
		cancel()
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if fetches.NumRecords() == 0 {
			// For records that are gone the library would wait for ever.
			if now, err := c.info(ctx, topic); err == nil && now.id != id {
				return fmt.Errorf("reading %s[%d] again from %d: the topic was deleted and made again: %w", topic, partition, from, kerr.UnknownTopicID)
			}
			if _, ends, err := c.Bounds(ctx, topic); err == nil && ends[partition] < to {
				return fmt.Errorf("reading %s[%d] again from %d to %d: it ends at %d: %w", topic, partition, from, to, ends[partition], kerr.OffsetOutOfRange)
			}
		}
		for _, fe := range fetches.Errors() {
			if !retriable(fe.Err) {
				return fmt.Errorf("reading %s[%d] again from %d: %w", topic, partition, from, fe.Err)
			}
		}
		done := false
		fetches.EachTopic(func(t kgo.FetchTopic) {
			id := uuidText(t.TopicID)
			t.EachRecord(func(r *kgo.Record) {
				if done || r.Offset >= to {
					done = true
					return
				}
				if !r.Attrs.IsControl() && !fn(c.fromKgo(r, topic, id)) || r.Offset == to-1 {
					done = true
				}
			})
		})
		if done {
			return nil
		}
	}
}
