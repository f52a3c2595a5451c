package embedded

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// A start on a full disk says that it is full, and which.
func TestPostgresDiskFull(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=120m,mode=0711"); err != nil {
		t.Skipf("a small file system is mounted by root only: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	if err := os.Chmod(filepath.Dir(dir), 0o711); err != nil { // for the account of Postgres
		t.Fatal(err)
	}
	data := filepath.Join(dir, "data")
	mustStopPostgres(t, mustStartPostgres(t, PostgresConfig{DataDir: data}))
	fill, err := os.Create(filepath.Join(dir, "fill"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(fill, zeros{}); !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("filling the disk: %v", err)
	}
	if err := fill.Close(); err != nil {
		t.Fatal(err)
	}
	_, err = StartPostgres(t.Context(), PostgresConfig{DataDir: data, Addr: "127.0.0.1:0", Logger: logTo(t)})
	if err == nil || !strings.Contains(err.Error(), data) || !strings.Contains(strings.ToLower(err.Error()), "no space left on device") {
		t.Fatalf("%v", err)
	}
	if err := os.Remove(fill.Name()); err != nil {
		t.Fatal(err)
	}
	mustStartPostgres(t, PostgresConfig{DataDir: data})
}

// zeros is a reader without an end.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) { return len(p), nil }
