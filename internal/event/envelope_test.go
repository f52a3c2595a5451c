package event_test

import (
	"strings"
	"testing"

	"crier/internal/event"
)

// What common producers wrap around a value is named, with what to do about it; what is
// a notification, or wrong in another way, is not taken for an envelope.
func TestEnvelopes(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ name, value, want string }{
		{"Debezium", `{"schema":{"type":"struct"},"payload":{"before":null,"after":{"user_id":"1","title":"x"},"op":"c","source":{},"ts_ms":1}}`, "ExtractNewRecordState"},
		{"Debezium without schemas", `{"before":null,"after":{"user_id":"1"},"op":"c","source":{"db":"x"},"ts_ms":1}`, "ExtractNewRecordState"},
		{"Debezium, deletion", `{"before":{"id":1},"op":"d"}`, "ExtractNewRecordState"},
		{"Connect", `{"schema":{"type":"struct"},"payload":{"user_id":"1","title":"x"}}`, "schemas.enable=false"},
		{"Connect, null schema", `{"schema":null,"payload":{"user_id":"1","title":"x"}}`, "schemas.enable=false"},
		{"CloudEvent", `{"specversion":"1.0","id":"1","source":"/s","type":"t","data":{"user_id":"1","title":"x"}}`, "binary mode"},
		{"registry, Avro", "\x00\x00\x00\x00\x07\x02\xff", "schema 7"},
		{"registry, JSON", "\x00\x00\x00\x01\x00" + `{"user_id":"1","title":"x"}`, "schema 256"},
		{"a notification", `{"user_id":"1","payload":{"schema":1,"op":"c","after":1,"specversion":"1.0"}}`, ""},
		{"no user", `{"payload":{"a":1}}`, "user_id"},
		{"no object", `[1]`, "object"},
	} {
		_, err := event.ParseNotification([]byte(tt.value))
		if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
			t.Errorf("%s: %v, want %q", tt.name, err, tt.want)
		}
	}
}
