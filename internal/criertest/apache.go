package criertest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"crier/internal/embedded"
)

// apachePatience covers two starts of a JVM on a busy machine with two cores;
// alone they take about six seconds.
const apachePatience = 2 * time.Minute

var apache shared[string]

// ApacheKafka gives the bootstrap address of a real Apache Kafka of one node
// (KRaft), started once in this test binary from the jars in
// CRIER_TEST_KAFKA_LIB (default: crier/kafka/lib in the user's cache folder,
// where .ci/run puts them). It takes records of 17 MiB and makes no topic unasked.
// Without jars or java the test skips, or fails where "kafka" is required.
func ApacheKafka(tb testing.TB) string {
	tb.Helper()
	lib, err := kafkaLib()
	if err != nil {
		missing(tb, "kafka", err.Error())
	}
	java, err := exec.LookPath("java")
	if err != nil {
		missing(tb, "kafka", err.Error())
	}
	return apache.get(tb, func() (string, error) { return startApache(java, lib) })
}

// kafkaLib is the folder with Kafka's jars.
func kafkaLib() (string, error) {
	lib := os.Getenv("CRIER_TEST_KAFKA_LIB")
	if lib == "" {
		cache, err := os.UserCacheDir()
		if err != nil {
			return "", fmt.Errorf("finding the user's cache folder: %w", err)
		}
		lib = filepath.Join(cache, "crier", "kafka", "lib")
	}
	jars, err := filepath.Glob(filepath.Join(lib, "kafka_*.jar"))
	if err != nil {
		return "", fmt.Errorf("looking for Kafka's jars: %w", err)
	}
	if len(jars) == 0 {
		return "", fmt.Errorf("no kafka_*.jar in %s (.ci/run puts them there)", lib)
	}
	return lib, nil
}

func startApache(java, lib string) (string, error) {
	dir, remove, err := serverDir("kafka")
	if err != nil {
		return "", err
	}
	addr, err := runApache(java, lib, dir)
	if err != nil {
		return "", errors.Join(err, remove())
	}
	atEnd(func(context.Context) error { return remove() })
	return addr, nil
}

func runApache(java, lib, dir string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), apachePatience)
	defer cancel()
	addr, err := freeAddr()
	if err != nil {
		return "", err
	}
	controller, err := freeAddr()
	if err != nil {
		return "", err
	}
	properties := filepath.Join(dir, "server.properties")
	if err := os.WriteFile(properties, []byte(apacheProperties(addr, controller, dir)), 0o600); err != nil {
		return "", fmt.Errorf("writing Kafka's properties: %w", err)
	}
	// A quick start matters here, not a quick run: no optimising compiler.
	jvm := []string{"-Xmx512m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-cp", filepath.Join(lib, "*")}
	format := exec.CommandContext(ctx, java, append(jvm, "kafka.tools.StorageTool", "format", "-t", "Y3JpZXItdGVzdC1rYWZrYQ", "-c", properties)...)
	if out, err := format.CombinedOutput(); err != nil {
		return "", fmt.Errorf("formatting Apache Kafka's storage: %w: %s", err, out)
	}
	out, err := os.Create(filepath.Join(dir, "kafka.log"))
	if err != nil {
		return "", fmt.Errorf("opening Apache Kafka's log: %w", err)
	}
	defer func() { _ = out.Close() }() // the child has its own
	cmd := exec.Command(java, append(jvm, "kafka.Kafka", properties)...)
	cmd.Stdout, cmd.Stderr = out, out
	p, err := embedded.StartProcess(cmd, syscall.SIGKILL)
	if err != nil {
		return "", err
	}
	if err := awaitKafka(ctx, addr, p.Done()); err != nil {
		log, _ := os.ReadFile(out.Name()) // as much as there is
		return "", errors.Join(fmt.Errorf("starting Apache Kafka: %w: %s", err, log[max(0, len(log)-4000):]), p.Stop(ctx))
	}
	// Its data is thrown away: killed, not shut down.
	atEnd(func(ctx context.Context) error { return p.Stop(ctx) })
	return addr, nil
}

// apacheProperties makes one node that is broker and controller, with everything
// internal kept once.
func apacheProperties(addr, controller, dir string) string {
	return strings.Join([]string{
		"process.roles=broker,controller",
		"node.id=1",
		"controller.quorum.voters=1@" + controller,
		"listeners=PLAINTEXT://" + addr + ",CONTROLLER://" + controller,
		"advertised.listeners=PLAINTEXT://" + addr,
		"controller.listener.names=CONTROLLER",
		"listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT",
		"log.dirs=" + filepath.Join(dir, "log"),
		"auto.create.topics.enable=false",
		"num.partitions=1",
		"default.replication.factor=1",
		"message.max.bytes=18874368",       // 18 MiB: a record of 17 MiB and its batch
		"replica.fetch.max.bytes=18874368", // must not be less
		"offsets.topic.replication.factor=1",
		"offsets.topic.num.partitions=1", // 50 take a second to make
		"transaction.state.log.replication.factor=1",
		"transaction.state.log.min.isr=1",
		"transaction.state.log.num.partitions=1",
		"share.coordinator.state.topic.replication.factor=1",
		"share.coordinator.state.topic.min.isr=1",
		"group.initial.rebalance.delay.ms=0",
		"group.min.session.timeout.ms=500", // as the embedded broker
		"log.cleaner.dedupe.buffer.size=16777216",
	}, "\n") + "\n"
}

// awaitKafka returns when the broker answers with itself in the cluster.
func awaitKafka(ctx context.Context, addr string, ended <-chan struct{}) error {
	cl, err := kgo.NewClient(kgo.SeedBrokers(addr), kgo.DialTimeout(time.Second))
	if err != nil {
		return err
	}
	defer cl.Close()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	var last error
	for {
		once, cancel := context.WithTimeout(ctx, 2*time.Second)
		brokers, err := kadm.NewClient(cl).ListBrokers(once)
		cancel()
		if err == nil && len(brokers) == 1 {
			return nil
		}
		last = err
		select {
		case <-tick.C:
		case <-ended:
			return errors.New("it ended")
		case <-ctx.Done():
			return errors.Join(fmt.Errorf("not ready after %s", apachePatience), last)
		}
	}
}
