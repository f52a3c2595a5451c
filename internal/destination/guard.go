package destination

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"syscall"
	"time"

	"crier/internal/event"
)

// Guard keeps deliveries away from addresses that only this machine and its
// network can reach. It is asked when a destination is made, and again with the
// address that is really dialled: a name may lead elsewhere by then. It is not
// changed after it is made.
type Guard struct {
	allow []netip.Prefix
}

// ErrBlocked is an address that deliveries must not go to.
var ErrBlocked = errors.New("leads to a private or special address")

// NewGuard makes a guard that lets pass what allow lists: ranges such as
// 10.0.0.0/8, or single addresses.
func NewGuard(allow []string) (*Guard, error) {
	g := &Guard{}
	var errs []error
	for _, text := range allow {
		text = strings.TrimSpace(text)
		if text == "" {
			continue
		}
		p, err := parseRange(text)
		if err != nil {
			errs = append(errs, fmt.Errorf("CRIER_WEBHOOK_ALLOW %q: must be an address or a range such as 10.0.0.0/8", text))
			continue
		}
		g.allow = append(g.allow, p)
	}
	return g, errors.Join(errs...)
}

func parseRange(text string) (netip.Prefix, error) {
	if addr, err := netip.ParseAddr(text); err == nil && addr.Zone() == "" {
		addr = addr.Unmap()
		return netip.PrefixFrom(addr, addr.BitLen()), nil
	}
	p, err := netip.ParsePrefix(text)
	if err != nil {
		return p, err
	}
	if p.Addr().Is4In6() {
		if p.Bits() < 96 {
			return p, errors.New("a range of mapped addresses is shorter than /96")
		}
		p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
	}
	return p.Masked(), nil
}

func prefixes(list ...string) []netip.Prefix {
	out := make([]netip.Prefix, len(list))
	for i, s := range list {
		out[i] = netip.MustParsePrefix(s)
	}
	return out
}

var (
	// IANA's registry of special-purpose IPv4 addresses, and multicast.
	special4 = prefixes("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24", "192.0.2.0/24",
		"192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4")
	// Of IPv6 only what is global unicast may pass at all (RFC 4291 section 2.4), so
	// that ::1, fc00::/7, fe80::/10, fec0::/10, ff00::/8 and ::a.b.c.d need no
	// line. Within it: protocols' own with Teredo, ORCHID and benchmarks,
	// documents, 6to4, documents again.
	global6  = netip.MustParsePrefix("2000::/3")
	special6 = prefixes("2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20")
	// A translator makes an IPv4 address of it (RFC 6052), and which may be asked.
	nat64 = netip.MustParsePrefix("64:ff9b::/96")
)

// CheckAddr is an error that is ErrBlocked where an address must not be dialled.
func (g *Guard) CheckAddr(addr netip.Addr) error {
	addr = addr.WithZone("").Unmap()
	for _, p := range g.allow {
		if p.Contains(addr) {
			return nil
		}
	}
	if blocked(addr) {
		return fmt.Errorf("%w (%s)", ErrBlocked, addr)
	}
	return nil
}

func blocked(addr netip.Addr) bool {
	if addr.Is4() {
		return within(special4, addr)
	}
	if nat64.Contains(addr) {
		b := addr.As16()
		return blocked(netip.AddrFrom4([4]byte(b[12:])))
	}
	return !global6.Contains(addr) || within(special6, addr)
}

func within(list []netip.Prefix, addr netip.Addr) bool {
	for _, p := range list {
		if p.Contains(addr) {
			return true
		}
	}
	return false
}

// lookupTimeout bounds the question for a name when a destination is made.
const lookupTimeout = 3 * time.Second

// CheckHost notes a host whose name leads to an address that must not be
// dialled, now. A name that cannot be resolved passes: it may be about to be
// made, and every delivery is guarded again.
func (g *Guard) CheckHost(ctx context.Context, v *event.Invalid, field, host string) {
	if _, err := netip.ParseAddr(host); err == nil {
		return // CheckURL has looked at it
	}
	ctx, cancel := context.WithTimeout(ctx, lookupTimeout)
	defer cancel()
	addrs, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	if err != nil {
		return
	}
	for _, a := range addrs {
		if err := g.CheckAddr(a); err != nil {
			v.Add(field, "private_address", err.Error())
			return
		}
	}
}

// Control is for a net.Dialer: it refuses the address that is about to be
// dialled, after every name was resolved.
func (g *Guard) Control(network, address string, _ syscall.RawConn) error {
	if network != "tcp4" && network != "tcp6" {
		return fmt.Errorf("%w: %s is not TCP", ErrBlocked, network)
	}
	ap, err := netip.ParseAddrPort(address)
	if err != nil {
		return fmt.Errorf("%w: %q is no address", ErrBlocked, address)
	}
	return g.CheckAddr(ap.Addr())
}
