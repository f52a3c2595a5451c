package command

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"crier/consumer"
	"crier/internal/embedded"
	"crier/internal/telemetry"
	"crier/monitor"
)

// runCmd runs every part in one process.
type runCmd struct {
	kafkaFlags    `embed:""`
	topicFlags    `embed:""`
	databaseFlags `embed:""`
	userFlags     `embed:""`
	gatewayFlags  `embed:""`
	publicFlags   `embed:""`
	monitorFlags  `embed:""`
	consumerFlags `embed:""`
	webhookFlags  `embed:""`
	symbolFlags   `embed:""`
	adminFlags    `embed:""`
	startFlags    `embed:""`

	listener net.Listener // the gateway's

	KafkaAddr    string `env:"CRIER_KAFKA_ADDR" default:"127.0.0.1:9092" help:"Listener of the embedded broker."`
	KafkaSync    bool   `env:"CRIER_KAFKA_SYNC" help:"Have the embedded broker write through to the disk at each produce: safe from power loss, and slower."`
	PostgresAddr string `env:"CRIER_POSTGRES_ADDR" default:"127.0.0.1:5433" help:"Listener of the embedded Postgres."`
	MailSMTPAddr string `name:"mail-smtp-addr" env:"CRIER_MAIL_SMTP_ADDR" default:"127.0.0.1:1025" help:"SMTP listener of the embedded mail catcher."`
	MailAddr     string `name:"mail-addr" env:"CRIER_MAIL_ADDR" default:"127.0.0.1:8025" help:"Page and API of the embedded mail catcher."`
}

// defaultRooms are there on the embedded default.
var defaultRooms = []string{"family", "friends", "investments"}

// demoUser is who can sign in on the embedded default right away.
const demoUser = "demo"

// Run is called by the parser.
func (c *runCmd) Run(e *env) (err error) {
	h := &host{e: e}
	defer func() {
		err = explain(h.stop(err))
	}()
	facts, keys, err := c.prepare(h)
	if err != nil {
		return err
	}
	if err := c.startParts(h, keys, facts.Mail); err != nil {
		return err
	}
	g, ok := h.parts[len(h.parts)-1].(interface{ URL() string })
	if !ok {
		return errors.New("starting: the gateway is not the last part")
	}
	facts.HTTP, facts.Admin, facts.APIKey, facts.PID = g.URL(), h.admin.URL(), string(c.APIKey), os.Getpid()
	if err := e.writeRunFile(facts); err != nil {
		return err
	}
	h.stack.Push("run.json", func(context.Context) error { return os.Remove(e.runFile()) })
	h.admin.Ready(true)
	c.announce(e, facts, keys)
	return h.wait()
}

// prepare brings up what is embedded, and everything the parts stand on.
func (c *runCmd) prepare(h *host) (runFacts, secrets, error) {
	var facts runFacts
	e := h.e
	var err error
	if e.dataDir, err = filepath.Abs(e.dataDir); err != nil {
		return facts, secrets{}, fmt.Errorf("CRIER_DATA_DIR: %w", err)
	}
	// Others may pass through it, to the folders of what runs as another user,
	// and read nothing in it.
	if err := os.MkdirAll(e.dataDir, 0o711); err != nil {
		return facts, secrets{}, fmt.Errorf("CRIER_DATA_DIR: %w", err)
	}
	if err := embedded.CheckOwner(e.dataDir, "kafka", "postgres", "lock", runFileName, secretsFileName); err != nil {
		return facts, secrets{}, fmt.Errorf("CRIER_DATA_DIR: %w", err)
	}
	// Before anything is written: of two first starts at the same moment one
	// reports that the folder is taken.
	release, err := embedded.LockDir(e.dataDir)
	if err != nil {
		return facts, secrets{}, err
	}
	h.stack.Push("lock of the data dir", func(context.Context) error { return release() })
	if c.Feeds == "" {
		c.Feeds = monitor.Auto
	}
	keys, err := e.ensureSecrets()
	if err != nil {
		return facts, keys, err
	}
	c.useSecrets(keys)
	if err := c.checkPorts(e.ctx); err != nil {
		return facts, keys, err
	}
	if err := c.choosePort(e.ctx, h); err != nil {
		return facts, keys, err
	}
	broker, err := c.startEmbedded(h, &facts)
	if err != nil {
		return facts, keys, err
	}
	if err := h.open(c.kafkaFlags, c.databaseFlags, c.adminFlags, c.startFlags); err != nil {
		return facts, keys, err
	}
	if _, err := h.db.Migrate(e.ctx); err != nil {
		return facts, keys, err
	}
	if _, err := h.kafka.EnsureTopics(e.ctx, c.layout()); err != nil {
		return facts, keys, err
	}
	if broker != nil {
		if err := broker.Backup(); err != nil {
			return facts, keys, err
		}
	}
	if facts.Kafka == "" {
		facts.Kafka = strings.Join(c.KafkaBrokers, ",")
	}
	if facts.Postgres == "" {
		facts.Postgres = string(c.DatabaseURL)
	}
	return facts, keys, nil
}

