package postgres_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"crier/internal/criertest"
	"crier/internal/postgres"
)

func TestMain(m *testing.M) { criertest.Main(m) }

func open(t *testing.T, url string) *postgres.DB {
	t.Helper()
	db, err := postgres.Open(t.Context(), postgres.Config{URL: url})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(db.Close)
	return db
}

// Migrations bring an empty database up to date, once, however many processes
// come at the same time; before that the schema is said to be too old.
func TestMigrate(t *testing.T) {
	t.Parallel()
	url := criertest.Postgres(t)
	db := open(t, url)
	if err := db.CheckSchema(t.Context()); err == nil || !strings.Contains(err.Error(), "crier migrate") {
		t.Errorf("of an empty database: %v", err)
	}
	var mu sync.Mutex
	names := make(map[string]int)
	var wg sync.WaitGroup
	for range 4 {
		own := open(t, url)
		wg.Go(func() {
			steps, err := own.Migrate(t.Context())
			if err != nil {
				t.Error(err)
			}
			mu.Lock()
			defer mu.Unlock()
			for _, s := range steps {
				names[s.Name]++
			}
		})
	}
	wg.Wait()
	for name, n := range names {
		if n != 1 {
			t.Errorf("%s ran %d times", name, n)
		}
	}
	if len(names) == 0 {
		t.Error("nothing ran")
	}
	if steps, err := db.Migrate(t.Context()); err != nil || len(steps) != 0 {
		t.Errorf("once more: %v, %v", steps, err)
	}
	if err := db.CheckSchema(t.Context()); err != nil {
		t.Error(err)
	}
}

// An address that cannot be read or reached is an error that names what to
// change, and never the password.
func TestOpenErrors(t *testing.T) {
	t.Parallel()
	for url, want := range map[string]string{
		"postgres://u:geheim@127.0.0.1:x/db":                      "CRIER_DATABASE_URL",
		"postgres://u:geheim@" + criertest.FreeAddr(t) + "/db":    "reaching Postgres at 127.0.0.1:",
		"postgres://u:geheim@127.0.0.1/db?pool_max_conns=geheim2": "CRIER_DATABASE_URL",
	} {
		_, err := postgres.Open(t.Context(), postgres.Config{URL: url})
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "geheim@") || strings.Contains(err.Error(), ":geheim") {
			t.Errorf("%s: %v, want %s", url, err, want)
		}
	}
}

// A transaction that loses against another one is tried again, and what fn
// returns is returned; nothing of a failed one stays.
func TestTx(t *testing.T) {
	t.Parallel()
	db := open(t, criertest.Postgres(t))
	exec := func(sql string) {
		t.Helper()
		if _, err := db.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	exec(`create table x (id int primary key, v int not null check (v < 1000)); insert into x values (1, 0), (2, 0)`)
	var wg sync.WaitGroup
	tries := 0
	var mu sync.Mutex
	for k := range 4 { // each locks the two rows in another order: deadlocks
		wg.Go(func() {
			for range 5 {
				err := db.Tx(t.Context(), func(tx pgx.Tx) error {
					mu.Lock()
					tries++
					mu.Unlock()
					for i := range 2 {
						if _, err := tx.Exec(t.Context(), `update x set v = v + 1 where id = $1`, 1+(k+i)%2); err != nil {
							return fmt.Errorf("adding: %w", err)
						}
					}
					return nil
				})
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	var sum int
	if err := db.QueryRow(t.Context(), `select sum(v) from x`).Scan(&sum); err != nil || sum != 40 {
		t.Errorf("sum %d, %v; want 40 (in %d tries)", sum, err, tries)
	}
	own := errors.New("no")
	for _, c := range []struct {
		name, sql             string
		fault, serial, unique bool
	}{
		{"own error", ``, false, false, false},
		{"check", `update x set v = 1000`, true, false, false},
		{"unique", `insert into x values (1, 1)`, true, false, true},
		{"NUL", `select convert_from('\x00'::bytea, 'UTF8')`, true, false, false},
		{"syntax", `selekt`, false, false, false},
		{"serialization", `do $$ begin raise sqlstate '40001'; end $$`, false, true, false},
		{"deadlock", `do $$ begin raise sqlstate '40P01'; end $$`, false, true, false},
		{"too large", `do $$ begin raise sqlstate '54000'; end $$`, true, false, false},
	} {
		calls := 0
		err := db.Tx(t.Context(), func(tx pgx.Tx) error {
			calls++
			if _, err := tx.Exec(t.Context(), `update x set v = 7`); err != nil {
				return err
			}
			if c.sql == "" {
				return own
			}
			_, err := tx.Exec(t.Context(), c.sql)
			return err
		})
		if err == nil || c.sql == "" && err != own || postgres.DataFault(err) != c.fault || postgres.Serialization(err) != c.serial || (postgres.UniqueViolation(err) == "x_pkey") != c.unique {
			t.Errorf("%s: %v", c.name, err)
		}
		if want := map[bool]int{false: 1, true: 5}[c.serial]; calls != want {
			t.Errorf("%s: tried %d times, want %d", c.name, calls, want)
		}
	}
	if err := db.QueryRow(t.Context(), `select sum(v) from x`).Scan(&sum); err != nil || sum != 40 {
		t.Errorf("after failures: sum %d, %v", sum, err)
	}
	if postgres.DataFault(nil) || postgres.Serialization(nil) || postgres.UniqueViolation(nil) != "" {
		t.Error("nil is a fault")
	}
}

// A listener hears what is said, is told when something may have been missed,
// and comes back after its connection was cut.
func TestListen(t *testing.T) {
	t.Parallel()
	db := open(t, criertest.Postgres(t))
	ctx, cancel := context.WithCancel(t.Context())
	heard := make(chan string, 100)
	done := make(chan error, 1)
	go func() {
		done <- db.Listen(ctx, slog.New(slog.DiscardHandler), `odd "name"`, func(p string) { heard <- p })
	}()
	await := func(want string) {
		t.Helper()
		select {
		case got := <-heard:
			if got != want {
				t.Errorf("heard %q, want %q", got, want)
			}
		case <-time.After(time.Minute):
			t.Fatalf("did not hear %q", want)
		}
	}
	say := func(s string) {
		t.Helper()
		if _, err := db.Exec(t.Context(), `select pg_notify('odd "name"', $1)`, s); err != nil {
			t.Fatal(err)
		}
	}
	await("")
	say("one")
	await("one")
	if _, err := db.Exec(t.Context(), `select pg_terminate_backend(pid) from pg_stat_activity where query like 'listen%' and datname = current_database()`); err != nil {
		t.Fatal(err)
	}
	await("")
	say("two")
	await("two")
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("it ended with %v", err)
	}
}
