package kafka

import (
	"context"
	"fmt"
	"iter"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"crier/internal/lifecycle"
)

type (
	kmsgCommitRequest  = kmsg.OffsetCommitRequest
	kmsgCommitResponse = kmsg.OffsetCommitResponse
)

// newPartitionCheck is how often a tail looks for partitions added to its topics,
// and for topics made anew.
const newPartitionCheck = 5 * time.Second

// idleFetch is how long a broker keeps a fetch to which there is nothing to say:
// what comes is answered at once, and a partition that is added is read after it
// at the latest.
const idleFetch = 2 * time.Second

// Tail follows whole topics from their ends, without a group. It is used by
// one goroutine.
type Tail struct {
	c       *Client
	kgo     *kgo.Client
	topics  []string
	ids     map[string]string // by topic
	known   map[string]map[int32]bool
	lost    map[string]bool // topics whose place is lost and not yet found again
	checked time.Time
	polled  time.Time // when records last came
}

// Tail resolves the present ends of the topics before it returns: every record
// produced after that will be read.
func (c *Client) Tail(ctx context.Context, topics ...string) (*Tail, error) {
	opts, err := c.cfg.options()
	if err != nil {
		return nil, err
	}
	t := &Tail{c: c, topics: topics, ids: make(map[string]string), known: make(map[string]map[int32]bool), lost: make(map[string]bool), checked: time.Now()}
	start := make(map[string]map[int32]kgo.Offset)
	for _, topic := range topics {
		if start[c.cfg.TopicPrefix+topic], err = t.present(ctx, topic); err != nil {
			return nil, err
		}
	}
	t.kgo, err = kgo.NewClient(append(opts,
		kgo.ConsumePartitions(start),
		kgo.ConsumeResetOffset(kgo.NoResetOffset()),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.FetchMaxPartitionBytes(8<<20),
		kgo.FetchMaxWait(idleFetch),
	)...)
	if err != nil {
		return nil, fmt.Errorf("tailing %v: %w", topics, err)
	}
	return t, nil
}

// gather is how far apart polls are while there is much to read: what a fetch
// costs is shared by more records then, and a record waits this long at most.
// One that comes alone waits for nothing.
const gather = 2 * time.Millisecond

// Poll waits for records and calls batch once with those that came, if any; each is
// good until the next one, but for Key, Value and the headers' values. lost names
// the topics whose place was lost (the records it stood at are gone, or the topic
// was made anew): they go on from their present end, and what lay between was not
// read.
func (t *Tail) Poll(ctx context.Context, batch func(iter.Seq[*Record])) (lost []string, err error) {
	if err := t.gatherMore(ctx); err != nil {
		return nil, err
	}
	if time.Since(t.checked) > newPartitionCheck {
		t.checked = time.Now()
		t.look(ctx)
	}
	wait, cancel := context.WithTimeout(ctx, newPartitionCheck)
	defer cancel()
	fetches := t.kgo.PollRecords(wait, 10_000)
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	t.polled = time.Now()
	for _, fe := range fetches.Errors() {
		if fe.Topic != "" && (!retriable(fe.Err) || isDataLoss(fe.Err)) {
			t.lost[t.c.bare(fe.Topic)] = true
		}
	}
	if fetches.NumRecords() > 0 {
		batch(t.each(fetches))
	}
	// Told only once it is read again: what comes until then would be missed too.
	for topic := range t.lost {
		if err := t.restart(ctx, topic); err != nil {
			return lost, err
		}
		delete(t.lost, topic)
		lost = append(lost, topic)
	}
	return lost, nil
}

func (t *Tail) each(fetches kgo.Fetches) iter.Seq[*Record] {
	return func(yield func(*Record) bool) {
		var rec Record
		for _, f := range fetches {
			for _, ft := range f.Topics {
				topic, id := t.c.bare(ft.Topic), uuidText(ft.TopicID)
				for _, p := range ft.Partitions {
					for _, k := range p.Records {
						rec = t.c.fromKgo(k, topic, id)
						if !yield(&rec) {
							return
						}
					}
				}
			}
		}
	}
}

// gatherMore waits where records came a moment ago.
func (t *Tail) gatherMore(ctx context.Context) error {
	left := gather - time.Since(t.polled)
	if left <= 0 {
		return nil
	}
	timer := time.NewTimer(left)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// restart reads a topic's partitions from their present ends.
func (t *Tail) restart(ctx context.Context, topic string) error {
	at, err := t.present(ctx, topic)
	if err != nil {
		return err
	}
	full := t.c.cfg.TopicPrefix + topic
	t.kgo.PurgeTopicsFromConsuming(full)
	t.kgo.AddConsumePartitions(map[string]map[int32]kgo.Offset{full: at})
	return nil
}

// present is where a topic's partitions end now, and notes which topic it is.
func (t *Tail) present(ctx context.Context, topic string) (map[int32]kgo.Offset, error) {
	id, err := t.c.TopicID(ctx, topic)
	if err != nil {
		return nil, err
	}
	ends, err := t.ends(ctx, topic)
	if err != nil {
		return nil, err
	}
	at := make(map[int32]kgo.Offset, len(ends))
	t.ids[topic], t.known[topic] = id, make(map[int32]bool)
	for p, end := range ends {
		at[p] = kgo.NewOffset().At(end)
		t.known[topic][p] = true
	}
	return at, nil
}

// ends waits a while for a topic that one broker knows and another, which is just
// coming up, does not know yet.
func (t *Tail) ends(ctx context.Context, topic string) (map[int32]int64, error) {
	ctx, cancel := context.WithTimeout(ctx, topicWait)
	defer cancel()
	var wait lifecycle.Backoff
	for {
		_, ends, err := t.c.Bounds(ctx, topic)
		if err == nil || !isGone(err) && !retriable(err) || wait.Wait(ctx) != nil {
			return ends, err
		}
	}
}

// look notices a topic that was made anew, whose name the client still asks for
// by the id of the one that is gone, and begins to read partitions that were
// added: from 0, for all that is in them came after this tail began.
func (t *Tail) look(ctx context.Context) {
	for _, topic := range t.topics {
		now, err := t.c.info(ctx, topic)
		if err != nil {
			// Kafka is away, or the topic is: Poll says so in its own way.
			continue
		}
		if now.id != t.ids[topic] {
			t.lost[topic] = true
			continue
		}
		add := make(map[int32]kgo.Offset)
		for p := range now.partitions {
			if !t.known[topic][p] {
				add[p] = kgo.NewOffset().At(0)
				t.known[topic][p] = true
			}
		}
		if len(add) > 0 {
			t.kgo.AddConsumePartitions(map[string]map[int32]kgo.Offset{t.c.cfg.TopicPrefix + topic: add})
		}
	}
}

// Close ends the tail's connections.
func (t *Tail) Close() { t.kgo.Close() }
