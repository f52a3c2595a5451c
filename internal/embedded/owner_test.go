package embedded

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A data directory is used by its owner only: root is refused in a user's, and a user
// where something in it cannot be written, with the name of what is in the way.
func TestProcessOwnsData(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "data")
	file := filepath.Join(dir, "kafka", "log", "partitions", "ticks-0", "0.dat")
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := CheckOwner(dir, "kafka", "postgres", "lock"); err != nil {
		t.Errorf("one's own: %v", err)
	}
	if os.Geteuid() == 0 {
		if err := os.Lchown(dir, nobodyID, nobodyID); err != nil {
			t.Fatal(err)
		}
		if err := CheckOwner(dir, "kafka", "postgres", "lock"); err == nil || !strings.Contains(err.Error(), dir) || !strings.Contains(err.Error(), "root") {
			t.Errorf("root in a user's directory: %v", err)
		}
		return
	}
	if err := os.Chmod(file, 0o400); err != nil {
		t.Fatal(err)
	}
	if err := CheckOwner(dir, "postgres"); err != nil {
		t.Errorf("a file that is not ours to write: %v", err)
	}
	if err := CheckOwner(dir, "kafka", "postgres", "lock"); !errors.Is(err, fs.ErrPermission) || !strings.Contains(err.Error(), file) || !strings.Contains(err.Error(), "chown -R") {
		t.Errorf("a file that cannot be written: %v", err)
	}
}
