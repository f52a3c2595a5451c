package criertest

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// Kgo makes a Kafka client to the program's broker that knows nothing of Crier;
// it is closed at the end of the test.
func (p *Program) Kgo(tb testing.TB, opts ...kgo.Opt) *kgo.Client {
	tb.Helper()
	c, err := kgo.NewClient(append([]kgo.Opt{kgo.SeedBrokers(p.Facts().Kafka)}, opts...)...)
	if err != nil {
		tb.Fatalf("criertest: making a Kafka client: %v", err)
	}
	tb.Cleanup(c.Close)
	return c
}

// EndOf is how many records a topic has ever had, over its partitions.
func (p *Program) EndOf(tb testing.TB, topic string) int64 {
	tb.Helper()
	c, err := kgo.NewClient(kgo.SeedBrokers(p.Facts().Kafka))
	if err != nil {
		tb.Fatalf("criertest: making a Kafka client: %v", err)
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	ends, err := kadm.NewClient(c).ListEndOffsets(ctx, topic)
	if err != nil {
		tb.Fatalf("criertest: reading the end of %s: %v", topic, err)
	}
	var sum int64
	ends.Each(func(o kadm.ListedOffset) { sum += o.Offset })
	return sum
}

// GroupAt is how far a group has got in a topic, over its partitions.
func (p *Program) GroupAt(tb testing.TB, group, topic string) int64 {
	tb.Helper()
	c, err := kgo.NewClient(kgo.SeedBrokers(p.Facts().Kafka))
	if err != nil {
		tb.Fatalf("criertest: making a Kafka client: %v", err)
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	offsets, err := kadm.NewClient(c).FetchOffsets(ctx, group)
	if err != nil {
		return 0 // no group yet
	}
	var sum int64
	offsets.Each(func(o kadm.OffsetResponse) {
		if o.Topic == topic && o.At > 0 {
			sum += o.At
		}
	})
	return sum
}

// TickRecord is a tick as a producer from outside writes it.
func (p *Program) TickRecord(symbol, price string) *kgo.Record {
	return &kgo.Record{Topic: "ticks", Key: []byte(symbol), Value: fmt.Appendf(nil, `{"symbol":%q,"price":%q,"source":"me"}`, symbol, price)}
}
