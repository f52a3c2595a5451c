package embedded

import (
	"context"
	"errors"
	"os/exec"
	"syscall"
	"testing"
	"time"
)

// A child that ignores the polite signal is ended by the next, and Stop says so.
func TestProcessStopEscalates(t *testing.T) {
	t.Parallel()
	// It lives as long as the pipe, which the test holds: no time is involved.
	cmd := exec.Command("/bin/sh", "-c", `trap "" INT; echo ready; while :; do read x || exit; done`)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = in.Close() }()
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	p, err := StartProcess(cmd, syscall.SIGKILL)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := out.Read(make([]byte, 16)); err != nil { // the trap is set
		t.Fatal(err)
	}
	if pgid, err := syscall.Getpgid(p.PID()); err != nil || pgid != p.PID() {
		t.Errorf("process group %d, %v; want its own, %d", pgid, err, p.PID())
	}
	if p.Err() != nil {
		t.Error("Err is set while it runs")
	}
	if err := p.Stop(context.Background(), Step{syscall.SIGINT, time.Millisecond}, Step{syscall.SIGTERM, time.Minute}); err == nil {
		t.Error("Stop hides that the first signal was ignored")
	}
	if alive(p.PID()) {
		t.Error("the child lives after Stop")
	}
	if err := p.Stop(context.Background()); err != nil {
		t.Errorf("a second Stop: %v", err)
	}
}

// Stop is bounded by its context.
func TestProcessStopBounded(t *testing.T) {
	t.Parallel()
	cmd := exec.Command("/bin/sh", "-c", `trap "" INT TERM; while :; do read x || exit; done`)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = in.Close() }()
	p, err := StartProcess(cmd, syscall.SIGKILL)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := p.Stop(ctx, Step{syscall.SIGINT, time.Hour}); err != nil && !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want the context's error or none", err)
	}
	<-p.Done()
}

// A program that is not there is an error of the start.
func TestProcessNotThere(t *testing.T) {
	t.Parallel()
	if _, err := StartProcess(exec.Command("/nonexistent/program"), 0); err == nil {
		t.Error("started nothing")
	}
}
