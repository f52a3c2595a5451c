package gateway

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"crier/gateway/api"
	"crier/gateway/compat"
	"crier/internal/destination"
	"crier/internal/event"
	"crier/internal/hostname"
)

// Config is what an operator may change.
type Config struct {
	Addr           string       // host:port; port 0 takes a free one
	Listener       net.Listener // already open at Addr; nil: Start opens it
	Version        string
	Embedded       bool
	ExternalUsers  bool
	APIKey         string
	AccessTTL      time.Duration
	RefreshTTL     time.Duration
	AllowedOrigins []string // scheme://host[:port], or *
	AllowedHosts   []string // names that clients may ask by, beside that of PublicURL; *: any
	PublicURL      string   // base URL under which people reach the gateway; "": not known
	TLSCert        string   // files; both or neither
	TLSKey         string
	TrustedProxies []string // addresses or CIDR ranges
	CompatOpen     []string // older systems that need no credentials, see package compat
	CompatNetworks []string // addresses or CIDR ranges, beside loopback, that CompatOpen holds for
	Symbols        []string
	AlertLimit     int // active alerts a user may have
	// Signup is who may sign up: api.SignupOpen (also ""), SignupInvite or SignupClosed.
	Signup string
	// Sign-ups an hour of an address, and notifications a second of a user and of a
	// service; 0: any number.
	SignupLimit, SendLimitUser, SendLimitKey int
	StreamOutbox                             int // bytes that may wait for one stream
	PrefillKey                               bool
	MailPage                                 string // address of the embedded mail catcher's page, for those who may see it
	// How a shell runs this program, and how it starts it again; Kafka's address.
	// Of the embedded default, for users of this machine; else empty.
	Command, StartCommand, KafkaAddr string
	// A peer of HTTP/2 that says nothing, also to a ping, or takes nothing for so
	// long is cut, with all its streams; 0: DefaultPeerTimeout.
	PeerTimeout time.Duration
	// AnswerTimeout is how long an answer may take, from the request's head to its last
	// byte: a reader that takes nothing would keep it in memory. Streams and exports set
	// an end for each write instead. 0: DefaultAnswerTimeout.
	AnswerTimeout time.Duration
	WebhookAllow  []string // ranges that destinations may lead to although they are private
}

// DefaultAlertLimit is how many active alerts a user may have.
const DefaultAlertLimit = 10_000

// DefaultAnswerTimeout lets a page of the largest notifications through on a bad line.
const DefaultAnswerTimeout = time.Minute

// DefaultPeerTimeout is as long as a socket of HTTP/1.1 may take nothing.
const DefaultPeerTimeout = 20 * time.Second

// ranges are the networks of a configuration.
type ranges struct {
	proxies []netip.Prefix
	open    []netip.Prefix // for CompatOpen
}

// Check finds everything that is wrong with a configuration.
func (c Config) Check() error {
	_, err := c.normalise()
	var certs error
	if c.TLSCert != "" && c.TLSKey != "" {
		if _, certs = tls.LoadX509KeyPair(c.TLSCert, c.TLSKey); certs != nil {
			certs = fmt.Errorf("CRIER_TLS_CERT %q: must be a certificate in PEM, and CRIER_TLS_KEY %q its key: %w", c.TLSCert, c.TLSKey, certs)
		}
	}
	_, guard := destination.NewGuard(c.WebhookAllow)
	return errors.Join(err, certs, guard)
}

