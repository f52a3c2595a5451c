// Package hostname tells the names that a server is called by from those that only
// a DNS rebinding attack uses: a page of another site lets its own name point to
// this machine, and is then of the same origin as what this machine serves. Such a
// request says in its Host header which name it came by.
package hostname

import (
	"net"
	"net/http"
	"net/netip"
	"strings"
)

// Name is the host of a Host header or of a host:port, in lower case, without the
// port, a dot at its end, and the brackets of an IPv6 address.
func Name(hostPort string) string {
	name := hostPort
	if host, _, err := net.SplitHostPort(hostPort); err == nil {
		name = host
	}
	name = strings.TrimSuffix(strings.TrimPrefix(name, "["), "]")
	return strings.ToLower(strings.TrimSuffix(name, "."))
}

// Known reports whether a request's Host is an IP address, which no name can be
// made to point to, a name of loopback (RFC 6761, section 6.3), or one of names
// (see Name).
func Known(host string, names []string) bool {
	name := Name(host)
	if _, err := netip.ParseAddr(name); err == nil || name == "localhost" || strings.HasSuffix(name, ".localhost") {
		return true
	}
	for _, n := range names {
		if n == name && name != "" {
			return true
		}
	}
	return false
}

// Loopback reports whether only this machine can reach a listener at host:port.
func Loopback(hostPort string) bool {
	name := Name(hostPort)
	addr, err := netip.ParseAddr(name)
	return err == nil && addr.IsLoopback() || name == "localhost"
}

// Guard answers 421 (RFC 9110, section 15.5.20) to requests whose Host is not
// known.
func Guard(next http.Handler, names ...string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !Known(r.Host, names) {
			http.Error(w, "unknown host", http.StatusMisdirectedRequest)
			return
		}
		next.ServeHTTP(w, r)
	})
}
