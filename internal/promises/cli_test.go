package promises

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"crier/internal/client"
	"crier/internal/criertest"
	"crier/internal/kafka"
)

// crier send does from a terminal what POST does: to several, a topic, everyone,
// later and cancelled before that; and JSON lines, of which a bad one stops none
// behind it.
func TestSendCommand(t *testing.T) {
	t.Parallel()
	p := criertest.Start(t)
	ann, bob := p.SignUp("ann"), p.SignUp("bob")
	send := func(stdin string, args ...string) (string, string) {
		t.Helper()
		out, stderr, err := p.Run(t.Context(), stdin, append([]string{"send"}, args...)...)
		if err != nil && !strings.Contains(stderr, "lines were refused") {
			t.Fatalf("send %v: %v %s %s", args, err, out, stderr)
		}
		return out, stderr
	}
	s := openStream(t, ann, client.StreamOptions{Topics: []string{"news"}})
	send("", "--topic", "news", "--title", "to all who listen")
	send("", "--user", ann.ID, "--user", bob.ID, "--title", "to both", "--collapse-key", "k", "--expires-at", "1h")
	send("", "--everyone", "--payload", `{"n":1}`, "--kind", "notice", "--priority", "high")
	criertest.Eventually(t, time.Minute, "all came", func() bool { return len(s.of("message")) == 1 && len(s.of("notification")) == 2 })
	out, _ := send("", "--user", ann.ID, "--title", "later", "--deliver-at", "1h")
	var said struct {
		EventID string `json:"event_id"`
	}
	if err := json.Unmarshal([]byte(out), &said); err != nil || said.EventID == "" {
		t.Fatalf("%s: %v", out, err)
	}
	criertest.Eventually(t, time.Minute, "it is cancelled", func() bool {
		out, _, err := p.Run(t.Context(), "", "send", "--cancel", said.EventID)
		return err == nil && strings.Contains(out, `"cancelled"`)
	})
	long := strings.Repeat("x", 2<<20)
	out, stderr := send(strings.Join([]string{`{"user_id":"` + ann.ID + `","title":"one"}`, "", "nonsense", `{"user_id":"` + ann.ID + `","title":"` + long + `"}`,
		`{"user_id":"` + ann.ID + `","title":"x","expires_at":"2001-01-01T00:00:00Z"}`, `{"topic":"news","title":"two"}`, `{"user_ids":["` + ann.ID + `","` + bob.ID + `"],"title":"three"}`}, "\n"))
	if !strings.Contains(out, `{"sent":4,"refused":3}`) || !strings.Contains(stderr, "line 3: is not valid JSON") ||
		!strings.Contains(stderr, "line 4: must be at most 1048576 bytes long") || !strings.Contains(stderr, "line 5: expires_at: must be in the future") {
		t.Errorf("%s\n%s", out, stderr)
	}
	criertest.Eventually(t, time.Minute, "the good lines came", func() bool { return len(s.of("message")) == 2 && len(s.of("notification")) == 4 })
	for _, args := range [][]string{{"--title", "x"}, {"--topic", "No News", "--title", "x"}, {"--user", ann.ID, "--title", "x", "--deliver-at", "soon"}, {"--cancel", "x"},
		{"--user", ann.ID, "--topic", "news", "--title", "x"}} {
		if out, stderr, err := p.Run(t.Context(), "", append([]string{"send"}, args...)...); err == nil {
			t.Errorf("send %v was taken: %s %s", args, out, stderr)
		}
	}
}

