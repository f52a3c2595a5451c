package api

import (
	"testing"
	"time"

	"crier/internal/user"
)

// The use of a key is recorded once in an interval, whichever gateway has seen it, and
// its end is warned of once a day.
func TestKeyUses(t *testing.T) {
	t.Parallel()
	start := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	at := func(d time.Duration) *time.Time { t := start.Add(d); return &t }
	day := 24 * time.Hour
	for name, c := range map[string]struct {
		key          user.Key
		again        time.Duration // the second use, behind the first
		record, warn [2]bool
	}{
		"first use":                   {user.Key{}, time.Second, [2]bool{true, false}, [2]bool{}},
		"after the interval":          {user.Key{}, keyUseInterval, [2]bool{true, true}, [2]bool{}},
		"another gateway recorded it": {user.Key{LastUsedAt: at(-time.Minute)}, time.Minute, [2]bool{false, false}, [2]bool{}},
		"long ago":                    {user.Key{LastUsedAt: at(-day)}, time.Second, [2]bool{true, false}, [2]bool{}},
		"ends in a month":             {user.Key{ExpiresAt: at(30 * day)}, time.Second, [2]bool{true, false}, [2]bool{}},
		"ends in a week":              {user.Key{ExpiresAt: at(7 * day)}, time.Second, [2]bool{true, false}, [2]bool{true, false}},
		"ends in a week, next day":    {user.Key{ExpiresAt: at(7 * day)}, day, [2]bool{true, true}, [2]bool{true, true}},
		"has expired":                 {user.Key{ExpiresAt: at(0)}, day, [2]bool{}, [2]bool{}},
		"expires between":             {user.Key{ExpiresAt: at(time.Hour)}, time.Hour, [2]bool{true, false}, [2]bool{true, false}},
	} {
		var u keyUses
		for i, now := range []time.Time{start, start.Add(c.again)} {
			if record, warn := u.due(c.key, now); record != c.record[i] || warn != c.warn[i] {
				t.Errorf("%s, use %d: record %v, warn %v, want %v, %v", name, i, record, warn, c.record[i], c.warn[i])
			}
		}
	}
	var u keyUses
	for id := range int64(2 * maxKeyUses) {
		u.due(user.Key{ID: id, ExpiresAt: at(day)}, start)
	}
	if n := len(u.recorded) + len(u.told); n > maxKeyUses+2 {
		t.Errorf("%d uses are remembered", n)
	}
}
