package command

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"

	"crier/consumer"
	"crier/gateway"
	"crier/internal/kafka"
	"crier/internal/token"
	"crier/monitor"
)

// gatewayCmd runs the HTTP part alone.
type gatewayCmd struct {
	kafkaFlags    `embed:""`
	databaseFlags `embed:""`
	userFlags     `embed:""`
	gatewayFlags  `embed:""`
	publicFlags   `embed:""`
	webhookFlags  `embed:""`
	symbolFlags   `embed:""`
	adminFlags    `embed:""`
	startFlags    `embed:""`
}

// Run is called by the parser.
func (c *gatewayCmd) Run(e *env) error {
	return e.serve(c.kafkaFlags, c.databaseFlags, c.adminFlags, c.startFlags, gateway.Topics, func(h *host) error {
		if c.APIKey == "" {
			e.log.Info("CRIER_API_KEY is not set: services need keys of crier keys add")
		}
		g, err := c.build(h)
		if err != nil {
			return err
		}
		return h.start("gateway", g)
	})
}

func (c *gatewayCmd) build(h *host) (*gateway.Gateway, error) {
	external, err := c.external()
	if err != nil {
		return nil, err
	}
	tokens, err := c.authority(h.e.log)
	if err != nil {
		return nil, err
	}
	return gateway.New(c.config(external, c.Symbols, c.webhookFlags, c.publicFlags), h.db, h.kafka, tokens, h.e.log, h.reg)
}

// embeddedGateway is the gateway of the run of everything: guests may come, and
// Swagger has the key filled in and the mail catcher is named, where only this
// machine can reach it.
func (c *gatewayCmd) embeddedGateway(h *host, external bool, tokens *token.Authority, l net.Listener, mail string) (*gateway.Gateway, error) {
	cfg := c.config(external, c.Symbols, c.webhookFlags, c.publicFlags)
	cfg.Embedded = isLoopback(c.HTTPAddr)
	cfg.PrefillKey, cfg.Listener = cfg.Embedded, l
	if cfg.Embedded && mail != "" {
		cfg.MailPage = mail + "/"
	}
	if cfg.Embedded {
		executable, err := os.Executable()
		if err != nil {
			return nil, fmt.Errorf("finding this program's file: %w", err)
		}
		dataDir, err := filepath.Abs(h.e.dataDir)
		if err != nil {
			return nil, fmt.Errorf("CRIER_DATA_DIR: %w", err)
		}
		cfg.Command = commandLine(executable, sourceDir(), dataDir)
		cfg.StartCommand = cfg.Command + shellWords(h.e.shownArgs)
		cfg.KafkaAddr = strings.Join(c.KafkaBrokers, ",")
	}
	return gateway.New(cfg, h.db, h.kafka, tokens, h.e.log, h.reg)
}

// isLoopback says whether only this machine can reach an address.
func isLoopback(hostPort string) bool {
	address, err := netip.ParseAddrPort(hostPort)
	return err == nil && address.Addr().IsLoopback()
}

// monitorCmd runs the price part alone.
type monitorCmd struct {
	kafkaFlags    `embed:""`
	databaseFlags `embed:""`
	monitorFlags  `embed:""`
	symbolFlags   `embed:""`
	adminFlags    `embed:""`
	startFlags    `embed:""`
}

// Run is called by the parser.
func (c *monitorCmd) Run(e *env) error {
	return e.serve(c.kafkaFlags, c.databaseFlags, c.adminFlags, c.startFlags, monitor.Topics, func(h *host) error {
		m, err := monitor.New(c.config(c.Symbols, e.FailFunc), h.db, h.kafka, e.log, h.reg)
		if err != nil {
			return err
		}
		return h.start("monitor", m)
	})
}

// consumerCmd runs the inbox part alone.
type consumerCmd struct {
	kafkaFlags    `embed:""`
	databaseFlags `embed:""`
	consumerFlags `embed:""`
	publicFlags   `embed:""`
	webhookFlags  `embed:""`
	userFlags     `embed:""`
	adminFlags    `embed:""`
	startFlags    `embed:""`
}

// Run is called by the parser.
func (c *consumerCmd) Run(e *env) error {
	return e.serve(c.kafkaFlags, c.databaseFlags, c.adminFlags, c.startFlags, consumer.Topics, func(h *host) error {
		external, err := c.external()
		if err != nil {
			return err
		}
		p, err := consumer.New(c.config(external, c.webhookFlags, c.publicFlags, e.FailFunc), h.db, h.kafka, e.log, h.reg)
		if err != nil {
			return err
		}
		return h.start("consumer", p)
	})
}

// topicsCmd makes or checks the topics.
type topicsCmd struct {
	kafkaFlags `embed:""`
	topicFlags `embed:""`
	listFlags  `embed:""`
	Check      bool `help:"Only say what is missing; exit code 1 if something is."`
}

// Run is called by the parser.
func (c *topicsCmd) Run(e *env) error {
	if err := e.findKafka(&c.kafkaFlags); err != nil {
		return err
	}
	k, err := c.open(e.log)
	if err != nil {
		return err
	}
	defer k.Close()
	if c.Check {
		if err := k.CheckTopics(e.ctx, kafka.TopicNames...); err != nil {
			return err
		}
		e.printf("all topics are there\n")
		return nil
	}
	states, err := k.EnsureTopics(e.ctx, c.layout())
	for _, s := range states {
		c.row(e, struct {
			Topic      string `json:"topic"`
			Partitions int32  `json:"partitions"`
			Action     string `json:"action"`
		}{s.Name, s.Partitions, s.Action}, "%-14s %3d partitions  %s\n", s.Name, s.Partitions, s.Action)
	}
	return err
}

// migrateCmd brings the schema up to date.
type migrateCmd struct {
	databaseFlags `embed:""`
}

// Run is called by the parser.
func (c *migrateCmd) Run(e *env) error {
	db, err := e.openDatabase(c.databaseFlags)
	if err != nil {
		return err
	}
	defer db.Close()
	steps, err := db.Migrate(e.ctx)
	for _, s := range steps {
		e.printf("%s  %v\n", s.Name, s.Took.Round(1e6))
	}
	if err == nil && len(steps) == 0 {
		e.printf("the schema is up to date\n")
	}
	return err
}
