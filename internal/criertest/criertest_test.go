package criertest

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

func TestMain(m *testing.M) { Main(m) }

// Each call gives an empty database of its own, at the same time as others, and
// the test's end drops it although a connection is open.
func TestPostgresIsolation(t *testing.T) {
	t.Parallel()
	var urls [4]string
	t.Run("tests", func(t *testing.T) {
		var wg sync.WaitGroup
		for i := range urls {
			wg.Go(func() { urls[i] = Postgres(t) })
		}
		wg.Wait()
		for _, u := range urls {
			conn, err := pgx.Connect(t.Context(), u)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := conn.Exec(t.Context(), "CREATE TABLE mine (v int)"); err != nil {
				t.Errorf("not empty: %v", err)
			}
			t.Cleanup(func() { _ = conn.Close(t.Context()) }) // after the drop cut it
		}
	})
	var gone *pgconn.PgError
	if _, err := pgx.Connect(t.Context(), urls[0]); !errors.As(err, &gone) || gone.Code != "3D000" {
		t.Errorf("after the test: %v, want SQLSTATE 3D000", err)
	}
}

// Both brokers take a record of 17 MiB in a transaction, and make no topic
// unasked.
func TestKafkas(t *testing.T) {
	t.Parallel()
	Kafkas(t, func(t *testing.T, brokers string) {
		prefix := TopicPrefix(t)
		cl, err := kgo.NewClient(kgo.SeedBrokers(brokers), kgo.TransactionalID(prefix+"tx"), kgo.UnknownTopicRetries(0),
			kgo.ProducerBatchMaxBytes(18<<20), kgo.MaxBufferedBytes(64<<20))
		if err != nil {
			t.Fatal(err)
		}
		defer cl.Close()
		if _, err := kadm.NewClient(cl).CreateTopic(t.Context(), 1, 1, map[string]*string{"max.message.bytes": kadm.StringPtr("18874368")}, prefix+"large"); err != nil {
			t.Fatal(err)
		}
		if err := cl.BeginTransaction(); err != nil {
			t.Fatal(err)
		}
		if err := cl.ProduceSync(t.Context(), &kgo.Record{Topic: prefix + "large", Value: make([]byte, 17<<20)}).FirstErr(); err != nil {
			t.Errorf("17 MiB: %v", err)
		}
		if err := cl.EndTransaction(t.Context(), kgo.TryCommit); err != nil {
			t.Errorf("committing: %v", err)
		}
		topics, err := kadm.NewClient(cl).ListTopics(t.Context(), prefix+"never-made")
		if err != nil || !errors.Is(topics[prefix+"never-made"].Err, kerr.UnknownTopicOrPartition) {
			t.Errorf("a topic nobody made: %v, %v", topics, err)
		}
	})
}

// recorder is a test that can be skipped or failed without ours being so.
type recorder struct {
	testing.TB
	skipped, failed bool
}

func (r *recorder) Helper()               {}
func (r *recorder) Skipf(string, ...any)  { r.skipped = true; runtime.Goexit() }
func (r *recorder) Fatalf(string, ...any) { r.failed = true; runtime.Goexit() }

// observe runs fn to its end, by Goexit or not.
func observe(t *testing.T, fn func(tb testing.TB)) *recorder {
	r := &recorder{TB: t}
	var wg sync.WaitGroup
	wg.Go(func() { fn(r) })
	wg.Wait()
	return r
}

// What is missing skips a test, and fails it where it is required.
func TestMissingPrograms(t *testing.T) {
	t.Setenv("CRIER_TEST_KAFKA_LIB", t.TempDir())
	t.Setenv("PATH", t.TempDir())
	kafka := func(tb testing.TB) { ApacheKafka(tb) }
	for _, c := range []struct {
		require string
		fails   bool
	}{{"", false}, {"browser", false}, {"browser,kafka", true}} {
		t.Setenv("CRIER_TEST_REQUIRE", c.require)
		if r := observe(t, kafka); r.failed != c.fails || r.skipped == c.fails {
			t.Errorf("required %q: skipped %v, failed %v", c.require, r.skipped, r.failed)
		}
	}
}

// Chromium is found in PATH.
func TestChromium(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("PATH", dir)
	path := filepath.Join(dir, "google-chrome")
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	if got := Chromium(t); got != path {
		t.Errorf("got %s, want %s", got, path)
	}
}

// A free address can be listened on; prefixes differ and are legal in topics.
func TestNames(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", FreeAddr(t))
	if err != nil {
		t.Fatal(err)
	}
	_ = l.Close()
	a, b := TopicPrefix(t), TopicPrefix(t)
	if a == b || !strings.HasPrefix(a, "t") || !strings.HasSuffix(a, "-") || a != strings.ToLower(a) {
		t.Errorf("prefixes %q and %q", a, b)
	}
}
