package embedded

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
)

// A broker whose tables are cut, empty, filled with garbage or missing starts all the
// same and goes on where it was: the same topic with its id, its records and new ones;
// where a group's place is lost, it begins again. A file that cannot be read is kept.
func TestBrokerDamagedFiles(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"meta.json", "topics.json", "acls.json", "sasl.json", "broker_configs.json", "quotas.json", "seq_windows.json", "groups.log", "pids.log"} {
		for how, damage := range map[string]func(path string, was []byte) error{
			"cut":     func(path string, was []byte) error { return os.WriteFile(path, was[:len(was)/2], 0o600) },
			"empty":   func(path string, _ []byte) error { return os.WriteFile(path, nil, 0o600) },
			"garbage": func(path string, _ []byte) error { return os.WriteFile(path, []byte("\x00\xff{]garbage"), 0o600) },
			"typed": func(path string, _ []byte) error {
				return os.WriteFile(path, []byte(`{"version":1,"topics":[{"name":"kept","id":"AAAA"}]}`), 0o600)
			},
			"null":    func(path string, _ []byte) error { return os.WriteFile(path, []byte("null"), 0o600) },
			"missing": func(path string, _ []byte) error { return os.Remove(path) },
		} {
			if table := name == metaFile || name == topicsFile; !table && how != "garbage" && how != "missing" {
				continue // the same code
			}
			t.Run(name+" "+how, func(t *testing.T) {
				t.Parallel()
				dir := tempDir(t)
				first := mustStartBroker(t, BrokerConfig{DataDir: dir})
				cl := mustClient(t, first.Addr())
				mustTopic(t, cl, "kept")
				if err := first.Backup(); err != nil {
					t.Fatal(err)
				}
				mustTopic(t, cl, "later/ü-1") // not in the copy
				mustProduce(t, cl, "kept", "a", "b")
				mustProduce(t, cl, "later/ü-1", "x")
				mustConsume(t, first.Addr(), "readers", "kept", 1)
				before, err := kadm.NewClient(cl).ListTopics(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				mustStopBroker(t, first)

				path := filepath.Join(dir, "log", name)
				was, err := os.ReadFile(path)
				if err != nil {
					t.Fatal(err)
				}
				if err := damage(path, was); err != nil {
					t.Fatal(err)
				}
				second := mustStartBroker(t, BrokerConfig{DataDir: dir})
				cl = mustClient(t, second.Addr())
				after, err := kadm.NewClient(cl).ListTopics(t.Context())
				if err != nil || before["kept"].ID != after["kept"].ID {
					t.Errorf("the topic's id was %s and is %s; %v", before["kept"].ID, after["kept"].ID, err)
				}
				mustProduce(t, cl, "kept", "c")
				mustProduce(t, cl, "later/ü-1", "y")
				if got := mustConsume(t, second.Addr(), "others", "kept", 3); strings.Join(got, "") != "abc" {
					t.Errorf("the topic holds %q", got)
				}
				if got := mustConsume(t, second.Addr(), "others", "later/ü-1", 2); strings.Join(got, "") != "xy" {
					t.Errorf("the topic that was made later holds %q", got)
				}
				want := "b"
				if name == "groups.log" {
					want = "a"
				}
				if got := mustConsume(t, second.Addr(), "readers", "kept", 1); got[0] != want {
					t.Errorf("the group goes on with %q, want %q", got[0], want)
				}
				if _, err := os.Stat(path + damagedSuffix); filepath.Ext(name) == ".json" && how != "missing" && (how != "typed" || name == topicsFile) && err != nil {
					t.Error(err)
				}
			})
		}
	}
}

// Without the copy the ids of topics cannot be known, so the start is refused with the
// file's name rather than every record taken for a new one.
func TestBrokerLosesTopicIDs(t *testing.T) {
	t.Parallel()
	dir := tempDir(t)
	first := mustStartBroker(t, BrokerConfig{DataDir: dir})
	cl := mustClient(t, first.Addr())
	mustTopic(t, cl, "kept")
	mustProduce(t, cl, "kept", "a")
	mustStopBroker(t, first)
	path := filepath.Join(dir, "log", "topics.json")
	if err := os.WriteFile(path, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		_, err := StartBroker(t.Context(), BrokerConfig{DataDir: dir, Addr: "127.0.0.1:0"})
		if damaged := (*DamagedFileError)(nil); !errors.As(err, &damaged) || damaged.Path != path || !strings.Contains(err.Error(), "Restore it") {
			t.Fatalf("%v", err)
		}
	}
}

// A request for very many partitions is refused as Kafka refuses a wrong number, one for
// many is served, and the broker goes on.
func TestBrokerManyPartitions(t *testing.T) {
	t.Parallel()
	b := mustStartBroker(t, BrokerConfig{DataDir: tempDir(t)})
	adm := kadm.NewClient(mustClient(t, b.Addr()))
	for _, n := range []int32{1<<31 - 1, maxPartitions + 1} {
		if _, err := adm.CreateTopic(t.Context(), n, 1, nil, "many"); !errors.Is(err, kerr.InvalidPartitions) {
			t.Errorf("%d partitions: %v", n, err)
		}
	}
	if _, err := adm.CreateTopic(t.Context(), maxPartitions, 1, nil, "many"); err != nil {
		t.Error(err)
	}
	if _, err := adm.CreateTopic(t.Context(), 2, 1, nil, "few"); err != nil {
		t.Error(err)
	}
	for _, n := range []int{1<<31 - 1, maxPartitions + 1} {
		if r, err := adm.UpdatePartitions(t.Context(), n, "few"); err != nil || !errors.Is(r.Error(), kerr.InvalidPartitions) {
			t.Errorf("%d partitions: %v, %v", n, err, r.Error())
		}
	}
	if r, err := adm.UpdatePartitions(t.Context(), 3, "few"); err != nil || r.Error() != nil {
		t.Errorf("%v, %v", err, r.Error())
	}
}

// failing is a listener whose next Accept fails as often as is said.
type failing struct {
	net.Listener
	left int
	err  error
}

func (f *failing) Accept() (net.Conn, error) {
	if f.left > 0 {
		f.left--
		return nil, &net.OpError{Op: "accept", Err: os.NewSyscallError("accept4", f.err)}
	}
	return f.Listener.Accept()
}

// Errors of accepting that pass do not end the broker's listening; the end of the
// listener does.
func TestBrokerAcceptsAfterErrors(t *testing.T) {
	t.Parallel()
	for _, passing := range []error{syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM, syscall.ECONNABORTED} {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		guard := guardListener{&failing{l, 2, passing}, l.Addr(), logTo(t)}
		peer, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		c, err := guard.Accept()
		if err != nil {
			t.Fatalf("after %v: %v", passing, err)
		}
		if err := errors.Join(c.Close(), peer.Close(), l.Close()); err != nil {
			t.Error(err)
		}
		if _, err := guard.Accept(); !errors.Is(err, net.ErrClosed) {
			t.Errorf("after its end: %v", err)
		}
	}
}
