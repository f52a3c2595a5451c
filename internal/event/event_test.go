package event

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"crier/internal/decimal"
)

// Each wrong value is answered with the name of its field and the rule.
func TestNotificationNamesFieldAndRule(t *testing.T) {
	long := strings.Repeat("x", 70<<10)
	for _, c := range []struct{ in, field, rule string }{
		{`not json`, "", "json"},
		{`[]`, "", "json"},
		{`null`, "", "json"},
		{``, "", "json"},
		{"{\"user_id\":\"a\xff\"}", "", "utf8"},
		{`{}`, "user_id", "required"},
		{`{"payload":1}`, "user_id", "required"},
		{`{"user_id":true,"payload":1}`, "user_id", "type"},
		{`{"user_id":1.5,"payload":1}`, "user_id", "type"},
		{`{"user_id":"a\nb","payload":1}`, "user_id", "characters"},
		{`{"user_id":"` + long[:300] + `","payload":1}`, "user_id", "length"},
		{`{"user_id":1,"user_ids":[2],"payload":1}`, "user_id", "one_of"},
		{`{"user_ids":[1,""],"payload":1}`, "user_ids[1]", "required"},
		{`{"user_ids":7,"payload":1}`, "user_ids", "type"},
		{`{"user_id":1}`, "payload", "required"},
		{`{"user_id":1,"payload":null}`, "payload", "required"},
		{`{"user_id":1,"payload":"` + long + `"}`, "payload", "length"},
		{`{"user_id":1,"payload":` + strings.Repeat("[", 101) + strings.Repeat("]", 101) + `}`, "payload", "depth"},
		{`{"user_id":1,"title":5}`, "title", "type"},
		{`{"user_id":1,"title":"a\u0000b"}`, "title", "characters"},
		{`{"user_id":1,"title":"` + long[:600] + `"}`, "title", "length"},
		{`{"user_id":1,"body":"` + long[:11000] + `"}`, "body", "length"},
		{`{"user_id":1,"title":"x","url":"javascript:alert(1)"}`, "url", "url"},
		{`{"user_id":1,"title":"x","url":"//evil.example"}`, "url", "url"},
		{`{"user_id":1,"title":"x","kind":"Bad Kind"}`, "kind", "name"},
		{`{"user_id":1,"title":"x","priority":"loud"}`, "priority", "enum"},
		{`{"user_id":1,"title":"x","channels":["pigeon"]}`, "channels[0]", "enum"},
		{`{"user_id":1,"title":"x","channels":["email"]}`, "channels", "inbox"},
		{`{"topic":"news","title":"x","channels":["inbox","email"]}`, "channels[1]", "target"},
		{`{"user_id":1,"title":"x","idempotency_key":"` + long[:300] + `"}`, "idempotency_key", "length"},
		{`{"user_id":1,"title":"x","source":"` + long[:300] + `"}`, "source", "length"},
		{`{"user_id":1,"title":"x","deliver_at":"tomorrow"}`, "deliver_at", "time"},
		{`{"user_id":1,"title":"x","deliver_at":7}`, "deliver_at", "time"},
		{`{"user_id":1,"title":"x","expires_at":"0001-01-01T00:00:00Z"}`, "expires_at", "time"},
		{`{"user_id":1,"title":"x","deliver_at":"2030-01-01T00:00:00Z","expires_at":"2030-01-01T00:00:00Z"}`, "expires_at", "order"},
		{`{"user_id":1,"title":"x","collapse_key":"` + long[:101] + `"}`, "collapse_key", "length"},
		{`{"topic":"news","title":"x","collapse_key":"k"}`, "collapse_key", "target"},
		{`{"topic":"No News","title":"x"}`, "topic", "name"},
		{`{"topic":"ticks:BTCUSDT","title":"x"}`, "topic", "topic"},
		{`{"topic":"room:1","title":"x"}`, "topic", "room"},
		{`{"topic":"news","everyone":true,"title":"x"}`, "user_id", "one_of"},
		{`{"user_id":"topic:news","title":"x"}`, "user_id", "reserved"},
		{`{"user_id":"room:friends","title":"x"}`, "user_id", "reserved"},
	} {
		_, err := ParseNotification([]byte(c.in))
		requireFault(t, c.in, err, c.field, c.rule)
	}
}

