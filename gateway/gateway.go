package gateway

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/time/rate"

	"crier/gateway/api"
	"crier/gateway/hub"
	"crier/gateway/presence"
	"crier/gateway/sse"
	"crier/gateway/wire"
	"crier/gateway/ws"
	"crier/internal/alert"
	"crier/internal/candle"
	"crier/internal/destination"
	"crier/internal/hostname"
	"crier/internal/inbox"
	"crier/internal/kafka"
	"crier/internal/lifecycle"
	"crier/internal/postgres"
	"crier/internal/price"
	"crier/internal/room"
	"crier/internal/schedule"
	"crier/internal/token"
	"crier/internal/user"
)

// Gateway is the running part. It owns the listener, the tails, the hub's
// workers and the writers; Stop ends all of them.
//
//	@title						Crier
//	@version					1
//	@description				Live notifications from Kafka to the browser. Errors are RFC 9457 problem+json with a stable code.
//	@BasePath					/api/v1
//	@tag.name					notifications
//	@tag.description			Sending, and the inbox
//	@tag.name					stream
//	@tag.description			What comes to a browser at once
//	@tag.name					alerts
//	@tag.description			Conditions on prices
//	@tag.name					prices
//	@tag.name					rooms
//	@tag.name					account
//	@tag.name					data pusher
//	@tag.description			Signed webhooks
//	@securityDefinitions.apikey	apikey
//	@in							header
//	@name						X-API-Key
//	@securityDefinitions.apikey	bearer
//	@in							header
//	@name						Authorization
//	@description				"Bearer " and an access token
type Gateway struct {
	cfg     Config
	ranges  ranges
	origins []string // allowed ones, normalised; "*": all
	hosts   []string // names that this gateway is called by
	// checkHost refuses requests by other names: on loopback, where nothing else
	// stands between a page and this gateway, and wherever names are configured.
	checkHost bool
	originLog rate.Sometimes // of the log of refused origins, which untrusted clients write
	kafka     *kafka.Client
	log       *slog.Logger
	metrics   *metrics

	api      *api.API
	hub      *hub.Hub
	pool     *wire.Pool
	presence *presence.Presence

	started        time.Time
	draining       atomic.Bool
	tickPartitions atomic.Int32
	listener       net.Listener
	server         *http.Server
	tails          []*kafka.Tail
	goroutines     *lifecycle.Group

	health              []*lifecycle.Health // of all loops
	rereading, checking *lifecycle.Health
}

// New checks the configuration; it does no I/O.
func New(cfg Config, db *postgres.DB, k *kafka.Client, tokens *token.Authority, log *slog.Logger, reg prometheus.Registerer) (*Gateway, error) {
	ranges, err := cfg.normalise()
	if err != nil {
		return nil, err
	}
	guard, err := destination.NewGuard(cfg.WebhookAllow)
	if err != nil {
		return nil, err
	}
	g := &Gateway{cfg: cfg, ranges: ranges, kafka: k, log: log.With("part", "gateway"), started: time.Now(), originLog: rate.Sometimes{Interval: time.Minute}}
	g.knownNames()
	if len(cfg.CompatOpen) > 0 {
		g.log.Warn("requests of older systems are accepted without credentials", "systems", cfg.CompatOpen, "from", append([]string{"loopback"}, cfg.CompatNetworks...), "setting", "CRIER_COMPAT_OPEN")
	}
	users, inboxes := user.New(db), inbox.New(db)
	g.hub = hub.New(source{inboxes, users, cfg.RefreshTTL})
	rooms := room.New(db)
	g.presence = presence.New(rooms, k, g.log)
	g.pool = wire.NewPool(wire.Config{Outbox: cfg.StreamOutbox})
	g.hub.LagFunc = g.pool.Lag
	g.metrics = newMetrics(reg, g.hub, g.pool)
	g.api = &api.API{
		Config: api.Config{Version: cfg.Version, Embedded: cfg.Embedded, ExternalUsers: cfg.ExternalUsers, APIKey: cfg.APIKey,
			SignupMode: cfg.Signup, SignupLimit: cfg.SignupLimit, SendLimitUser: cfg.SendLimitUser, SendLimitKey: cfg.SendLimitKey,
			AccessTTL: cfg.AccessTTL, RefreshTTL: cfg.RefreshTTL, Symbols: cfg.Symbols, MailPage: cfg.MailPage, Command: cfg.Command, StartCommand: cfg.StartCommand, KafkaAddr: cfg.KafkaAddr, HTTPSFunc: g.https, RemoteFunc: g.remote, SameOriginFunc: g.sameOrigin},
		DB: db, Inbox: inboxes, Alerts: alert.New(db, cfg.AlertLimit), Users: users, Destinations: destination.New(db), Guard: guard, Prices: price.New(db), CandleStore: candle.New(db),
		Schedule: schedule.New(db), Rooms: rooms, Presence: g.presence, Tokens: tokens,
		Kafka: k, Hub: g.hub, SSE: &sse.Server{Hub: g.hub, Pool: g.pool}, WS: &ws.Server{Hub: g.hub, Pool: g.pool},
		Log: slog.New(lifecycle.Rare(g.log.Handler())), // what fails may fail for each request
	}
	if db != nil { // what only checks a configuration has none
		g.api.Conns = int(db.Config().MaxConns)
	}
	g.api.Prepare(reg)
	return g, nil
}