func (c *Config) normalise() (ranges, error) {
	if c.AlertLimit == 0 {
		c.AlertLimit = DefaultAlertLimit
	}
	if c.PeerTimeout == 0 {
		c.PeerTimeout = DefaultPeerTimeout
	}
	if c.AnswerTimeout == 0 {
		c.AnswerTimeout = DefaultAnswerTimeout
	}
	if c.Signup == "" {
		c.Signup = api.SignupOpen
	}
	var errs []error
	fault := func(name, format string, args ...any) {
		errs = append(errs, fmt.Errorf(name+" "+format, args...))
	}
	_, port, err := net.SplitHostPort(c.Addr)
	if err == nil {
		_, err = strconv.ParseUint(port, 10, 16)
	}
	if err != nil {
		fault("CRIER_HTTP_ADDR", "%q: must be host:port, such as 127.0.0.1:8080", c.Addr)
	}
	if strings.ContainsFunc(c.APIKey, func(r rune) bool { return r <= ' ' || r > '~' }) {
		fault("CRIER_API_KEY:", "must be visible ASCII characters without spaces: it comes in a header")
	}
	if c.AccessTTL < time.Second || c.AccessTTL > 24*time.Hour {
		fault("CRIER_ACCESS_TTL", "%q: must be 1s to 24h", c.AccessTTL)
	}
	if c.Signup != api.SignupOpen && c.Signup != api.SignupInvite && c.Signup != api.SignupClosed {
		fault("CRIER_SIGNUP", "%q: must be open, invite or closed", c.Signup)
	}
	for name, n := range map[string]int{"CRIER_SIGNUP_LIMIT": c.SignupLimit, "CRIER_SEND_LIMIT_USER": c.SendLimitUser, "CRIER_SEND_LIMIT_KEY": c.SendLimitKey} {
		if n < 0 || n > 1_000_000_000 {
			fault(name, "%q: must be 0 to 1000000000", strconv.Itoa(n))
		}
	}
	if c.RefreshTTL < c.AccessTTL {
		fault("CRIER_REFRESH_TTL", "%q: must be at least CRIER_ACCESS_TTL, %v", c.RefreshTTL, c.AccessTTL)
	}
	if (c.TLSCert == "") != (c.TLSKey == "") {
		fault("CRIER_TLS_CERT", "%q: must be set together with CRIER_TLS_KEY", c.TLSCert)
	}
	for _, o := range c.AllowedOrigins {
		u, err := url.Parse(o)
		if o != "*" && (err != nil || u.Scheme == "" || u.Host == "" || u.User != nil || strings.TrimSuffix(u.Path, "/") != "" || u.RawQuery != "" || u.Fragment != "") {
			fault("CRIER_ALLOWED_ORIGINS", "%q: must be scheme://host[:port] or *", o)
		}
	}
	for _, h := range c.AllowedHosts {
		if name := hostname.Name(h); name == "" || strings.ContainsAny(h, "/?#@ ") {
			fault("CRIER_ALLOWED_HOSTS", "%q: must be a name such as push.example.org, or *", h)
		}
	}
	if c.PublicURL != "" && !hostname.IsBase(c.PublicURL) {
		fault("CRIER_PUBLIC_URL", "%q: must be an http or https URL, such as https://push.example.org", c.PublicURL)
	}
	for _, system := range c.CompatOpen {
		if !slices.Contains(compat.Systems, system) {
			fault("CRIER_COMPAT_OPEN", "%q: must be of %s", system, strings.Join(compat.Systems, ", "))
		}
	}
	if c.AlertLimit < 0 {
		fault("CRIER_ALERT_LIMIT", "%q: must be 1 or more", strconv.Itoa(c.AlertLimit))
	}
	if c.StreamOutbox < 0 || c.StreamOutbox > 1<<30 {
		fault("CRIER_STREAM_OUTBOX", "%q: must be 1 to 1073741824", strconv.Itoa(c.StreamOutbox))
	}
	parse := func(name string, list []string) []netip.Prefix {
		var out []netip.Prefix
		for _, s := range list {
			prefix, err := parseRange(s)
			if err != nil {
				fault(name, "%w", err)
			}
			out = append(out, prefix)
		}
		return out
	}
	r := ranges{proxies: parse("CRIER_TRUSTED_PROXIES", c.TrustedProxies), open: parse("CRIER_COMPAT_NETWORKS", c.CompatNetworks)}
	if len(c.CompatNetworks) > 0 && len(c.CompatOpen) == 0 {
		fault("CRIER_COMPAT_NETWORKS", "%q: needs CRIER_COMPAT_OPEN", c.CompatNetworks)
	}
	return r, errors.Join(append(errs, event.CheckSymbols("CRIER_SYMBOLS", c.Symbols))...)
}

// parseRange reads a CIDR range, or one address.
func parseRange(s string) (netip.Prefix, error) {
	s = strings.TrimSpace(s)
	if addr, err := netip.ParseAddr(s); err == nil {
		return netip.PrefixFrom(addr.Unmap(), addr.Unmap().BitLen()), nil
	}
	prefix, err := netip.ParsePrefix(s)
	if err != nil {
		return netip.Prefix{}, fmt.Errorf("%q: must be an address or a range such as 10.0.0.0/8", s)
	}
	return prefix, nil
}
