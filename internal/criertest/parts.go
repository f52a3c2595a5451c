package criertest

import (
	"context"
	"net/http"
	"os/exec"
	"strings"
	"testing"
	"time"

	"crier/internal/client"
)

// Parts is Crier as an operator runs it: gateways, monitors and consumers as
// processes of their own, on a Kafka and a Postgres from outside.
type Parts struct {
	tb       testing.TB
	Brokers  string
	Database string
	Prefix   string // of topics and groups
	env      []string
}

// What an operator of Parts chose; tests need no secret ones.
const (
	apiKey    = "test-api-key"
	JWTSecret = "a-secret-for-tests-of-32-bytes-and-more"
)

// NewParts makes the schema and the topics, with so many partitions each, by
// the program's own subcommands.
func NewParts(tb testing.TB, brokers string, partitions string, env ...string) *Parts {
	tb.Helper()
	return NewPartsUnder(tb, brokers, partitions, TopicPrefix(tb), env...)
}

// NewPartsUnder is NewParts with a prefix of topics and groups that is known before.
func NewPartsUnder(tb testing.TB, brokers, partitions, prefix string, env ...string) *Parts {
	tb.Helper()
	p := &Parts{tb: tb, Brokers: brokers, Database: Postgres(tb), Prefix: prefix}
	p.env = append([]string{"CRIER_KAFKA_BROKERS=" + brokers, "CRIER_DATABASE_URL=" + p.Database, "CRIER_TOPIC_PREFIX=" + p.Prefix,
		"CRIER_API_KEY=" + apiKey, "CRIER_JWT_SECRET=" + JWTSecret}, env...)
	p.MustRun("migrate")
	p.MustRun("topics", "--partitions", partitions, "--replicas", "1")
	return p
}

// MustRun runs a subcommand to its end.
func (p *Parts) MustRun(args ...string) string {
	p.tb.Helper()
	program := p.program(args)
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	defer cancel()
	exe := program.command(ctx)
	out, err := exe.CombinedOutput()
	if err != nil {
		p.tb.Fatalf("criertest: crier %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

// command is the child that a program would be, not yet started.
func (p *Program) command(ctx context.Context) *exec.Cmd {
	cmd := exec.CommandContext(ctx, testBinary(p.tb), p.args...)
	cmd.Env = append(environ(), p.env...)
	return cmd
}

func (p *Parts) program(args []string, env ...string) *Program {
	program := NewProgram(p.tb, append(append([]string{}, p.env...), env...)...)
	program.args = args
	return program
}

// Start starts one part and waits until it is ready.
func (p *Parts) Start(part string, env ...string) *Program {
	p.tb.Helper()
	program := p.Launch(part, env...)
	program.Await()
	return program
}

// Launch starts one part and does not wait.
func (p *Parts) Launch(part string, env ...string) *Program {
	p.tb.Helper()
	admin := FreeAddr(p.tb)
	program := p.program([]string{part}, append([]string{"CRIER_ADMIN_ADDR=" + admin}, env...)...)
	program.admin = "http://" + admin
	for _, v := range program.env {
		if address, ok := strings.CutPrefix(v, "CRIER_HTTP_ADDR="); ok {
			program.http = "http://" + address
		}
	}
	program.Launch()
	return program
}

// Service is a client of one gateway with the API key.
func (p *Parts) Service(gateway *Program) *client.Client {
	return &client.Client{Base: gateway.http, APIKey: apiKey}
}

// IsReady says whether a part says that it is ready.
func (p *Program) IsReady() bool { return isReady(p.admin) }

// isReady asks an admin listener.
func isReady(admin string) bool {
	resp, err := http.Get(admin + "/readyz")
	if err != nil {
		return false
	}
	defer resp.Body.Close()
	return resp.StatusCode == http.StatusOK
}
