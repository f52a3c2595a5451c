package embedded

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// brokerSettings are the embedded broker's settings, by Kafka's names.
// Topics are only made when asked for (kfake's default), and groups start
// without an initial rebalance delay (kfake has none).
var brokerSettings = map[string]string{
	// The largest topic takes records of 17 MiB; the batch around one is larger.
	"message.max.bytes": strconv.Itoa(18 << 20),
	"fetch.max.bytes":   strconv.Itoa(55 << 20), // Kafka's default
	// Retention deletes whole segments, so a segment is what a topic keeps beyond
	// its limits; 100 MiB (the default) would be much for a laptop.
	"log.segment.bytes": strconv.Itoa(32 << 20),
	// kfake applies retention and compaction only when this is due; its default
	// of an hour lets 1 GiB of ticks become many.
	"log.cleaner.backoff.ms": strconv.Itoa(60_000),
	// A laptop may be off for months; with Kafka's seven days its groups would
	// come back without their places and read everything again.
	"offsets.retention.minutes":  strconv.Itoa(5 * 365 * 24 * 60),
	"default.replication.factor": "1",
}

// BrokerConfig says where the embedded broker lives.
type BrokerConfig struct {
	// DataDir is a folder of the broker's own; it is made when missing.
	DataDir string
	// Addr is host:port; port 0 takes a free one. Clients are told the address
	// that is listened on, so a host that others resolve differently is no use;
	// an unspecified host is told as 127.0.0.1.
	Addr string
	// Logger receives the broker's warnings; nil is silent.
	Logger *slog.Logger
	// SyncWrites flushes each batch to the disk before it is acknowledged. Off,
	// records acknowledged just before a power cut may be lost (not those before
	// a kill -9, which the kernel keeps), as with Apache Kafka's defaults.
	SyncWrites bool
}

// Broker is a Kafka broker of one node in this process, with its data on disk.
// It owns its listener, its connections and a lock on the data directory; Stop
// ends them. Methods are safe for concurrent use.
type Broker struct {
	cluster *kfake.Cluster
	dir     string // the broker's files
	addr    string
	lock    *dirLock

	stop    sync.Once
	stopped chan struct{}
	stopErr error
	wg      sync.WaitGroup
}

// clusterID is what the embedded cluster calls itself.
const clusterID = "crier"

// StartBroker loads the data directory and listens. Errors: *AddrInUseError,
// *DirInUseError, *DamagedFileError.
func StartBroker(ctx context.Context, cfg BrokerConfig) (*Broker, error) {
	dir, err := filepath.Abs(cfg.DataDir)
	if err != nil {
		return nil, fmt.Errorf("resolving the broker's data directory: %w", err)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("making the broker's data directory: %w", err)
	}
	lock, err := lockDir(dir, "kafka")
	if err != nil {
		return nil, err
	}
	b := &Broker{dir: filepath.Join(dir, "log"), lock: lock, stopped: make(chan struct{})}
	if err := b.start(ctx, cfg); err != nil {
		return nil, errors.Join(err, lock.release())
	}
	return b, nil
}

func (b *Broker) start(ctx context.Context, cfg BrokerConfig) error {
	if err := repairFiles(b.dir, orDiscard(cfg.Logger)); err != nil {
		return err
	}
	l, err := listen(ctx, "kafka", cfg.Addr)
	if err != nil {
		return err
	}
	b.addr = dialable(l.Addr().String())
	advertised, err := net.ResolveTCPAddr("tcp", b.addr)
	if err != nil {
		return errors.Join(fmt.Errorf("resolving the broker's address: %w", err), l.Close())
	}
	opts := []kfake.Opt{
		kfake.NumBrokers(1),
		kfake.ListenFn(func(string, string) (net.Listener, error) {
			return guardListener{l, advertised, orDiscard(cfg.Logger)}, nil
		}),
		kfake.DataDir(b.dir),
		kfake.ClusterID(clusterID),
		kfake.DefaultNumPartitions(1),
		// Short sessions are for tests and for quick take-over; a member may still
		// ask for a long one.
		kfake.GroupMinSessionTimeout(500 * time.Millisecond),
		kfake.BrokerConfigs(brokerSettings),
		kfake.WithLogger(brokerLogger{orDiscard(cfg.Logger)}),
	}
	if cfg.SyncWrites {
		opts = append(opts, kfake.SyncWrites())
	}
	b.cluster, err = kfake.NewCluster(opts...)
	if err != nil {
		_ = l.Close() // kfake closed it already
		return fmt.Errorf("loading the embedded broker from %s: %w", b.dir, err)
	}
	b.limitPartitions()
	b.stampArrival()
	return nil
}

