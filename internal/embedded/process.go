package embedded

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"syscall"
	"time"
)

// Process is a child process in a process group of its own, so that a Ctrl-C in
// the terminal reaches only the parent, which then stops its children in order.
//
// One goroutine owns it from start to exit. That goroutine is locked to its
// thread, because the kernel sends the parent-death signal when the thread that
// forked ends, not when the process does: a thread that waits here ends only
// with the process. Methods are safe for concurrent use.
type Process struct {
	cmd  *exec.Cmd
	done chan struct{}
	err  error // written before done is closed
	wg   sync.WaitGroup
}

// StartProcess starts cmd. On Linux the kernel sends onParentDeath to the child
// when this process dies without having stopped it; elsewhere, or with 0, the
// child outlives its parent. cmd must not be used afterwards.
func StartProcess(cmd *exec.Cmd, onParentDeath syscall.Signal) (*Process, error) {
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Setpgid = true
	setParentDeathSignal(cmd.SysProcAttr, onParentDeath)

	p := &Process{cmd: cmd, done: make(chan struct{})}
	started := make(chan error, 1)
	p.wg.Go(func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		defer close(p.done)
		if err := cmd.Start(); err != nil {
			started <- err
			return
		}
		started <- nil
		p.err = cmd.Wait()
	})
	if err := <-started; err != nil {
		p.wg.Wait()
		return nil, fmt.Errorf("starting %s: %w", cmd.Path, err)
	}
	return p, nil
}

// PID is the child's process id.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Done is closed when the child has ended, for whatever reason.
func (p *Process) Done() <-chan struct{} { return p.done }

// Err is how the child ended: nil for exit code 0 and while it still runs.
func (p *Process) Err() error {
	select {
	case <-p.done:
		return p.err
	default:
		return nil
	}
}

// Step is one stage of an escalating stop: a signal, and how long to wait for
// the child to end after it.
type Step struct {
	Signal syscall.Signal
	Wait   time.Duration
}

// Stop sends each step's signal until the child has ended, then SIGKILL. When
// ctx ends, the remaining steps are taken without their waits. It returns once
// the child is gone; the error is ctx's cause when the first signal was not
// enough in its time, and never the child's exit status.
func (p *Process) Stop(ctx context.Context, steps ...Step) error {
	defer p.wg.Wait()
	var cause error
	for _, s := range append(steps, Step{Signal: syscall.SIGKILL}) {
		if err := p.cmd.Process.Signal(s.Signal); errors.Is(err, os.ErrProcessDone) {
			return cause
		} else if err != nil {
			return fmt.Errorf("sending %s to process %d: %w", s.Signal, p.PID(), err)
		}
		if s.Signal == syscall.SIGKILL {
			break // nothing to escalate to: wg.Wait sees the end
		}
		timer := time.NewTimer(s.Wait)
		select {
		case <-p.done:
			timer.Stop()
			return cause
		case <-timer.C:
			cause = fmt.Errorf("stopping process %d: still running %s after %s", p.PID(), s.Wait, s.Signal)
		case <-ctx.Done():
			timer.Stop()
			cause = fmt.Errorf("stopping process %d: %w", p.PID(), context.Cause(ctx))
		}
	}
	return cause
}
