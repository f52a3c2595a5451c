package embedded

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

func mustStartBroker(t testing.TB, cfg BrokerConfig) *Broker {
	t.Helper()
	if cfg.Addr == "" {
		cfg.Addr = "127.0.0.1:0"
	}
	cfg.Logger = logTo(t)
	b, err := StartBroker(t.Context(), cfg)
	if err != nil {
		t.Fatalf("starting the broker: %v", err)
	}
	t.Cleanup(func() { mustStopBroker(t, b) })
	return b
}

func mustStopBroker(t testing.TB, b *Broker) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	if err := b.Stop(ctx); err != nil {
		t.Errorf("stopping the broker: %v", err)
	}
}

func mustClient(t testing.TB, addr string, opts ...kgo.Opt) *kgo.Client {
	t.Helper()
	cl, err := kgo.NewClient(append(opts, kgo.SeedBrokers(addr), kgo.ProducerBatchMaxBytes(18<<20), kgo.MaxBufferedBytes(64<<20))...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cl.Close)
	return cl
}

func mustTopic(t testing.TB, cl *kgo.Client, name string) {
	t.Helper()
	if _, err := kadm.NewClient(cl).CreateTopic(t.Context(), 1, 1, nil, name); err != nil {
		t.Fatalf("creating topic %s: %v", name, err)
	}
}

func mustProduce(t testing.TB, cl *kgo.Client, topic string, values ...string) {
	t.Helper()
	var records []*kgo.Record
	for _, v := range values {
		records = append(records, &kgo.Record{Topic: topic, Value: []byte(v)})
	}
	if err := cl.ProduceSync(t.Context(), records...).FirstErr(); err != nil {
		t.Fatalf("producing to %s: %v", topic, err)
	}
}

// mustConsume reads n records of the group from where it stands and commits.
func mustConsume(t testing.TB, addr, group, topic string, n int) []string {
	t.Helper()
	cl := mustClient(t, addr, kgo.ConsumerGroup(group), kgo.ConsumeTopics(topic), kgo.DisableAutoCommit(),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	var got []string
	for len(got) < n {
		fetches := cl.PollRecords(t.Context(), n-len(got))
		if err := fetches.Err(); err != nil {
			t.Fatalf("consuming %s after %d records: %v", topic, len(got), err)
		}
		fetches.EachRecord(func(r *kgo.Record) { got = append(got, string(r.Value)) })
		if err := cl.CommitRecords(t.Context(), fetches.Records()...); err != nil {
			t.Fatalf("committing %s: %v", topic, err)
		}
	}
	cl.Close()
	return got
}

// The process that owns the broker is killed with signal 9: each record that was
// acknowledged and each offset that was committed is there at the next start.
func TestBrokerAfterKill(t *testing.T) {
	t.Parallel()
	dir := tempDir(t)
	c := startChild(t, "broker", dir)
	cl := mustClient(t, c.where)
	mustTopic(t, cl, "kept")
	var want []string
	for i := range 2000 {
		want = append(want, fmt.Sprintf("record %d", i))
	}
	mustProduce(t, cl, "kept", want...)
	if got := mustConsume(t, c.where, "readers", "kept", 500); got[499] != want[499] {
		t.Fatalf("record 499 is %q, want %q", got[499], want[499])
	}
	c.kill(t)

	b := mustStartBroker(t, BrokerConfig{DataDir: dir})
	got := mustConsume(t, b.Addr(), "readers", "kept", 1500)
	for i, v := range got {
		if v != want[500+i] {
			t.Fatalf("record %d is %q, want %q", 500+i, v, want[500+i])
		}
	}
}

// The kill comes in the middle of a stream of records: those whose acknowledgement
// reached the producer are all there, in order, and once.
func TestBrokerKilledWhileProducing(t *testing.T) {
	t.Parallel()
	dir := tempDir(t)
	c := startChild(t, "broker", dir)
	cl := mustClient(t, c.where)
	mustTopic(t, cl, "kept")
	var mu sync.Mutex
	acked, enough := map[string]bool{}, make(chan struct{})
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		for i := 0; ctx.Err() == nil; i++ {
			cl.Produce(ctx, &kgo.Record{Topic: "kept", Value: fmt.Appendf(nil, "%09d", i)}, func(r *kgo.Record, err error) {
				mu.Lock()
				defer mu.Unlock()
				if err != nil {
					return
				}
				if acked[string(r.Value)] = true; len(acked) == 20_000 {
					close(enough)
				}
			})
		}
	})
	<-enough
	c.kill(t)
	cancel()
	wg.Wait()
	cl.Close()

	b := mustStartBroker(t, BrokerConfig{DataDir: dir})
	ends, err := kadm.NewClient(mustClient(t, b.Addr())).ListEndOffsets(t.Context(), "kept")
	if err != nil {
		t.Fatal(err)
	}
	end, _ := ends.Lookup("kept", 0)
	last := ""
	for _, v := range mustConsume(t, b.Addr(), "readers", "kept", int(end.Offset)) {
		if v <= last {
			t.Fatalf("%s comes after %s", v, last)
		}
		last = v
		delete(acked, v)
	}
	if len(acked) > 0 {
		t.Errorf("%d acknowledged records are lost, of %d kept", len(acked), end.Offset)
	}
}

