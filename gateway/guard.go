package gateway

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"crier/gateway/api"
	"crier/internal/event"
	"crier/internal/hostname"
	"crier/internal/postgres"
	"crier/internal/problem"
)

// bodyTimeout bounds how long a client may take to send its body.
const bodyTimeout = 30 * time.Second

// guard lets in whom a route's scope allows, and writes what its handler says no
// with.
func (g *Gateway) guard(rt api.Route) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := unavailable(g.enter(w, r, rt)); err != nil {
			if streams(rt) && eventSource(r) && temporary(err) {
				problem.Log(r, g.log, err)
				panic(http.ErrAbortHandler)
			}
			problem.WriteAs(w, r, g.log, err, rt.Form)
		}
	})
}

// unavailable is the error of a handler, as the problem that a database which is
// away is; handlers return such errors as they come.
func unavailable(err error) error {
	var known *problem.Problem
	if err == nil || errors.As(err, &known) || !postgres.Away(err) {
		return err
	}
	return &problem.Problem{Code: problem.Unavailable, Detail: "The database cannot be asked at present.", RetryAfter: time.Second, Cause: err}
}

// streams says whether a route opens a stream.
func streams(rt api.Route) bool { return rt.Scope == api.Streams || rt.Scope == api.Greeted }

// eventSource says whether a client asks for an event stream and for nothing else,
// as a browser's EventSource does. After any answer but 200 it never connects
// again; after a connection that ended without one it does, after its reconnection
// time (HTML, section 9.2.2, "reestablish the connection").
func eventSource(r *http.Request) bool { return r.Header.Get("Accept") == "text/event-stream" }

// temporary says whether the same request may succeed in a moment.
func temporary(err error) bool {
	status := problem.Catalogue[problem.Of(err).Code].Status
	return status == http.StatusServiceUnavailable || status == http.StatusTooManyRequests
}

func (g *Gateway) enter(w http.ResponseWriter, r *http.Request, rt api.Route) error {
	streaming := streams(rt)
	if streaming {
		if g.draining.Load() {
			return &problem.Problem{Code: problem.Draining, Detail: "Come back: another gateway, or this one, will answer.", RetryAfter: time.Second}
		}
		// A browser does not ask before it opens a socket, so the origin is ours
		// to check.
		if o := r.Header.Get("Origin"); o != "" && !g.originAllowed(r, o) {
			err := refusedOrigin(r, o)
			// A page sees the status of a refused socket at most.
			g.originLog.Do(func() {
				g.log.Warn("stream refused: origin not allowed", "origin", o, "host", r.Host, "setting", "CRIER_ALLOWED_ORIGINS")
			})
			return err
		}
	} else {
		_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(bodyTimeout))
		if err := decodeContent(w, r); err != nil {
			return err
		}
	}
	who, err := g.api.Authenticate(r, streaming)
	if err != nil && (rt.Scope == api.Greeted || rt.Scope == api.Entry) && problem.Catalogue[problem.Of(err).Code].Status == http.StatusUnauthorized {
		who, err = api.Principal{}, nil
	}
	if err != nil {
		return err
	}
	if who.Cookie && !safe(r.Method) && !g.sameOrigin(r) {
		return problem.New(problem.BadOrigin, "A page of another origin may not use this session's cookie.")
	}
	if err := meantFor(r, who); err != nil {
		return err
	}
	caller := who // as limits count it
	who = rt.Narrow(who)
	switch {
	case who.Lacks != nil && (rt.Scope == api.Sender || rt.Scope == api.Holder && r.Header.Get(api.AccountToken) == ""):
		return who.Lacks
	case rt.Scope == api.Person && who.UserID == "":
		return problem.New(problem.Unauthorized, "This needs a user's token or session cookie.")
	case rt.Scope == api.Sender && who.UserID == "" && who.Service == "":
		return problem.New(problem.Unauthorized, "This needs an API key (X-API-Key) or a user's token.")
	case rt.Scope == api.Holder && who.UserID == "" && who.Service == "" && r.Header.Get(api.AccountToken) == "":
		return problem.New(problem.Unauthorized, "This needs the account's secret token ("+api.AccountToken+"), its owner's session, or an API key.")
	}
	if !streaming {
		w.Header().Set("Cache-Control", "no-store")
	}
	who.Address = g.remote(r)
	caller.Address = who.Address
	w, r, done, err := g.api.Admit(w, r.WithContext(api.WithPrincipal(r.Context(), who)), caller, rt.Work)
	if err != nil {
		return err
	}
	defer done()
	return api.TookTooLong(r, rt.Handler(w, r))
}

