package postgres

import (
	"context"
	"net"
	"time"

	"github.com/jackc/pgx/v5"
)

// silence is how long a server may acknowledge nothing before its connections are given
// up: a machine that is gone, or a firewall that has forgotten us, ends none. Without
// it the kernel tries for a quarter of an hour.
const silence = 10 * time.Second

// dialer opens connections that end by themselves when the server has vanished.
func dialer() *net.Dialer {
	return &net.Dialer{
		Control:         userTimeout, // for what was sent
		KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: silence / 2, Interval: silence / 4, Count: 2},
	}
}

// readOnly marks connections whose server refused to write: it is a standby, or was made
// read-only, and behind the same address there may be another one now. The pool opens a
// new connection in the place of such a one.
type readOnly struct{}

const (
	readOnlyMark  = "crier.read-only"
	readOnlyState = "25006" // SQLSTATE read_only_sql_transaction
)

func (readOnly) mark(conn *pgx.Conn, err error) {
	if sqlState(err) == readOnlyState {
		conn.PgConn().CustomData()[readOnlyMark] = true
	}
}

func wasReadOnly(conn *pgx.Conn) bool { return conn.PgConn().CustomData()[readOnlyMark] != nil }

func (readOnly) TraceQueryStart(ctx context.Context, _ *pgx.Conn, _ pgx.TraceQueryStartData) context.Context {
	return ctx
}

func (r readOnly) TraceQueryEnd(_ context.Context, conn *pgx.Conn, data pgx.TraceQueryEndData) {
	r.mark(conn, data.Err)
}

func (readOnly) TraceBatchStart(ctx context.Context, _ *pgx.Conn, _ pgx.TraceBatchStartData) context.Context {
	return ctx
}

func (r readOnly) TraceBatchQuery(_ context.Context, conn *pgx.Conn, data pgx.TraceBatchQueryData) {
	r.mark(conn, data.Err)
}

func (readOnly) TraceBatchEnd(context.Context, *pgx.Conn, pgx.TraceBatchEndData) {}
