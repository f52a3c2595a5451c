package embedded

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// With no local Postgres the pinned one is downloaded, runs, and is not
// downloaded again.
func TestPostgresDownload(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", strings.TrimPrefix(mavenCentral[:strings.LastIndex(mavenCentral, "/")], "https://")+":443")
	if err != nil {
		t.Skipf("Maven Central cannot be reached from here at all: %v", err)
	}
	_ = conn.Close()

	dir := tempDir(t)
	cache := filepath.Join(filepath.Dir(dir), "cache")
	first := mustStartPostgres(t, PostgresConfig{DataDir: dir, BinDir: hideLocal, CacheDir: cache})
	if first.bin.major != downloadMajor || !strings.HasPrefix(first.bin.dir, cache) {
		t.Errorf("ran %s from %s, want %s below %s", first.bin.version, first.bin.dir, downloadVersion, cache)
	}
	mustExec(t, first.URL(), makeRow)
	mustStopPostgres(t, first)
	again := mustStartPostgres(t, PostgresConfig{DataDir: dir, BinDir: hideLocal, CacheDir: cache, DownloadURL: "http://127.0.0.1:1"})
	if got := mustExec(t, again.URL(), checkRow); got != "here" {
		t.Errorf("the row is %q, want here", got)
	}
}

// What is not the pinned file is not unpacked, let alone run.
func TestPostgresDownloadChecksSum(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte("something else"))
	}))
	defer server.Close()
	dir := tempDir(t)
	cache := filepath.Join(filepath.Dir(dir), "cache")
	_, err := StartPostgres(t.Context(), PostgresConfig{
		DataDir: dir, Addr: "127.0.0.1:0", BinDir: hideLocal, CacheDir: cache, DownloadURL: server.URL, Logger: logTo(t),
	})
	if err == nil || !strings.Contains(err.Error(), "SHA-256") {
		t.Errorf("with a forged download: %v, want the sum named", err)
	}
	if left, _ := filepath.Glob(filepath.Join(cache, "*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

// The search follows links to where all programs are, and prefers new versions.
func TestPostgresBinarySearch(t *testing.T) {
	t.Parallel()
	dirs := []string{"/usr/lib/postgresql/9/bin", "/usr/lib/postgresql/17/bin", "/usr/lib/postgresql/15/bin"}
	slices.SortFunc(dirs, func(a, b string) int { return numberIn(b) - numberIn(a) })
	if dirs[0] != "/usr/lib/postgresql/17/bin" || dirs[2] != "/usr/lib/postgresql/9/bin" {
		t.Errorf("newest first: got %v", dirs)
	}
	for output, want := range map[string]string{
		"postgres (PostgreSQL) 15.13 (Debian 15.13-0+deb12u1)\n": "15.13",
		"initdb (PostgreSQL) 18beta1\n":                          "18",
		"no version here":                                        "",
	} {
		if got := versionIn(output); got != want {
			t.Errorf("version in %q: got %q, want %q", output, got, want)
		}
	}
	real, links := t.TempDir(), t.TempDir()
	for _, name := range programs {
		script := "#!/bin/sh\necho \"" + name + " (PostgreSQL) 16.2\"\n"
		if err := os.WriteFile(filepath.Join(real, name), []byte(script), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(filepath.Join(real, "postgres"), filepath.Join(links, "postgres")); err != nil {
		t.Fatal(err)
	}
	b, err := inspectBinaries(t.Context(), links)
	if err != nil || b.dir != real || b.major != 16 {
		t.Errorf("through a link: %+v, %v; want 16 in %s", b, err, real)
	}
	if err := os.Remove(filepath.Join(real, "pg_ctl")); err != nil {
		t.Fatal(err)
	}
	if _, err := inspectBinaries(t.Context(), links); err == nil {
		t.Error("a folder without pg_ctl was taken")
	}
}
