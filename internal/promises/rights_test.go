package promises

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/sasl/plain"

	"crier/internal/client"
	"crier/internal/criertest"
	"crier/internal/kafka"
)

// The parts do everything with the rights that docs/operating.md lists, under an
// authorizer that grants nothing else: what is sent, pushed in or said in a room is
// stored, delivered and streamed, alerts fire, ticks in the wrong partition are moved, and
// all are ready.
func TestPartsWithLeastRights(t *testing.T) {
	t.Parallel()
	prefix := criertest.TopicPrefix(t)
	const password = "secret"
	opts := []kfake.Opt{kfake.NumBrokers(1), kfake.EnableSASL(), kfake.EnableACLs(), kfake.Superuser("PLAIN", "admin", password)}
	for _, part := range []string{"gateway", "consumer", "monitor", "`crier send`", "`crier topics`"} {
		var acls []kfake.ACL
		for _, r := range kafka.Rights {
			for _, name := range r.Names {
				for _, op := range r.Operations {
					pattern := kmsg.ACLResourcePatternTypeLiteral
					if r.Prefixed {
						pattern = kmsg.ACLResourcePatternTypePrefixed
					}
					if r.Part == part {
						acls = append(acls, kfake.ACL{Resource: r.Resource, Name: prefix + name, Pattern: pattern, Operation: op, Allow: true})
					}
				}
			}
		}
		if len(acls) == 0 {
			t.Fatalf("no rights of %s", part)
		}
		opts = append(opts, kfake.User("PLAIN", strings.Trim(part, "`"), password, acls...))
	}
	cluster, err := kfake.NewCluster(opts...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Close)
	brokers := cluster.ListenAddrs()
	consumer, err := kgo.NewClient(kgo.SeedBrokers(brokers...), kgo.SASL(plain.Auth{User: "consumer", Pass: password}.AsMechanism()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(consumer.Close)
	as := func(user string) []string { return []string{"CRIER_KAFKA_USER=" + user} }
	p := criertest.NewPartsUnder(t, strings.Join(brokers, ","), "2", prefix, "CRIER_KAFKA_SASL=PLAIN", "CRIER_KAFKA_PASSWORD="+password, "CRIER_KAFKA_USER=crier topics", "CRIER_WEBHOOK_ALLOW=127.0.0.0/8", "CRIER_FEEDS=none")
	gateway := p.Start("gateway", as("gateway")...)
	parts := []*criertest.Program{gateway, p.Start("consumer", as("consumer")...), p.Start("monitor", as("monitor")...)}

	if err := consumer.ProduceSync(t.Context(), &kgo.Record{Topic: prefix + kafka.Ticks, Value: []byte("x")}).FirstErr(); !errors.Is(err, kerr.TopicAuthorizationFailed) {
		t.Fatalf("the authorizer lets consumers write ticks: %v", err)
	}

	ann := gateway.SignUp("ann")
	s := openStream(t, ann, client.StreamOptions{})
	mustDo(t, ann.Client, "POST", "/notifications", map[string]string{"user_id": ann.ID, "title": "sent"}, nil)
	criertest.Eventually(t, patience, "a notification is streamed", func() bool { return len(s.of("notification")) > 0 })

	receiver := criertest.NewReceiver(t, nil)
	var account struct {
		ID int64 `json:"id"`
	}
	mustDo(t, ann.Client, "POST", "/accounts", map[string]string{"account_name": "A", "email": "a@example.org"}, &account)
	mustDo(t, ann.Client, "POST", fmt.Sprintf("/accounts/%d/destinations", account.ID), map[string]any{"url": receiver.URL}, nil)
	mustDo(t, ann.Client, "POST", "/incoming", map[string]any{"account_id": account.ID, "data": 1}, nil)
	receiver.Await(t, 1)

	id := mustAlertBody(t, ann, map[string]string{"symbol": "X", "condition": "above", "target": "10"})
	out, err := kgo.NewClient(kgo.SeedBrokers(brokers...), kgo.SASL(plain.Auth{User: "admin", Pass: password}.AsMechanism()), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(out.Close)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	// In the wrong partition: it fires only when it has been moved.
	wrong := 1 - kafka.Partition([]byte("X"), 2)
	if err := out.ProduceSync(ctx, &kgo.Record{Topic: prefix + kafka.Ticks, Partition: wrong, Key: []byte("X"), Value: []byte(`{"symbol":"X","price":"11","source":"me"}`)},
		&kgo.Record{Topic: prefix + kafka.Ticks, Partition: wrong, Value: []byte(`no tick`)},
		&kgo.Record{Topic: prefix + kafka.Notifications, Partition: 0, Value: []byte(`no notification`)}).FirstErr(); err != nil {
		t.Fatal(err)
	}
	criertest.Eventually(t, patience, "an alert fires", func() bool {
		var firings struct{ Count int }
		return ann.Do(ctx, "GET", fmt.Sprintf("/alerts/%d/firings", id), nil, &firings) == nil && firings.Count == 1
	})
	for _, part := range parts {
		criertest.Eventually(t, patience, "a part is ready", part.IsReady)
	}
	for _, part := range parts {
		if log := part.Log(); strings.Contains(log, "AUTHORIZATION_FAILED") {
			t.Errorf("a part was refused something:\n%s", log)
		}
	}
	p.MustRun("send", "--kafka-user", "crier send", "--user", ann.ID, "--title", "by the command")
	criertest.Eventually(t, patience, "what the command sent is streamed", func() bool { return len(s.of("notification")) > 2 })
}
