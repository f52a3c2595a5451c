package postgres

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// CheckRights is an error that names what the role may not do with the tables of
// this schema. A role that may only read would otherwise start, be ready, and do
// nothing.
func (db *DB) CheckRights(ctx context.Context) error {
	rows, err := db.Query(ctx, `
		select c.relname, string_agg(p.name, ', ' order by p.name)
		from pg_class c join pg_namespace n on n.oid = c.relnamespace, unnest(array['SELECT', 'INSERT', 'UPDATE', 'DELETE']) as p(name)
		where n.nspname = current_schema() and c.relkind in ('r', 'p') and not has_table_privilege(c.oid, p.name)
			-- only crier migrate writes the migrations' own tables
			and (p.name = 'SELECT' or c.relname not in ('goose_db_version', 'river_migration'))
		group by c.relname
		union all
		-- identity columns need no right on their sequences
		select c.relname, 'USAGE'
		from pg_class c join pg_namespace n on n.oid = c.relnamespace
		where n.nspname = current_schema() and case when c.relkind = 'S' then not has_sequence_privilege(c.oid, 'USAGE') else false end
			and not exists (select from pg_depend d where d.classid = 'pg_class'::regclass and d.objid = c.oid and d.deptype = 'i')
			and c.relname <> 'goose_db_version_id_seq'
		order by 1`)
	if err != nil {
		return fmt.Errorf("reading the rights of the database role: %w", err)
	}
	var missing []string
	var name, rights string
	if _, err := pgx.ForEachRow(rows, []any{&name, &rights}, func() error {
		missing = append(missing, rights+" on "+name)
		return nil
	}); err != nil {
		return fmt.Errorf("reading the rights of the database role: %w", err)
	}
	if len(missing) > 0 {
		return fmt.Errorf("the role of CRIER_DATABASE_URL lacks rights: %s", strings.Join(missing, "; "))
	}
	return nil
}

// errEncoding is of a database that cannot hold every text.
var errEncoding = errors.New("must be UTF8 (create database crier encoding 'UTF8' template template0)")

func (db *DB) checkEncoding(ctx context.Context) error {
	var encoding string
	if err := db.QueryRow(ctx, `show server_encoding`).Scan(&encoding); err != nil {
		return fmt.Errorf("reading the database's encoding: %w", err)
	}
	if encoding != "UTF8" {
		return fmt.Errorf("the encoding of the database of CRIER_DATABASE_URL is %s: %w", encoding, errEncoding)
	}
	return nil
}

// Misconfigured says that trying again does not help: the password is wrong, the role
// may not log in (SQLSTATE class 28), or the database has another encoding.
func Misconfigured(err error) bool {
	return strings.HasPrefix(sqlState(err), "28") || errors.Is(err, errEncoding)
}

// Away says that Postgres could not be asked, or could not answer: it is not
// reached, is starting or stopping, or has no connection left (SQLSTATE classes 08,
// 53 and 57, of which a cancelled query is no sign), or is read-only (25006) until the
// primary is back. The same request may succeed later.
func Away(err error) bool {
	var connect *pgconn.ConnectError
	var network net.Error
	switch s := sqlState(err); {
	case s == "57014": // query_canceled: our own time limit, or a client that went away
		return errors.Is(err, context.DeadlineExceeded)
	case len(s) == 5:
		return s[:2] == "08" || s[:2] == "53" || s[:2] == "57" || s == readOnlyState
	}
	return errors.As(err, &connect) || errors.As(err, &network) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) ||
		errors.Is(err, context.DeadlineExceeded) || errors.Is(err, net.ErrClosed)
}
