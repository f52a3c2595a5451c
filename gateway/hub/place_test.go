package hub

import (
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

// A cursor decides where a stream begins; what cannot be honoured is a gap with
// a reason, and the stream goes on from now.
func TestPlace(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("é", 9000)
	for _, c := range []struct {
		cursor    string
		last      int64
		pruned    int64
		from      int64
		reconnect bool
		gap       string
	}{
		{"", 7, 0, 7, false, ""},
		{"", 0, 0, 0, false, ""},
		{"0", 7, 0, 0, true, ""},
		{"5", 7, 0, 5, true, ""},
		{"7", 7, 0, 7, true, ""},
		{"8", 7, 0, 7, true, GapAhead},
		{"9223372036854775807", 7, 0, 7, true, GapAhead},
		{"9223372036854775808", 7, 0, 7, true, GapUnreadable},
		{"2", 7, 3, 7, true, GapPruned},
		{"3", 7, 3, 3, true, ""},
		{"0", 7, 3, 7, true, GapPruned},
		{"5;room:x=9", 7, 0, 5, true, ""},
		{"-1", 7, 0, 7, true, GapUnreadable},
		{"+1", 7, 0, 7, true, GapUnreadable},
		{" 1", 7, 0, 7, true, GapUnreadable},
		{"1;", 7, 0, 7, true, GapUnreadable},
		{"x\x00\ny", 7, 0, 7, true, GapUnreadable},
		{long, 7, 0, 7, true, GapUnreadable},
	} {
		p := Place(c.cursor, Head{Last: c.last}, c.pruned)
		if p.From != c.from || p.Reconnect != c.reconnect || p.GapReason != c.gap {
			t.Errorf("%.20q: from %d, reconnect %v, gap %q; want %d, %v, %q", c.cursor, p.From, p.Reconnect, p.GapReason, c.from, c.reconnect, c.gap)
		}
		if !utf8.ValidString(p.GapFrom) || len(p.GapFrom) > 100 || strings.ContainsAny(p.GapFrom, "\x00\n") {
			t.Errorf("%.20q: the gap says it came from %q", c.cursor, p.GapFrom)
		}
	}
}

// A stream opens with ready, whose id is the cursor it goes on from, and a gap
// where there is one; who is not signed in gets no place.
func TestOpening(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for _, c := range []struct {
		name string
		st   Stream
		want []string // type, cursor and data
	}{
		{"new", Stream{UserID: ann, Session: "s", Place: Place("", Head{Last: 7, Counts: version(2)}, 0)},
			[]string{`ready 7 {"counts":{"unread":2,"unseen":2,"version":2},"last_id":7,"server_time":"2026-01-02T03:04:05Z","session":"s","user_id":"ann"}`}},
		{"comes back", Stream{UserID: ann, Place: Place("3", Head{Last: 7}, 0)},
			[]string{`ready 3 {"counts":{"unread":0,"unseen":0,"version":0},"last_id":7,"server_time":"2026-01-02T03:04:05Z","session":"","user_id":"ann"}`}},
		{"gap", Stream{UserID: ann, Place: Place("<9>", Head{Last: 7}, 0)},
			[]string{`ready 7 {"counts":{"unread":0,"unseen":0,"version":0},"last_id":7,"server_time":"2026-01-02T03:04:05Z","session":"","user_id":"ann"}`,
				`gap  {"from":"\u003c9\u003e","reason":"unreadable"}`}},
		{"nobody", Stream{}, []string{`ready  {"server_time":"2026-01-02T03:04:05Z"}`}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			got := c.st.Opening(now)
			for i, e := range got {
				if s := e.Type + " " + e.Cursor + " " + string(e.Data); i >= len(c.want) || s != c.want[i] {
					t.Errorf("event %d: %s", i, s)
				}
			}
			if len(got) != len(c.want) {
				t.Errorf("%d events, want %d", len(got), len(c.want))
			}
		})
	}
}

// Who comes back is told how it went, and why the last connection was cut; who
// is new, or had a gap, is not.
func TestResumed(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		p    Placing
		want string
	}{
		{Place("", Head{Last: 7}, 0), ""},
		{Place("9", Head{Last: 7}, 0), ""},
		{Place("3", Head{Last: 7}, 0), `{"from":"3","replayed":4}`},
		{Placing{From: 3, Reconnect: true, CutReason: TooSlow}, `{"from":"3","reason":"slow","replayed":4}`},
	} {
		got := ""
		if e := c.p.Resumed(4); e != nil {
			got = string(e.Data)
		}
		if got != c.want {
			t.Errorf("%+v: %s, want %s", c.p, got, c.want)
		}
	}
}