func requireFault(t *testing.T, in string, err error, field, rule string) {
	t.Helper()
	var inv Invalid
	if !errors.As(err, &inv) {
		t.Errorf("%.80s: got %v, want an Invalid", in, err)
		return
	}
	for _, f := range inv {
		if f.Field == field && f.Rule == rule && f.Message != "" {
			return
		}
	}
	t.Errorf("%.80s: got %+v, want %s: %s", in, inv, field, rule)
}

func TestNotificationDefaults(t *testing.T) {
	n, err := ParseNotification([]byte("{\"user_id\":7,\"payload\":{\n \"text\": \"hi\"},\"extra\":1}"))
	if err != nil {
		t.Fatal(err)
	}
	if n.UserID != "7" || n.Kind != "message" || n.Priority != "normal" || string(n.Payload) != `{"text":"hi"}` {
		t.Errorf("got %+v, payload %s", n, n.Payload)
	}
	n, err = ParseNotification([]byte(`{"user_ids":[1,"1","a"],"body":"x"}`))
	if err != nil || len(n.Recipients()) != 2 {
		t.Errorf("a user named twice gets two: %v, %v", n.Recipients(), err)
	}
}

func TestTickNamesFieldAndRule(t *testing.T) {
	for _, c := range []struct{ in, field, rule string }{
		{`nope`, "", "json"},
		{`{"price":"1"}`, "symbol", "required"},
		{`{"symbol":"A B","price":"1"}`, "symbol", "symbol"},
		{`{"symbol":7,"price":"1"}`, "symbol", "type"},
		{`{"symbol":"X"}`, "price", "required"},
		{`{"symbol":"X","price":"one"}`, "price", "decimal"},
		{`{"symbol":"X","price":"NaN"}`, "price", "decimal"},
		{`{"symbol":"X","price":[]}`, "price", "decimal"},
		{`{"symbol":"X","price":"1","size":"lots"}`, "size", "decimal"},
		{`{"symbol":"X","price":"1","time":"yesterday"}`, "time", "time"},
		{`{"symbol":"X","price":"1","time":5}`, "time", "type"},
		{`{"symbol":"X","price":"1","source":5}`, "source", "type"},
		{`{"symbol":"X","price":"1","time":"2099-01-01T00:00:00Z"}`, "time", "future"},
		{`{"symbol":"X","price":"1","time":"2024-12-01T00:05:00.001Z"}`, "time", "future"},
		{`{"symbol":"X","price":"1","time":"2024-12-01T02:05:00.001+02:00"}`, "time", "future"},
	} {
		_, err := ParseTick([]byte(c.in), time.Date(2024, 12, 1, 0, 0, 0, 0, time.UTC))
		requireFault(t, c.in, err, c.field, c.rule)
	}
}

func TestTickTimeDefaultsToTheRecords(t *testing.T) {
	at := time.Date(2024, 12, 1, 0, 0, 0, 5, time.UTC)
	tick, err := ParseTick([]byte(`{"symbol":"temperature","price":-3.50}`), at)
	if err != nil || !tick.Time.Equal(at) || tick.Price.String() != "-3.50" {
		t.Errorf("got %+v, %v", tick, err)
	}
	for _, own := range []string{"2024-12-01T00:05:00Z", "2024-12-01T00:00:01Z", "2017-01-01T00:00:00Z", "1970-01-01T00:00:00Z"} {
		tick, err := ParseTick([]byte(`{"symbol":"X","price":1,"time":"`+own+`"}`), at)
		if err != nil || tick.Time.Format(time.RFC3339) != own {
			t.Errorf("%s: %+v, %v", own, tick, err)
		}
	}
}

func TestTriggerNamesFieldAndRule(t *testing.T) {
	target := decimal.MustParse("1")
	good := Trigger{AlertID: 1, UserID: "1", Symbol: "X", Condition: Above, Target: &target, Price: decimal.MustParse("2"),
		Time: time.Unix(1, 0), RecordedAt: time.Unix(1, 0), TopicID: "00000000-0000-0000-0000-000000000001"}
	if _, err := ParseTrigger(good.AppendJSON(nil)); err != nil {
		t.Fatal(err)
	}
	for field, change := range map[string]func(*Trigger){
		"alert_id":    func(t *Trigger) { t.AlertID = 0 },
		"user_id":     func(t *Trigger) { t.UserID = "" },
		"symbol":      func(t *Trigger) { t.Symbol = "" },
		"condition":   func(t *Trigger) { t.Condition = "sideways" },
		"time":        func(t *Trigger) { t.Time = time.Time{} },
		"recorded_at": func(t *Trigger) { t.RecordedAt = time.Time{} },
		"offset":      func(t *Trigger) { t.Offset = -1 },
		"topic_id":    func(t *Trigger) { t.TopicID = "x" },
	} {
		bad := good
		change(&bad)
		_, err := ParseTrigger(bad.AppendJSON(nil))
		var inv Invalid
		if !errors.As(err, &inv) || inv[0].Field != field {
			t.Errorf("%s: got %v", field, err)
		}
	}
}