// meantFor refuses a request that names another user than the one who makes it.
func meantFor(r *http.Request, who api.Principal) error {
	want := r.Header.Get(api.ForUser)
	switch {
	case want == "" || want == string(who.UserID) || who.Service != "": // a service has no tabs
		return nil
	case who.UserID == "":
		return problem.New(problem.Unauthorized, "The request was made for a user who is not signed in any more.")
	}
	return problem.New(problem.WrongUser, "The request was made for another user than the one who is signed in ("+api.ForUser+").")
}

func safe(method string) bool { return method == "GET" || method == "HEAD" || method == "OPTIONS" }

// sameOrigin protects the cookie from other sites' pages: what a browser says of
// a request's origin is believed, what is no browser needs no protection.
func (g *Gateway) sameOrigin(r *http.Request) bool {
	site, o := r.Header.Get("Sec-Fetch-Site"), r.Header.Get("Origin")
	switch {
	case site == "same-origin" || site == "none":
		return true
	case o == "":
		return site == "" // no browser, or one that tells neither
	}
	return g.originAllowed(r, o)
}

// originAllowed reports whether a page of an origin may use this gateway: one of
// its own pages, or of an origin that the operator allows. Case and the default port
// of the scheme make no difference (RFC 6454, sections 4 and 5).
func (g *Gateway) originAllowed(r *http.Request, origin string) bool {
	scheme, host := originOf(origin)
	if slices.Contains(g.origins, "*") || host != "" && slices.Contains(g.origins, scheme+"://"+host) {
		return true
	}
	return host != "" && host == withoutDefaultPort(scheme, r.Host)
}

// originOf is an origin's scheme and host; "" where it is none, such as `null`.
func originOf(origin string) (scheme, host string) {
	u, err := url.Parse(origin)
	if err != nil || u.Host == "" || strings.Trim(u.Path, "/") != "" {
		return "", ""
	}
	scheme = strings.ToLower(u.Scheme)
	return scheme, withoutDefaultPort(scheme, u.Host)
}

func withoutDefaultPort(scheme, host string) string {
	host = strings.ToLower(host)
	switch scheme {
	case "http":
		return strings.TrimSuffix(host, ":80")
	case "https":
		return strings.TrimSuffix(host, ":443")
	}
	return host
}

// refusedOrigin says which setting allows an origin, and which origin was expected: behind a proxy that does not hand on
// the Host header, the page's own origin is not recognised.
func refusedOrigin(r *http.Request, origin string) error {
	expected := fmt.Sprintf("the origin must be that of the host that the request came for (%s: a proxy must hand on the Host header)", event.CleanText(r.Host))
	scheme, host := originOf(origin)
	if host == "" {
		return problem.New(problem.BadOrigin, "The page has no origin that can be allowed; "+expected+".")
	}
	allowed := event.CleanText(scheme + "://" + host)
	return problem.New(problem.BadOrigin, fmt.Sprintf("The origin %s may not use this. CRIER_ALLOWED_ORIGINS=%s allows it; without that, %s.", allowed, allowed, expected))
}

// https reports whether the client's own connection is encrypted: to here, or to a
// proxy that is trusted and says so, or by what the operator says of the address.
func (g *Gateway) https(r *http.Request) bool {
	if r.TLS != nil || strings.HasPrefix(strings.ToLower(g.cfg.PublicURL), "https://") {
		return true
	}
	peer, err := parseHop(r.RemoteAddr)
	return err == nil && g.trusted(peer) && strings.EqualFold(r.Header.Get("X-Forwarded-Proto"), "https")
}

// maxRequestHeaders bounds the list of headers in a preflight that is echoed.
const maxRequestHeaders = 4 << 10

