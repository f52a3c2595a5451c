package promises

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"crier/internal/client"
	"crier/internal/criertest"
	"crier/internal/embedded"
)

// While Kafka is away no part says that it is ready, a send is refused in time, and
// the log stays short: a line when it goes, one when it is back, and nothing that
// repeats. Then, with nothing restarted, everything works again within seconds; and
// a stop during an outage takes less than ten.
func TestKafkaOutage(t *testing.T) {
	t.Parallel()
	dir, addr := t.TempDir(), criertest.FreeAddr(t)
	start := func() *embedded.Broker { return criertest.StartBroker(t, dir, addr) }
	b := start()
	p := criertest.NewParts(t, addr, "1", "CRIER_FEEDS=none")
	gateway := p.Start("gateway")
	parts := []*criertest.Program{gateway, p.Start("consumer"), p.Start("monitor")}
	ann := gateway.SignUp("ann")
	id := mustAlertBody(t, ann, map[string]string{"symbol": "X", "condition": "above", "target": "10", "repeat": "every", "cooldown": "1s"})
	before := make([]int, len(parts))
	for i, part := range parts {
		before[i] = strings.Count(part.Log(), "\n")
	}
	var sent struct {
		EventID string `json:"event_id"`
	}
	mustDo(t, ann.Client, "POST", "/notifications", map[string]any{"user_id": ann.ID, "title": "scheduled", "deliver_at": time.Now().Add(5 * time.Second)}, &sent)
	criertest.Eventually(t, patience, "the scheduled send is kept", func() bool {
		return ann.Do(t.Context(), "GET", "/notifications/scheduled/"+sent.EventID, nil, nil) == nil
	})
	if err := b.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, part := range parts {
		criertest.Eventually(t, patience, "part is not ready", func() bool { return strings.HasPrefix(readyz(part), "not ready") })
	}
	began := time.Now()
	err := ann.Do(t.Context(), "POST", "/notifications", map[string]string{"user_id": ann.ID, "title": "during"}, nil)
	if took := time.Since(began); !isStatus(err, 503) || took > 15*time.Second {
		t.Errorf("a send during the outage: %v after %v", err, took)
	}
	for i, part := range parts {
		if n := strings.Count(part.Log(), "\n") - before[i]; n > 30 {
			t.Errorf("part %d logged %d lines in %v", i, n, time.Since(began))
		}
	}
	b = start()
	back := time.Now()
	t.Cleanup(func() { _ = b.Stop(context.Background()) }) // it may be stopped already
	for _, part := range parts {
		criertest.Eventually(t, patience, "part is ready again", func() bool { return strings.HasPrefix(readyz(part), "ready") })
	}
	ready := time.Since(back).Round(time.Millisecond)
	s := openStream(t, ann, client.StreamOptions{Since: "0"})
	criertest.Eventually(t, patience, "the send that became due during the outage arrives", func() bool {
		for _, e := range s.of("notification") {
			if strings.Contains(string(e.Data), "scheduled") {
				return true
			}
		}
		return false
	})
	t.Logf("parts were ready %v, the scheduled send was there %v after Kafka's return", ready, time.Since(back).Round(time.Millisecond))
	criertest.Eventually(t, patience, "a notification is stored and streamed again", func() bool {
		_ = ann.Do(t.Context(), "POST", "/notifications", map[string]string{"user_id": ann.ID, "title": "after"}, nil) // until it is accepted
		for _, e := range s.of("notification") {
			if strings.Contains(string(e.Data), "after") {
				return true
			}
		}
		return false
	})
	out := outsider(t, addr)
	mustProduce(t, out, &kgo.Record{Topic: p.Prefix + "ticks", Key: []byte("X"), Value: []byte(`{"symbol":"X","price":"11","source":"me"}`)})
	var firings struct{ Count int }
	criertest.Eventually(t, patience, "an alert fires again", func() bool {
		return ann.Do(t.Context(), "GET", fmt.Sprintf("/alerts/%d/firings", id), nil, &firings) == nil && firings.Count > 0
	})
	t.Logf("everything works %v after Kafka's return", time.Since(back).Round(time.Millisecond))
	if err := b.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	for i, part := range parts {
		if took := part.Stop(); took > 10*time.Second {
			t.Errorf("part %d took %v to stop while Kafka is away", i, took)
		}
	}
}
