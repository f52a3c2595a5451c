package command

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"crier/consumer"
	"crier/gateway"
	"crier/internal/kafka"
	"crier/internal/postgres"
	"crier/internal/telemetry"
	"crier/internal/token"
	"crier/monitor"
)

// kafkaFlags say how to reach Kafka.
type kafkaFlags struct {
	KafkaBrokers  []string         `env:"CRIER_KAFKA_BROKERS" help:"Bootstrap servers, comma-separated. Empty: the embedded broker."`
	TopicPrefix   string           `env:"CRIER_TOPIC_PREFIX" help:"Put before every topic and group name."`
	KafkaTLS      bool             `env:"CRIER_KAFKA_TLS" help:"Speak TLS to Kafka."`
	KafkaCAFile   string           `complete:"file" env:"CRIER_KAFKA_CA_FILE" help:"Certificate authority of Kafka's certificates, PEM; empty: the system's."`
	KafkaSASL     string           `complete:"PLAIN,SCRAM-SHA-256,SCRAM-SHA-512" env:"CRIER_KAFKA_SASL" help:"PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512."`
	KafkaUser     string           `env:"CRIER_KAFKA_USER" help:"SASL user."`
	KafkaPassword telemetry.Secret `env:"CRIER_KAFKA_PASSWORD" help:"SASL password."`
}

func (f kafkaFlags) open(log *slog.Logger) (*kafka.Client, error) {
	return kafka.Open(kafka.Config{Brokers: f.KafkaBrokers, TopicPrefix: f.TopicPrefix, TLS: f.KafkaTLS, CAFile: f.KafkaCAFile,
		SASL: strings.ToUpper(f.KafkaSASL), User: f.KafkaUser, Password: string(f.KafkaPassword), Log: log})
}

// topicFlags say how topics are made.
type topicFlags struct {
	Partitions     int32         `env:"CRIER_TOPIC_PARTITIONS" default:"6" help:"Partitions of topics that are made; the embedded broker makes one."`
	Replicas       int16         `env:"CRIER_TOPIC_REPLICAS" default:"-1" help:"Replicas of topics that are made; -1: the cluster's default."`
	TicksRetention retentionFlag `env:"CRIER_TICKS_RETENTION" default:"24h,1GiB" help:"How long ticks are kept: a duration, a size a partition, or both; alerts' firing is promised within it."`
}

func (f topicFlags) layout() kafka.Layout {
	return kafka.Layout{Partitions: f.Partitions, Replicas: f.Replicas, TicksRetention: f.TicksRetention.age, TicksBytes: f.TicksRetention.bytes}
}

// retentionFlag reads 24h, 1GiB or 24h,1GiB.
type retentionFlag struct {
	age   time.Duration
	bytes int64
}

// UnmarshalText is called by the flag parser.
func (r *retentionFlag) UnmarshalText(b []byte) error {
	r.age, r.bytes = 24*time.Hour, 1<<30
	var ages, sizes int
	for _, part := range strings.FieldsFunc(string(b), func(c rune) bool { return c == ',' || c == ' ' }) {
		if d, err := time.ParseDuration(part); err == nil && d > 0 {
			r.age = d
			ages++
			continue
		}
		n, err := parseSize(part)
		if err != nil {
			return fmt.Errorf("must be a duration such as 24h, a size such as 1GiB, or both: %q", part)
		}
		r.bytes = n
		sizes++
	}
	if ages > 1 || sizes > 1 {
		return errors.New("must be a duration such as 24h, a size such as 1GiB, or both: one of each at most")
	}
	return nil
}

