package criertest

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"
)

// dirPrefix begins the names of all folders that tests make for data.
const dirPrefix = "crier-test-"

// memory is a file system in memory on Linux, tmpfsMagic its type (statfs(2)), and
// memoryNeeded what must be free there: containers have 64 MiB only.
const (
	memory       = "/dev/shm"
	tmpfsMagic   = 0x01021994
	memoryNeeded = 4 << 30
)

// dataRoot is where data is kept while tests run: in memory, where there is enough.
// Each test has a database, which is some 300 files; for each file that is made ext4
// looks through the inodes that were deleted in the last seconds, and that took more
// than half of the processor time of all tests.
var dataRoot = sync.OnceValue(func() string {
	var fs syscall.Statfs_t
	if err := syscall.Statfs(memory, &fs); err != nil || int64(fs.Type) != tmpfsMagic || fs.Bavail*uint64(fs.Bsize) < memoryNeeded {
		return os.TempDir()
	}
	return memory
})

// sweep removes once what killed test runs have left.
var sweep = sync.OnceFunc(func() {
	for _, root := range []string{os.TempDir(), dataRoot()} {
		left, _ := filepath.Glob(filepath.Join(root, dirPrefix+"*")) // the pattern is right
		for _, dir := range left {
			removeAbandoned(dir)
		}
	}
})

// dirOwned is how old a folder is when its owner has certainly locked it.
const dirOwned = time.Minute

// removeAbandoned removes a folder whose owner has ended: nobody holds its lock. What
// belongs to another user, or is no folder of ours, stays.
func removeAbandoned(dir string) {
	fi, err := os.Lstat(dir)
	if err != nil || !fi.IsDir() || time.Since(fi.ModTime()) < dirOwned {
		return
	}
	if _, err := os.Lstat(filepath.Join(dir, ownerFile)); err != nil {
		return
	}
	lock, err := lockDir(dir)
	if err != nil {
		return
	}
	_ = os.RemoveAll(dir) // the next run tries again
	_ = lock.Close()
}

// ownerFile is what the owner of a folder holds a lock on.
const ownerFile = "owner.lock"

// lockDir takes the lock of a folder, which the kernel releases with this process.
func lockDir(dir string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(dir, ownerFile), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// makeDir makes a folder under root. It can be passed through by the account that
// Postgres runs as; what is in it is closed.
func makeDir(root, name string) (dir string, remove func() error, err error) {
	sweep()
	dir, err = os.MkdirTemp(root, dirPrefix+name+"-")
	if err != nil {
		return "", nil, fmt.Errorf("making a folder for %s: %w", name, err)
	}
	if err := os.Chmod(dir, 0o711); err != nil {
		return "", nil, fmt.Errorf("opening the folder for %s: %w", name, err)
	}
	lock, err := lockDir(dir)
	if err != nil {
		return "", nil, fmt.Errorf("locking the folder for %s: %w", name, err)
	}
	return dir, func() error { return errors.Join(removeAll(dir), lock.Close()) }, nil
}

// serverDir makes a folder for a shared server's data.
func serverDir(name string) (dir string, remove func() error, err error) {
	return makeDir(dataRoot(), name)
}

// Dir makes a folder for what a test's processes write, in memory where there is
// enough, and removes it at the test's end. Nothing can be executed there.
func Dir(tb testing.TB, name string) string {
	tb.Helper()
	dir, remove, err := serverDir(name)
	if err != nil {
		tb.Fatalf("criertest: %v", err)
	}
	tb.Cleanup(func() {
		if err := remove(); err != nil {
			tb.Errorf("criertest: removing the folder for %s: %v", name, err)
		}
	})
	return dir
}

// removeAll removes a server's folder. A server that was killed may still be
// writing its last file.
func removeAll(dir string) error {
	for deadline := time.Now().Add(time.Minute); ; pause(50 * time.Millisecond) {
		if err := os.RemoveAll(dir); err == nil || time.Now().After(deadline) {
			return err
		}
	}
}