// outer is what every request passes: recovery, security headers, CORS.
func (g *Gateway) outer(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() {
			if p := recover(); p != nil {
				if p == http.ErrAbortHandler {
					panic(p)
				}
				g.metrics.panics.Inc()
				g.log.Error("a handler panicked", "method", r.Method, "path", r.URL.Path, "panic", p, "stack", string(debug.Stack()))
				problem.Write(w, r, g.log, problem.New(problem.Internal, "The cause is in the log."))
			}
		}()
		h := w.Header()
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "same-origin")
		if g.checkHost && !hostname.Known(r.Host, g.hosts) {
			problem.Write(w, r, g.log, problem.New(problem.UnknownHost, "The host "+event.CleanText(r.Host)+" is not known here."))
			return
		}
		if o := r.Header.Get("Origin"); o != "" {
			h.Add("Vary", "Origin")
			if g.originAllowed(r, o) {
				h.Set("Access-Control-Allow-Origin", o)
				h.Set("Access-Control-Expose-Headers", "Retry-After")
				if r.Method == http.MethodOptions && r.Header.Get("Access-Control-Request-Method") != "" {
					h.Set("Access-Control-Allow-Methods", "GET, POST, PUT, PATCH, DELETE")
					// An allowed origin may send what it likes: libraries add headers of their
					// own (traceparent, X-Requested-With), and no header is a proof of anything.
					if list := r.Header.Get("Access-Control-Request-Headers"); len(list) <= maxRequestHeaders {
						h.Set("Access-Control-Allow-Headers", list)
					}
					h.Add("Vary", "Access-Control-Request-Headers")
					h.Set("Access-Control-Max-Age", "600")
					w.WriteHeader(http.StatusNoContent)
					return
				}
			}
		}
		next.ServeHTTP(w, r)
	})
}

// remote is the client's address: the peer's, or what a trusted proxy says,
// read from the right as far as proxies are trusted.
func (g *Gateway) remote(r *http.Request) string {
	addr, err := parseHop(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr
	}
	list := hops(r)
	for i := len(list) - 1; i >= 0 && g.trusted(addr); i-- {
		hop, err := parseHop(list[i])
		if err != nil {
			break
		}
		addr = hop
	}
	return addr.String()
}

// parseHop reads an address, with a port (as IIS and Azure's gateways write it) or
// without. One client has one form, whatever it came through: no mapped IPv4
// addresses, and no zones.
func parseHop(s string) (netip.Addr, error) {
	if withPort, err := netip.ParseAddrPort(s); err == nil {
		return withPort.Addr().Unmap().WithZone(""), nil
	}
	if strings.HasPrefix(s, "[") && strings.HasSuffix(s, "]") {
		s = s[1 : len(s)-1]
	}
	addr, err := netip.ParseAddr(s)
	return addr.Unmap().WithZone(""), err
}

// hops are the addresses that proxies say a request came through, the client's first.
func hops(r *http.Request) []string {
	values := r.Header.Values("X-Forwarded-For")
	if len(values) == 0 {
		return nil
	}
	list := strings.Split(strings.Join(values, ","), ",")
	for i, hop := range list {
		list[i] = strings.TrimSpace(hop)
	}
	return list
}

// trusted says whether an address of parseHop is that of a proxy of ours.
func (g *Gateway) trusted(addr netip.Addr) bool {
	return slices.ContainsFunc(g.ranges.proxies, func(p netip.Prefix) bool { return p.Contains(addr) })
}

// open reports whether a request may do without credentials what the older system
// left open: if the operator has opened it, to clients on loopback and the networks
// that are listed, and to no page of another origin, which could make any of their
// browsers ask.
func (g *Gateway) open(r *http.Request, system string) bool {
	if !slices.Contains(g.cfg.CompatOpen, system) || !g.sameOrigin(r) {
		return false
	}
	// A page of another site can point its own name here, and is of the same origin then.
	if page := r.Header.Get("Origin") != "" || r.Header.Get("Sec-Fetch-Site") != ""; page && !hostname.Known(r.Host, g.hosts) {
		return false
	}
	peer, err := parseHop(r.RemoteAddr)
	if err != nil || !g.trusted(peer) && (r.Header.Get("X-Forwarded-For") != "" || r.Header.Get("Forwarded") != "") {
		return false // a proxy that is not trusted hides where the request comes from
	}
	for _, hop := range hops(r) {
		if _, err := parseHop(hop); err != nil {
			return false // and so does one that names no address
		}
	}
	addr, err := netip.ParseAddr(g.remote(r))
	if err != nil {
		return false
	}
	return addr.IsLoopback() || slices.ContainsFunc(g.ranges.open, func(p netip.Prefix) bool { return p.Contains(addr) })
}

// jsString is s as a JavaScript string literal that is safe in a script element.
func jsString(s string) string {
	b, err := json.Marshal(s) // escapes <, > and &
	if err != nil {
		return `""`
	}
	return string(b)
}
