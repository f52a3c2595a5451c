package consumer_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"

	"crier/consumer"
	"crier/internal/criertest"
	"crier/internal/event"
	"crier/internal/kafka"
)

// repeat is a list of n times the same JSON value.
func repeat(s string, n int) string { return strings.TrimSuffix(strings.Repeat(s+",", n), ",") }

// A record that cannot be read, or breaks a rule, goes to `dead-letters` as it
// came and to `results` with its reason; those before and behind it arrive. No
// record, however it is made, holds up the ones behind it.
func TestPoison(t *testing.T) {
	t.Parallel()
	w := newWorld(t, criertest.Broker(t))
	w.start(consumer.Config{})
	huge := strings.Repeat("x", 3<<20)
	headers := []kgo.RecordHeader{{Key: "trace", Value: []byte("abc")}, {Key: "binary", Value: []byte("\x00\xff")}}
	cases := []struct {
		name string
		rec  *kgo.Record
		code string // of the rejection; "": it is stored
	}{
		{"no JSON", record(`{"user_id":1,"title":`), "invalid_json"},
		{"empty", record(``), "invalid_json"},
		{"nothing", &kgo.Record{}, "invalid_json"},
		{"null", record(`null`), "invalid_json"},
		{"a list", record(`[{"user_id":1,"title":"x"}]`), "invalid_json"},
		{"a number", record(`1e999`), "invalid_json"},
		{"invalid UTF-8", &kgo.Record{Value: []byte("{\"user_id\":1,\"title\":\"\xff\"}")}, "invalid_json"},
		{"deep", record(`{"user_id":1,"payload":%s%s}`, strings.Repeat("[", 20_000), strings.Repeat("]", 20_000)), "invalid_json"},
		{"a number of a megabyte", record(`{"user_id":1,"title":1%s}`, strings.Repeat("0", 1<<20)), "invalid_input"},
		{"no user", record(`{"title":"x"}`), "invalid_input"},
		{"unknown user", record(`{"user_id":99,"title":"x"}`), "user_not_found"},
		{"no content", record(`{"user_id":1}`), "invalid_input"},
		{"NUL in a text", record(`{"user_id":1,"title":"a\u0000b"}`), "invalid_input"},
		{"NUL in the user", record(`{"user_id":"1\u0000","title":"x"}`), "invalid_input"},
		{"a large payload", record(`{"user_id":1,"payload":"%s"}`, strings.Repeat("x", event.MaxPayload)), "invalid_input"},
		{"a large title", record(`{"user_id":1,"title":"%s"}`, strings.Repeat("x", event.MaxTitle+1)), "invalid_input"},
		{"a script as link", record(`{"user_id":1,"title":"x","url":"javascript:alert(1)"}`), "invalid_input"},
		{"ten megabytes", record(`{"user_id":1,"payload":"%s"}`, strings.Repeat("x", 10<<20)), "invalid_input"},
		{"a million wrong channels", record(`{"user_id":1,"title":"x","channels":[%s]}`, repeat(`"x"`, 1_000_000)), "invalid_input"},
		{"ten thousand wrong users", record(`{"user_ids":[%s],"title":"x"}`, repeat(`"\u0007"`, 10_000)), "invalid_input"},
		{"too many users", record(`{"user_ids":[%s],"title":"x"}`, repeat(`1`, 200_000)), "invalid_input"},
		{"a key of megabytes", &kgo.Record{Key: []byte(huge), Value: []byte(`{`)}, "invalid_json"},
		{"headers of megabytes", &kgo.Record{Headers: []kgo.RecordHeader{{Key: "h", Value: []byte(huge)}}, Value: []byte(`{`)}, "invalid_json"},
		{"a sender that no index holds", &kgo.Record{Headers: []kgo.RecordHeader{{Key: "sender", Value: []byte(fmt.Sprint(largeRandom()))}}, Value: []byte(`{"user_id":1,"title":"x","idempotency_key":"k"}`)}, "refused"},
		{"a sender with NUL", &kgo.Record{Headers: []kgo.RecordHeader{{Key: "sender", Value: []byte("a\x00")}}, Value: []byte(`{"user_id":1,"title":"x","idempotency_key":"k"}`)}, "refused"},
		{"an event id that is no text", &kgo.Record{Headers: []kgo.RecordHeader{{Key: "event_id", Value: []byte("\xff")}}, Value: []byte(`{"user_id":1,"title":"x"}`)}, "refused"},
		{"a key of megabytes, stored", &kgo.Record{Key: []byte(huge), Value: []byte(`{"user_id":1,"title":"stored"}`)}, ""},
		{"NUL escaped in the payload", record(`{"user_id":1,"title":"stored","payload":{"a":"\u0000"}}`), ""},
		{"a payload of html", record(`{"user_id":1,"title":"stored","payload":"%s"}`, strings.Repeat("<", event.MaxPayload-2)), ""},
	}
	var want []string
	for i, c := range cases {
		if c.rec.Headers == nil && c.rec.Key == nil {
			c.rec.Headers = headers
		}
		w.send(c.rec, titled(fmt.Sprint("behind ", c.name)))
		if c.code == "" {
			want = append(want, "stored")
		}
		want = append(want, fmt.Sprint("behind ", c.name))
		_ = i
	}
	w.settled()
	w.wantTitles(ann, want...)
	results := w.all(kafka.Results)
	parsed := w.results()
	if len(results) != 2*len(cases) {
		t.Fatalf("%d results of %d records", len(results), 2*len(cases))
	}
	dead := w.all(kafka.DeadLetters)
	for i, c := range cases {
		r := parsed[2*i]
		if c.code == "" {
			if r.Status != event.StatusStored {
				t.Errorf("%s: %+v", c.name, r)
			}
			continue
		}
		if r.Status != event.StatusRejected || r.Code != c.code || r.Error == "" || r.Offset != int64(2*i) || r.Topic != kafka.Notifications {
			t.Errorf("%s: %.300s, want rejected as %s", c.name, fmt.Sprintf("%+v", r), c.code)
		}
		if len(c.rec.Key) < 1<<20 && len(results[2*i].Headers) != len(c.rec.Headers) && len(c.rec.Headers[0].Value) < 1<<20 {
			t.Errorf("%s: its headers are not echoed", c.name)
		}
		if len(dead) == 0 {
			t.Fatalf("%s: there is no dead letter", c.name)
		}
		d := dead[0]
		dead = dead[1:]
		if string(d.Value) != string(c.rec.Value) || string(d.Key) != string(c.rec.Key) || d.Header("code") != c.code || d.Header("reason") == "" ||
			d.Header("origin_offset") != fmt.Sprint(2*i) || d.Header("origin_topic") != kafka.Notifications {
			t.Errorf("%s: the dead letter's headers are %.300s", c.name, fmt.Sprint(d.Headers))
		}
	}
	if len(dead) != 0 {
		t.Errorf("%d dead letters too many", len(dead))
	}
}

