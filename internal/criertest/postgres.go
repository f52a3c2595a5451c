package criertest

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"crier/internal/embedded"
	"crier/internal/postgres"
)

var cluster shared[*embedded.Postgres]

// Postgres gives the URL of a fresh, empty database in this test binary's one
// cluster, which does not survive a crash (no fsync). It is dropped at the test's
// end, with connections that are still open. About 30 ms; the first use about
// half a second, and a second more when no test ran on this machine before.
func Postgres(tb testing.TB) string {
	tb.Helper()
	p := cluster.get(tb, startPostgres)
	name := "test_" + strings.ToLower(rand.Text())
	mustAdminister(tb, p, "CREATE DATABASE "+name)
	tb.Cleanup(func() { mustAdminister(tb, p, "DROP DATABASE "+name+" WITH (FORCE)") })
	u, err := url.Parse(p.URL())
	if err != nil {
		tb.Fatalf("criertest: reading the cluster's URL: %v", err)
	}
	u.Path = "/" + name
	return u.String()
}

// mustAdminister runs one statement outside of any test's context: a database is
// dropped after its test is over.
func mustAdminister(tb testing.TB, p *embedded.Postgres, statement string) {
	tb.Helper()
	if err := administer(p, statement); err != nil {
		tb.Fatalf("criertest: %v", err)
	}
}

func administer(p *embedded.Postgres, statement string) error {
	ctx, cancel := context.WithTimeout(context.Background(), stopPatience)
	defer cancel()
	conn, err := pgx.Connect(ctx, p.URL())
	if err != nil {
		return fmt.Errorf("connecting to the test cluster: %w", err)
	}
	_, err = conn.Exec(ctx, statement)
	if err := errors.Join(err, conn.Close(ctx)); err != nil {
		return fmt.Errorf("%s: %w", statement, err)
	}
	return nil
}

// oddDefaults are settings that an operator's role may have, and on which nothing may
// depend.
const oddDefaults = `
	alter role current_user set default_transaction_isolation = 'serializable';
	alter role current_user set timezone = 'Asia/Kolkata';
	alter role current_user set datestyle = 'SQL, DMY';
	alter role current_user set intervalstyle = 'iso_8601';
	alter role current_user set bytea_output = 'escape';
	alter role current_user set extra_float_digits = 0`

func startPostgres() (*embedded.Postgres, error) {
	template, err := templateDir()
	if err != nil {
		return nil, err
	}
	dir, remove, err := serverDir("postgres")
	if err != nil {
		return nil, err
	}
	p, err := embedded.StartPostgres(context.Background(), embedded.PostgresConfig{
		DataDir:     filepath.Join(dir, "data"),
		Addr:        "127.0.0.1:0",
		Disposable:  true,
		TemplateDir: template,
	})
	if err != nil {
		return nil, errors.Join(err, remove())
	}
	atEnd(func(ctx context.Context) error { return errors.Join(p.Stop(ctx), remove()) })
	return p, administer(p, oddDefaults)
}

// templateDir is where the initialised cluster is kept between runs, for this
// user only: a folder of that name that somebody else made is not trusted.
func templateDir() (string, error) {
	dir := filepath.Join(os.TempDir(), fmt.Sprintf("crier-test-template-%d", os.Geteuid()))
	if err := os.MkdirAll(dir, 0o711); err != nil {
		return "", fmt.Errorf("making the folder of the cluster template: %w", err)
	}
	fi, err := os.Lstat(dir)
	if err != nil {
		return "", fmt.Errorf("looking at the folder of the cluster template: %w", err)
	}
	if st, ok := fi.Sys().(*syscall.Stat_t); !ok || !fi.IsDir() || int(st.Uid) != os.Geteuid() {
		return "", fmt.Errorf("%s is not a folder of ours", dir)
	}
	return dir, nil
}

// Database is a database of a test's own with the present schema, closed at its end;
// conns is how many connections it may have, 0: as many as usual.
func Database(tb testing.TB, conns int32) *postgres.DB {
	tb.Helper()
	url := Postgres(tb)
	var db *postgres.DB
	// A connection has five seconds, and on a busy machine it takes longer. Those who
	// run Crier start it again; so does this.
	for deadline := time.Now().Add(time.Minute); ; {
		var err error
		if db, err = postgres.Open(tb.Context(), postgres.Config{URL: url, MaxConns: conns}); err == nil {
			break
		}
		if !errors.Is(err, context.DeadlineExceeded) || time.Now().After(deadline) {
			tb.Fatal(err)
		}
	}
	tb.Cleanup(db.Close)
	if _, err := db.Migrate(tb.Context()); err != nil {
		tb.Fatal(err)
	}
	return db
}
