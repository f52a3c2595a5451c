package criertest

import (
	"cmp"
	"os"
	"os/exec"
	"testing"
)

// Python is an interpreter that has a module, for clients in Python:
// CRIER_TEST_PYTHON, or python3. Without one the test is skipped, unless
// CRIER_TEST_REQUIRE has python.
func Python(tb testing.TB, module string) string {
	tb.Helper()
	python := cmp.Or(os.Getenv("CRIER_TEST_PYTHON"), "python3")
	if out, err := exec.Command(python, "-c", "import "+module).CombinedOutput(); err != nil {
		missing(tb, "python", string(out)+err.Error())
	}
	return python
}
