package embedded

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// errEnded marks a launch whose process ended before it accepted connections.
var errEnded = errors.New("postgres ended while starting")

// settings of the private cluster. One machine, one client program, data worth
// keeping: durable commits, no replication, nothing but loopback.
func (p *Postgres) settings(host, port string) []string {
	s := []string{
		"listen_addresses=" + host,
		"port=" + port,
		"unix_socket_directories=", // TCP only: no path length limit, no stale sockets
		"max_connections=200",
		"shared_buffers=128MB",
		"wal_level=minimal", // nothing replicates; half the log of a bulk load
		"max_wal_senders=0",
		"max_wal_size=1GB",
		"timezone=UTC",
		"log_timezone=UTC",
		"logging_collector=on",
		"log_directory=" + filepath.Join(p.home, "log"),
		"log_filename=postgres-%a.log", // one file a weekday, each overwritten in its turn
		"log_truncate_on_rotation=on",
		"log_rotation_age=1d",
		"log_rotation_size=0",
	}
	if p.cfg.Disposable {
		return append(s, "fsync=off", "full_page_writes=off", "synchronous_commit=off", "autovacuum=off")
	}
	return append(s, "synchronous_commit=on")
}

// launch starts Postgres and waits until it answers, again where what stopped it
// passes; see relaunchPatience.
func (p *Postgres) launch(ctx context.Context) error {
	deadline := time.Now().Add(relaunchPatience)
	for tried := 0; ; tried++ {
		err := p.launchOnce(ctx)
		if err == nil || !errors.Is(err, errEnded) || !passes(err.Error()) || time.Now().After(deadline) {
			return err
		}
		if tried == 0 {
			p.log.Warn("embedded postgres cannot start yet; trying again", "within", relaunchPatience, "error", err)
		}
		select {
		case <-time.After(200 * time.Millisecond):
		case <-ctx.Done():
			return err
		}
	}
}

// passes tells a reason of Postgres not to start that ends by itself: processes of
// its predecessor are still running, or another program took the port first.
func passes(said string) bool {
	return strings.Contains(said, "is still in use") || strings.Contains(said, "Address already in use") || strings.Contains(said, "could not create any TCP/IP sockets")
}

func (p *Postgres) launchOnce(ctx context.Context) error {
	if err := p.takePort(ctx); err != nil {
		return err
	}
	host, port, err := net.SplitHostPort(p.addr)
	if err != nil {
		return fmt.Errorf("reading the address of embedded postgres: %w", err)
	}
	cmd := exec.Command(filepath.Join(p.bin.dir, "postgres"), "-D", p.dataDir())
	for _, s := range p.settings(host, port) {
		cmd.Args = append(cmd.Args, "-c", s)
	}
	p.prepare(cmd, p.home)
	// What is said before Postgres' own logging is up.
	early, err := os.OpenFile(filepath.Join(p.home, "startup.log"), os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return fmt.Errorf("opening the start log of embedded postgres: %w", err)
	}
	defer func() { _ = early.Close() }() // the child has its own
	cmd.Stdout, cmd.Stderr = early, early

	written := p.logSizes()
	death := syscall.SIGINT // fast shutdown
	if p.cfg.outlive {
		death = 0
	}
	if p.proc, err = StartProcess(cmd, death); err != nil {
		return fmt.Errorf("starting embedded postgres as user %s: %w", p.account.name, err)
	}
	if err := p.awaitReady(ctx); err != nil {
		ended := errors.Is(err, errEnded)
		stopErr := p.proc.Stop(ctx, Step{syscall.SIGINT, fastPatience})
		if ended {
			return fmt.Errorf("%w: %s", err, p.reason(written))
		}
		return errors.Join(err, stopErr)
	}
	return nil
}

// awaitReady connects until it works and makes the database.
func (p *Postgres) awaitReady(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, startPatience,
		fmt.Errorf("starting embedded postgres: not ready after %s", startPatience))
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	var last error
	for {
		if last = p.createDatabase(ctx); last == nil {
			return nil
		}
		if refused := (*pgconn.PgError)(nil); errors.As(last, &refused) && !isStarting(refused.Code) {
			return fmt.Errorf("connecting to embedded postgres: %w", last)
		}
		select {
		case <-tick.C:
		case <-p.proc.Done():
			return errors.Join(errEnded, p.proc.Err())
		case <-ctx.Done():
			return errors.Join(context.Cause(ctx), last)
		}
	}
}

