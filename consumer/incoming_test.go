package consumer_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"crier/consumer"
	"crier/internal/criertest"
	"crier/internal/destination"
	"crier/internal/kafka"
)

// incoming produces records to `incoming`, as any producer may.
func (w *world) incoming(values ...string) {
	w.t.Helper()
	var recs []*kgo.Record
	for _, v := range values {
		recs = append(recs, &kgo.Record{Topic: w.prefix + kafka.Incoming, Value: []byte(v)})
	}
	if err := w.raw.ProduceSync(w.t.Context(), recs...).FirstErr(); err != nil {
		w.t.Fatal(err)
	}
}

// took waits until everything on `incoming` is committed.
func (w *world) took() {
	w.t.Helper()
	criertest.Eventually(w.t, patience, "all records are committed", func() bool {
		_, ends, err := w.Bounds(w.t.Context(), kafka.Incoming)
		if err != nil {
			return false
		}
		done, err := w.Committed(w.t.Context(), kafka.IncomingGroup, kafka.Incoming)
		return err == nil && done[0] == ends[0]
	})
}

// pusher makes an account with a destination that leads to a receiver.
func (w *world) pusher(answer *criertest.Receiver) destination.Destination {
	w.t.Helper()
	store := destination.New(w.db)
	a, _, err := store.CreateAccount(w.t.Context(), destination.Account{Owner: ann, Name: "Shop", Email: "shop@example.org"}, time.Now())
	if err != nil {
		w.t.Fatal(err)
	}
	d, _, err := store.Create(w.t.Context(), destination.Destination{AccountID: a.ID, URL: answer.URL, Method: "POST", Headers: map[string]string{}, Ordered: true}, time.Now())
	if err != nil {
		w.t.Fatal(err)
	}
	return d
}

// A record of `incoming` that cannot be used goes to dead letters with its code,
// and stops nothing behind it; an item is delivered once, whatever was produced
// twice.
func TestIncoming(t *testing.T) {
	t.Parallel()
	w := newWorld(t, criertest.Broker(t))
	hook := criertest.NewReceiver(t, nil)
	d := w.pusher(hook)
	cfg := consumer.Config{Webhooks: consumer.WebhookConfig{Allow: []string{"127.0.0.1"}}}
	stop := w.start(cfg)
	id := d.AccountID
	w.incoming(
		``, `nonsense`, `[]`, "{\"account_id\":1,\"data\":\"\xff\"}", `{"data":1}`, fmt.Sprintf(`{"account_id":%d}`, id), `{"account_id":"x","data":1}`, `{"account_id":-1,"data":1}`,
		`{"account_id":99999,"data":1}`, fmt.Sprintf(`{"account_id":%d,"data":%q}`, id, strings.Repeat("x", 70_000)), fmt.Sprintf(`{"account_id":%d,"data":1,"event_id":"a.b"}`, id),
		fmt.Sprintf(`{"account_id":%d,"data":%s1%s}`, id, strings.Repeat("[", 200), strings.Repeat("]", 200)),
		fmt.Sprintf(`{"account_id":"%d","data":{"n":1},"event_id":"mine","idempotency_key":"k"}`, id),
		fmt.Sprintf(`{"account_id":%d,"data":{"n":1},"idempotency_key":"k"}`, id),
		fmt.Sprintf(`{"account_id":%d,"data":{"n":2},"idempotency_key":"k"}`, id),
		fmt.Sprintf(`{"account_id":%d,"data":"\u0000 is fine"}`, id),
		fmt.Sprintf(`{"account_id":%d,"data":null}`, id),
	)
	w.took()
	var codes []string
	for _, r := range w.all(kafka.DeadLetters) {
		codes = append(codes, r.Header("code"))
		if r.Header("origin_topic") != w.prefix+kafka.Incoming && r.Header("origin_topic") != kafka.Incoming {
			t.Errorf("a dead letter comes from %s", r.Header("origin_topic"))
		}
	}
	want := "invalid_json invalid_json invalid_json invalid_json invalid_input invalid_input invalid_input invalid_input invalid_input invalid_input invalid_input account_not_found idempotency_key_reused"
	if got := strings.Join(codes, " "); got != want {
		t.Errorf("the dead letters' codes are\n%s, want\n%s", got, want)
	}
	hooks := hook.Await(t, 3)
	if hooks[0].Body != `{"n":1}` || hooks[0].Header.Get("Webhook-Id") != fmt.Sprintf("mine_%d", d.ID) || hooks[1].Body != `"\u0000 is fine"` || hooks[2].Body != "null" {
		t.Errorf("came %+v", hooks)
	}
	stop()
	w.start(cfg)
	w.incoming(fmt.Sprintf(`{"account_id":%d,"data":"last"}`, id))
	if hooks := hook.Await(t, 4); len(hooks) != 4 || hooks[3].Body != `"last"` {
		t.Errorf("after a restart came %+v", hooks[3:])
	}
}