// useSecrets fills in what the operator has not set.
func (c *runCmd) useSecrets(keys secrets) {
	if c.JWTSecret == "" && c.JWTPublicKeyFile == "" && c.JWKSURL == "" {
		c.JWTSecret = telemetry.Secret(keys.JWTSecret)
	}
	if c.APIKey == "" {
		c.APIKey = telemetry.Secret(keys.APIKey)
	}
}

// checkPorts finds taken ports before anything is started, so that a second run
// says at once which one and how to change it.
func (c *runCmd) checkPorts(ctx context.Context) error {
	addrs := []struct{ name, addr string }{{"CRIER_HTTP_ADDR", c.HTTPAddr}, {"CRIER_ADMIN_ADDR", c.AdminAddr}}
	if len(c.KafkaBrokers) == 0 {
		addrs = append(addrs, struct{ name, addr string }{"CRIER_KAFKA_ADDR", c.KafkaAddr})
	}
	if c.SMTPURL == "" {
		addrs = append(addrs, struct{ name, addr string }{"CRIER_MAIL_SMTP_ADDR", c.MailSMTPAddr}, struct{ name, addr string }{"CRIER_MAIL_ADDR", c.MailAddr})
	}
	var errs []error
	for _, a := range addrs {
		l, err := new(net.ListenConfig).Listen(ctx, "tcp", a.addr)
		if err != nil {
			errs = append(errs, taken(a.name, a.addr, err))
			continue
		}
		_ = l.Close()
	}
	return errors.Join(errs...)
}

// choosePort opens the gateway's listener before the other parts start, where it
// may take any port: mails have links to it.
func (c *runCmd) choosePort(ctx context.Context, h *host) error {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", c.HTTPAddr)
	if err != nil {
		return taken("CRIER_HTTP_ADDR", c.HTTPAddr, err)
	}
	c.HTTPAddr = l.Addr().String()
	if c.PublicURL == "" {
		c.PublicURL = "http://" + c.HTTPAddr
		if c.TLSCert != "" {
			c.PublicURL = "https://" + c.HTTPAddr
		}
	}
	if len(c.WebhookAllow) == 0 && isLoopback(c.HTTPAddr) {
		// Whoever can reach us can reach loopback without our help.
		c.WebhookAllow = []string{"127.0.0.0/8", "::1"}
	}
	c.listener = l
	h.stack.Push("gateway's listener", func(context.Context) error {
		_ = l.Close() // the gateway's server closes it, too
		return nil
	})
	return nil
}

func taken(name, addr string, err error) error {
	if errors.Is(err, syscall.EADDRINUSE) {
		return fmt.Errorf("%s is taken by another program: set %s to another address (port 0 takes a free one)", addr, name)
	}
	return fmt.Errorf("%s: %w", name, err)
}

// startEmbedded starts the embedded broker, Postgres and mail catcher, at the
// same time, where no others are named. The broker is nil where another is.
func (c *runCmd) startEmbedded(h *host, facts *runFacts) (broker *embedded.Broker, err error) {
	e := h.e
	var pg *embedded.Postgres
	var mail *embedded.MailCatcher
	starting, ctx := errgroup.WithContext(e.ctx)
	if len(c.KafkaBrokers) == 0 {
		c.Partitions, c.Replicas = 1, 1
		starting.Go(func() (err error) {
			broker, err = embedded.StartBroker(ctx, embedded.BrokerConfig{DataDir: filepath.Join(e.dataDir, "kafka"), Addr: c.KafkaAddr, Logger: e.log, SyncWrites: c.KafkaSync})
			return err
		})
	}
	if c.DatabaseURL == "" {
		starting.Go(func() (err error) {
			pg, err = embedded.StartPostgres(ctx, embedded.PostgresConfig{DataDir: filepath.Join(e.dataDir, "postgres"), Addr: c.PostgresAddr, Logger: e.log})
			return err
		})
	}
	if c.SMTPURL == "" {
		starting.Go(func() (err error) {
			mail, err = embedded.StartMailCatcher(ctx, embedded.MailConfig{SMTPAddr: c.MailSMTPAddr, HTTPAddr: c.MailAddr, Logger: e.log})
			return err
		})
	}
	err = starting.Wait()
	if broker != nil {
		h.stack.Push("embedded broker", broker.Stop)
		facts.Kafka, c.KafkaBrokers = broker.Addr(), []string{broker.Addr()}
	}
	if pg != nil {
		h.stack.Push("embedded Postgres", pg.Stop)
		facts.Postgres, c.DatabaseURL = pg.URL(), telemetry.Secret(pg.URL())
		h.parts = append(h.parts, died{pg.Done(), "the embedded Postgres"})
	}
	if mail != nil {
		h.stack.Push("mail catcher", mail.Stop)
		facts.Mail, facts.SMTP = mail.URL(), mail.SMTPAddr()
		c.SMTPURL = telemetry.Secret("smtp+plain://" + mail.SMTPAddr())
	}
	return broker, err
}

