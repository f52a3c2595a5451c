package event

import (
	"bytes"
	"encoding/json"
	"errors"
	"testing"
	"time"
)

var hostile = []string{
	``, `{}`, `null`, `[]`, `"x"`, `{"user_id":7,"payload":{"text":"hi"}}`, `{"user_id":"7","title":"a\u0000b"}`,
	`{"user_id":-1}`, `{"user_id":1e3}`, `{"user_ids":[1,1,"2"],"body":"x"}`, "{\"user_id\":\"\xff\"}", `{"user_id":{}}`,
	`{"symbol":"BTCUSDT","price":"96440.0","time":"2024-12-01T00:00:00Z"}`, `{"symbol":"BTCUSDT","price":1e-7}`, `{"symbol":5}`,
	`{"alert_id":1,"user_id":"1","symbol":"X","condition":"above","target":"1","price":"2"}`, "{\"user_id\":7,\"payload\":{\n\"a\":1}}",
}

// Whatever comes in, parsing ends in a value or in an Invalid, and what was
// accepted can be written and read again on one line.
func FuzzParseNotification(f *testing.F) {
	for _, s := range hostile {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		n, err := ParseNotification(b)
		if err != nil {
			var inv Invalid
			if !errors.As(err, &inv) || len(inv) == 0 || inv[0].Message == "" {
				t.Fatalf("%q: %v is not an Invalid", b, err)
			}
			return
		}
		s := Stored{ID: 1, UserID: n.Recipients()[0], Kind: n.Kind, Title: n.Title, Body: n.Body, URL: n.URL, Payload: n.Payload, Priority: n.Priority}
		line := s.AppendJSON(nil)
		if !json.Valid(line) {
			t.Fatalf("%q became %q, which is not JSON", b, line)
		}
		for _, c := range line {
			if c == '\n' || c == '\r' {
				t.Fatalf("%q became more than one line: %q", b, line)
			}
		}
	})
}

func FuzzParseTick(f *testing.F) {
	for _, s := range hostile {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		tick, err := ParseTick(b, time.Unix(1, 0))
		if err != nil {
			return
		}
		again, err := ParseTick(tick.AppendJSON(nil), time.Unix(1, 0))
		if err != nil || again.Price != tick.Price || again.Symbol != tick.Symbol || !again.Time.Equal(tick.Time) {
			t.Fatalf("%q became %+v and then %+v, %v", b, tick, again, err)
		}
	})
}

func FuzzParseTrigger(f *testing.F) {
	for _, s := range hostile {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) { _, _ = ParseTrigger(b) })
}

func FuzzParseCursor(f *testing.F) {
	for _, s := range []string{"0", "43", "43;news=7", "43;a=1;b=2", ";", "-1", "9223372036854775808", "1;=2", "1;a="} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		c, err := ParseCursor(s)
		if err != nil {
			return
		}
		again, err := ParseCursor(c.String())
		if err != nil || again.String() != c.String() {
			t.Fatalf("%q became %q, then %v", s, c, err)
		}
	})
}

// Whatever stands on `incoming`, what passes is bounded, is JSON on one line, and
// reads the same when it is written again.
func FuzzParseIncoming(f *testing.F) {
	for _, s := range []string{`{"account_id":1,"data":{"a":1}}`, `{"account_id":"7","data":null,"event_id":"e-1"}`, `{"account_id":1.5,"data":1}`, `{"account_id":1,"data":"\u0000"}`, "{\"account_id\":1,\"data\":[\n1]}", `{"account_id":1e3,"data":1}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, value []byte) {
		in, err := ParseIncoming(value)
		if err != nil {
			var v Invalid
			if !errors.As(err, &v) {
				t.Errorf("%q: %v is no Invalid", value, err)
			}
			return
		}
		if in.AccountID < 1 || len(in.Data) > MaxPayload || !json.Valid(in.Data) || bytes.ContainsAny(in.Data, "\r\n") {
			t.Errorf("%q passes as %+v", value, in)
		}
		again, err := json.Marshal(in)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := ParseIncoming(again); err != nil && len(in.Data) < MaxPayload/6 { // escaping lengthens
			t.Errorf("%q: written as %q it does not pass: %v", value, again, err)
		}
	})
}

// Whatever is asked of a room is refused with fields and rules, or can be
// written back and read as the same.
func FuzzParseRoomRequest(f *testing.F) {
	for _, s := range []string{`{}`, `{"type":"join","room":"den","user_id":"1","connection":"5b1f4a52-5f2f-4d3e-9d3b-3a1f0f5c8f10","gateway":"5b1f4a52-5f2f-4d3e-9d3b-3a1f0f5c8f10"}`,
		`{"type":"message","room":"den","user_id":7,"username":"bob","body":" hi "}`, `{"type":"custom","room":"den","user_id":"7","command":"stock","payload":"x"}`,
		`{"type":"edit","room":"a-b_c","user_id":"7","message_id":3,"body":"x"}`, `{"type":"close","room":"den"}`, `{"type":"message","room":"den","user_id":"room:x","body":"\u0000"}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := ParseRoomRequest(b)
		if err != nil {
			var inv Invalid
			if !errors.As(err, &inv) || len(inv) == 0 {
				t.Fatalf("%q: %v is no Invalid", b, err)
			}
			return
		}
		text, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		again, err := ParseRoomRequest(text)
		if err != nil || again != r {
			t.Fatalf("%q: %+v, read back %+v, %v", b, r, again, err)
		}
	})
}
