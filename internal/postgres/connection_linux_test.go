package postgres_test

import (
	"net"
	"syscall"
	"testing"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sys/unix"

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

// Connections end when the server's machine has vanished.
func TestConnectionsGiveUpASilentServer(t *testing.T) {
	t.Parallel()
	db := mustOpen(t, criertest.Postgres(t))
	conn, err := db.Acquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Release()
	raw, err := conn.Conn().PgConn().Conn().(*net.TCPConn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	if err := raw.Control(func(fd uintptr) {
		for option, want := range map[[2]int]int{{unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT}: 10_000, {unix.SOL_SOCKET, unix.SO_KEEPALIVE}: 1,
			{unix.IPPROTO_TCP, unix.TCP_KEEPIDLE}: 5} {
			if got, err := syscall.GetsockoptInt(int(fd), option[0], option[1]); err != nil || got != want {
				t.Errorf("socket option %v is %d, not %d: %v", option, got, want, err)
			}
		}
	}); err != nil {
		t.Fatal(err)
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