// died watches something that must not end by itself.
type died struct {
	done <-chan struct{}
	what string
}

func (d died) Start(context.Context) error { return nil }
func (d died) Stop(context.Context) error  { return nil }
func (d died) Failed() <-chan struct{}     { return d.done }
func (d died) Err() error {
	return errors.New(d.what + " has ended by itself; its log is in the data dir")
}

// startParts starts consumer, monitor and gateway in the order of the flow's
// end: whoever reads is there before whoever writes. The gateway, which lets
// people in, is last.
func (c *runCmd) startParts(h *host, keys secrets, mail string) error {
	external, err := c.external()
	if err != nil {
		return err
	}
	tokens, err := c.authority(h.e.log)
	if err != nil {
		return err
	}
	cons, err := consumer.New(c.consumerFlags.config(external, c.webhookFlags, c.publicFlags, h.e.FailFunc), h.db, h.kafka, h.e.log, h.reg)
	if err != nil {
		return err
	}
	mon, err := monitor.New(c.monitorFlags.config(c.Symbols, h.e.FailFunc), h.db, h.kafka, h.e.log, h.reg)
	if err != nil {
		return err
	}
	both := &gatewayCmd{kafkaFlags: c.kafkaFlags, databaseFlags: c.databaseFlags, userFlags: c.userFlags, gatewayFlags: c.gatewayFlags, publicFlags: c.publicFlags, webhookFlags: c.webhookFlags, symbolFlags: c.symbolFlags, adminFlags: c.adminFlags}
	g, err := both.embeddedGateway(h, external, tokens, c.listener, mail)
	if err != nil {
		return err
	}
	if !external {
		if err := g.API().EnsureUser(h.e.ctx, demoUser, keys.DemoPassword); err != nil {
			return fmt.Errorf("making the demo user: %w", err)
		}
	}
	for _, name := range defaultRooms {
		if _, err := g.API().EnsureRoom(h.e.ctx, name); err != nil {
			return fmt.Errorf("making room %s: %w", name, err)
		}
	}
	for _, p := range []struct {
		name string
		part part
	}{{"consumer", cons}, {"monitor", mon}, {"gateway", g}} {
		if err := h.start(p.name, p.part); err != nil {
			return err
		}
	}
	return nil
}

// announce says, in a few lines, where everything is. It serves also where that cannot
// be written.
func (c *runCmd) announce(e *env, f runFacts, keys secrets) {
	fmt.Fprintf(e.Stdout, "\nCrier is running (%s). Ctrl-C stops it; what it holds is kept in %s.\n\n", time.Now().Format(time.TimeOnly), e.dataDir)
	for _, r := range c.bannerRows(e, f, keys, isTerminal(e.Stdout)) {
		fmt.Fprintf(e.Stdout, "  %-9s %s\n", r[0], r[1])
	}
	fmt.Fprintln(e.Stdout)
}

// bannerRows are the addresses, and how to get in. What is printed to anything but a
// terminal is kept in logs that others read: there it names where the secrets are.
func (c *runCmd) bannerRows(e *env, f runFacts, keys secrets, terminal bool) [][2]string {
	rows := [][2]string{
		{"Page", f.HTTP + "/"},
		{"Swagger", f.HTTP + "/swagger/"},
		{"Kafka", f.Kafka},
		{"Postgres", f.Postgres},
	}
	if f.Mail != "" {
		rows = append(rows, [2]string{"Mail", f.Mail + "/"})
	}
	key, password := f.APIKey, keys.DemoPassword
	if !terminal {
		rows[3][1] = credentials.ReplaceAllString(f.Postgres, "://"+masked+"@")
		key, password = "api_key in "+e.secretsFile(), "demo_password in "+e.secretsFile()
	}
	if f.APIKey != keys.APIKey {
		key = "as set by CRIER_API_KEY"
	}
	rows = append(rows, [2]string{"API key", key})
	if external, _ := c.external(); !external {
		rows = append(rows, [2]string{"Login", demoUser + " / " + password})
	}
	return rows
}

// explain names the variable behind an address that is taken.
func explain(err error) error {
	var inUse *embedded.AddrInUseError
	if !errors.As(err, &inUse) {
		return err
	}
	name := map[string]string{"postgres": "CRIER_POSTGRES_ADDR", "kafka": "CRIER_KAFKA_ADDR", "smtp": "CRIER_MAIL_SMTP_ADDR", "mail": "CRIER_MAIL_ADDR"}[inUse.What]
	return taken(name, inUse.Addr, syscall.EADDRINUSE)
}
