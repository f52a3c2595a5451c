package kafka

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// A committed offset says where a group goes on only as long as the partition is
// the one that it was committed for. It is not, when the topic was deleted and made
// again, or when records were lost that had been acknowledged (a power cut before
// they were flushed, an unclean election of a leader): then other records get the
// same offsets, and a group that went on from its commit would pass over them. So a
// commit carries, as its metadata, the topic's id and a fingerprint of the last
// record that it covers, and both are compared before a partition is read.

// commitMark begins the metadata of commits that carry a fingerprint. Others carry
// the member's id, which is the library's way.
const commitMark = "crier/1 "

// withFingerprints has a commit carry its topics' ids and its last records'
// fingerprints.
func withFingerprints(ctx context.Context, last map[string]map[int32]*Record) context.Context {
	return kgo.PreCommitFnContext(ctx, func(req *kmsg.OffsetCommitRequest) error {
		for i := range req.Topics {
			t := &req.Topics[i]
			for j := range t.Partitions {
				p := &t.Partitions[j]
				if r := last[t.Topic][p.Partition]; r != nil && !r.Marker {
					meta := commitMark + r.TopicID + " " + strconv.FormatInt(r.Fingerprint(), 16)
					p.Metadata = &meta
				}
			}
		}
		return nil
	})
}

// startAt decides where newly assigned partitions are read from: at the committed
// offset, where that still stands for what it was committed for. Then startAt of
// the group's own may change it.
func (c *Client) startAt(group string, own func(context.Context, map[string]map[int32]int64) error) func(context.Context, map[string]map[int32]kgo.Offset) (map[string]map[int32]kgo.Offset, error) {
	return func(ctx context.Context, in map[string]map[int32]kgo.Offset) (map[string]map[int32]kgo.Offset, error) {
		bare := make(map[string]map[int32]int64, len(in))
		for t, ps := range in {
			m := make(map[int32]int64, len(ps))
			for p, o := range ps {
				m[p] = -1
				if eo := o.EpochOffset(); eo.Offset >= 0 {
					m[p] = eo.Offset
				}
			}
			bare[c.bare(t)] = m
		}
		if err := c.verify(ctx, group, bare); err != nil {
			return nil, err
		}
		if own != nil {
			if err := own(ctx, bare); err != nil {
				return nil, err
			}
		}
		for t, ps := range in {
			for p, o := range ps {
				switch at := bare[c.bare(t)][p]; {
				case at < 0:
					ps[p] = kgo.NewOffset().AtStart()
				case at != o.EpochOffset().Offset:
					ps[p] = kgo.NewOffset().At(at)
				}
			}
		}
		return in, nil
	}
}

// verify corrects offsets (-1: from the beginning) that do not stand for what they
// were committed for any more.
func (c *Client) verify(ctx context.Context, group string, offsets map[string]map[int32]int64) error {
	committed, err := kadm.NewClient(c.kgo).FetchOffsets(ctx, c.cfg.TopicPrefix+group)
	if err != nil {
		return fmt.Errorf("reading what group %s has committed: %w", group, err)
	}
	for topic, partitions := range offsets {
		id, err := c.TopicID(ctx, topic)
		if err != nil {
			return err
		}
		starts, ends, err := c.Bounds(ctx, topic)
		if err != nil {
			return err
		}
		for p, at := range partitions {
			if at < 0 {
				continue
			}
			o, _ := committed.Lookup(c.cfg.TopicPrefix+topic, p)
			var of, print string
			if ours, marked := strings.CutPrefix(o.Metadata, commitMark); marked {
				of, print, _ = strings.Cut(ours, " ")
			}
			if of != "" && of != id {
				partitions[p] = -1
				c.report("a topic was deleted and made again; reading the new one from its beginning", group, topic, p, at, starts[p])
				continue
			}
			lost := at > ends[p]
			if !lost && print != "" && at-1 >= starts[p] {
				same, err := c.stands(ctx, topic, p, at-1, print)
				if err != nil {
					return err
				}
				lost = !same
			}
			if lost {
				// How far back the loss reaches, and what came since, is not known: what
				// was stored is recognised when it is read again.
				partitions[p] = -1
				c.Truncated(group, topic, p, at, starts[p])
			}
		}
	}
	return nil
}

// stands says whether the record at an offset is the one with a fingerprint; a
// transaction's marker, or nothing, says nothing against it.
func (c *Client) stands(ctx context.Context, topic string, partition int32, offset int64, print string) (bool, error) {
	same := true
	err := c.Reread(ctx, topic, partition, offset, offset+1, func(r Record) bool {
		same = r.Offset == offset && strconv.FormatInt(r.Fingerprint(), 16) == print
		return false
	})
	return same, err
}

// Truncated reports that a partition lost records that a reader had read, and from
// where that reader goes on. It is counted (Truncations).
func (c *Client) Truncated(reader, topic string, partition int32, read, from int64) {
	c.truncations.Add(1)
	c.report("ACKNOWLEDGED RECORDS WERE LOST: a partition ends before what was read of it, or holds other records there", reader, topic, partition, read, from)
}

// Truncations is how many times a partition was found to have lost records.
func (c *Client) Truncations() int64 { return c.truncations.Load() }

// DeadLetters is how many records this client has written to `dead-letters`.
func (c *Client) DeadLetters() int64 { return c.deadLetters.Load() }

func (c *Client) report(msg, reader, topic string, partition int32, read, from int64) {
	if c.cfg.Log != nil {
		c.cfg.Log.Error(msg, "reader", reader, "topic", topic, "partition", partition, "read_to", read, "going_on_from", from)
	}
}
