package destination

import (
	"errors"
	"net/netip"
	"testing"

	"crier/internal/event"
)

// Nothing that only we can reach is dialled, in whatever form it is written.
func TestGuardBlocks(t *testing.T) {
	t.Parallel()
	g, err := NewGuard(nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range []string{
		"127.0.0.1", "127.255.255.254", "0.0.0.0", "0.1.2.3", "10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1", "169.254.169.254", "100.64.0.1", "100.127.255.255",
		"192.0.0.1", "192.0.2.1", "192.88.99.1", "198.18.0.1", "198.19.255.255", "198.51.100.1", "203.0.113.1", "224.0.0.1", "239.1.1.1", "240.0.0.1", "255.255.255.255",
		"::", "::1", "::7f00:1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:169.254.169.254", "fc00::1", "fd00:ec2::254", "fe80::1", "fe80::1%eth0", "fec0::1", "ff02::1",
		"64:ff9b::127.0.0.1", "64:ff9b::10.0.0.1", "64:ff9b::a9fe:a9fe", "64:ff9b:1::1", "64:ff9b:1::8.8.8.8", "2002:7f00:1::", "2002:808:808::1", "2001::1", "2001:0:7f00:1::", "2001:db8::1", "2001:10::1", "3fff::1", "100::1", "5f00::1",
	} {
		if err := g.CheckAddr(netip.MustParseAddr(s)); !errors.Is(err, ErrBlocked) {
			t.Errorf("%s passes", s)
		}
		ap := netip.AddrPortFrom(netip.MustParseAddr(s), 80)
		if err := g.Control("tcp4", ap.String(), nil); !errors.Is(err, ErrBlocked) {
			t.Errorf("%s is dialled", s)
		}
	}
	for _, s := range []string{"1.1.1.1", "8.8.8.8", "172.15.0.1", "172.32.0.1", "100.63.255.255", "100.128.0.0", "2606:4700::1111", "2a00:1450::1", "::ffff:8.8.8.8", "64:ff9b::8.8.8.8"} {
		if err := g.CheckAddr(netip.MustParseAddr(s)); err != nil {
			t.Errorf("%s: %v", s, err)
		}
	}
	if err := g.Control("udp4", "8.8.8.8:53", nil); err == nil {
		t.Error("UDP passes")
	}
}

// The operator can allow ranges, and they are those ranges only.
func TestGuardAllows(t *testing.T) {
	t.Parallel()
	g, err := NewGuard([]string{"127.0.0.0/8", " ::1", "10.1.0.0/16", "::ffff:192.168.0.0/112", ""})
	if err != nil {
		t.Fatal(err)
	}
	for s, want := range map[string]bool{"127.0.0.1": true, "::ffff:127.1.2.3": true, "::1": true, "10.1.2.3": true, "192.168.0.1": true, "10.2.0.1": false, "192.169.0.1": true, "192.168.1.1": true, "::2": false, "64:ff9b::127.0.0.1": false} {
		if err := g.CheckAddr(netip.MustParseAddr(s)); (err == nil) != want {
			t.Errorf("%s: %v", s, err)
		}
	}
	for _, s := range []string{"nonsense", "10.0.0.0/33", "::ffff:0:0/90", "10.0.0.0/8 11.0.0.0/8", "fe80::1%eth0", "localhost"} {
		if _, err := NewGuard([]string{s}); err == nil {
			t.Errorf("%q is taken for a range", s)
		}
	}
}

func fieldsOf(v event.Invalid) map[string]string {
	m := make(map[string]string)
	for _, f := range v {
		m[f.Field] = f.Rule
	}
	return m
}

// What an owner may not have said names the field and the rule.
func TestCheckURL(t *testing.T) {
	t.Parallel()
	g, err := NewGuard(nil)
	if err != nil {
		t.Fatal(err)
	}
	for s, rule := range map[string]string{
		"https://example.org/a?b=c": "", "http://example.org:8080": "", "http://1.1.1.1/": "", "http://[2606:4700::1111]:80/": "",
		"": "url", "example.org": "url", "ftp://example.org": "url", "http://": "url", "http:///x": "url", "javascript:alert(1)": "url", "http://ex ample.org": "url", "http://example.org/\n": "url", "http:example.org": "url",
		"http://user:password@example.org": "credentials", "http://example.org/#x": "fragment",
		"http://127.0.0.1": "private_address", "http://[::1]:80": "private_address", "http://[::ffff:10.0.0.1]": "private_address", "http://169.254.169.254/latest/meta-data": "private_address",
		"http://2130706433": "host", "http://0x7f000001": "host", "http://127.1": "host", "http://0177.0.0.1": "host", "http://127.0.0.1.": "host", "http://[fe80::1%25eth0]/": "private_address",
	} {
		var v event.Invalid
		g.CheckURL(&v, "url", s)
		if got := fieldsOf(v)["url"]; got != rule {
			t.Errorf("%q breaks %q, want %q", s, got, rule)
		}
	}
}

func TestCheckHeaders(t *testing.T) {
	t.Parallel()
	var v event.Invalid
	CheckHeaders(&v, "headers", map[string]string{"Authorization": "Bearer x", "X-A": "", "accept": "a b\tc"})
	if v.Err() != nil {
		t.Error(v)
	}
	CheckHeaders(&v, "headers", map[string]string{"Host": "x", "content-LENGTH": "1", "Connection": "close", "TE": "x", "Transfer-Encoding": "chunked", "Upgrade": "h2c",
		"Webhook-Id": "x", "webhook-signature": "x", "a b": "x", "": "x", "x-line": "a\r\nb", "x-blank": " a", "Twice": "1", "twice": "2"})
	got := fieldsOf(v)
	for field, rule := range map[string]string{"headers.Host": "forbidden", "headers.content-LENGTH": "forbidden", "headers.Connection": "forbidden", "headers.TE": "forbidden",
		"headers.Transfer-Encoding": "forbidden", "headers.Upgrade": "forbidden", "headers.Webhook-Id": "forbidden", "headers.webhook-signature": "forbidden",
		"headers.a b": "name", "headers.": "name", "headers.x-line": "characters", "headers.x-blank": "characters"} {
		if got[field] != rule {
			t.Errorf("%s breaks %q, want %q", field, got[field], rule)
		}
	}
	if got["headers.Twice"] != "repeated" && got["headers.twice"] != "repeated" {
		t.Error("a header twice passes")
	}
}

func TestSecrets(t *testing.T) {
	t.Parallel()
	a, b := newAccountSecret(), newAccountSecret()
	if len(a) != 32 || a == b {
		t.Errorf("%q, %q", a, b)
	}
	acc := Account{secretHash: hashSecret(a)}
	if !acc.IsSecret(a) || acc.IsSecret(b) || acc.IsSecret("") || (Account{}).IsSecret("") {
		t.Error("a secret is taken for another")
	}
}
