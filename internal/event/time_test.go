package event_test

import (
	"encoding/json"
	"testing"
	"time"

	"crier/internal/event"
)

// Times as RFC 3339 has them, within what Postgres and JSON can hold.
func TestParseTime(t *testing.T) {
	for in, want := range map[string]string{
		"2026-11-21T18:00:00Z": "2026-11-21T18:00:00Z", "2026-11-21t18:00:00z": "2026-11-21T18:00:00Z", "2026-11-21T18:00:00.123456789+02:00": "2026-11-21T16:00:00.123456789Z",
		"2016-12-31T23:59:60Z": "2017-01-01T00:00:00Z", "2016-12-31T15:59:60.5-08:00": "2017-01-01T00:00:00Z", "2016-12-31T23:58:60Z": "", "2016-12-31T22:59:60Z": "",
		"1970-01-01T00:00:00Z": "1970-01-01T00:00:00Z", "1970-01-01T00:59:59+01:00": "", "1969-12-31T23:59:59Z": "",
		"9999-12-31T23:59:59Z": "9999-12-31T23:59:59Z", "9999-12-31T23:59:59-01:00": "", "9999-12-31T23:59:60Z": "",
		"": "", "now": "", "2026-11-21": "", "2026-11-21T18:00:00": "", "2026-11-21 18:00:00Z": "", "2026-11-21T18:00:00,5Z": "", "2026-11-21T8:00:00Z": "", "2026-02-30T18:00:00Z": "",
		"2026-11-21T24:00:00Z": "", "2026-11-21T18:00:61Z": "", "2026-11-21T18:00:00+24:00": "", "١٩٧٠-01-01T00:00:00Z": "",
	} {
		got, err := event.ParseTime(in)
		if (err != nil) != (want == "") || err == nil && got.Format(time.RFC3339Nano) != want {
			t.Errorf("%q: %v, %v, want %q", in, got, err, want)
		}
	}
}

// Names are case-sensitive (RFC 8259): another spelling is another member, which
// is ignored.
func TestNamesAreCaseSensitive(t *testing.T) {
	n, err := event.ParseNotification([]byte(`{"user_id":"2","USER_ID":"3","title":"x","Title":"y","Topic":"Orders","Payload":[],"deliver_at":"","expires_at":""}`))
	if err != nil || n.UserID != "2" || n.Title != "x" || n.Topic != "" || len(n.Payload) > 0 {
		t.Errorf("%+v, %v", n, err)
	}
	if _, err := event.ParseNotification([]byte(`{"User_id":"2","title":"x"}`)); err == nil {
		t.Error("User_id was taken for user_id")
	}
	tick, err := event.ParseTick([]byte(`{"symbol":"A","Symbol":"B","price":"1","PRICE":"2","time":"","Time":"x"}`), time.Unix(5, 0))
	if err != nil || tick.Symbol != "A" || tick.Price.String() != "1" || !tick.Time.Equal(time.Unix(5, 0)) {
		t.Errorf("%+v, %v", tick, err)
	}
	in, err := event.ParseIncoming([]byte(`{"account_id":2,"Account_ID":3,"data":1,"DATA":2}`))
	if err != nil || in.AccountID != 2 || string(in.Data) != "1" {
		t.Errorf("%+v, %v", in, err)
	}
}

// A price that was computed as a float is rounded to what is kept; text is not.
func TestTickPriceOfAFloat(t *testing.T) {
	for raw, want := range map[string]string{`8.120000000000001e-06`: "0.00000812", `1.2345678901234567e-05`: "0.000012345678901235", `1e-19`: "0", `"1e-19"`: ""} {
		tick, err := event.ParseTick([]byte(`{"symbol":"A","price":`+raw+`}`), time.Unix(5, 0))
		if (err != nil) != (want == "") || err == nil && tick.Price.String() != want {
			t.Errorf("%s: %v, %v, want %q", raw, tick.Price, err, want)
		}
	}
}

// What could not be stored is refused before anything is, whichever field it is.
func TestTimesBeyondWhatIsStored(t *testing.T) {
	const beyond = "9999-12-31T23:59:59-01:00"
	trigger := map[string]any{"alert_id": 1, "user_id": "1", "symbol": "A", "condition": "above", "price": "1", "time": "2026-01-01T00:00:00Z",
		"recorded_at": "2026-01-01T00:00:00Z", "topic_id": "00000000-0000-4000-8000-000000000000", "partition": 0, "offset": 0}
	parse := func() error {
		b, err := json.Marshal(trigger)
		if err != nil {
			t.Fatal(err)
		}
		_, err = event.ParseTrigger(b)
		return err
	}
	if err := parse(); err != nil {
		t.Fatal(err)
	}
	for _, field := range []string{"time", "recorded_at"} {
		was := trigger[field]
		trigger[field] = beyond
		if parse() == nil {
			t.Errorf("a trigger's %s", field)
		}
		trigger[field] = was
	}
	trigger["before"] = map[string]any{"price": "1", "offset": 0, "time": beyond}
	if parse() == nil {
		t.Error("the time of a trigger's tick before")
	}
	for _, value := range []string{`{"user_id":"1","title":"x","expires_at":"` + beyond + `"}`, `{"user_id":"1","title":"x","deliver_at":"` + beyond + `"}`} {
		if _, err := event.ParseNotification([]byte(value)); err == nil {
			t.Error(value)
		}
	}
	if _, err := event.ParseTick([]byte(`{"symbol":"A","price":"1","time":"`+beyond+`"}`), time.Unix(5, 0)); err == nil {
		t.Error("a tick's time")
	}
}
