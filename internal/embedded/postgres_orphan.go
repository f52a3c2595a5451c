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

// stopOrphan ends a postmaster that a killed predecessor left on our data, and the
// backends of one that was killed itself: they hold its shared memory, which a new
// one would refuse to do without. We hold the directory's lock, so the process that
// started them is dead.
//
// A pid file whose process is gone is left to Postgres: its start removes it
// after having looked for backends that are still attached to the shared memory
// named there. Only where the number now belongs to a process that is no
// postmaster of this directory (after a reboot, in a new container) do we remove
// the file, because Postgres would take that process for one.
func (p *Postgres) stopOrphan(ctx context.Context) error {
	file := filepath.Join(p.dataDir(), "postmaster.pid")
	pid, err := readPID(file)
	if err != nil {
		return err
	}
	switch {
	case pid == 0 || !alive(pid) || isZombie(pid):
	case !isPostmaster(ctx, pid, p.dataDir()):
		p.log.Warn("removing a stale pid file of embedded postgres", "file", file, "pid", pid)
		if err := os.Remove(file); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("removing a stale pid file: %w", err)
		}
	default:
		p.log.Warn("stopping a postgres that an earlier run left behind", "pid", pid)
		if err := end(ctx, []int{pid}, Step{syscall.SIGINT, fastPatience}, Step{syscall.SIGQUIT, fastPatience}, Step{syscall.SIGKILL, fastPatience}); err != nil {
			return err
		}
	}
	left := processesIn(p.dataDir())
	if len(left) == 0 {
		return nil
	}
	p.log.Warn("waiting for processes that an earlier postgres left behind", "pids", left)
	return end(ctx, left, Step{0, orphanPatience}, Step{syscall.SIGQUIT, orphanPatience}, Step{syscall.SIGKILL, fastPatience})
}

// end takes the steps until the processes, which are not our children, are gone.
func end(ctx context.Context, pids []int, steps ...Step) error {
	for _, s := range steps {
		var gone bool
		for _, pid := range pids {
			if err := syscall.Kill(pid, s.Signal); err != nil && !errors.Is(err, syscall.ESRCH) {
				return fmt.Errorf("sending %s to the left-over postgres %d: %w", s.Signal, pid, err)
			}
		}
		deadline := time.Now().Add(s.Wait)
		for _, pid := range pids {
			var err error
			if gone, err = waitGone(ctx, pid, time.Until(deadline)); err != nil {
				return err
			}
			if !gone {
				break
			}
		}
		if gone {
			return nil
		}
	}
	return fmt.Errorf("stopping the left-over postgres %v: it does not end", pids)
}

// processesIn finds the processes that work in a directory, as every process of a
// Postgres server does in its data directory. It sees them on Linux only; elsewhere
// launch tries until they are gone.
func processesIn(dir string) []int {
	real, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return nil // there is no cluster yet
	}
	links, _ := filepath.Glob("/proc/[0-9]*/cwd") // the pattern is right
	var pids []int
	for _, link := range links {
		cwd, err := os.Readlink(link)
		if err != nil || cwd != real {
			continue
		}
		if pid, err := strconv.Atoi(filepath.Base(filepath.Dir(link))); err == nil && pid != os.Getpid() && isPostgres(pid) {
			pids = append(pids, pid)
		}
	}
	return pids
}

// isPostgres says whether a process runs the program postgres, and not a shell that
// was opened there.
func isPostgres(pid int) bool {
	name, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
	return err == nil && strings.TrimSpace(string(name)) == "postgres"
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
