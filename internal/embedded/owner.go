package embedded

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// CheckOwner makes sure that what is in a data directory can be used by this process,
// and that what it makes there can be used by the directory's owner later: a run as
// root in a user's directory leaves files that the user cannot open, which shows only
// when the broker wants to write to one of them. names are what the run keeps in the
// directory; other files there are not looked at.
func CheckOwner(dir string, names ...string) error {
	if os.Geteuid() == 0 {
		fi, err := os.Stat(dir)
		if err != nil {
			return fmt.Errorf("looking at the data directory: %w", err)
		}
		if st, ok := fi.Sys().(*syscall.Stat_t); ok && st.Uid != 0 {
			return fmt.Errorf("%s belongs to user %d, who could not open what a run as root makes there: run as that user, or choose another directory", dir, st.Uid)
		}
		return nil // root may read and write everything
	}
	if err := writable(dir, dir); err != nil {
		return err
	}
	for _, name := range names {
		err := filepath.WalkDir(filepath.Join(dir, name), func(path string, d fs.DirEntry, err error) error {
			if errors.Is(err, fs.ErrNotExist) || err == nil && !d.IsDir() && !d.Type().IsRegular() {
				return nil // not made yet, removed meanwhile, or nothing that is written to
			}
			if err := writable(dir, path); err != nil {
				return err
			}
			if path == filepath.Join(dir, "postgres", "data") {
				return fs.SkipDir // thousands of files, all of one owner
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func writable(dir, path string) error {
	err := syscall.Access(path, readAndWrite)
	if err == nil || errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return fmt.Errorf("%s cannot be written (a run as root may have made it): give everything to this user (chown -R %d %s), or choose another directory: %w", path, os.Geteuid(), dir, err)
}

// readAndWrite is R_OK and W_OK of access(2).
const readAndWrite = 4 | 2
