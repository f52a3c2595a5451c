package kafka

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"

	"crier/internal/lifecycle"
)

// The topics. docs/contract.md says who writes and reads each.
const (
	Ticks         = "ticks"
	Triggers      = "triggers"
	Notifications = "notifications"
	Deliveries    = "deliveries"
	Results       = "results"
	Signals       = "signals"
	DeadLetters   = "dead-letters"
	Incoming      = "incoming"
	Rooms         = "rooms"
)

// Records of `notifications` may be far larger than what Crier accepts, so that
// one that is too large for us is quarantined where its sender can see it; a
// dead letter holds such a record and its headers.
const (
	maxNotificationRecord = 16 << 20
	maxDeadLetterRecord   = 17 << 20
)

// Layout is how topics are made.
type Layout struct {
	Partitions     int32         // of every topic
	Replicas       int16         // -1: the cluster's default
	TicksRetention time.Duration // how long alerts' firings can be recomputed
	TicksBytes     int64         // per partition
}

// TopicNames are all topics, in the order of the flow.
var TopicNames = []string{Ticks, Triggers, Notifications, Deliveries, Results, Signals, DeadLetters, Incoming, Rooms}

// A record's time is that of its arrival at the broker: cooldowns, expiry and retention go
// by it, and a producer whose clock is wrong, or who sets it, must not decide them.
const (
	timestampType = "message.timestamp.type"
	arrivalTime   = "LogAppendTime"
)

// topicConfig are the settings that Crier relies on.
func (l Layout) topicConfig(topic string) map[string]string {
	ms := func(d time.Duration) string { return strconv.FormatInt(d.Milliseconds(), 10) }
	day := 24 * time.Hour
	c := map[string]string{"cleanup.policy": "delete", "retention.ms": ms(7 * day), timestampType: arrivalTime}
	switch topic {
	case Ticks:
		c["retention.ms"], c["retention.bytes"] = ms(l.TicksRetention), strconv.FormatInt(l.TicksBytes, 10)
	case Notifications:
		c["max.message.bytes"] = strconv.Itoa(maxNotificationRecord)
	case DeadLetters:
		c["max.message.bytes"], c["retention.ms"] = strconv.Itoa(maxDeadLetterRecord), ms(30*day)
	case Deliveries, Signals:
		// Read from the end only; Postgres has what a late reader needs.
		c["retention.ms"] = ms(day)
	}
	return c
}

// TopicState says what a topic is like, and what was done.
type TopicState struct {
	Name       string
	Partitions int32
	Action     string // "made", "changed NAME to VALUE", "as it should be", "fewer than the N that are wanted: …"
}

// EnsureTopics makes the topics that are missing and sets what Crier relies on
// on those that are there. It never removes or shrinks anything.
func (c *Client) EnsureTopics(ctx context.Context, l Layout) ([]TopicState, error) {
	adm := kadm.NewClient(c.kgo)
	var states []TopicState
	for _, name := range TopicNames {
		full, want := c.cfg.TopicPrefix+name, l.topicConfig(name)
		configs := make(map[string]*string, len(want))
		for k, v := range want {
			configs[k] = &v
		}
		_, err := adm.CreateTopic(ctx, l.Partitions, l.Replicas, configs, full)
		if err == nil {
			states = append(states, TopicState{name, l.Partitions, "made"})
			continue
		}
		if !errors.Is(err, kerr.TopicAlreadyExists) {
			return states, fmt.Errorf("making topic %s: %w", full, err)
		}
		n, err := c.awaitTopic(ctx, name)
		if err != nil {
			return states, err
		}
		action, err := c.correctTopic(ctx, adm, full, want)
		if err != nil {
			return states, err
		}
		if n < l.Partitions {
			action = fmt.Sprintf("fewer than the %d that are wanted: adding them (kafka-topics --alter) moves keys to other partitions, see docs/operating.md; otherwise %s", l.Partitions, action)
		}
		states = append(states, TopicState{name, n, action})
	}
	return states, nil
}

