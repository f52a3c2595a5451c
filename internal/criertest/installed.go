package criertest

import (
	"os/exec"
	"testing"
)

// Node is the Node.js program, for clients in JavaScript outside of a browser.
// Without it the test is skipped, unless CRIER_TEST_REQUIRE has node.
func Node(tb testing.TB) string {
	tb.Helper()
	path, err := exec.LookPath("node")
	if err != nil {
		missing(tb, "node", err.Error())
	}
	return path
}
