package embedded

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// stopOrphan ends a postmaster that a killed predecessor left on our data. We
// hold the directory's lock, so whoever started it is dead.
//
// A pid file whose process is gone is left to Postgres: its start removes it
// after having looked for backends that are still attached to the shared memory
// named there. Only where the number now belongs to a process that is no
// postmaster of this directory (after a reboot, in a new container) do we remove
// the file, because Postgres would take that process for one.
func (p *Postgres) stopOrphan(ctx context.Context) error {
	file := filepath.Join(p.dataDir(), "postmaster.pid")
	pid, err := readPID(file)
	if err != nil || pid == 0 {
		return err
	}
	if !alive(pid) {
		return nil
	}
	if !isPostmaster(ctx, pid, p.dataDir()) {
		p.log.Warn("removing a stale pid file of embedded postgres", "file", file, "pid", pid)
		if err := os.Remove(file); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("removing a stale pid file: %w", err)
		}
		return nil
	}
	p.log.Warn("stopping a postgres that an earlier run left behind", "pid", pid)
	for _, s := range []Step{{syscall.SIGINT, fastPatience}, {syscall.SIGQUIT, fastPatience}, {syscall.SIGKILL, fastPatience}} {
		if err := syscall.Kill(pid, s.Signal); err != nil && !errors.Is(err, syscall.ESRCH) {
			return fmt.Errorf("sending %s to the left-over postgres %d: %w", s.Signal, pid, err)
		}
		if gone, err := waitGone(ctx, pid, s.Wait); err != nil || gone {
			return err
		}
	}
	return fmt.Errorf("stopping the left-over postgres %d: it does not end", pid)
}

// readPID gives the process id in the first line of a postmaster.pid, 0 for none.
func readPID(file string) (int, error) {
	b, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("reading the pid file of postgres: %w", err)
	}
	line, _, _ := strings.Cut(string(b), "\n")
	pid, err := strconv.Atoi(strings.TrimSpace(line))
	if err != nil || pid <= 1 {
		return 0, nil // written half at a crash: Postgres says so if it minds
	}
	return pid, nil
}

// alive tells whether a process exists; one that we may not signal does.
func alive(pid int) bool {
	err := syscall.Kill(pid, 0)
	return err == nil || errors.Is(err, syscall.EPERM)
}

// isPostmaster tells whether the process is a Postgres server on dir. The server
// changes into its data directory, which Linux shows; elsewhere the command line
// must do.
func isPostmaster(ctx context.Context, pid int, dir string) bool {
	if cwd, err := os.Readlink(fmt.Sprintf("/proc/%d/cwd", pid)); err == nil {
		real, err := filepath.EvalSymlinks(dir)
		return err == nil && cwd == real
	} else if errors.Is(err, fs.ErrPermission) {
		return false // another user's process; Postgres runs as an account we may look into
	}
	out, err := exec.CommandContext(ctx, "ps", "-o", "command=", "-p", strconv.Itoa(pid)).Output()
	return err == nil && strings.Contains(string(out), "postgres") && strings.Contains(string(out), dir)
}

// waitGone polls, since only a parent can wait for a process to end.
func waitGone(ctx context.Context, pid int, patience time.Duration) (bool, error) {
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		if !alive(pid) || isZombie(pid) {
			return true, nil
		}
		select {
		case <-tick.C:
		case <-deadline.C:
			return false, nil
		case <-ctx.Done():
			return false, fmt.Errorf("waiting for the left-over postgres %d to end: %w", pid, context.Cause(ctx))
		}
	}
}

// isZombie tells whether a process has ended and only its entry is left, which
// lasts for ever where the container's first process does not wait for children.
func isZombie(pid int) bool {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return false
	}
	_, rest, ok := strings.Cut(string(b), ") ")
	return ok && strings.HasPrefix(rest, "Z")
}
