package embedded

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
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

// launch starts Postgres and waits until it answers, again while that may help;
// see relaunchPatience.
func (p *Postgres) launch(ctx context.Context) error {
	_, err := os.Stat(filepath.Join(p.dataDir(), "postmaster.pid"))
	crashed := err == nil
	free := strings.HasSuffix(p.cfg.Addr, ":0")
	deadline := time.Now().Add(relaunchPatience)
	for {
		err := p.launchOnce(ctx)
		if err == nil || !errors.Is(err, errEnded) || (!crashed && !free) || time.Now().After(deadline) {
			return err
		}
		p.log.Warn("starting embedded postgres again", "error", err)
		select {
		case <-time.After(200 * time.Millisecond):
		case <-ctx.Done():
			return err
		}
	}
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
			return fmt.Errorf("%w: %s", err, p.lastWords())
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

// lastWords is the end of what Postgres wrote, for the error of a failed start.
func (p *Postgres) lastWords() string {
	const enough = 2000 // bytes: a dozen lines
	files := []string{filepath.Join(p.home, "startup.log")}
	if entries, err := os.ReadDir(filepath.Join(p.home, "log")); err == nil {
		var newest fs.FileInfo
		for _, e := range entries {
			if fi, err := e.Info(); err == nil && (newest == nil || fi.ModTime().After(newest.ModTime())) {
				newest = fi
			}
		}
		if newest != nil {
			files = append(files, filepath.Join(p.home, "log", newest.Name()))
		}
	}
	var words []string
	for _, f := range files {
		if b, err := os.ReadFile(f); err == nil && len(b) > 0 {
			words = append(words, strings.TrimSpace(string(b[max(0, len(b)-enough):])))
		}
	}
	return strings.Join(words, "\n")
}
