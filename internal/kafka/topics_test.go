package kafka_test

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"crier/internal/criertest"
	"crier/internal/event"
	"crier/internal/kafka"
)

// Topics are made once and then left as they are; a limit on size that is wrong
// is put right, and what an operator keeps longer stays.
func TestEnsureTopics(t *testing.T) {
	criertest.Kafkas(t, func(t *testing.T, brokers string) {
		t.Parallel()
		w := newWorld(t, brokers, 0)
		if err := w.CheckTopics(t.Context(), kafka.TopicNames...); err == nil || !strings.Contains(err.Error(), w.prefix+"ticks") || !strings.Contains(err.Error(), "crier topics") {
			t.Errorf("before: %v", err)
		}
		for round, want := range []string{"made", "as it should be"} {
			states, err := w.EnsureTopics(t.Context(), layout(3))
			if err != nil {
				t.Fatal(err)
			}
			for i, s := range states {
				if s.Name != kafka.TopicNames[i] || s.Action != want || s.Partitions != 3 {
					t.Errorf("round %d: %+v, want %s", round, s, want)
				}
			}
		}
		_, err := w.admin().AlterTopicConfigs(t.Context(), []kadm.AlterConfig{
			{Op: kadm.SetConfig, Name: "max.message.bytes", Value: ptr("1000")}, {Op: kadm.SetConfig, Name: "retention.ms", Value: ptr("99999999999")},
		}, w.prefix+kafka.Notifications)
		if err != nil {
			t.Fatal(err)
		}
		states, err := w.EnsureTopics(t.Context(), layout(7))
		if err != nil || len(states) != len(kafka.TopicNames) {
			t.Fatalf("%+v, %v", states, err)
		}
		for _, s := range states {
			want := "as it should be"
			if s.Name == kafka.Notifications {
				want = fmt.Sprintf("changed max.message.bytes to %d", 16<<20)
			}
			if !strings.HasPrefix(s.Action, "fewer than the 7 that are wanted: ") || !strings.HasSuffix(s.Action, "; otherwise "+want) || s.Partitions != 3 {
				t.Errorf("%+v, want %s", s, want)
			}
		}
		if err := w.CheckTopics(t.Context(), kafka.TopicNames...); err != nil {
			t.Error(err)
		}
		if err := w.Ping(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

func ptr[T any](v T) *T { return &v }

// A record of any key, value and headers is read as it was written, also one of
// ten megabytes and its dead letter.
func TestRecords(t *testing.T) {
	criertest.Kafkas(t, func(t *testing.T, brokers string) {
		t.Parallel()
		w := newWorld(t, brokers, 1)
		large := bytes.Repeat([]byte("x\x00\xff"), 10<<20/3)
		long := strings.Repeat("r", 2<<20)
		at := time.Now()
		recs := []kafka.Record{
			{Topic: kafka.Notifications, Key: []byte("k"), Value: []byte("v"), Time: at.Add(-time.Hour), Headers: []kafka.Header{{Key: "a", Value: []byte("1")}, {Key: "a", Value: []byte("2")}, {Key: "", Value: nil}}},
			{Topic: kafka.Notifications, Key: nil, Value: nil},
			{Topic: kafka.Notifications, Key: []byte{}, Value: []byte{}},
			{Topic: kafka.Notifications, Key: []byte("\x00\xff"), Value: large},
		}
		if err := w.Produce(t.Context(), recs...); err != nil {
			t.Fatal(err)
		}
		got := w.all(kafka.Notifications, 0)
		if len(got) != len(recs) {
			t.Fatalf("%d records, want %d", len(got), len(recs))
		}
		id, err := w.TopicID(t.Context(), kafka.Notifications)
		if err != nil || !event.IsUUID(id) {
			t.Errorf("topic id %q, %v", id, err)
		}
		var dead []kafka.Record
		for i, r := range got {
			if o := r.Origin(); o.Position() != (event.Origin{TopicID: id, Offset: int64(i)}) || o.Fingerprint == 0 || recs[i].Offset != int64(i) {
				t.Errorf("record %d stands at %v, was said to be at %d", i, r.Origin(), recs[i].Offset)
			}
			if !bytes.Equal(r.Key, recs[i].Key) || !bytes.Equal(r.Value, recs[i].Value) || r.Topic != kafka.Notifications || len(r.Headers) != len(recs[i].Headers) {
				t.Errorf("record %d was changed", i)
			}
			dead = append(dead, kafka.DeadLetter(&r, "code", long))
		}
		if got[0].Time.Before(at.Add(-time.Second)) || got[0].Time.After(time.Now().Add(time.Second)) || got[0].Header("a") != "2" || got[0].Header("b") != "" {
			t.Errorf("%+v", got[0])
		}
		if err := w.Produce(t.Context(), dead...); err != nil {
			t.Fatalf("the dead letters: %v", err)
		}
		if n := w.DeadLetters(); n != int64(len(dead)) {
			t.Errorf("%d dead letters are counted, %d were written", n, len(dead))
		}
		for i, r := range w.all(kafka.DeadLetters, 0) {
			if !bytes.Equal(r.Key, recs[i].Key) || !bytes.Equal(r.Value, recs[i].Value) || r.Header("code") != "code" || r.Header("origin_topic") != kafka.Notifications ||
				r.Header("origin_offset") != fmt.Sprint(i) || r.Header("origin_partition") != "0" || len(r.Header("reason")) > 10_000 || r.Header("reason") == "" {
				t.Errorf("dead letter %d: %.200s", i, fmt.Sprint(r.Headers))
			}
		}
		done := make(chan error, 1)
		w.ProduceAsync(t.Context(), kafka.Record{Topic: kafka.Results, Value: []byte("later")}, func(r kafka.Record, err error) { done <- err })
		if err := <-done; err != nil {
			t.Error(err)
		}
		if err := w.Produce(t.Context(), kafka.Record{Topic: kafka.Signals, Value: large}); err == nil {
			t.Error("a signal of ten megabytes was taken")
		}
	})
}

// A key's partition is the one that Kafka's own clients choose.
func FuzzPartition(f *testing.F) {
	for _, s := range []string{"", "a", "BTCUSDT", "ETHUSDT", "\xff\xfe\xfd", "123456789", strings.Repeat("é", 100)} {
		f.Add([]byte(s), int32(12))
	}
	partitioner := kgo.StickyKeyPartitioner(nil).ForTopic("t")
	f.Fuzz(func(t *testing.T, key []byte, n int32) {
		if n < 1 || n > 10_000 {
			return
		}
		if key == nil {
			key = []byte{}
		}
		if got, want := kafka.Partition(key, n), partitioner.Partition(&kgo.Record{Key: key}, int(n)); int(got) != want {
			t.Errorf("key %q of %d partitions: %d, want %d", key, n, got, want)
		}
	})
}

// Configurations that cannot work are refused with the variable's name.
func TestConfigErrors(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		cfg  kafka.Config
		want string
	}{
		{kafka.Config{}, "CRIER_KAFKA_BROKERS"},
		{kafka.Config{Brokers: []string{"x:1"}, SASL: "GSSAPI"}, "CRIER_KAFKA_SASL"},
		{kafka.Config{Brokers: []string{"x:1"}, TLS: true, CAFile: "/nowhere"}, "CRIER_KAFKA_CA_FILE"},
	} {
		if _, err := kafka.Open(c.cfg); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: %v, want %s", c.cfg, err, c.want)
		}
	}
	for _, mechanism := range []string{"PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"} {
		c, err := kafka.Open(kafka.Config{Brokers: []string{"127.0.0.1:1"}, SASL: mechanism, User: "u", Password: "p", TLS: true})
		if err != nil {
			t.Errorf("%s: %v", mechanism, err)
			continue
		}
		c.Close()
	}
	var none kafka.Client
	if errors.Is(none.Produce(t.Context()), nil) == false {
		t.Error("producing nothing is an error")
	}
}

// The time of a record is that of its arrival, whatever its producer says; a topic that is
// otherwise is put right, and until then named at a start.
func TestArrivalTimes(t *testing.T) {
	t.Parallel()
	criertest.Kafkas(t, func(t *testing.T, brokers string) {
		w := newWorld(t, brokers, 1)
		began := time.Now()
		put := func(at time.Time) {
			t.Helper()
			if err := w.raw.ProduceSync(t.Context(), &kgo.Record{Topic: w.prefix + kafka.Ticks, Value: []byte("x"), Timestamp: at}).FirstErr(); err != nil {
				t.Fatal(err)
			}
		}
		put(began.Add(30 * time.Minute))
		put(began.Add(-30 * 24 * time.Hour))
		for _, r := range w.all(kafka.Ticks, 0) {
			if r.Time.Before(began.Add(-time.Second)) || r.Time.After(time.Now().Add(time.Second)) {
				t.Errorf("a record has the time %v, and came at %v", r.Time, began)
			}
		}
		_, err := w.admin().AlterTopicConfigs(t.Context(), []kadm.AlterConfig{{Op: kadm.SetConfig, Name: "message.timestamp.type", Value: ptr("CreateTime")}}, w.prefix+kafka.Ticks)
		if err != nil {
			t.Fatal(err)
		}
		var said strings.Builder
		w.cfg.Log = slog.New(slog.NewTextHandler(&said, nil))
		warns := func() bool {
			said.Reset()
			if err := w.open().CheckTopics(t.Context(), kafka.TopicNames...); err != nil {
				t.Fatal(err)
			}
			return strings.Contains(said.String(), w.prefix+kafka.Ticks) && strings.Contains(said.String(), "CreateTime")
		}
		criertest.Eventually(t, patience, "the topic is named", warns)
		states, err := w.EnsureTopics(t.Context(), layout(1))
		if err != nil || states[0].Action != "changed message.timestamp.type to LogAppendTime" {
			t.Errorf("%+v, %v", states, err)
		}
		criertest.Eventually(t, patience, "no topic is named", func() bool { return !warns() })
	})
}
