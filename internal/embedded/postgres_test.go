package embedded

import (
	"context"
	"errors"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

func mustStartPostgres(t *testing.T, cfg PostgresConfig) *Postgres {
	t.Helper()
	if cfg.Addr == "" {
		cfg.Addr = "127.0.0.1:0"
	}
	cfg.Logger = logTo(t)
	p, err := StartPostgres(t.Context(), cfg)
	if err != nil {
		t.Fatalf("starting postgres: %v", err)
	}
	t.Cleanup(func() { mustStopPostgres(t, p) })
	return p
}

func mustStopPostgres(t *testing.T, p *Postgres) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	if err := p.Stop(ctx); err != nil {
		t.Errorf("stopping postgres: %v", err)
	}
}

// mustExec runs statements on one connection and gives the last one's first
// value as text.
func mustExec(t *testing.T, url string, statements ...string) string {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatalf("connecting: %v", err)
	}
	defer func() { _ = conn.Close(context.Background()) }()
	var last string
	for _, s := range statements {
		results, err := conn.PgConn().Exec(t.Context(), s).ReadAll()
		if err != nil {
			t.Fatalf("%s: %v", s, err)
		}
		if r := results[len(results)-1]; len(r.Rows) > 0 {
			last = string(r.Rows[0][0])
		}
	}
	return last
}

const (
	makeRow  = "CREATE TABLE kept (v text); INSERT INTO kept VALUES ('here')"
	checkRow = "SELECT v FROM kept"
)

// A stopped cluster is found again with its data and its password; Stop twice
// and a wrong password behave.
func TestPostgresKeepsDataAndPassword(t *testing.T) {
	t.Parallel()
	dir := tempDir(t)
	first := mustStartPostgres(t, PostgresConfig{DataDir: dir})
	mustExec(t, first.URL(), makeRow)
	if got := mustExec(t, first.URL(), "SHOW synchronous_commit"); got != "on" {
		t.Errorf("synchronous_commit is %s, want on", got)
	}
	if got := mustExec(t, first.URL(), "SELECT lower('ÄÉ')"); got != "äé" {
		t.Errorf("lower('ÄÉ') is %q, want äé", got)
	}
	mustStopPostgres(t, first)
	mustStopPostgres(t, first)
	select {
	case <-first.Done():
	default:
		t.Error("Done is open after Stop")
	}

	second := mustStartPostgres(t, PostgresConfig{DataDir: dir})
	if got := mustExec(t, second.URL(), checkRow); got != "here" {
		t.Errorf("after a restart the row is %q, want here", got)
	}
	fi, err := os.Stat(filepath.Join(second.home, "password"))
	if err != nil {
		t.Fatal(err)
	}
	if fi.Mode().Perm() != 0o600 {
		t.Errorf("the password file has mode %v, want 0600", fi.Mode())
	}
	wrong, err := url.Parse(second.URL())
	if err != nil {
		t.Fatal(err)
	}
	wrong.User = url.UserPassword("crier", "guess")
	var refused *pgconn.PgError
	if _, err := pgx.Connect(t.Context(), wrong.String()); !errors.As(err, &refused) || refused.Code != "28P01" {
		t.Errorf("with a wrong password: %v, want SQLSTATE 28P01", err)
	}
}

// The owner of the cluster is killed with signal 9 after a commit: Postgres ends
// by itself, and the next start has the row.
func TestPostgresAfterKill(t *testing.T) {
	t.Parallel()
	dir := tempDir(t)
	c := startChild(t, "postgres", dir)
	mustExec(t, c.where, makeRow)
	c.kill(t)
	p := mustStartPostgres(t, PostgresConfig{DataDir: dir})
	if got := mustExec(t, p.URL(), checkRow); got != "here" {
		t.Errorf("after kill -9 the row is %q, want here", got)
	}
}

// A postmaster that survived its parent (no parent-death signal on this system)
// is stopped by the next start, not fought with.
func TestPostgresStopsOrphan(t *testing.T) {
	t.Parallel()
	dir := tempDir(t)
	c := startChild(t, "postgres-outlive", dir)
	mustExec(t, c.where, makeRow)
	c.kill(t)
	orphan, err := readPID(filepath.Join(dir, "data", "postmaster.pid"))
	if err != nil || !alive(orphan) {
		t.Fatalf("the orphan %d should live: %v", orphan, err)
	}
	p := mustStartPostgres(t, PostgresConfig{DataDir: dir})
	if alive(orphan) && !isZombie(orphan) {
		t.Errorf("the orphan %d still lives", orphan)
	}
	if got := mustExec(t, p.URL(), checkRow); got != "here" {
		t.Errorf("the row is %q, want here", got)
	}
}

