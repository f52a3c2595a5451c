package criertest

import (
	"os/exec"
	"strings"
	"testing"
)

// browsers are the names that Chromium and its relatives go by.
var browsers = []string{
	"chromium", "chromium-browser", "google-chrome", "google-chrome-stable",
	"/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
	"/Applications/Chromium.app/Contents/MacOS/Chromium",
}

// Chromium gives the path of a Chromium or Chrome. Without one the test skips, or
// fails where "browser" is required.
func Chromium(tb testing.TB) string {
	tb.Helper()
	for _, name := range browsers {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	missing(tb, "browser", "none of "+strings.Join(browsers, ", ")+" is installed")
	return ""
}