func TestStoredIsWhatTheContractSays(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 6000, time.UTC)
	s := Stored{ID: 43, EventID: "e", UserID: "7", Kind: "message", Title: "<a> \"q\" é\u2028", Priority: "normal", Unread: 3, CreatedAt: at}
	want := `{"id":43,"event_id":"e","user_id":"7","kind":"message","title":"<a> \"q\" é\u2028","body":"","priority":"normal","unread":3,"created_at":"2026-01-02T03:04:05.000006Z"}`
	if got := string(s.AppendJSON(nil)); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	var back map[string]any
	if err := json.Unmarshal(s.AppendJSON(nil), &back); err != nil || back["title"] != s.Title {
		t.Errorf("%v %v", back, err)
	}
}

func TestEventIDsAreStable(t *testing.T) {
	at := Origin{TopicID: "t", Offset: 1, Fingerprint: 7}
	if first := at.EventID(""); first != at.EventID("") || first == at.EventID("ann") || first == (Origin{TopicID: "t", Offset: 2, Fingerprint: 7}).EventID("") ||
		first == (Origin{TopicID: "t", Offset: 1, Fingerprint: 8}).EventID("") {
		t.Error("an event id does not follow its place")
	}
	if EventIDOf("a", "bc", "1") == EventIDOf("ab", "c", "1") {
		t.Error("sender and key run into each other")
	}
	if !IsUUID(at.EventID("")) {
		t.Error("not a UUID")
	}
}

func BenchmarkStoredAppendJSON(b *testing.B) {
	b.ReportAllocs()
	s := Stored{ID: 43, EventID: Origin{TopicID: "t", Offset: 1}.EventID(""), UserID: "7", Kind: "message", Title: "Deploy finished", Body: "api v2.3 is live", Priority: "normal", CreatedAt: time.Now()}
	buf := make([]byte, 0, 512)
	for b.Loop() {
		buf = s.AppendJSON(buf[:0])
	}
}

// A link is read as a browser reads it before it is let pass: a path of the
// page's own host must stay one.
func TestAttackLinkToAnotherHost(t *testing.T) {
	t.Parallel()
	for link, good := range map[string]bool{
		"/": true, "/a": true, "/a/": true, "/a//b": true, "/a/../b": true, "/./a": true, "/.": true, "/..": true, "/%2e%2e/a": true, "/a?x=//b\\c": true, "/a#/.//b": true, "/.a//b": true,
		"https://example.org": true, "HTTP://example.org/a//b": true, "/é": true, "/inbox/5": true,
		"//evil.example": false, `/\evil.example`: false, `\\evil.example`: false, "///evil.example": false, "/.//evil.example": false, `/.\/evil.example`: false, `/./\evil.example`: false,
		"/..//evil.example": false, "/a/..//evil.example": false, "/%2e//evil.example": false, "/%2E%2e//evil.example": false, "/.%2e//evil.example": false, "/a/%2e%2E//evil.example": false, "/././/evil.example": false,
		"/\t/evil.example": false, "/\n/evil.example": false, "/\r/evil.example": false, "\t//evil.example": false, " //evil.example": false, "/\u0085/a": false, "/a\u202egnp": false, "/a\u2028": false,
		"java\tscript:alert(1)": false, "javascript:alert(1)": false, "data:text/html,x": false, "https:evil.example": false, `https:\\evil.example`: false, `https://good.example\@evil.example`: false, "https:///evil.example": false,
	} {
		var v Invalid
		v.CheckURL("url", link)
		if (v.Err() == nil) != good {
			t.Errorf("%q: %v, want it let pass: %t", link, v.Err(), good)
		}
	}
}
