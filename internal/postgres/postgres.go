// Package postgres opens the pool, brings the schema up to date, runs
// transactions that hand back what is to be done after the commit, listens for
// notifications, and classifies errors by SQLSTATE.
//
// Queries stand in the domain packages, where they are used.
package postgres

import (
	"cmp"
	"context"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/lock"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/rivermigrate"

	"crier/internal/lifecycle"
)

//go:embed migrations/*.sql
var migrations embed.FS

// DB is the pool. It is safe for concurrent use.
type DB struct {
	*pgxpool.Pool
}

// Config says how to reach Postgres.
type Config struct {
	URL      string
	MaxConns int32 // 0: 10
}

// idleInTransaction is how long a transaction may wait for its next statement. None
// waits for anything but us: one that does is of a process that was stopped (a virtual
// machine that is moved, SIGSTOP), whose locks would hold up all others.
const idleInTransaction = 5 * time.Second

// CheckURL checks the form of a URL, without connecting.
func CheckURL(url string) error {
	if _, err := pgxpool.ParseConfig(url); err != nil {
		return badURL(err)
	}
	return nil
}

// badURL names the variable; pgx redacts the password in its error.
func badURL(err error) error {
	return fmt.Errorf("CRIER_DATABASE_URL: must be such as postgres://user:password@host:5432/crier: %w", err)
}

// Open makes a pool and waits, as long as ctx lives, until Postgres answers.
func Open(ctx context.Context, cfg Config) (*DB, error) {
	pc, err := pgxpool.ParseConfig(cfg.URL)
	if err != nil {
		return nil, badURL(err)
	}
	pc.MaxConns = 10
	if cfg.MaxConns > 0 {
		pc.MaxConns = cfg.MaxConns
	}
	pc.ConnConfig.RuntimeParams["application_name"] = "crier"
	pc.ConnConfig.ConnectTimeout = cmp.Or(pc.ConnConfig.ConnectTimeout, 5*time.Second)
	pc.AfterConnect = func(ctx context.Context, conn *pgx.Conn) error {
		// By statements, because poolers refuse parameters of the session that they do
		// not know. What queries rely on must not follow from how the database or the
		// role was set up.
		if _, err := conn.Exec(ctx, fmt.Sprintf(`set idle_in_transaction_session_timeout = %d; set default_transaction_isolation = 'read committed'; set timezone = 'UTC'`,
			idleInTransaction.Milliseconds())); err != nil {
			return fmt.Errorf("setting up a connection: %w", err)
		}
		return nil
	}
	pc.ConnConfig.Tracer = readOnly{}
	pc.AfterRelease = func(conn *pgx.Conn) bool { return !wasReadOnly(conn) }
	pc.ConnConfig.DialFunc = dialer().DialContext
	pool, err := pgxpool.NewWithConfig(ctx, pc)
	if err != nil {
		return nil, fmt.Errorf("making a pool: %w", err)
	}
	if err := pool.Ping(ctx); err != nil {
		pool.Close()
		return nil, fmt.Errorf("reaching Postgres at %s:%d: %w", pc.ConnConfig.Host, pc.ConnConfig.Port, err)
	}
	db := &DB{pool}
	if err := db.checkEncoding(ctx); err != nil {
		pool.Close()
		return nil, err
	}
	return db, nil
}

// Step is one migration that was run.
type Step struct {
	Name string
	Took time.Duration
}

// Migrate brings the schema up to date. Several processes may call it at once:
// an advisory lock lets one of them do it.
func (db *DB) Migrate(ctx context.Context) ([]Step, error) {
	p, closeFunc, err := db.provider()
	if err != nil {
		return nil, err
	}
	defer closeFunc()
	results, err := p.Up(ctx)
	if err != nil {
		return nil, fmt.Errorf("migrating: %w", err)
	}
	steps := make([]Step, len(results))
	for i, r := range results {
		steps[i] = Step{r.Source.Path, r.Duration}
	}
	jobs, err := db.migrateJobs(ctx)
	return append(steps, jobs...), err
}

// jobsLock is the advisory lock under which the job queue's tables are made: its
// own migrations take none. The number has no meaning.
const jobsLock = 0x6372696572

// migrateJobs brings the job queue's own tables up to date.
func (db *DB) migrateJobs(ctx context.Context) ([]Step, error) {
	conn, err := db.Acquire(ctx)
	if err != nil {
		return nil, fmt.Errorf("migrating the job queue: %w", err)
	}
	defer conn.Release()
	if _, err := conn.Exec(ctx, `select pg_advisory_lock($1)`, int64(jobsLock)); err != nil {
		return nil, fmt.Errorf("migrating the job queue: %w", err)
	}
	defer func() {
		// The session may be gone, and the lock with it.
		_, _ = conn.Exec(context.WithoutCancel(ctx), `select pg_advisory_unlock($1)`, int64(jobsLock))
	}()
	m, err := db.jobMigrator()
	if err != nil {
		return nil, err
	}
	res, err := m.Migrate(ctx, rivermigrate.DirectionUp, nil)
	if err != nil {
		return nil, fmt.Errorf("migrating the job queue: %w", err)
	}
	var steps []Step
	for _, v := range res.Versions {
		steps = append(steps, Step{fmt.Sprintf("job queue %d", v.Version), v.Duration})
	}
	return steps, nil
}

