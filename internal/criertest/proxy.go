package criertest

import (
	"os/exec"
	"testing"
)

// Proxy is the program of a proxy: nginx, caddy or haproxy. Without it the test is
// skipped, unless CRIER_TEST_REQUIRE has proxies.
func Proxy(tb testing.TB, name string) string {
	tb.Helper()
	for _, path := range []string{name, "/usr/sbin/" + name} { // Debian's place, which ordinary users do not search
		if found, err := exec.LookPath(path); err == nil {
			return found
		}
	}
	missing(tb, "proxies", name+" is not on this machine")
	return ""
}