func parseSize(s string) (int64, error) {
	shift := 0
	for suffix, bits := range map[string]int{"KiB": 10, "MiB": 20, "GiB": 30, "TiB": 40} {
		if rest, ok := strings.CutSuffix(s, suffix); ok {
			s, shift = rest, bits
			break
		}
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || n <= 0 || n > 1<<62>>shift {
		return 0, fmt.Errorf("not a size: %q", s)
	}
	return n << shift, nil
}

// databaseFlags say how to reach Postgres.
type databaseFlags struct {
	DatabaseURL telemetry.Secret `env:"CRIER_DATABASE_URL" help:"Postgres URL. Empty: the embedded Postgres."`
	DatabaseMax int32            `env:"CRIER_DATABASE_MAX_CONNS" default:"16" help:"Connections to Postgres at most."`
}

func (f databaseFlags) open(ctx context.Context) (*postgres.DB, error) {
	if f.DatabaseURL == "" {
		return nil, errNoDatabase
	}
	return postgres.Open(ctx, postgres.Config{URL: string(f.DatabaseURL), MaxConns: f.DatabaseMax})
}

// userFlags say who the users are and how their tokens are checked.
type userFlags struct {
	JWTSecret        telemetry.Secret `env:"CRIER_JWT_SECRET" help:"HS256 secret, at least 32 bytes. Embedded: generated once and kept in the data dir."`
	JWTPublicKeyFile string           `complete:"file" env:"CRIER_JWT_PUBLIC_KEY_FILE" help:"Public key (PEM) of the identity provider whose tokens are accepted."`
	JWKSURL          string           `env:"CRIER_JWKS_URL" help:"Address of the identity provider's keys."`
	JWTAudience      []string         `env:"CRIER_JWT_AUDIENCE" help:"Audiences (aud) of which a token must name one. Empty: not checked, so that tokens of other applications of the same provider are accepted."`
	JWTIssuer        string           `env:"CRIER_JWT_ISSUER" help:"Issuer (iss) that a token must name. Empty: not checked."`
	JWTUserClaim     string           `env:"CRIER_JWT_USER_CLAIM" default:"sub" help:"Claim of the identity provider's tokens that names the user."`
	JWTLeeway        time.Duration    `env:"CRIER_JWT_LEEWAY" default:"60s" help:"How far the identity provider's clock may differ."`
	Users            string           `env:"CRIER_USERS" help:"own: people sign up here; external: any sub is a user. Default: own, external where one of the two above is set."`
}

func (f userFlags) external() (bool, error) {
	switch f.Users {
	case "own":
		return false, nil
	case "external":
		return true, nil
	case "":
		return f.JWTPublicKeyFile != "" || f.JWKSURL != "", nil
	}
	return false, fmt.Errorf("CRIER_USERS %q: must be own or external", f.Users)
}

func (f userFlags) authority(log *slog.Logger) (*token.Authority, error) {
	return token.New(token.Config{Secret: string(f.JWTSecret), PublicKeyFile: f.JWTPublicKeyFile, JWKSURL: f.JWKSURL,
		Audience: f.JWTAudience, Issuer: f.JWTIssuer, UserClaim: f.JWTUserClaim, Leeway: f.JWTLeeway, Log: log})
}

// gatewayFlags are the HTTP part's.
type gatewayFlags struct {
	HTTPAddr       string           `name:"http-addr" env:"CRIER_HTTP_ADDR" default:"127.0.0.1:8080" help:"Gateway listener; port 0 takes a free one."`
	APIKey         telemetry.Secret `name:"api-key" env:"CRIER_API_KEY" help:"Key of a service that may do everything. Embedded: generated once."`
	AccessTTL      time.Duration    `name:"access-ttl" env:"CRIER_ACCESS_TTL" default:"30m" help:"Life of an access token."`
	RefreshTTL     time.Duration    `name:"refresh-ttl" env:"CRIER_REFRESH_TTL" default:"720h" help:"Life of a session without use."`
	AllowedOrigins []string         `env:"CRIER_ALLOWED_ORIGINS" help:"Origins whose pages may use the API and open sockets. Default: the same origin."`
	AllowedHosts   []string         `env:"CRIER_ALLOWED_HOSTS" help:"Names that clients may ask by, beside that of CRIER_PUBLIC_URL, IP addresses and localhost; *: any. Others are refused on a loopback listener, and wherever one of the two is set."`
	TLSCert        string           `complete:"file" name:"tls-cert" env:"CRIER_TLS_CERT" help:"Certificate file, PEM; with the key, TLS and HTTP/2 are served."`
	TLSKey         string           `complete:"file" name:"tls-key" env:"CRIER_TLS_KEY" help:"Key file of the certificate."`
	TrustedProxies []string         `env:"CRIER_TRUSTED_PROXIES" help:"Addresses and ranges of proxies, whose X-Forwarded-For and X-Forwarded-Proto are believed."`
	CompatOpen     []string         `env:"CRIER_COMPAT_OPEN" help:"Older systems (data-pusher, notifications) whose requests are accepted without the credentials that those systems did not ask for: from loopback and CRIER_COMPAT_NETWORKS only."`
	CompatNetworks []string         `env:"CRIER_COMPAT_NETWORKS" help:"Addresses and ranges, beside loopback, that CRIER_COMPAT_OPEN holds for."`
	StreamOutbox   int              `env:"CRIER_STREAM_OUTBOX" default:"262144" help:"Bytes that may wait for one stream."`
	AlertLimit     int              `env:"CRIER_ALERT_LIMIT" default:"10000" help:"Active alerts a user may have."`
	Signup         string           `env:"CRIER_SIGNUP" default:"open" help:"Who may sign up: open: anybody; invite: with an invitation (crier invites add); closed: nobody. An API key may make accounts in any case."`
	SignupLimit    int              `env:"CRIER_SIGNUP_LIMIT" default:"1000" help:"Sign-ups an hour from one address (IPv6: a /64), a gateway; 0: any number."`
	SendLimitUser  int              `env:"CRIER_SEND_LIMIT_USER" default:"100" help:"Notifications a second that a user may send, a gateway, ten times as many at once; of all users of one address ten times as many; 0: any number."`
	SendLimitKey   int              `env:"CRIER_SEND_LIMIT_KEY" default:"100000" help:"Notifications a second that a service may send, and items that may be pushed in for an account, a gateway; 0: any number."`
}

// publicFlags say where people reach this installation.
type publicFlags struct {
	PublicURL string `name:"public-url" env:"CRIER_PUBLIC_URL" help:"Base URL under which people reach the gateway: for links in mails, and by its host and scheme. Embedded: the gateway's."`
}

func (f gatewayFlags) config(external bool, symbols []string, w webhookFlags, p publicFlags) gateway.Config {
	return gateway.Config{Addr: f.HTTPAddr, Version: Version, ExternalUsers: external, APIKey: string(f.APIKey), AccessTTL: f.AccessTTL, RefreshTTL: f.RefreshTTL,
		AllowedOrigins: f.AllowedOrigins, AllowedHosts: f.AllowedHosts, PublicURL: p.PublicURL, TLSCert: f.TLSCert, TLSKey: f.TLSKey, TrustedProxies: f.TrustedProxies, Symbols: symbols,
		CompatOpen: f.CompatOpen, CompatNetworks: f.CompatNetworks,
		Signup: f.Signup, SignupLimit: f.SignupLimit, SendLimitUser: f.SendLimitUser, SendLimitKey: f.SendLimitKey,
		AlertLimit: f.AlertLimit, StreamOutbox: f.StreamOutbox, WebhookAllow: w.allowed()}
}

// symbolFlags say what is watched.
type symbolFlags struct {
	Symbols []string `env:"CRIER_SYMBOLS" default:"BTCUSDT,ETHUSDT,SOLUSDT,XRPUSDT,DOGEUSDT" help:"Watched symbols."`
}

// monitorFlags are the price part's.
type monitorFlags struct {
	Feeds           string `env:"CRIER_FEEDS" help:"Comma list of binance, coinbase, kraken, simulated, replay:FILE@SPEED, none. Embedded: binance, or simulated where that cannot be reached."`
	BinanceWSURL    string `name:"binance-ws-url" env:"CRIER_BINANCE_WS_URL" default:"wss://data-stream.binance.vision" help:"Binance's market data streams, or a mirror of them."`
	BinanceRESTURL  string `name:"binance-rest-url" env:"CRIER_BINANCE_REST_URL" default:"https://api.binance.com" help:"Binance's REST interface, or a mirror of it."`
	CoinbaseWSURL   string `name:"coinbase-ws-url" env:"CRIER_COINBASE_WS_URL" default:"wss://ws-feed.exchange.coinbase.com" help:"Coinbase Exchange's market data feed, or a mirror of it."`
	CoinbaseRESTURL string `name:"coinbase-rest-url" env:"CRIER_COINBASE_REST_URL" default:"https://api.exchange.coinbase.com" help:"Coinbase Exchange's REST interface, or a mirror of it."`
	KrakenWSURL     string `name:"kraken-ws-url" env:"CRIER_KRAKEN_WS_URL" default:"wss://ws.kraken.com/v2" help:"Kraken's WebSocket v2, or a mirror of it."`
	KrakenRESTURL   string `name:"kraken-rest-url" env:"CRIER_KRAKEN_REST_URL" default:"https://api.kraken.com" help:"Kraken's REST interface, or a mirror of it."`
	SimulatedSeed   uint64 `env:"CRIER_SIMULATED_SEED" help:"Seed of the simulated feed; 0: another one each time."`
	Instance        string `env:"CRIER_INSTANCE" help:"Name of this monitor among several. Default: the host's name."`
}

func (f monitorFlags) config(symbols []string, fail func(string)) monitor.Config {
	if f.Instance == "" {
		f.Instance, _ = os.Hostname() // without one, the part's default holds
	}
	return monitor.Config{Feeds: f.Feeds, Symbols: symbols, BinanceWSURL: f.BinanceWSURL, BinanceRESTURL: f.BinanceRESTURL,
		CoinbaseWSURL: f.CoinbaseWSURL, CoinbaseRESTURL: f.CoinbaseRESTURL, KrakenWSURL: f.KrakenWSURL, KrakenRESTURL: f.KrakenRESTURL,
		SimulatedSeed: f.SimulatedSeed, Instance: f.Instance, FailFunc: fail}
}

// consumerFlags are the inbox part's.
type consumerFlags struct {
	InboxRetention time.Duration    `env:"CRIER_INBOX_RETENTION" default:"2160h" help:"How long notifications are kept."`
	SMTPURL        telemetry.Secret `name:"smtp-url" env:"CRIER_SMTP_URL" help:"Mail server: smtp://user:password@host:587 (STARTTLS required), smtps://host:465, smtp+plain://host:25 for a local relay. Embedded: the mail catcher."`
	MailFrom       string           `name:"mail-from" env:"CRIER_MAIL_FROM" default:"Crier <alerts@localhost>" help:"Sender of mails."`
	MailTemplates  string           `complete:"file" name:"mail-templates" env:"CRIER_MAIL_TEMPLATES" help:"Folder with subject.txt, notification.txt, notification.html and, if they are to be others, reset.txt, reset.html, confirm.txt and confirm.html. Default: the built-in ones."`
	MailRate       float64          `name:"mail-rate" env:"CRIER_MAIL_RATE" default:"0" help:"Mails a second to the server; 0: as fast as it takes them."`

	WebhookRetention time.Duration `env:"CRIER_WEBHOOK_RETENTION" default:"720h" help:"How long items that were pushed in, and attempts at delivering them, are kept."`

	ConsumerBatch int `env:"CRIER_CONSUMER_BATCH" default:"500" help:"Records stored in one transaction at most."`
}

func (f consumerFlags) config(external bool, w webhookFlags, p publicFlags, fail func(string)) consumer.Config {
	return consumer.Config{Batch: f.ConsumerBatch, ExternalUsers: external, InboxRetention: f.InboxRetention, FailFunc: fail,
		Webhooks: consumer.WebhookConfig{Allow: w.allowed(), Retention: f.WebhookRetention},
		Mail:     consumer.MailConfig{SMTPURL: string(f.SMTPURL), From: f.MailFrom, PublicURL: p.PublicURL, Templates: f.MailTemplates, PerSecond: f.MailRate}}
}

// webhookFlags are of deliveries to destinations, which the gateway checks and
// the consumer makes.
type webhookFlags struct {
	WebhookAllow []string `env:"CRIER_WEBHOOK_ALLOW" help:"Private ranges that destinations may lead to all the same, or none. Embedded and on loopback: 127.0.0.0/8,::1."`
}

// allowed are the ranges without the word that means that there are none.
func (f webhookFlags) allowed() []string {
	return slices.DeleteFunc(slices.Clone(f.WebhookAllow), func(s string) bool { return s == "none" })
}

// startFlags say how patient a start is.
type startFlags struct {
	StartTimeout time.Duration `env:"CRIER_START_TIMEOUT" default:"60s" help:"How long a start waits for Postgres, its schema, Kafka and the topics; then it ends with exit code 1. Meanwhile /readyz names what is missing."`
}

// defaultAdminAddr is that of adminFlags.
const defaultAdminAddr = "127.0.0.1:8081"

// adminFlags are the operator's listener.
type adminFlags struct {
	AdminAddr string `env:"CRIER_ADMIN_ADDR" default:"127.0.0.1:8081" help:"Listener of /metrics, /healthz, /readyz and /debug/pprof."`
}
