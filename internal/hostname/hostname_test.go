package hostname

import "testing"

func TestKnown(t *testing.T) {
	t.Parallel()
	names := []string{"push.example.org"}
	for host, want := range map[string]bool{
		"127.0.0.1:8080": true, "127.0.0.1": true, "[::1]:8080": true, "[::1]": true, "192.0.2.7:80": true, "localhost": true, "LOCALHOST:8080": true, "a.localhost:1": true,
		"push.example.org": true, "Push.Example.org:443": true, "push.example.org.": true, "push.example.org.:8080": true,
		"evil.example": false, "evil.example:8080": false, "push.example.org.evil.example": false, "localhost.evil.example": false, "127.0.0.1.evil.example": false,
		"": false, ":8080": false, "evil.example.": false, "127.0.0.1@evil.example": false, "notlocalhost": false,
	} {
		if got := Known(host, names); got != want {
			t.Errorf("%q: %t, want %t", host, got, want)
		}
	}
	for addr, want := range map[string]bool{"127.0.0.1:8080": true, "[::1]:0": true, "localhost:1": true, "0.0.0.0:8080": false, ":8080": false, "192.0.2.1:1": false} {
		if got := Loopback(addr); got != want {
			t.Errorf("%q: loopback %t, want %t", addr, got, want)
		}
	}
}
