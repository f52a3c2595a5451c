package promises

import (
	"context"
	"os"
	"os/exec"
	"testing"

	"crier/internal/criertest"
)

// The commands that the page shows run as they are printed: from another folder, with
// this run's ports and data, and without a key that only its operator knows.
func TestPageCommandsRun(t *testing.T) {
	t.Parallel()
	p := criertest.Start(t)
	page := openTab(t, p.Facts().HTTP)
	page.open("/")
	page.until("the first steps", `document.querySelector('[data-testid=steps]')`)
	tick(t, p, "BTCUSDT", "50000")
	elsewhere := t.TempDir()
	run := func(line string) {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), 4*patience) // the go command may have to build first
		defer cancel()
		cmd := exec.CommandContext(ctx, "sh", "-ec", line)
		cmd.Dir = elsewhere
		// A test binary outside of the go command's folder is named as it is: it is to
		// be the program then, and not to run all tests.
		cmd.Env = append(os.Environ(), "CRIER_TEST_CHILD=1")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%s\n%v\n%s", line, err, out)
		}
	}
	command := func(path, what, containing string) string {
		t.Helper()
		page.open(path)
		find := `[...document.querySelectorAll('.command:not([hidden]) code')].find((c) => c.textContent.includes('` + containing + `'))`
		page.until(what, find)
		return eval[string](page, find+`.textContent`)
	}
	page.signUp("ann")
	page.untilLive("sse")
	run(command("/inbox", "how to send", ` send --user`))
	page.item(1)
	run(command("/send", "how to send over HTTP", `/api/v1/notifications`) + ` --fail-with-body`)
	page.open("/inbox")
	page.item(2)
	run(command("/alerts", "how to set an alert", `/api/v1/alerts`) + ` --fail-with-body`)
	page.open("/alerts")
	page.until("the alert", `document.querySelectorAll('[data-testid=alert-item]').length === 1`)
	run(command("/rooms", "how to make a room", `rooms add`))
	page.open("/rooms")
	page.until("the room", `[...document.querySelectorAll('[data-testid=room]')].some((r) => r.dataset.room === 'team')`)
	if got, want := eval[string](page, `fetch('/api/v1/status').then((r) => r.json()).then(({kafka}) => kafka)`), p.Facts().Kafka; got != want {
		t.Errorf("Kafka is named as %s, and is at %s", got, want)
	}
}
