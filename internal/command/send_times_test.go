package command_test

import (
	"strings"
	"testing"
)

// A time of a send may be one or a duration, and the refusal of anything else says so.
func TestSendTimes(t *testing.T) {
	t.Parallel()
	for _, flag := range []string{"deliver-at", "expires-at"} {
		for _, value := range []string{"5", "soon", "2030-02-30T00:00:00Z", "10 m"} {
			code, _, stderr := run(t, "send", "--user", "1", "--title", "x", "--"+flag, value)
			if want := "--" + flag + ": must be a time (RFC 3339) such as 2026-11-21T18:00:00Z, or a duration from now such as 10m"; code == 0 || !strings.Contains(stderr, want) {
				t.Errorf("--%s %s: exit code %d, %s", flag, value, code, stderr)
			}
		}
	}
}
