package hub

import (
	"strings"
	"testing"

	"crier/internal/event"
)

// Whatever topics a stranger names, they are refused, or each can be followed
// and stands in a cursor that is read back.
func FuzzParseTopics(f *testing.F) {
	for _, s := range []string{"", "news", "room:Friends-1,ticks:BTCUSDT", "a;b=1", "topic:x", "room:", "ticks:a:b/c", strings.Repeat("x,", 300)} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		_, topics, err := ParseTopics(strings.Split(s, ","))
		if err != nil {
			return
		}
		c := event.Cursor{Inbox: 1, Topics: make(map[string]int64)}
		for i, topic := range topics {
			c.Topics[topic] = int64(i)
		}
		again, err := event.ParseCursor(c.String())
		if err != nil || len(again.Topics) != len(topics) {
			t.Fatalf("%q: the cursor %s is read as %+v, %v", s, c, again, err)
		}
	})
}
