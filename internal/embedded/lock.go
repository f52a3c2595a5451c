package embedded

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// DirInUseError says that another live process owns a data directory.
type DirInUseError struct {
	Dir  string
	What string
}

// Error names the part and the directory.
func (e *DirInUseError) Error() string {
	return fmt.Sprintf("data directory %s of embedded %s is in use by another process", e.Dir, e.What)
}

// dirLock is an exclusive lock on a directory, held by this process. The kernel
// releases it when the process dies in whatever way, so it never goes stale;
// Go opens files close-on-exec, so no child keeps it alive.
type dirLock struct{ f *os.File }

// lockDir takes the lock without waiting; what names the part in the error.
func lockDir(dir, what string) (*dirLock, error) {
	f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("opening the lock of %s: %w", dir, err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		_ = f.Close() // nothing was written
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, &DirInUseError{Dir: dir, What: what}
		}
		return nil, fmt.Errorf("locking %s: %w", dir, err)
	}
	return &dirLock{f: f}, nil
}

// LockDir takes a whole data directory for this process, until the returned function
// is called or the process ends in whatever way. Error: *DirInUseError.
func LockDir(dir string) (release func() error, err error) {
	l, err := lockDir(dir, "parts")
	if err != nil {
		return nil, err
	}
	return l.release, nil
}

// awaitDir takes the lock as soon as its holder gives it back. It polls: waiting
// in the kernel could not be given up when ctx ends.
func awaitDir(ctx context.Context, dir, what string) (*dirLock, error) {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		l, err := lockDir(dir, what)
		if busy := (*DirInUseError)(nil); !errors.As(err, &busy) {
			return l, err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil, fmt.Errorf("waiting for the lock of %s: %w", dir, context.Cause(ctx))
		}
	}
}

// release gives the lock back. The file stays: removing it would let a third
// process lock a new file while a second one still holds the old.
//
// It is unlocked, not only closed: a child that is being started at this moment has the
// file open, too, until its exec.
func (l *dirLock) release() error {
	if err := errors.Join(syscall.Flock(int(l.f.Fd()), syscall.LOCK_UN), l.f.Close()); err != nil {
		return fmt.Errorf("releasing the lock %s: %w", l.f.Name(), err)
	}
	return nil
}
