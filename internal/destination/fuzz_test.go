package destination

import (
	"net/http"
	"net/netip"
	"net/url"
	"testing"

	"crier/internal/event"
)

// Whatever an owner gives as headers, what passes can be sent as it is and is
// nothing that belongs to the connection or to the signature.
func FuzzCheckHeaders(f *testing.F) {
	for _, s := range [][2]string{{"Authorization", "Basic eA=="}, {"Host", "x"}, {"WEBHOOK-ID", "x"}, {"X\r\nY", "a"}, {"X", "a\r\nY: b"}, {"ſet-cookie", "x"}, {"Content-Length ", "1"}} {
		f.Add(s[0], s[1])
	}
	f.Fuzz(func(t *testing.T, name, value string) {
		var v event.Invalid
		CheckHeaders(&v, "headers", map[string]string{name: value})
		if v.Err() != nil {
			return
		}
		h := http.Header{}
		h.Set(name, value)
		for _, own := range []string{"Host", "Content-Length", "Transfer-Encoding", "Connection", "Webhook-Id", "Webhook-Timestamp", "Webhook-Signature"} {
			if _, ok := h[own]; ok {
				t.Errorf("%q sets %s", name, own)
			}
		}
		for _, c := range []byte(name + value) {
			if c == '\r' || c == '\n' || c == 0 {
				t.Errorf("%q: %q holds %q", name, value, c)
			}
		}
	})
}

// Whatever an owner gives as an address, what passes can be dialled, and is no
// literal of a private one.
func FuzzCheckURL(f *testing.F) {
	for _, s := range []string{"https://example.org/a", "http://127.0.0.1", "http://[::ffff:7f00:1]", "http://0x7f.1", "http://a@b", "http://[64:ff9b::7f00:1]/", "HTTP://EXAMPLE.ORG:0"} {
		f.Add(s)
	}
	g, err := NewGuard(nil)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, s string) {
		var v event.Invalid
		g.CheckURL(&v, "url", s)
		if v.Err() != nil {
			return
		}
		u, err := url.Parse(s)
		if err != nil || u.Hostname() == "" || u.Scheme != "http" && u.Scheme != "https" {
			t.Fatalf("%q passes: %v", s, err)
		}
		if addr, err := netip.ParseAddr(u.Hostname()); err == nil && blocked(addr.WithZone("").Unmap()) {
			t.Errorf("%q passes", s)
		}
		if _, err := http.NewRequest("POST", s, nil); err != nil {
			t.Errorf("%q cannot be asked: %v", s, err)
		}
	})
}

// Whatever an operator lists, a range that is taken allows its own addresses and
// none outside of it.
func FuzzAllow(f *testing.F) {
	for _, s := range []string{"127.0.0.0/8", "::1", "::ffff:10.0.0.0/104", "fe80::%1/64", "10.0.0.0/-1", "0.0.0.0/0"} {
		f.Add(s, []byte{10, 0, 0, 1})
	}
	f.Fuzz(func(t *testing.T, text string, raw []byte) {
		g, err := NewGuard([]string{text})
		if err != nil {
			return
		}
		addr, ok := netip.AddrFromSlice(raw)
		if !ok {
			return
		}
		addr = addr.Unmap()
		allowed := len(g.allow) == 1 && g.allow[0].Contains(addr)
		if passes := g.CheckAddr(addr) == nil; passes != (allowed || !blocked(addr)) {
			t.Errorf("with %q, %s passes: %t", text, addr, passes)
		}
	})
}