func (db *DB) jobMigrator() (*rivermigrate.Migrator[pgx.Tx], error) {
	m, err := rivermigrate.New(riverpgxv5.New(db.Pool), &rivermigrate.Config{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		return nil, fmt.Errorf("preparing the job queue's migrations: %w", err)
	}
	return m, nil
}

// CheckSchema is an error when the schema is not the one this program needs.
func (db *DB) CheckSchema(ctx context.Context) error {
	p, closeFunc, err := db.provider()
	if err != nil {
		return err
	}
	defer closeFunc()
	pending, err := p.HasPending(ctx)
	if err != nil {
		return fmt.Errorf("reading the schema's version: %w", err)
	}
	m, err := db.jobMigrator()
	if err != nil {
		return err
	}
	jobs, err := m.Validate(ctx, nil)
	if err != nil {
		return fmt.Errorf("reading the job queue's version: %w", err)
	}
	if pending || !jobs.OK {
		return errors.New("the database's schema is older than this program (crier migrate brings it up to date)")
	}
	return nil
}

func (db *DB) provider() (*goose.Provider, func(), error) {
	files, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return nil, nil, fmt.Errorf("reading the embedded migrations: %w", err)
	}
	locker, err := lock.NewPostgresSessionLocker()
	if err != nil {
		return nil, nil, fmt.Errorf("making the migrations' lock: %w", err)
	}
	std := stdlib.OpenDBFromPool(db.Pool)
	p, err := goose.NewProvider(goose.DialectPostgres, std, files, goose.WithSessionLocker(locker))
	if err != nil {
		std.Close()
		return nil, nil, fmt.Errorf("preparing migrations: %w", err)
	}
	return p, func() { std.Close() }, nil
}

// Tx runs fn in a transaction and commits it. What Postgres could not
// serialise, or a deadlock, is tried again up to five times, so fn must do
// nothing but queries; what is to be done afterwards it returns through its
// closure.
func (db *DB) Tx(ctx context.Context, fn func(tx pgx.Tx) error) error {
	var wait lifecycle.Backoff
	wait.Min, wait.Max = 5*time.Millisecond, 200*time.Millisecond
	for try := 0; ; try++ {
		err := pgx.BeginFunc(ctx, db.Pool, fn)
		if err == nil || try == 4 || !Serialization(err) {
			return err
		}
		if err := wait.Wait(ctx); err != nil {
			return err
		}
	}
}

// Listen calls fn with the payload of each notification on a channel, and once
// with "" whenever the connection is made (again): whatever was said before may
// have been missed. It returns when ctx ends.
func (db *DB) Listen(ctx context.Context, log *slog.Logger, channel string, fn func(payload string)) error {
	var wait lifecycle.Backoff
	health := lifecycle.NewHealth(log, "listening to Postgres on "+channel)
	for {
		err := db.listenOnce(ctx, channel, func(payload string) { wait.Reset(); health.Report(nil); fn(payload) })
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		health.Report(err)
		if err := wait.Wait(ctx); err != nil {
			return err
		}
	}
}

func (db *DB) listenOnce(ctx context.Context, channel string, fn func(string)) error {
	// A connection of its own: it is never idle, so it must not take a place in
	// the pool.
	conn, err := pgx.ConnectConfig(ctx, db.Config().ConnConfig)
	if err != nil {
		return fmt.Errorf("connecting: %w", err)
	}
	defer func() {
		bye, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		_ = conn.Close(bye)
	}()
	if _, err := conn.Exec(ctx, "listen "+pgx.Identifier{channel}.Sanitize()); err != nil {
		return fmt.Errorf("listening: %w", err)
	}
	fn("")
	for {
		n, err := conn.WaitForNotification(ctx)
		if err != nil {
			return fmt.Errorf("waiting: %w", err)
		}
		fn(n.Payload)
	}
}

func sqlState(err error) string {
	var pg *pgconn.PgError
	if errors.As(err, &pg) {
		return pg.Code
	}
	return ""
}

// UniqueViolation is the name of the unique index that a write broke, or "".
func UniqueViolation(err error) string {
	var pg *pgconn.PgError
	if errors.As(err, &pg) && pg.Code == "23505" {
		return pg.ConstraintName
	}
	return ""
}

// ReserveID makes a table's identity column go on behind id, which the caller is about
// to insert within tx. Until tx ends, no other row is inserted: one could get the same
// id.
func ReserveID(ctx context.Context, tx pgx.Tx, table string, id int64) error {
	name := pgx.Identifier{table}.Sanitize()
	if _, err := tx.Exec(ctx, `lock table `+name+` in share row exclusive mode`); err != nil {
		return fmt.Errorf("locking %s: %w", table, err)
	}
	// A sequence that was not used yet has no last value.
	_, err := tx.Exec(ctx, `
		select setval(s, $2) from (select pg_get_serial_sequence($1, 'id')::regclass as s) as q where coalesce(pg_sequence_last_value(s), 0) < $2`, name, id)
	if err != nil {
		return fmt.Errorf("reserving id %d of %s: %w", id, table, err)
	}
	return nil
}

// Serialization says that the transaction lost against another one and may be
// tried again: serialization_failure or deadlock_detected.
func Serialization(err error) bool {
	s := sqlState(err)
	return s == "40001" || s == "40P01"
}

// DataFault says that the data itself is refused (SQLSTATE classes 22 data
// exception, 23 integrity constraint, 54 program limit exceeded): the same
// statement would fail again.
func DataFault(err error) bool {
	s := sqlState(err)
	return len(s) == 5 && (s[:2] == "22" || s[:2] == "23" || s[:2] == "54")
}