// An orderly stop keeps data, topics' identity and groups' places too.
func TestBrokerRestart(t *testing.T) {
	t.Parallel()
	dir := tempDir(t)
	first := mustStartBroker(t, BrokerConfig{DataDir: dir})
	cl := mustClient(t, first.Addr())
	mustTopic(t, cl, "kept")
	mustProduce(t, cl, "kept", "a", "b")
	before, err := kadm.NewClient(cl).ListTopics(t.Context(), "kept")
	if err != nil {
		t.Fatal(err)
	}
	mustConsume(t, first.Addr(), "readers", "kept", 1)
	mustStopBroker(t, first)
	mustStopBroker(t, first)

	second := mustStartBroker(t, BrokerConfig{DataDir: dir, SyncWrites: true})
	after, err := kadm.NewClient(mustClient(t, second.Addr())).ListTopics(t.Context(), "kept")
	if err != nil {
		t.Fatal(err)
	}
	if before["kept"].ID != after["kept"].ID {
		t.Errorf("the topic's id was %s and is %s", before["kept"].ID, after["kept"].ID)
	}
	if got := mustConsume(t, second.Addr(), "readers", "kept", 1); got[0] != "b" {
		t.Errorf("the group goes on with %q, want b", got[0])
	}
}

// Clients are told the address that is listened on; a record of 17 MiB fits;
// a topic is not made by being asked for.
func TestBrokerLimits(t *testing.T) {
	t.Parallel()
	b := mustStartBroker(t, BrokerConfig{DataDir: tempDir(t)})
	cl := mustClient(t, b.Addr(), kgo.UnknownTopicRetries(0))
	brokers, err := kadm.NewClient(cl).ListBrokers(t.Context())
	if err != nil || len(brokers) != 1 {
		t.Fatalf("brokers: %v, %v", brokers, err)
	}
	if got := net.JoinHostPort(brokers[0].Host, fmt.Sprint(brokers[0].Port)); got != b.Addr() {
		t.Errorf("advertised %s, listens on %s", got, b.Addr())
	}
	mustTopic(t, cl, "large")
	large := string(bytes.Repeat([]byte("x"), 17<<20))
	mustProduce(t, cl, "large", large)
	if got := mustConsume(t, b.Addr(), "readers", "large", 1); got[0] != large {
		t.Errorf("the large record came back with %d bytes", len(got[0]))
	}
	err = cl.ProduceSync(t.Context(), &kgo.Record{Topic: "never-made", Value: []byte("x")}).FirstErr()
	if !errors.Is(err, kerr.UnknownTopicOrPartition) {
		t.Errorf("producing to a topic nobody made: %v, want UNKNOWN_TOPIC_OR_PARTITION", err)
	}
}

// A taken port and a taken directory are told apart, by type.
func TestBrokerInUse(t *testing.T) {
	t.Parallel()
	dir := tempDir(t)
	b := mustStartBroker(t, BrokerConfig{DataDir: dir})
	var addr *AddrInUseError
	if _, err := StartBroker(t.Context(), BrokerConfig{DataDir: tempDir(t), Addr: b.Addr()}); !errors.As(err, &addr) || addr.What != "kafka" {
		t.Errorf("on a taken port: %v, want AddrInUseError", err)
	}
	var busy *DirInUseError
	if _, err := StartBroker(t.Context(), BrokerConfig{DataDir: dir, Addr: "127.0.0.1:0"}); !errors.As(err, &busy) {
		t.Errorf("on a taken directory: %v, want DirInUseError", err)
	}
}

