package criertest

import (
	"context"
	"crypto/rand"
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"crier/internal/embedded"
)

var broker shared[*embedded.Broker]

// Broker gives the bootstrap address of this test binary's one embedded broker.
// Tests share it: each names its topics, groups and transactions with a
// TopicPrefix of its own.
func Broker(tb testing.TB) string {
	tb.Helper()
	return broker.get(tb, func() (*embedded.Broker, error) {
		dir, remove, err := serverDir("broker")
		if err != nil {
			return nil, err
		}
		b, err := embedded.StartBroker(context.Background(), embedded.BrokerConfig{
			DataDir: filepath.Join(dir, "data"),
			Addr:    "127.0.0.1:0",
		})
		if err != nil {
			return nil, errors.Join(err, remove())
		}
		atEnd(func(ctx context.Context) error { return errors.Join(b.Stop(ctx), remove()) })
		return b, nil
	}).Addr()
}

// TopicPrefix gives a prefix that no other test has, such as "tk3v9q0x2ab-".
func TopicPrefix(tb testing.TB) string {
	tb.Helper()
	return "t" + strings.ToLower(rand.Text()[:10]) + "-"
}

// Kafkas runs fn as the subtest "embedded" on the embedded broker and, where
// there is one, as the subtest "apache" on a real Apache Kafka; see ApacheKafka.
func Kafkas(t *testing.T, fn func(t *testing.T, brokers string)) {
	t.Helper()
	t.Run("embedded", func(t *testing.T) { fn(t, Broker(t)) })
	t.Run("apache", func(t *testing.T) { fn(t, ApacheKafka(t)) })
}

// StartBroker starts an embedded broker on a folder and address that outlive it; the test
// stops it, or its end does.
func StartBroker(tb testing.TB, dir, addr string) *embedded.Broker {
	tb.Helper()
	b, err := embedded.StartBroker(context.Background(), embedded.BrokerConfig{DataDir: dir, Addr: addr})
	if err != nil {
		tb.Fatalf("criertest: starting a broker: %v", err)
	}
	tb.Cleanup(func() { _ = b.Stop(context.Background()) }) // it may be stopped already
	return b
}
