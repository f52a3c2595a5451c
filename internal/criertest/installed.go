package criertest

import (
	"os/exec"
	"testing"
)

// Installed is the path of a program of the system, such as node. Without it the test is
// skipped, unless CRIER_TEST_REQUIRE has its name.
func Installed(tb testing.TB, program string) string {
	tb.Helper()
	for _, path := range []string{program, "/usr/sbin/" + program} { // where Debian has servers; ordinary users do not search it
		if found, err := exec.LookPath(path); err == nil {
			return found
		}
	}
	missing(tb, program, "it is not on this machine")
	return ""
}
