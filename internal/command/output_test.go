package command_test

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"crier/internal/command"
	"crier/internal/criertest"
)

// fullDisk is a file on a file system without space.
type fullDisk struct{}

func (fullDisk) Write([]byte) (int, error) { return 0, errors.New("no space left on device") }

// runOnFullDisk runs one command whose standard output cannot be written.
func runOnFullDisk(t *testing.T, args ...string) (code int, stderr string) {
	t.Helper()
	var errOut strings.Builder
	code = command.Main(t.Context(), command.Program{Args: args, Stdin: strings.NewReader(""), Stdout: fullDisk{}, Stderr: &errOut})
	return code, errOut.String()
}

// A command whose output is lost has failed, and reports it once.
func TestOutputThatCannotBeWritten(t *testing.T) {
	t.Parallel()
	database := "--database-url=" + criertest.Postgres(t)
	if code, _, stderr := run(t, "migrate", database); code != 0 {
		t.Fatal(stderr)
	}
	secret := "--jwt-secret=" + strings.Repeat("s", 32)
	for _, args := range [][]string{
		{"version"}, {"--version"}, {"completion", "bash"}, {"token", "--user=1", secret},
		{"invites", "add", database}, {"migrate", database},
	} {
		code, stderr := runOnFullDisk(t, args...)
		if code != 1 || stderr != "crier: writing to standard output: no space left on device\n" {
			t.Errorf("%v: exit code %d, %q", args, code, stderr)
		}
	}
}

// A key that was made and could not be shown is named, so that it can be ended.
func TestKeyThatCannotBeShown(t *testing.T) {
	t.Parallel()
	database := "--database-url=" + criertest.Postgres(t)
	if code, _, stderr := run(t, "migrate", database); code != 0 {
		t.Fatal(stderr)
	}
	for i, args := range [][]string{{"keys", "add", "shop"}, {"keys", "rotate", "shop", "--json"}} {
		code, stderr := runOnFullDisk(t, append(args, database)...)
		want := fmt.Sprintf("crier: writing to standard output: no space left on device: key %d was made and could not be shown; end it with crier keys revoke shop --id %d\n", i+1, i+1)
		if code != 1 || stderr != want {
			t.Errorf("%v: exit code %d, %q, want %q", args, code, stderr, want)
		}
	}
}

// A failure is one line, also where Postgres has been tried at several addresses and
// pgx writes a line for each.
func TestFailureIsOneLine(t *testing.T) {
	t.Parallel()
	for _, format := range []string{"text", "json"} {
		code, _, stderr := run(t, "keys", "list", "--log-format="+format, "--database-url=postgres://u:p@127.0.0.1:1/d")
		if code != 1 || strings.Count(stderr, "\n") != 1 || strings.Count(stderr, "connection refused") != 1 || strings.Contains(stderr, `\t`) {
			t.Errorf("%s: exit code %d, %q", format, code, stderr)
		}
	}
}

// help of what does not exist is one line, too.
func TestHelpOfNothing(t *testing.T) {
	t.Parallel()
	if code, _, stderr := run(t, "help", "nothing"); code != 2 || strings.Count(stderr, "\n") != 1 {
		t.Errorf("exit code %d, %q", code, stderr)
	}
}

// A user without an id is refused before anybody is asked.
func TestUserWithoutID(t *testing.T) {
	t.Parallel()
	for _, verb := range []string{"export", "erase"} {
		if code, _, stderr := run(t, "users", verb, "", "--url=http://127.0.0.1:1", "--api-key=k"); code != 1 || stderr != "crier: id: is required\n" {
			t.Errorf("%s: exit code %d, %q", verb, code, stderr)
		}
	}
}

// A start that is interrupted ends in order, with exit code 0, also by the signal of a
// terminal that is closed; under nohup that one is ignored.
func TestInterruptedStart(t *testing.T) {
	t.Parallel()
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name    string
		shell   string
		signals []os.Signal
		reason  string
	}{
		{"interrupt", `exec "$0" gateway`, []os.Signal{os.Interrupt}, "interrupt"},
		{"terminate", `exec "$0" gateway`, []os.Signal{syscall.SIGTERM}, "terminated"},
		{"hangup", `exec "$0" gateway`, []os.Signal{syscall.SIGHUP}, "hangup"},
		{"nohup", `trap "" HUP; exec "$0" gateway`, []os.Signal{syscall.SIGHUP, syscall.SIGTERM}, "terminated"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			cmd := exec.CommandContext(t.Context(), "sh", "-c", tt.shell, program)
			cmd.Env = []string{"CRIER_TEST_CHILD=1", "CRIER_DATABASE_URL=postgres://u:p@127.0.0.1:1/d", "CRIER_KAFKA_BROKERS=127.0.0.1:1", "CRIER_ADMIN_ADDR=127.0.0.1:0", "CRIER_HTTP_ADDR=127.0.0.1:0",
				"CRIER_JWT_SECRET=" + strings.Repeat("s", 32), "CRIER_START_TIMEOUT=10m"}
			stderr, err := cmd.StderrPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			var log strings.Builder
			for lines := bufio.NewScanner(stderr); lines.Scan(); {
				fmt.Fprintln(&log, lines.Text())
				if strings.Contains(lines.Text(), "waiting to start") && tt.signals != nil {
					for _, s := range tt.signals {
						if err := cmd.Process.Signal(s); err != nil {
							t.Error(err)
						}
					}
					tt.signals = nil
				}
			}
			if err := cmd.Wait(); err != nil || !strings.Contains(log.String(), tt.reason+" signal received") || strings.Contains(log.String(), "crier:") {
				t.Errorf("%v\n%s", err, log.String())
			}
		})
	}
}
