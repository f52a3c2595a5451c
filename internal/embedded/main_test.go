package embedded

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"go.uber.org/goleak"
)

// childVariable makes this test binary a process to be killed: its value is the
// part to own, childDir its data directory.
const (
	childVariable = "CRIER_EMBEDDED_TEST_CHILD"
	childDir      = "CRIER_EMBEDDED_TEST_DIR"
)

func TestMain(m *testing.M) {
	if part := os.Getenv(childVariable); part != "" {
		os.Exit(beChild(part, os.Getenv(childDir)))
	}
	goleak.VerifyTestMain(m)
}

// beChild starts one part, prints where it is, and waits for its end of input or
// for being killed.
func beChild(part, dir string) int {
	ctx := context.Background()
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	var where string
	var stop func(context.Context) error
	switch part {
	case "postgres", "postgres-outlive":
		p, err := StartPostgres(ctx, PostgresConfig{DataDir: dir, Addr: "127.0.0.1:0", Logger: log, outlive: part == "postgres-outlive"})
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		where, stop = p.URL(), p.Stop
	case "broker":
		b, err := StartBroker(ctx, BrokerConfig{DataDir: dir, Addr: "127.0.0.1:0", Logger: log})
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		where, stop = b.Addr(), b.Stop
	}
	fmt.Println(where)
	_, _ = io.Copy(io.Discard, os.Stdin) // until the test closes it
	if err := stop(ctx); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// child is a running copy of this test binary that owns one part.
type child struct {
	cmd   *exec.Cmd
	where string
}

// startChild returns when the child's part is up.
func startChild(t *testing.T, part, dir string) *child {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^$")
	cmd.Env = append(os.Environ(), childVariable+"="+part, childDir+"="+dir)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatalf("starting a child for %s: %v", part, err)
	}
	c := &child{cmd: cmd}
	t.Cleanup(func() {
		_ = in.Close()
		c.kill(t)
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatalf("waiting for the child's %s: %v", part, err)
	}
	c.where = strings.TrimSpace(line)
	return c
}

// kill is kill -9, and waits for the end. Again it does nothing.
func (c *child) kill(t *testing.T) {
	t.Helper()
	if c.cmd.ProcessState != nil {
		return
	}
	if err := c.cmd.Process.Signal(syscall.SIGKILL); err != nil {
		t.Fatalf("killing the child: %v", err)
	}
	_ = c.cmd.Wait() // "signal: killed"
}

// tempDir is a folder that every account can reach, as t.TempDir is not.
func tempDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "crier-embedded-")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o711); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return filepath.Join(dir, "data")
}

// logTo shows the part's log lines with the test that fails.
func logTo(t testing.TB) *slog.Logger {
	return slog.New(slog.NewTextHandler(t.Output(), nil))
}