// maxPartitions bounds how many partitions one request may make: the broker's library
// makes as many as it is asked for, each with memory of its own.
const maxPartitions = 1000

// limitPartitions refuses requests for more than that as Kafka refuses an invalid number.
func (b *Broker) limitPartitions() {
	code, message := kerr.InvalidPartitions.Code, kmsg.StringPtr(fmt.Sprintf("the embedded broker makes at most %d partitions at once", maxPartitions))
	b.refuseAbove(kmsg.CreateTopics, func(r kmsg.Request) (wanted int64, refusal kmsg.Response) {
		req := r.(*kmsg.CreateTopicsRequest)
		resp := req.ResponseKind().(*kmsg.CreateTopicsResponse)
		for _, t := range req.Topics {
			wanted += max(int64(t.NumPartitions), int64(len(t.ReplicaAssignment)), 1)
			answer := kmsg.NewCreateTopicsResponseTopic()
			answer.Topic, answer.ErrorCode, answer.ErrorMessage = t.Topic, code, message
			resp.Topics = append(resp.Topics, answer)
		}
		return wanted, resp
	})
	b.refuseAbove(kmsg.CreatePartitions, func(r kmsg.Request) (wanted int64, refusal kmsg.Response) {
		req := r.(*kmsg.CreatePartitionsRequest)
		resp := req.ResponseKind().(*kmsg.CreatePartitionsResponse)
		for _, t := range req.Topics {
			wanted += max(int64(t.Count), 0)
			answer := kmsg.NewCreatePartitionsResponseTopic()
			answer.Topic, answer.ErrorCode, answer.ErrorMessage = t.Topic, code, message
			resp.Topics = append(resp.Topics, answer)
		}
		return wanted, resp
	})
}

// refuseAbove answers requests of a key with their refusal where they want more than
// maxPartitions.
func (b *Broker) refuseAbove(key kmsg.Key, look func(kmsg.Request) (wanted int64, refusal kmsg.Response)) {
	b.cluster.ControlKey(int16(key), func(r kmsg.Request) (kmsg.Response, error, bool) {
		wanted, refusal := look(r)
		if wanted <= maxPartitions {
			return nil, nil, false
		}
		b.cluster.KeepControl()
		return refusal, nil, true
	})
}

// Addr is the bootstrap address, host:port.
func (b *Broker) Addr() string { return b.addr }

// Stop closes the listener and all connections, writes what is not written, and
// releases the data directory. When ctx ends first, the work goes on and Stop
// can be called again to wait for it.
func (b *Broker) Stop(ctx context.Context) error {
	b.stop.Do(func() {
		b.wg.Go(func() {
			defer close(b.stopped)
			b.cluster.Close()
			b.stopErr = b.lock.release()
		})
	})
	select {
	case <-b.stopped:
		b.wg.Wait()
		return b.stopErr
	case <-ctx.Done():
		return fmt.Errorf("stopping the embedded broker: %w", context.Cause(ctx))
	}
}

// brokerLogger passes kfake's errors and warnings on. Its info level has a line
// for each request.
type brokerLogger struct{ log *slog.Logger }

// Logf implements kfake.Logger.
func (l brokerLogger) Logf(level kfake.LogLevel, format string, args ...any) {
	switch level {
	case kfake.LogLevelError:
		l.log.Error("embedded broker", "message", fmt.Sprintf(format, args...))
	case kfake.LogLevelWarn:
		l.log.Warn("embedded broker", "message", fmt.Sprintf(format, args...))
	}
}
