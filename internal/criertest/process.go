package criertest

import (
	"context"
	"strings"
	"testing"
	"time"
)

// NewProcess makes one subcommand with these variables and no others of ours,
// not yet running. Start waits until its admin listener, where CRIER_ADMIN_ADDR
// names one, says that it is ready.
func NewProcess(tb testing.TB, args []string, env ...string) *Program {
	tb.Helper()
	p := NewProgram(tb)
	p.args, p.env = args, append([]string{childVariable + "=1"}, env...)
	for _, v := range env {
		if address, ok := strings.CutPrefix(v, "CRIER_ADMIN_ADDR="); ok {
			p.admin = "http://" + address
		}
		if address, ok := strings.CutPrefix(v, "CRIER_HTTP_ADDR="); ok {
			p.http = "http://" + address
		}
	}
	return p
}

// Beside runs another subcommand with the same variables to its end, and
// returns what it printed.
func (p *Program) Beside(args ...string) (string, error) {
	p.tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	defer cancel()
	other := &Program{tb: p.tb, args: args, env: p.env}
	cmd := other.command(ctx)
	cmd.Dir = p.Dir
	out, err := cmd.CombinedOutput()
	return string(out), err
}