// knownNames reads from the configuration by which names pages and clients may ask.
func (g *Gateway) knownNames() {
	for _, o := range g.cfg.AllowedOrigins {
		if scheme, host := originOf(o); host != "" {
			g.origins = append(g.origins, scheme+"://"+host)
		} else {
			g.origins = append(g.origins, o) // *
		}
	}
	for _, h := range g.cfg.AllowedHosts {
		g.hosts = append(g.hosts, hostname.Name(h))
	}
	if _, host := originOf(g.cfg.PublicURL); host != "" {
		g.hosts = append(g.hosts, hostname.Name(host))
	}
	g.checkHost = (len(g.hosts) > 0 || hostname.Loopback(g.cfg.Addr)) && !slices.Contains(g.cfg.AllowedHosts, "*")
	if !g.checkHost {
		g.log.Warn("any Host header is taken, so a page of another site can point its own name here: set CRIER_PUBLIC_URL or CRIER_ALLOWED_HOSTS")
	}
}

// API is the handlers, for what the embedded default prepares before it starts.
func (g *Gateway) API() *api.API { return g.api }

// Topics are those that the part reads or writes.
var Topics = []string{kafka.Ticks, kafka.Notifications, kafka.Rooms, kafka.Deliveries, kafka.Signals, kafka.Incoming}

// Start resolves the ends of the topics, then listens.
func (g *Gateway) Start(ctx context.Context) error {
	if err := g.kafka.CheckTopics(ctx, Topics...); err != nil {
		return fmt.Errorf("starting the gateway: %w", err)
	}
	n, err := g.kafka.Partitions(ctx, kafka.Ticks)
	if err != nil {
		return fmt.Errorf("starting the gateway: %w", err)
	}
	g.tickPartitions.Store(n)
	g.goroutines = lifecycle.NewGroup(context.WithoutCancel(ctx))
	g.pool.Start(ctx)
	g.rereading, g.checking = g.watched("reading connected users' inboxes"), g.watched("checking connected users against Postgres")
	// Ticks have a tail of their own: a flood of them must not delay deliveries.
	for _, t := range []struct {
		topics []string
		each   func(*kafka.Record)
	}{{[]string{kafka.Deliveries, kafka.Signals}, g.event}, {[]string{kafka.Ticks}, g.tick}} {
		tail, err := g.kafka.Tail(ctx, t.topics...)
		if err != nil {
			return fmt.Errorf("starting the gateway: %w", err)
		}
		g.tails = append(g.tails, tail)
		health := g.watched("reading " + t.topics[0])
		g.goroutines.Go("tail of "+t.topics[0], func(ctx context.Context) error { return g.follow(ctx, tail, health, t.each) })
	}
	if err := g.loadPrices(ctx); err != nil {
		return fmt.Errorf("starting the gateway: %w", err)
	}
	g.presence.Begin(ctx)
	g.goroutines.Go("presence in rooms", g.presence.Run)
	for range g.hub.Workers() {
		g.goroutines.Go("catching up", g.hub.CatchUp)
	}
	g.goroutines.Go("sending ticks", g.hub.SendTicks)
	g.goroutines.Go("checking streams", g.check)
	g.goroutines.Go("giving memory back", g.giveBack)
	return g.listen(ctx)
}

// Server limits against clients that are slow on purpose.
const (
	headerTimeout  = 10 * time.Second
	idleTimeout    = 2 * time.Minute
	maxHeaderBytes = 32 << 10
	// maxTabs is how many streams one connection of HTTP/2 may carry: a browser has
	// all its tabs on one, and the one too many would wait in silence.
	maxTabs = 1000
)