// crier send says what became of each notification: it waits for the result, and
// ends with 1 and the reason where one was refused; --wait 0 does not wait.
func TestSendWaitsForTheResult(t *testing.T) {
	t.Parallel()
	p := criertest.Start(t)
	ann := p.SignUp("ann")
	out, stderr, err := p.Run(t.Context(), "", "send", "--user", ann.ID, "--title", "x")
	if err != nil || !strings.Contains(out, `"status":"stored"`) || !strings.Contains(out, `"id":1`) {
		t.Errorf("stored: %s %s %v", out, stderr, err)
	}
	out, stderr, err = p.Run(t.Context(), "", "send", "--user", "nobody", "--title", "x")
	if err == nil || !strings.Contains(stderr, "user_not_found") || !strings.Contains(stderr, "nobody") {
		t.Errorf("refused: %s %s %v", out, stderr, err)
	}
	lines := fmt.Sprintf(`{"user_id":%q,"title":"1"}`+"\n"+`{"user_id":"nobody","title":"2"}`+"\n"+`{"user_id":%q}`+"\n", ann.ID, ann.ID)
	out, stderr, err = p.Run(t.Context(), lines, "send")
	if err == nil || !strings.Contains(out, `{"sent":1,"refused":2}`) || !strings.Contains(stderr, "line 2: rejected") || !strings.Contains(stderr, "line 3: payload") {
		t.Errorf("lines: %s %s %v", out, stderr, err)
	}
	out, stderr, err = p.Run(t.Context(), "", "send", "--user", "nobody", "--title", "x", "--wait", "0")
	if err != nil || strings.Contains(out, "status") {
		t.Errorf("without waiting: %s %s %v", out, stderr, err)
	}
}

// Where no consumer runs, crier send says that the notification is in Kafka and
// that nothing is known of it yet.
func TestSendWithoutAConsumer(t *testing.T) {
	t.Parallel()
	p := criertest.NewParts(t, criertest.Broker(t), "1")
	gateway := p.Start("gateway")
	out, stderr, err := gateway.Run(t.Context(), "", "send", "--user", "1", "--title", "x", "--wait", "100ms",
		"--kafka-brokers", p.Brokers, "--topic-prefix", p.Prefix)
	if err == nil || !strings.Contains(out, `"offset":0`) || !strings.Contains(stderr, "no result has come") {
		t.Errorf("%s %s %v", out, stderr, err)
	}
}

// Commands that print a list print it as JSON, if asked, an object a line.
func TestListsAsJSON(t *testing.T) {
	t.Parallel()
	p := criertest.NewParts(t, criertest.Broker(t), "2")
	p.MustRun("keys", "add", "shop")
	p.MustRun("rooms", "add", "den")
	for _, c := range []struct {
		command string
		want    map[string]any // of one of the rows
		rows    int
	}{
		{"topics", map[string]any{"topic": "ticks", "partitions": 2.0, "action": "as it should be"}, len(kafka.TopicNames)},
		{"keys list", map[string]any{"owner": "shop"}, 1},
		{"rooms list", map[string]any{"room": "den", "members": 0.0}, 1},
	} {
		args := append(strings.Fields(c.command), "--json")
		if c.command == "topics" {
			args = append(args, "--partitions", "2", "--replicas", "1")
		}
		lines := criertest.Lines(p.MustRun(args...))
		found := false
		for _, line := range lines {
			var row map[string]any
			if err := json.Unmarshal([]byte(line), &row); err != nil {
				t.Errorf("%s: %q: %v", c.command, line, err)
			}
			all := true
			for k, v := range c.want {
				all = all && row[k] == v
			}
			found = found || all
		}
		if !found || len(lines) != c.rows {
			t.Errorf("%s: %q", c.command, lines)
		}
	}
}

// crier bench pipeline loads a gateway and sees every notification that was taken.
func TestBenchPipelineCommand(t *testing.T) {
	t.Parallel()
	p := criertest.Start(t)
	f := p.Facts()
	out, stderr, err := p.Run(t.Context(), "", "bench", "pipeline", "--url", f.HTTP, "--api-key", f.APIKey,
		"--rate", "50", "--duration", "2s", "--users", "5", "--senders", "8", "--json")
	if err != nil {
		t.Fatalf("%v: %s %s", err, out, stderr)
	}
	var r struct{ Sent, Failed, Arrived, Lost, Doubled, Disordered int64 }
	if err := json.Unmarshal([]byte(out), &r); err != nil {
		t.Fatalf("%s: %v", out, err)
	}
	if r.Sent != 100 || r.Arrived != 100 || r.Failed+r.Lost+r.Doubled+r.Disordered != 0 {
		t.Errorf("%+v", r)
	}
}