// Whatever a stranger sends to the Kafka port, only that connection ends.
func TestBrokerSurvivesStrangers(t *testing.T) {
	t.Parallel()
	b := mustStartBroker(t, BrokerConfig{DataDir: tempDir(t)})
	for name, sent := range map[string][]byte{
		"a browser":          []byte("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"),
		"TLS":                {0x16, 0x03, 0x01, 0x02, 0x00, 0x01, 0x00, 0x01, 0xfc, 0x03, 0x03},
		"an unknown key":     {0, 0, 0, 8, 0x7f, 0x00, 0, 0, 0, 0, 0, 0},
		"a length of zero":   {0, 0, 0, 0},
		"a negative length":  {0xff, 0xff, 0xff, 0xff},
		"a body of garbage":  {0, 0, 0, 12, 0, 18, 0, 3, 0, 0, 0, 1, 0xff, 0xff, 0xff, 0xff},
		"an unknown version": {0, 0, 0, 12, 0, 3, 0x7f, 0xff, 0, 0, 0, 1, 0, 0, 0, 0},
	} {
		conn, err := net.Dial("tcp", b.Addr())
		if err != nil {
			t.Fatalf("after %s: %v", name, err)
		}
		if err := conn.SetDeadline(time.Now().Add(5 * time.Second)); err != nil {
			t.Fatal(err)
		}
		if _, err := conn.Write(sent); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if err := conn.(*net.TCPConn).CloseWrite(); err != nil && !errors.Is(err, syscall.ENOTCONN) { // the broker may have hung up first
			t.Errorf("%s: %v", name, err)
		}
		if _, err := io.Copy(io.Discard, conn); errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%s: the connection was left open", name)
		}
		_ = conn.Close()
		cl := mustClient(t, b.Addr())
		if err := cl.Ping(t.Context()); err != nil {
			t.Fatalf("after %s the broker does not answer: %v", name, err)
		}
		cl.Close()
	}
}

// The guard follows frames cut at any place.
func TestBrokerGuardFraming(t *testing.T) {
	t.Parallel()
	frame := []byte{0, 0, 0, 8, 0, 18, 0, 0, 0, 0, 0, 1}
	stream := bytes.Repeat(frame, 5)
	for piece := 1; piece <= len(stream); piece++ {
		ours, theirs := net.Pipe()
		var wg sync.WaitGroup
		var sendErr error
		wg.Go(func() {
			_, err := theirs.Write(stream)
			sendErr = errors.Join(err, theirs.Close())
		})
		c, got, buf := &guardConn{Conn: ours}, []byte(nil), make([]byte, piece)
		for {
			n, err := c.Read(buf)
			got = append(got, buf[:n]...)
			if err != nil {
				break
			}
		}
		wg.Wait()
		if sendErr != nil || !bytes.Equal(got, stream) {
			t.Errorf("in pieces of %d: got %d bytes, want %d (%v)", piece, len(got), len(stream), sendErr)
		}
		_ = ours.Close()
	}
}

// What durability costs: SyncWrites flushes each batch. Single is one record at
// a time (its time is the latency), bulk is as fast as the client goes.
func BenchmarkBrokerProduce(b *testing.B) {
	for _, sync := range []bool{false, true} {
		broker := mustStartBroker(b, BrokerConfig{DataDir: tempDir(b), SyncWrites: sync})
		cl := mustClient(b, broker.Addr(), kgo.ProducerLinger(0))
		mustTopic(b, cl, "bench")
		value := bytes.Repeat([]byte("x"), 200)
		b.Run(fmt.Sprintf("sync=%v/single", sync), func(b *testing.B) {
			for b.Loop() {
				if err := cl.ProduceSync(b.Context(), &kgo.Record{Topic: "bench", Value: value}).FirstErr(); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(fmt.Sprintf("sync=%v/bulk", sync), func(b *testing.B) {
			for b.Loop() {
				cl.Produce(b.Context(), &kgo.Record{Topic: "bench", Value: value}, func(_ *kgo.Record, err error) {
					if err != nil {
						b.Error(err)
					}
				})
			}
			if err := cl.Flush(b.Context()); err != nil { // acknowledged before the clock stops
				b.Fatal(err)
			}
		})
	}
}
