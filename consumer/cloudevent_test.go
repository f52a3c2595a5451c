package consumer

import (
	"testing"
	"time"

	"crier/internal/event"
	"crier/internal/kafka"
)

// Source and id of a CloudEvent in binary mode are its idempotency key, unless the
// notification names one.
func TestCloudEventKey(t *testing.T) {
	t.Parallel()
	key := func(value string, headers ...string) string {
		rec := kafka.Record{Topic: kafka.Notifications, Value: []byte(value)}
		for i := 0; i < len(headers); i += 2 {
			rec.Headers = append(rec.Headers, kafka.Header{Key: headers[i], Value: []byte(headers[i+1])})
		}
		units, _ := parse([]kafka.Record{rec}, time.Now())
		if units[0].fault != nil {
			t.Fatal(units[0].fault)
		}
		return units[0].notify.IdempotencyKey
	}
	const plain = `{"user_id":"1","title":"x"}`
	first := key(plain, "ce_id", "1", "ce_source", "/a")
	if first == "" || len(first) > event.MaxIdempotencyKey || first != key(plain, "ce_source", "/a", "ce_id", "1") {
		t.Errorf("the key of an event is %q", first)
	}
	for name, other := range map[string]string{"another id": key(plain, "ce_id", "2", "ce_source", "/a"), "another source": key(plain, "ce_id", "1", "ce_source", "/b"), "the two joined otherwise": key(plain, "ce_id", "a1", "ce_source", "/")} {
		if other == first || other == "" {
			t.Errorf("%s: %q", name, other)
		}
	}
	if got := key(plain, "ce_id", "1") + key(plain, "ce_source", "/a") + key(plain); got != "" {
		t.Errorf("without both headers: %q", got)
	}
	if got := key(`{"user_id":"1","title":"x","idempotency_key":"own"}`, "ce_id", "1", "ce_source", "/a"); got != "own" {
		t.Errorf("the notification's own key: %q", got)
	}
}