// topicWait is how long a topic that somebody else has just made may take until
// the broker that is asked knows it: metadata spreads after the answer.
const topicWait = 15 * time.Second

// awaitTopic is how many partitions a topic has that is said to be there.
func (c *Client) awaitTopic(ctx context.Context, name string) (int32, error) {
	ctx, cancel := context.WithTimeout(ctx, topicWait)
	defer cancel()
	var wait lifecycle.Backoff
	for {
		n, err := c.Partitions(ctx, name)
		if !errors.Is(err, kerr.UnknownTopicOrPartition) {
			return n, err
		}
		if wait.Wait(ctx) != nil {
			return 0, err
		}
	}
}

func (c *Client) correctTopic(ctx context.Context, adm *kadm.Client, full string, want map[string]string) (string, error) {
	have, err := adm.DescribeTopicConfigs(ctx, full)
	if err != nil {
		return "", fmt.Errorf("reading the settings of topic %s: %w", full, err)
	}
	is := make(map[string]string)
	for _, rc := range have {
		for _, kv := range rc.Configs {
			is[kv.Key] = kv.MaybeValue()
		}
	}
	var changes []kadm.AlterConfig
	var said []string
	for _, k := range slices.Sorted(maps.Keys(want)) {
		// An operator may keep records longer; the limits on size, and what a record's time
		// is, must hold.
		if v := want[k]; is[k] != v && (k == "max.message.bytes" || k == timestampType || is[k] == "") {
			changes = append(changes, kadm.AlterConfig{Op: kadm.SetConfig, Name: k, Value: &v})
			said = append(said, k+" to "+v)
		}
	}
	if len(changes) == 0 {
		return "as it should be", nil
	}
	res, err := adm.AlterTopicConfigs(ctx, changes, full)
	if err == nil && len(res) > 0 {
		err = res[0].Err
	}
	if err != nil {
		return "", fmt.Errorf("changing the settings of topic %s: %w", full, err)
	}
	return "changed " + strings.Join(said, ", "), nil
}

// topicsAppear is how long CheckTopics waits for topics that are not there: a
// broker of a busy cluster, or one that is just coming up, does not know them at
// once.
const topicsAppear = 3 * time.Second

// CheckTopics is an error that names the topics that are missing, and the
// command that makes them.
func (c *Client) CheckTopics(ctx context.Context, names ...string) error {
	var missing []string
	// A broker of a busy cluster hears of topics a moment after they were made.
	for deadline := time.Now().Add(topicsAppear); ; {
		missing = missing[:0]
		for _, name := range names {
			if _, err := c.Partitions(ctx, name); errors.Is(err, kerr.UnknownTopicOrPartition) {
				missing = append(missing, c.cfg.TopicPrefix+name)
			} else if err != nil {
				return err
			}
		}
		if len(missing) == 0 || time.Now().After(deadline) || lifecycle.Sleep(ctx, topicsAppear/10) != nil {
			break
		}
	}
	if len(missing) > 0 {
		return fmt.Errorf("topics are missing: %s (crier topics makes them)", strings.Join(missing, ", "))
	}
	c.checkTimestamps(ctx, names)
	return nil
}

// checkTimestamps warns of topics whose records have the times that their producers set.
// What cannot be asked, because the right to describe settings is missing, is not known.
func (c *Client) checkTimestamps(ctx context.Context, names []string) {
	if c.cfg.Log == nil {
		return
	}
	full := make([]string, len(names))
	for i, name := range names {
		full[i] = c.cfg.TopicPrefix + name
	}
	ctx, cancel := context.WithTimeout(ctx, topicsAppear)
	defer cancel()
	configs, err := kadm.NewClient(c.kgo).DescribeTopicConfigs(ctx, full...)
	if err != nil {
		return
	}
	for _, of := range configs {
		for _, kv := range of.Configs {
			if kv.Key == timestampType && kv.MaybeValue() != arrivalTime {
				c.cfg.Log.Warn("a topic takes the times that producers set, by which alerts may fire at the wrong moment: crier topics changes that", "topic", of.Name, timestampType, kv.MaybeValue())
			}
		}
	}
}