// The postmaster itself killed with signal 9 is noticed through Done, and the
// next start recovers although the pid file is left.
func TestPostgresKilledItself(t *testing.T) {
	t.Parallel()
	dir := tempDir(t)
	first := mustStartPostgres(t, PostgresConfig{DataDir: dir})
	mustExec(t, first.URL(), makeRow)
	if err := syscall.Kill(first.proc.PID(), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	<-first.Done()
	mustStopPostgres(t, first)
	second := mustStartPostgres(t, PostgresConfig{DataDir: dir})
	if got := mustExec(t, second.URL(), checkRow); got != "here" {
		t.Errorf("the row is %q, want here", got)
	}
}

// kill -9 of the owner and of its postmaster at once leaves backends that hold the
// shared memory, here one that cannot even notice: the next start ends them.
func TestPostgresKilledWithItsOwner(t *testing.T) {
	t.Parallel()
	dir := tempDir(t)
	c := startChild(t, "postgres-outlive", dir)
	mustExec(t, c.where, makeRow)
	conn, err := pgx.Connect(t.Context(), c.where)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(context.Background()) }() // its server is killed
	if err := syscall.Kill(int(conn.PgConn().PID()), syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	postmaster, err := readPID(filepath.Join(dir, "data", "postmaster.pid"))
	if err != nil || !alive(postmaster) {
		t.Fatalf("the postmaster %d should live: %v", postmaster, err)
	}
	if err := syscall.Kill(postmaster, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	c.kill(t)
	p := mustStartPostgres(t, PostgresConfig{DataDir: dir})
	if got := mustExec(t, p.URL(), checkRow); got != "here" {
		t.Errorf("the row is %q, want here", got)
	}
}

// What Postgres wrote is reduced to why it ended.
func TestCauses(t *testing.T) {
	for _, c := range []struct{ name, said, want string }{
		{"disk full", `2026-11-28 08:51:44.689 UTC [23374] LOG:  starting PostgreSQL 15.18 on x86_64-pc-linux-gnu, 64-bit
2026-11-28 08:51:44.706 UTC [23378] FATAL:  could not write to file "pg_wal/xlogtemp.23378": No space left on device
2026-11-28 08:51:44.708 UTC [23379] FATAL:  the database system is starting up
2026-11-28 08:51:44.833 UTC [23374] LOG:  startup process (PID 23378) exited with exit code 1
2026-11-28 08:51:44.906 UTC [23374] LOG:  shutting down due to startup process failure
`, `2026-11-28 08:51:44.706 UTC [23378] FATAL:  could not write to file "pg_wal/xlogtemp.23378": No space left on device`},
		{"with a hint", `2026-11-28 08:00:00.000 UTC [1] FATAL:  pre-existing shared memory block (key 1, ID 2) is still in use
2026-11-28 08:00:00.000 UTC [1] HINT:  Terminate any old server processes associated with data directory "/d".
2026-11-28 08:00:00.000 UTC [1] LOG:  database system is shut down
`, `2026-11-28 08:00:00.000 UTC [1] FATAL:  pre-existing shared memory block (key 1, ID 2) is still in use
2026-11-28 08:00:00.000 UTC [1] HINT:  Terminate any old server processes associated with data directory "/d".`},
		{"linker", "postgres: error while loading shared libraries: libicu.so.72: cannot open shared object file\n", "postgres: error while loading shared libraries: libicu.so.72: cannot open shared object file"},
		{"nothing known", "2026-11-28 08:00:00.000 UTC [1] LOG:  database system is shut down\n", "2026-11-28 08:00:00.000 UTC [1] LOG:  database system is shut down"},
		{"nothing", "", ""},
	} {
		if got := causes(c.said); got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}

// After a reboot the number in a stale pid file may be somebody else's, who is
// neither stopped nor taken for a postmaster.
func TestPostgresStalePIDFile(t *testing.T) {
	t.Parallel()
	dir := tempDir(t)
	first := mustStartPostgres(t, PostgresConfig{DataDir: dir})
	mustStopPostgres(t, first)
	c := startChild(t, "broker", tempDir(t)) // any living process that is no relation
	file := filepath.Join(dir, "data", "postmaster.pid")
	if err := os.WriteFile(file, []byte(strings.Join([]string{itoa(c.cmd.Process.Pid), filepath.Dir(file)}, "\n")), 0o600); err != nil {
		t.Fatal(err)
	}
	mustStartPostgres(t, PostgresConfig{DataDir: dir})
	if !alive(c.cmd.Process.Pid) {
		t.Error("the unrelated process was ended")
	}
}

// A taken port and a taken directory are told apart, by type.
func TestPostgresInUse(t *testing.T) {
	t.Parallel()
	dir := tempDir(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	_, err = StartPostgres(t.Context(), PostgresConfig{DataDir: dir, Addr: l.Addr().String()})
	var addr *AddrInUseError
	if !errors.As(err, &addr) || addr.What != "postgres" || addr.Addr != l.Addr().String() {
		t.Errorf("on a taken port: %v, want AddrInUseError", err)
	}
	p := mustStartPostgres(t, PostgresConfig{DataDir: dir})
	_, err = StartPostgres(t.Context(), PostgresConfig{DataDir: dir, Addr: "127.0.0.1:0"})
	var busy *DirInUseError
	if !errors.As(err, &busy) {
		t.Errorf("on a taken directory: %v, want DirInUseError", err)
	}
	if got := mustExec(t, p.URL(), "SELECT 1"); got != "1" {
		t.Error("the first owner was disturbed")
	}
}

// Data of another major version is refused with advice, and left as it is.
func TestPostgresOtherVersion(t *testing.T) {
	t.Parallel()
	dir := tempDir(t)
	if err := os.MkdirAll(filepath.Join(dir, "data"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "data", "PG_VERSION"), []byte("9\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := StartPostgres(t.Context(), PostgresConfig{DataDir: dir, Addr: "127.0.0.1:0"})
	var version *VersionError
	if !errors.As(err, &version) || version.Needed != 9 {
		t.Errorf("with data of version 9: %v, want VersionError", err)
	}
}

// A start that is given up leaves no process, no lock and no half cluster.
func TestPostgresStartCancelled(t *testing.T) {
	t.Parallel()
	dir := tempDir(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := StartPostgres(ctx, PostgresConfig{DataDir: dir, Addr: "127.0.0.1:0"}); err == nil {
		t.Fatal("a cancelled start succeeded")
	}
	mustStartPostgres(t, PostgresConfig{DataDir: dir})
}

func itoa(n int) string { return strconv.Itoa(n) }