// largeRandom is 8 KB that does not compress: more than a row of an index holds.
func largeRandom() string {
	b := make([]byte, 8<<10)
	x := uint32(1)
	for i := range b {
		x = x*1664525 + 1013904223
		b[i] = 'a' + byte(x>>24)%26
	}
	return string(b)
}

// A record to many users is stored for those who exist; it is quarantined once,
// however many do not.
func TestManyRecipients(t *testing.T) {
	t.Parallel()
	w := newWorld(t, criertest.Broker(t))
	w.start(consumer.Config{})
	var ids []string
	for i := range 3000 {
		ids = append(ids, fmt.Sprint(5000+i))
	}
	w.send(record(`{"user_ids":[2,%s,1,2],"title":"to many","payload":"%s"}`, strings.Join(ids, ","), strings.Repeat("x", 60_000)), titled("next"))
	w.settled()
	w.wantTitles(ann, "to many", "next")
	w.wantTitles(bob, "to many")
	if n := len(w.all(kafka.DeadLetters)); n != 1 {
		t.Errorf("%d dead letters of one record", n)
	}
	counts := make(map[string]int)
	for _, r := range w.results() {
		counts[r.Status]++
	}
	if counts[event.StatusStored] != 3 || counts[event.StatusRejected] != 3000 {
		t.Errorf("results: %v", counts)
	}
}

// What the database refuses is found by halving: that record alone is
// quarantined, and the order of the others stays.
func TestDataFaultHalving(t *testing.T) {
	t.Parallel()
	w := newWorld(t, criertest.Broker(t))
	if _, err := w.db.Exec(t.Context(), `alter table notifications add check (title not like 'bad%')`); err != nil {
		t.Fatal(err)
	}
	var recs []*kgo.Record
	var want []string
	for i := range 100 {
		title := fmt.Sprint("good ", i)
		if i == 0 || i == 41 || i == 42 || i == 99 {
			title = fmt.Sprint("bad ", i)
		} else {
			want = append(want, title)
		}
		recs = append(recs, titled(title))
	}
	w.send(recs...)
	w.start(consumer.Config{})
	w.settled()
	w.wantTitles(ann, want...)
	dead := w.all(kafka.DeadLetters)
	if len(dead) != 4 || dead[1].Header("code") != "refused" || dead[1].Header("origin_offset") != "41" {
		t.Errorf("%d dead letters", len(dead))
	}
	results := w.results()
	for i, r := range results {
		if r.Offset != int64(i) {
			t.Fatalf("result %d is of offset %d", i, r.Offset)
		}
	}
}
