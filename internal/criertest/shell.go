package criertest

import (
	"context"
	"os/exec"
	"strings"

	"crier/internal/client"
)

// Shell runs a script with bash beside the program, in the same data dir, and
// returns what it printed. CRIER_TEST_PROGRAM is a command that runs crier.
func (p *Program) Shell(ctx context.Context, script string) (string, error) {
	p.tb.Helper()
	cmd := exec.CommandContext(ctx, "bash", "-c", script)
	cmd.Env = append(environ(), childVariable+"=1", "CRIER_DATA_DIR="+p.Dir, "CRIER_TEST_PROGRAM="+testBinary(p.tb))
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// DemoUser is the user whom the embedded run makes at its first start, by a
// token from the command line.
func (p *Program) DemoUser() *User {
	p.tb.Helper()
	text, stderr, err := p.Run(context.Background(), "", "token", "--user", "1")
	if err != nil {
		p.tb.Fatalf("criertest: minting a token: %v %s", err, stderr)
	}
	return &User{Client: &client.Client{Base: p.Facts().HTTP, Token: strings.TrimSpace(text)}, ID: "1", Username: "demo"}
}
