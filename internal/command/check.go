package command

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strconv"
	"strings"

	"github.com/alecthomas/kong"

	"crier/internal/destination"
	"crier/internal/hostname"
	"crier/internal/postgres"
	"crier/internal/telemetry"
	"crier/internal/token"
	"crier/monitor"
)

// checkCommand finds everything that is wrong with the values of a part's
// configuration, before the part connects to anything or waits for anything.
func checkCommand(parsed *kong.Context) error {
	if c, ok := parsed.Selected().Target.Addr().Interface().(interface{ check() error }); ok {
		return c.check()
	}
	return nil
}

// discard is for what is made only to be checked.
var discard = slog.New(slog.DiscardHandler)

func (c *runCmd) check() error {
	// What is generated or started later is taken for valid.
	users, gateway, public, consumer, feeds := c.userFlags, c.gatewayFlags, c.publicFlags, c.consumerFlags, c.monitorFlags
	if users.JWTSecret == "" && users.JWTPublicKeyFile == "" && users.JWKSURL == "" {
		users.JWTSecret = telemetry.Secret(strings.Repeat("x", token.MinSecret))
	}
	if public.PublicURL == "" {
		public.PublicURL = "http://localhost"
	}
	if feeds.Feeds == "" {
		feeds.Feeds = monitor.Auto
	}
	errs := []error{c.kafkaFlags.check(), c.topicFlags.check(), c.databaseFlags.check(), users.check(), checkGateway(gateway, users, c.symbolFlags, c.webhookFlags, public),
		feeds.config(c.Symbols, nil).Check(), consumer.check(), consumer.config(false, webhookFlags{}, public, nil).Check(), c.adminFlags.check(), c.startFlags.check()}
	for name, addr := range map[string]string{"CRIER_KAFKA_ADDR": c.KafkaAddr, "CRIER_POSTGRES_ADDR": c.PostgresAddr, "CRIER_MAIL_SMTP_ADDR": c.MailSMTPAddr, "CRIER_MAIL_ADDR": c.MailAddr} {
		errs = append(errs, checkAddr(name, addr))
	}
	return errors.Join(errs...)
}

func (c *gatewayCmd) check() error {
	return errors.Join(c.kafkaFlags.required(), c.databaseFlags.required(), c.userFlags.check(), checkGateway(c.gatewayFlags, c.userFlags, c.symbolFlags, c.webhookFlags, c.publicFlags), c.adminFlags.check(), c.startFlags.check())
}

func (c *monitorCmd) check() error {
	return errors.Join(c.kafkaFlags.required(), c.databaseFlags.required(), c.config(c.Symbols, nil).Check(), c.adminFlags.check(), c.startFlags.check())
}

func (c *consumerCmd) check() error {
	_, err := c.external()
	return errors.Join(c.kafkaFlags.required(), c.databaseFlags.required(), err, c.publicFlags.check(), c.consumerFlags.check(), c.config(false, c.webhookFlags, c.publicFlags, nil).Check(), c.adminFlags.check(), c.startFlags.check())
}

func (c *topicsCmd) check() error { return errors.Join(c.kafkaFlags.check(), c.topicFlags.check()) }

func (c *sendCmd) check() error { return errors.Join(c.kafkaFlags.check(), c.databaseFlags.check()) }

func (c *roomsRemoveCmd) check() error {
	return errors.Join(c.kafkaFlags.check(), c.databaseFlags.check())
}

func (c *importCmd) check() error {
	_, err := c.external()
	_, guard := destination.NewGuard(c.allowed())
	return errors.Join(c.kafkaFlags.check(), c.databaseFlags.check(), err, guard)
}

// checkSet returns the fault of a value; a zero of the operator's is one where parts
// would take it for their default.
func checkSet(bad bool, name, value, form string) error {
	if bad {
		return fmt.Errorf("%s %q: %s", name, value, form)
	}
	return nil
}

func (f consumerFlags) check() error {
	return errors.Join(checkSet(f.ConsumerBatch == 0, "CRIER_CONSUMER_BATCH", "0", "must be 1 to 10000"), checkSet(f.WebhookRetention == 0, "CRIER_WEBHOOK_RETENTION", "0s", "must be at least 48h"))
}

// check is for consumers; gateways have it in their own.
func (f publicFlags) check() error {
	return checkSet(f.PublicURL != "" && !hostname.IsBase(f.PublicURL), "CRIER_PUBLIC_URL", f.PublicURL, "must be an http or https URL, such as https://push.example.org")
}

func (f gatewayFlags) check() error {
	return errors.Join(checkSet(f.AlertLimit == 0, "CRIER_ALERT_LIMIT", "0", "must be 1 or more"), checkSet(f.StreamOutbox == 0, "CRIER_STREAM_OUTBOX", "0", "must be 1 to 1073741824"))
}

func checkGateway(f gatewayFlags, users userFlags, symbols symbolFlags, w webhookFlags, p publicFlags) error {
	external, _ := users.external() // its error is of users.check
	return errors.Join(f.check(), f.config(external, symbols.Symbols, w, p).Check())
}

func (f kafkaFlags) required() error {
	if len(f.KafkaBrokers) == 0 {
		return errors.New("CRIER_KAFKA_BROKERS: is required here, such as kafka-1:9092,kafka-2:9092")
	}
	return f.check()
}

func (f kafkaFlags) check() error {
	if len(f.KafkaBrokers) == 0 {
		f.KafkaBrokers = []string{"localhost:9092"} // the embedded broker
	}
	k, err := f.open(discard)
	if err != nil {
		return err
	}
	k.Close()
	return nil
}

func (f topicFlags) check() error {
	var errs []error
	if f.Partitions < 1 {
		errs = append(errs, fmt.Errorf("CRIER_TOPIC_PARTITIONS \"%d\": must be at least 1", f.Partitions))
	}
	if f.Replicas < 1 && f.Replicas != -1 {
		errs = append(errs, fmt.Errorf("CRIER_TOPIC_REPLICAS \"%d\": must be at least 1, or -1 for the cluster's default", f.Replicas))
	}
	return errors.Join(errs...)
}

func (f databaseFlags) required() error {
	if f.DatabaseURL == "" {
		return errNoDatabase
	}
	return f.check()
}

var errNoDatabase = errors.New("CRIER_DATABASE_URL: is required here, such as postgres://user:password@host:5432/crier")

func (f databaseFlags) check() error {
	var errs []error
	if f.DatabaseURL != "" {
		errs = append(errs, postgres.CheckURL(string(f.DatabaseURL)))
	}
	if f.DatabaseMax < 1 {
		errs = append(errs, fmt.Errorf("CRIER_DATABASE_MAX_CONNS \"%d\": must be at least 1", f.DatabaseMax))
	}
	return errors.Join(errs...)
}

func (f userFlags) check() error {
	_, err := f.external()
	_, keys := f.authority(discard)
	return errors.Join(err, keys)
}

func (f startFlags) check() error {
	if f.StartTimeout <= 0 {
		return fmt.Errorf("CRIER_START_TIMEOUT %q: must be more than 0s", f.StartTimeout)
	}
	return nil
}

func (f adminFlags) check() error { return checkAddr("CRIER_ADMIN_ADDR", f.AdminAddr) }

// checkAddr checks the form of a listener's address.
func checkAddr(name, addr string) error {
	_, port, err := net.SplitHostPort(addr)
	if err == nil {
		_, err = strconv.ParseUint(port, 10, 16)
	}
	if err != nil {
		return fmt.Errorf("%s %q: must be host:port, such as 127.0.0.1:8080", name, addr)
	}
	return nil
}