func (g *Gateway) listen(ctx context.Context) error {
	if g.listener = g.cfg.Listener; g.listener == nil {
		var err error
		if g.listener, err = new(net.ListenConfig).Listen(ctx, "tcp", g.cfg.Addr); err != nil {
			return fmt.Errorf("listening on CRIER_HTTP_ADDR: %w", err)
		}
	}
	router, err := g.router()
	if err != nil {
		return err
	}
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	protocols.SetHTTP2(true)
	protocols.SetUnencryptedHTTP2(true)
	g.server = &http.Server{
		Handler: g.outer(router), ReadHeaderTimeout: headerTimeout, WriteTimeout: g.cfg.AnswerTimeout, IdleTimeout: idleTimeout, MaxHeaderBytes: maxHeaderBytes,
		Protocols: protocols, ErrorLog: slog.NewLogLogger(g.log.Handler(), slog.LevelDebug),
		// A stream's own deadline does not end a connection that takes nothing, or
		// whose peer has vanished: it would be kept with all that waits for it.
		HTTP2: &http.HTTP2Config{MaxConcurrentStreams: maxTabs, SendPingTimeout: g.cfg.PeerTimeout, PingTimeout: g.cfg.PeerTimeout, WriteByteTimeout: g.cfg.PeerTimeout},
	}
	serve := func() error { return g.server.Serve(g.listener) }
	if g.cfg.TLSCert != "" {
		certs := &certificate{certFile: g.cfg.TLSCert, keyFile: g.cfg.TLSKey}
		if _, err := certs.get(nil); err != nil {
			return err
		}
		g.server.TLSConfig = &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: certs.get}
		serve = func() error { return g.server.ServeTLS(g.listener, "", "") }
	}
	g.goroutines.Go("HTTP server", func(context.Context) error {
		if err := serve(); !errors.Is(err, http.ErrServerClosed) {
			return err
		}
		return nil
	})
	g.log.Info("gateway started", "url", g.URL())
	return nil
}

// URL is the gateway's address as a base URL.
func (g *Gateway) URL() string {
	scheme := "http"
	if g.cfg.TLSCert != "" {
		scheme = "https"
	}
	return scheme + "://" + g.listener.Addr().String()
}

// Failed is closed when the part has ended by itself; Err says why.
func (g *Gateway) Failed() <-chan struct{} { return g.goroutines.Context().Done() }

// Err is why the part has ended by itself.
func (g *Gateway) Err() error { return g.goroutines.Err() }

// Ready says which of the part's loops fails, and why.
func (g *Gateway) Ready(ctx context.Context) error {
	var errs []error
	for _, h := range g.health {
		errs = append(errs, h.Ready(ctx))
	}
	errs = append(errs, g.presence.Ready(ctx))
	return errors.Join(errs...)
}

// watched makes the health of one of the part's loops. It is called before the loop
// is started.
func (g *Gateway) watched(what string) *lifecycle.Health {
	h := lifecycle.NewHealth(g.log, what)
	g.health = append(g.health, h)
	return h
}

// byeSpread is over how long readers are told to come back when this gateway
// goes away.
const byeSpread = 3 * time.Second

// Drain refuses new streams and tells the open ones to come back.
func (g *Gateway) Drain() {
	if !g.draining.Swap(true) {
		n := g.hub.ByeAll(hub.DrainingNow, byeSpread)
		g.log.Info("gateway is draining", "streams", n)
	}
}

// Stop drains, finishes requests in flight, and ends everything it owns.
func (g *Gateway) Stop(ctx context.Context) error {
	if g.goroutines == nil {
		return nil
	}
	g.Drain()
	var errs []error
	if g.server != nil {
		finish, cancel := context.WithTimeout(ctx, 3*time.Second)
		if err := g.server.Shutdown(finish); err != nil {
			errs = append(errs, fmt.Errorf("finishing requests: %w", err), g.server.Close())
		}
		cancel()
	}
	errs = append(errs, g.goroutines.Stop(ctx))
	for _, t := range g.tails {
		t.Close()
	}
	errs = append(errs, g.pool.Stop(ctx))
	return errors.Join(errs...)
}

// certificate is read again when its file changes, at most once a second.
type certificate struct {
	certFile, keyFile string

	mu      sync.Mutex // guards the rest
	current *tls.Certificate
	changed time.Time
	looked  time.Time
}

func (c *certificate) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.current != nil && time.Since(c.looked) < time.Second {
		return c.current, nil
	}
	c.looked = time.Now()
	info, err := os.Stat(c.certFile)
	if err == nil && c.current != nil && info.ModTime().Equal(c.changed) {
		return c.current, nil
	}
	if err == nil {
		var pair tls.Certificate
		if pair, err = tls.LoadX509KeyPair(c.certFile, c.keyFile); err == nil {
			c.current, c.changed = &pair, info.ModTime()
			return c.current, nil
		}
	}
	if c.current != nil {
		return c.current, nil // half-written files: the old one holds until they are whole
	}
	return nil, fmt.Errorf("reading CRIER_TLS_CERT and CRIER_TLS_KEY: %w", err)
}
