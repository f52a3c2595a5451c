package kafka

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl"
	"github.com/twmb/franz-go/pkg/sasl/plain"
	"github.com/twmb/franz-go/pkg/sasl/scram"

	"crier/internal/lifecycle"
)

// Config says how to reach Kafka.
type Config struct {
	Brokers     []string // bootstrap servers, host:port
	TopicPrefix string   // put before every topic and group name
	TLS         bool
	CAFile      string // PEM; empty: the system's roots
	SASL        string // "", PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512
	User        string
	Password    string
	Log         *slog.Logger
	// Dial opens connections, without TLS; nil: as usual. Tests cut, hold and change
	// what goes over them.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
	// DeliveryTimeout is how long a record may wait to be sent; 0:
	// DefaultDeliveryTimeout.
	DeliveryTimeout time.Duration
}

// DefaultDeliveryTimeout outlasts the election of a partition's leader, and a
// broker's restart.
const DefaultDeliveryTimeout = 30 * time.Second

// ClientID is what brokers see in their logs and quotas.
const ClientID = "crier"

// options are what all clients share.
func (c Config) options() ([]kgo.Opt, error) {
	if len(c.Brokers) == 0 {
		return nil, errors.New("no Kafka brokers: set CRIER_KAFKA_BROKERS")
	}
	var errs []error
	for _, broker := range c.Brokers {
		if !validBroker(broker) {
			errs = append(errs, fmt.Errorf("CRIER_KAFKA_BROKERS %q: must be host:port", broker))
		}
	}
	if !validPrefix.MatchString(c.TopicPrefix) {
		errs = append(errs, fmt.Errorf("CRIER_TOPIC_PREFIX %q: must be letters, digits, '.', '_' and '-', 200 at most", c.TopicPrefix))
	}
	opts := []kgo.Opt{
		kgo.SeedBrokers(c.Brokers...),
		kgo.ClientID(ClientID),
		// A topic that is made, or grown, while we run is noticed within this.
		kgo.MetadataMaxAge(30 * time.Second),
		kgo.MetadataMinAge(250 * time.Millisecond),
		kgo.DialTimeout(5 * time.Second),
		kgo.RetryTimeout(30 * time.Second),
	}
	if c.Log != nil {
		opts = append(opts, kgo.WithLogger(newLogger(c.Log)))
	}
	if c.Dial != nil {
		opts = append(opts, kgo.Dialer(c.Dial))
	}
	if !c.TLS && c.CAFile != "" {
		errs = append(errs, errors.New("CRIER_KAFKA_TLS: must be true with CRIER_KAFKA_CA_FILE"))
	}
	if c.TLS {
		conf := &tls.Config{MinVersion: tls.VersionTLS12}
		if c.CAFile != "" {
			pem, err := os.ReadFile(c.CAFile)
			if err != nil {
				errs = append(errs, fmt.Errorf("CRIER_KAFKA_CA_FILE %q: must be a file with certificates, PEM: %w", c.CAFile, err))
			}
			conf.RootCAs = x509.NewCertPool()
			if err == nil && !conf.RootCAs.AppendCertsFromPEM(pem) {
				errs = append(errs, fmt.Errorf("CRIER_KAFKA_CA_FILE %q: holds no certificate, PEM", c.CAFile))
			}
		}
		opts = append(opts, kgo.DialTLSConfig(conf))
	}
	mechanism, err := c.mechanism()
	if err := errors.Join(append(errs, err)...); err != nil {
		return nil, err
	}
	if mechanism != nil {
		opts = append(opts, kgo.SASL(mechanism))
	}
	return opts, nil
}

// validPrefix leaves room for the topics' own names within Kafka's 249 characters.
var validPrefix = regexp.MustCompile(`^[a-zA-Z0-9._-]{0,200}$`)

// validBroker accepts host:port, and a host alone, for which the client takes 9092.
func validBroker(broker string) bool {
	host, port, err := net.SplitHostPort(broker)
	if err != nil {
		return broker != "" && !strings.ContainsAny(broker, ":/ ")
	}
	n, err := strconv.ParseUint(port, 10, 16)
	return err == nil && n > 0 && host != "" && !strings.ContainsAny(host, "/ ")
}

func (c Config) mechanism() (sasl.Mechanism, error) {
	if c.SASL == "" {
		if c.User != "" || c.Password != "" {
			return nil, errors.New("CRIER_KAFKA_SASL: is required with CRIER_KAFKA_USER and CRIER_KAFKA_PASSWORD")
		}
		return nil, nil
	}
	var user error
	if c.User == "" {
		user = errors.New("CRIER_KAFKA_USER: is required with CRIER_KAFKA_SASL")
	}
	switch c.SASL {
	case "PLAIN":
		return plain.Auth{User: c.User, Pass: c.Password}.AsMechanism(), user
	case "SCRAM-SHA-256":
		return scram.Auth{User: c.User, Pass: c.Password}.AsSha256Mechanism(), user
	case "SCRAM-SHA-512":
		return scram.Auth{User: c.User, Pass: c.Password}.AsSha512Mechanism(), user
	}
	return nil, errors.Join(user, fmt.Errorf("CRIER_KAFKA_SASL %q: must be PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512", c.SASL))
}

// logger passes what the library finds worth a warning, without its repeats: in an
// outage it says the same of each broker at each try.
type logger struct{ log *slog.Logger }

func newLogger(log *slog.Logger) logger { return logger{slog.New(lifecycle.Rare(log.Handler()))} }

func (l logger) Level() kgo.LogLevel { return kgo.LogLevelWarn }

func (l logger) Log(level kgo.LogLevel, msg string, kv ...any) {
	at := slog.LevelWarn
	if level == kgo.LogLevelError {
		at = slog.LevelError
	}
	l.log.Log(context.Background(), at, "kafka: "+msg, kv...)
}
