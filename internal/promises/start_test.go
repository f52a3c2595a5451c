package promises

import (
	"context"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"crier/internal/criertest"
	"crier/internal/embedded"
)

// readyz is what the admin listener of a program says; "" while it cannot be asked.
func readyz(p *criertest.Program) string {
	resp, err := http.Get(p.Facts().Admin + "/readyz")
	if err != nil {
		return ""
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return ""
	}
	return string(text)
}

// ended waits until a program has ended with exit code 1, and returns its log.
func ended(t *testing.T, p *criertest.Program) string {
	t.Helper()
	if code := p.ExitCode(); code != 1 {
		t.Errorf("exit code %d", code)
	}
	return p.Log()
}

// Parts that are started while Kafka is away wait for it and say so; they are ready
// once it is there. What does not come within CRIER_START_TIMEOUT ends them with
// the reason.
func TestStartBeforeKafka(t *testing.T) {
	t.Parallel()
	dir, addr := t.TempDir(), criertest.FreeAddr(t)
	start := func() *embedded.Broker { return criertest.StartBroker(t, dir, addr) }
	b := start()
	p := criertest.NewParts(t, addr, "1", "CRIER_FEEDS=none")
	if err := b.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	var parts []*criertest.Program
	for _, name := range []string{"gateway", "consumer", "monitor"} {
		parts = append(parts, p.Launch(name))
	}
	for _, part := range parts {
		criertest.Eventually(t, patience, "/readyz names Kafka", func() bool { return strings.Contains(readyz(part), "reaching Kafka") })
	}
	hasty := p.Launch("gateway", "CRIER_START_TIMEOUT=3s")
	if said := ended(t, hasty); !strings.Contains(said, "reaching Kafka at") {
		t.Errorf("the one without patience said %s", said)
	}
	b = start()
	t.Cleanup(func() { _ = b.Stop(context.Background()) }) // the test is over
	for _, part := range parts {
		part.Await()
		part.Stop()
	}
}

// Topics that are missing are waited for, and told from a Kafka that is away; a
// schema that is not up to date likewise.
func TestStartBeforeTopicsAndSchema(t *testing.T) {
	t.Parallel()
	p := criertest.NewParts(t, criertest.Broker(t), "1")
	bare := *p
	bare.Prefix = criertest.TopicPrefix(t)
	gateway := p.Launch("gateway", "CRIER_TOPIC_PREFIX="+bare.Prefix)
	criertest.Eventually(t, patience, "/readyz names the topics", func() bool { return strings.Contains(readyz(gateway), "topics are missing: "+bare.Prefix+"ticks") })
	p.MustRun("topics", "--partitions", "1", "--replicas", "1", "--topic-prefix", bare.Prefix)
	gateway.Await()
	gateway.Stop()

	gateway = p.Launch("gateway", "CRIER_DATABASE_URL="+criertest.Postgres(t))
	criertest.Eventually(t, patience, "/readyz names the schema", func() bool { return strings.Contains(readyz(gateway), "crier migrate") })
	gateway.Kill()
}

// A database role that may only read is refused at the start, with what it lacks.
func TestStartWithoutRights(t *testing.T) {
	t.Parallel()
	p := criertest.NewParts(t, criertest.Broker(t), "1", "CRIER_FEEDS=none")
	c, err := pgx.Connect(t.Context(), p.Database)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close(context.Background())
	role := strings.ToLower(strings.NewReplacer("-", "", "_", "").Replace("reader" + p.Prefix))
	for _, sql := range []string{"create role " + role + " login password 'x'", "grant usage on schema public to " + role, "grant select on all tables in schema public to " + role} {
		if _, err := c.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	cfg := c.Config()
	url := "postgres://" + role + ":x@" + strings.SplitN(strings.SplitN(p.Database, "@", 2)[1], "?", 2)[0] + "?sslmode=disable"
	for _, part := range []string{"gateway", "consumer", "monitor"} {
		said := ended(t, p.Launch(part, "CRIER_DATABASE_URL="+url))
		if !strings.Contains(said, "lacks rights") || !strings.Contains(said, "INSERT") || !strings.Contains(said, "notifications") {
			t.Errorf("%s: %s (database %s)", part, said, cfg.Database)
		}
	}
	wrong := strings.Replace(url, ":x@", ":wrong@", 1)
	began := time.Now()
	if said := ended(t, p.Launch("gateway", "CRIER_DATABASE_URL="+wrong)); time.Since(began) > 20*time.Second || strings.Contains(said, "wrong@") {
		t.Errorf("a wrong password: after %v: %s", time.Since(began), said)
	}
}

// Of several first starts on one folder at the same moment one runs, and each of the
// others says that the folder is in use.
func TestFirstStartsAtOnce(t *testing.T) {
	t.Parallel()
	first := criertest.NewProgram(t)
	programs := []*criertest.Program{first}
	for range 4 {
		p := criertest.NewProgram(t)
		p.Dir = first.Dir
		programs = append(programs, p)
	}
	for _, p := range programs {
		p.Launch("CRIER_DATA_DIR=" + first.Dir)
	}
	running := 0
	for _, p := range programs {
		criertest.Eventually(t, 2*patience, "it runs or has ended", func() bool {
			return strings.Contains(p.Log(), "Crier is running") || strings.Contains(p.Log(), "is in use by another process")
		})
		if strings.Contains(p.Log(), "Crier is running") {
			running++
			p.Await()
			p.Stop()
		} else {
			ended(t, p)
		}
	}
	if running != 1 {
		t.Errorf("%d of %d run", running, len(programs))
	}
}
