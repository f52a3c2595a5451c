package postgres_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"crier/internal/criertest"
	"crier/internal/postgres"
)

// A connection on which the server refused to write is not used again: the address may
// lead to a primary since.
func TestConnectionsToAReadOnlyServerAreReplaced(t *testing.T) {
	t.Parallel()
	for name, write := range map[string]func(db *postgres.DB) error{
		"a statement": func(db *postgres.DB) error {
			_, err := db.Exec(t.Context(), `create table if not exists written (n integer)`)
			return err
		},
		"a transaction": func(db *postgres.DB) error {
			return db.Tx(t.Context(), func(tx pgx.Tx) error {
				_, err := tx.Exec(t.Context(), `create table if not exists written (n integer)`)
				return err
			})
		},
		"a batch": func(db *postgres.DB) error {
			var b pgx.Batch
			b.Queue(`select 1`)
			b.Queue(`create table if not exists written (n integer)`)
			return db.SendBatch(t.Context(), &b).Close()
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			url := criertest.Postgres(t)
			admin := mustOpen(t, url)
			var database string
			if err := admin.QueryRow(t.Context(), `select current_database()`).Scan(&database); err != nil {
				t.Fatal(err)
			}
			set := func(what string) {
				t.Helper()
				if _, err := admin.Exec(t.Context(), `alter database `+database+` `+what); err != nil {
					t.Fatal(err)
				}
			}
			set(`set default_transaction_read_only = on`)
			db := mustOpen(t, url)
			if err := write(db); err == nil {
				t.Fatal("a read-only server took a write")
			}
			set(`reset default_transaction_read_only`)
			if err := write(db); err != nil {
				t.Fatalf("the connection of before is still used: %v", err)
			}
		})
	}
}

// A database that cannot hold every text is refused at once, by name.
func TestEncoding(t *testing.T) {
	t.Parallel()
	admin := mustOpen(t, criertest.Postgres(t))
	if _, err := admin.Exec(t.Context(), `create database latin encoding 'LATIN1' locale 'C' template template0`); err != nil {
		t.Fatal(err)
	}
	u := *admin.Config().ConnConfig
	_, err := postgres.Open(t.Context(), postgres.Config{URL: fmt.Sprintf("postgres://%s:%s@%s:%d/latin?sslmode=disable", u.User, u.Password, u.Host, u.Port)})
	if err == nil || !postgres.Misconfigured(err) || !strings.Contains(err.Error(), "encoding of the database of CRIER_DATABASE_URL is LATIN1: must be UTF8") {
		t.Errorf("%v", err)
	}
	if _, err := admin.Exec(t.Context(), `drop database latin with (force)`); err != nil {
		t.Error(err)
	}
}

// What CRIER_DATABASE_URL says of the time that connecting may take holds.
func TestConnectTimeout(t *testing.T) {
	t.Parallel()
	url := criertest.Postgres(t)
	for more, want := range map[string]time.Duration{"": 5 * time.Second, "&connect_timeout=17": 17 * time.Second} {
		if got := mustOpen(t, url+more).Config().ConnConfig.ConnectTimeout; got != want {
			t.Errorf("with %q connecting may take %v, not %v", more, got, want)
		}
	}
}

func mustOpen(t *testing.T, url string) *postgres.DB {
	t.Helper()
	db, err := postgres.Open(t.Context(), postgres.Config{URL: url, MaxConns: 1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(db.Close)
	return db
}