// isStarting tells the answer of a server that is coming up: cannot_connect_now
// and, within it, the end of a recovery.
func isStarting(sqlstate string) bool { return sqlstate == "57P03" || sqlstate == "57P02" }

// createDatabase connects and makes the database crier where it is missing.
func (p *Postgres) createDatabase(ctx context.Context) (err error) {
	conn, err := pgx.Connect(ctx, p.urlOf("postgres")+"&connect_timeout=5")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, conn.Close(ctx)) }()
	var there bool
	if err := conn.QueryRow(ctx, `SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)`, postgresName).Scan(&there); err != nil {
		return fmt.Errorf("looking for the database: %w", err)
	}
	if there {
		return nil
	}
	if _, err := conn.Exec(ctx, `CREATE DATABASE `+pgx.Identifier{postgresName}.Sanitize()); err != nil {
		return fmt.Errorf("creating the database: %w", err)
	}
	return nil
}

// logSizes are the lengths of Postgres' log files, by path.
func (p *Postgres) logSizes() map[string]int64 {
	sizes := make(map[string]int64)
	entries, err := os.ReadDir(filepath.Join(p.home, "log"))
	if err != nil {
		return sizes // there is none yet
	}
	for _, e := range entries {
		if fi, err := e.Info(); err == nil {
			sizes[filepath.Join(p.home, "log", e.Name())] = fi.Size()
		}
	}
	return sizes
}

// reason is why Postgres did not start, in its own words since the logs had the
// lengths before.
func (p *Postgres) reason(before map[string]int64) string {
	said, err := os.ReadFile(filepath.Join(p.home, "startup.log"))
	if err != nil {
		said = []byte(err.Error())
	}
	now := p.logSizes()
	for _, path := range slices.Sorted(maps.Keys(now)) {
		if now[path] == before[path] {
			continue
		}
		b, err := os.ReadFile(path)
		if err != nil {
			continue
		}
		if from := before[path]; from < int64(len(b)) {
			b = b[from:]
		}
		said = append(append(said, '\n'), b...)
	}
	why := causes(string(said))
	// Its log may be on the same disk, and then says nothing.
	if strings.Contains(why, "No space left on device") || free(p.home) < walSegment {
		return fmt.Sprintf("no space left on device: the disk of %s is full: %s", p.home, why)
	}
	return why
}

// walSegment is the least that Postgres wants of a disk at a start, in bytes.
const walSegment = 16 << 20

// free is how much room a directory's disk has, in bytes; very much where that is not
// known.
func free(dir string) int64 {
	var st syscall.Statfs_t
	if err := syscall.Statfs(dir, &st); err != nil {
		return math.MaxInt64
	}
	return int64(st.Bavail) * int64(st.Bsize)
}

// causes picks the lines of Postgres' log that say why it ended: its errors with what
// explains them, without its answers to clients meanwhile. Where there is none, it is
// the end of the log.
func causes(said string) string {
	const enough = 2000 // bytes: a dozen lines
	var lines []string
	picked := false
	for line := range strings.Lines(said) {
		line = strings.TrimSpace(line)
		_, text, known := strings.Cut(line, ":  ")
		level := line[:max(0, len(line)-len(text)-len(":  "))]
		level = level[strings.LastIndexByte(level, ' ')+1:]
		switch {
		case !known:
			picked = picked || !strings.Contains(line, " UTC [") && line != "" // of initdb, of the dynamic linker
		case level == "FATAL" || level == "PANIC" || level == "ERROR":
			picked = !strings.HasPrefix(text, "the database system is ")
		case level == "DETAIL" || level == "HINT" || level == "CONTEXT":
			// as the line before
		default:
			picked = level == "WARNING"
		}
		if picked {
			lines = append(lines, line)
		}
	}
	if len(lines) == 0 {
		return strings.TrimSpace(said[max(0, len(said)-enough):])
	}
	all := strings.Join(lines, "\n")
	return all[max(0, len(all)-enough):]
}
