package promises

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"crier/internal/client"
	"crier/internal/criertest"
	"crier/internal/kafka"
)

// An operator deletes topics and makes them again, one after the other, while all
// parts run. Within seconds each part goes over to the new one, by itself: what is
// sent is stored and streamed, data that is pushed in is delivered, alerts fire.
func TestTopicsMadeAgain(t *testing.T) {
	t.Parallel()
	criertest.Kafkas(t, func(t *testing.T, brokers string) {
		t.Parallel()
		p := criertest.NewParts(t, brokers, "1", "CRIER_WEBHOOK_ALLOW=127.0.0.0/8", "CRIER_FEEDS=none")
		gateway := p.Start("gateway")
		p.Start("consumer")
		p.Start("monitor")
		ann := gateway.SignUp("ann")
		receiver := criertest.NewReceiver(t, nil)
		var account struct {
			ID int64 `json:"id"`
		}
		mustDo(t, ann.Client, "POST", "/accounts", map[string]string{"account_name": "A", "email": "a@example.org"}, &account)
		mustDo(t, ann.Client, "POST", fmt.Sprintf("/accounts/%d/destinations", account.ID), map[string]any{"url": receiver.URL}, nil)
		out := outsider(t, brokers)
		adm := kadm.NewClient(out)
		for _, topic := range append([]string{"none yet"}, kafka.Notifications, kafka.Incoming, kafka.Ticks, kafka.Triggers, kafka.Deliveries, kafka.Results, kafka.Signals, kafka.DeadLetters, kafka.Rooms) {
			if topic != "none yet" {
				ctx, cancel := context.WithTimeout(t.Context(), patience)
				if r, err := adm.DeleteTopics(ctx, p.Prefix+topic); err != nil || r.Error() != nil {
					t.Fatal(topic, err, r.Error())
				}
				cancel()
				criertest.Eventually(t, patience, topic+" is made again by crier topics", func() bool {
					p.MustRun("topics", "--partitions", "1", "--replicas", "1")
					return true
				})
			}
			within := 30 * time.Second
			s := openStream(t, ann, client.StreamOptions{})
			criertest.Eventually(t, within, "a notification is sent and streamed after "+topic+" was made again", func() bool {
				_ = ann.Do(t.Context(), "POST", "/notifications", map[string]string{"user_id": ann.ID, "title": "after " + topic}, nil) // it may be refused for some seconds
				return len(s.of("notification")) > 0
			})
			before := len(receiver.Hooks())
			criertest.Eventually(t, within, "data is pushed in and delivered after "+topic+" was made again", func() bool {
				_ = ann.Do(t.Context(), "POST", "/incoming", map[string]any{"account_id": account.ID, "data": topic}, nil) // likewise
				return len(receiver.Hooks()) > before
			})
			id := mustAlertBody(t, ann, map[string]string{"symbol": "X", "condition": "above", "target": "10"})
			ticks := outsider(t, brokers) // knows nothing of the topic that is gone
			criertest.Eventually(t, within, "an alert fires after "+topic+" was made again", func() bool {
				ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
				defer cancel()
				_ = ticks.ProduceSync(ctx, &kgo.Record{Topic: p.Prefix + kafka.Ticks, Key: []byte("X"), Value: []byte(`{"symbol":"X","price":"11","source":"me"}`)}).FirstErr()
				var firings struct{ Count int }
				return ann.Do(ctx, "GET", fmt.Sprintf("/alerts/%d/firings", id), nil, &firings) == nil && firings.Count == 1
			})
		}
	})
}
