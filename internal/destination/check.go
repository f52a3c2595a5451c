package destination

import (
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"crier/internal/event"
)

// Methods are those that a destination may be asked with.
var Methods = []string{"GET", "POST", "PUT", "PATCH", "DELETE"}

// CheckMethod notes a method that is none of ours.
func CheckMethod(v *event.Invalid, field, method string) {
	if !slices.Contains(Methods, method) {
		v.Add(field, "enum", "must be GET, POST, PUT, PATCH or DELETE")
	}
}

// CheckURL notes what is wrong with a destination's address: its form, and a
// literal address that the guard would not dial. Names are for Guard.CheckHost,
// which asks the resolver.
func (g *Guard) CheckURL(v *event.Invalid, field, text string) {
	if len(text) > MaxURL {
		v.Add(field, "length", fmt.Sprintf("must be at most %d bytes", MaxURL))
		return
	}
	u, err := url.Parse(text)
	if err != nil || u.Host == "" || u.Hostname() == "" || u.Opaque != "" || u.Scheme != "http" && u.Scheme != "https" || !visible(text) {
		v.Add(field, "url", "must be an http or https URL")
		return
	}
	if u.User != nil {
		v.Add(field, "credentials", "must not hold a user or password; send them as a header")
		return
	}
	if u.Fragment != "" {
		v.Add(field, "fragment", "must not hold a fragment")
		return
	}
	if port := u.Port(); port != "" {
		if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
			v.Add(field, "port", "must have a port from 1 to 65535, or none")
			return
		}
	}
	host := u.Hostname()
	if addr, err := netip.ParseAddr(host); err == nil {
		if err := g.CheckAddr(addr); err != nil {
			v.Add(field, "private_address", err.Error())
		}
		return
	}
	// Some resolvers take 2130706433, 0x7f000001 and 127.1 for addresses. No name
	// ends in a number (https://url.spec.whatwg.org/#ends-in-a-number-checker).
	if endsInNumber(host) || strings.ContainsAny(host, ":%") {
		v.Add(field, "host", "must name a host, or an address in its usual form")
	}
}

func endsInNumber(host string) bool {
	labels := strings.Split(strings.TrimSuffix(host, "."), ".")
	last := strings.ToLower(labels[len(labels)-1])
	if hex, ok := strings.CutPrefix(last, "0x"); ok {
		return strings.Trim(hex, "0123456789abcdef") == ""
	}
	return strings.Trim(last, "0123456789") == ""
}

// visible says whether a text is printable ASCII: what else an address holds
// must be escaped.
func visible(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] <= ' ' || s[i] >= 0x7f {
			return false
		}
	}
	return true
}

// unsettable are the headers that are the connection's and not the owner's (RFC
// 9110 sections 7.2, 7.6.1 and 8.6; RFC 9112).
var unsettable = []string{"host", "content-length", "connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "proxy-connection",
	"te", "trailer", "transfer-encoding", "upgrade", "http2-settings", "expect"}

// CheckHeaders notes headers that an owner must not set, or that are none. Each
// is named.
func CheckHeaders(v *event.Invalid, field string, headers map[string]string) {
	if len(headers) > MaxHeaders {
		v.Add(field, "length", fmt.Sprintf("must be at most %d headers", MaxHeaders))
		return
	}
	size := 0
	seen := make(map[string]bool, len(headers))
	for name, value := range headers {
		size += len(name) + len(value)
		at := field + "." + event.CleanText(name[:min(len(name), 100)])
		low := strings.ToLower(name)
		switch {
		case !isToken(name):
			v.Add(at, "name", "is no name of a header")
		case slices.Contains(unsettable, low) || strings.HasPrefix(low, "webhook-"):
			v.Add(at, "forbidden", "is set by the sender and must not be set here")
		case seen[low]:
			v.Add(at, "repeated", "stands twice, in letters of another case")
		case !isFieldValue(value):
			v.Add(at, "characters", "must be visible ASCII, with blanks only within")
		}
		seen[low] = true
	}
	if size > MaxHeaderBytes {
		v.Add(field, "length", fmt.Sprintf("must be at most %d bytes together", MaxHeaderBytes))
	}
	slices.SortFunc(*v, func(a, b event.FieldError) int { return strings.Compare(a.Field, b.Field) }) // a map has no order
}

// isToken is RFC 9110 section 5.6.2.
func isToken(s string) bool {
	for i := 0; i < len(s); i++ {
		c := s[i]
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && strings.IndexByte("!#$%&'*+-.^_`|~", c) < 0 {
			return false
		}
	}
	return s != ""
}

// isFieldValue is RFC 9110 section 5.5, without what is obsolete.
func isFieldValue(s string) bool {
	for i := 0; i < len(s); i++ {
		if c := s[i]; c != '\t' && (c < ' ' || c >= 0x7f) {
			return false
		}
	}
	return strings.Trim(s, " \t") == s
}

// CheckRate notes a rate that is none.
func CheckRate(v *event.Invalid, field string, rate float64) {
	if !(rate >= 0 && rate <= MaxRate) || rate > 0 && rate < 0.001 {
		v.Add(field, "range", fmt.Sprintf("must be 0 (not limited), or 0.001 to %d a second", MaxRate))
	}
}
