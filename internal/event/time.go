package event

import (
	"encoding/json"
	"errors"
	"time"
)

// ErrTime is a text that is not a time as RFC 3339 has it, or that no year of
// 1970 to 9999 in UTC holds: JSON and Postgres' readers stop there.
var ErrTime = errors.New("must be a time from 1970 to 9999 (UTC) as RFC 3339 has it, such as 2026-11-21T18:00:00Z")

// ParseTime reads a time (RFC 3339, section 5.6) and returns it in UTC. The
// letters T and Z may be in lower case. A leap second, which ends a day in UTC, is
// taken as the first instant of the next day, since Go's clock has none.
func ParseTime(s string) (time.Time, error) {
	b := []byte(s)
	if n := len(b); n < len("2006-01-02T15:04:05Z") {
		return time.Time{}, ErrTime
	} else {
		b[10] = upper(b[10], 't')
		b[n-1] = upper(b[n-1], 'z')
	}
	leap := string(b[17:19]) == "60"
	if leap {
		b[17], b[18] = '5', '9'
	}
	var t time.Time
	if err := t.UnmarshalText(b); err != nil || b[19] == ',' || !isOffset(b) { // which the time package takes, too
		return time.Time{}, ErrTime
	}
	t = t.UTC()
	if leap {
		if t.Hour() != 23 || t.Minute() != 59 {
			return time.Time{}, ErrTime
		}
		t = t.Truncate(time.Second).Add(time.Second)
	}
	if !storable(t) {
		return time.Time{}, ErrTime
	}
	return t, nil
}

// isOffset says whether a time's zone is Z or less than a day away from it.
func isOffset(b []byte) bool {
	zone := b[len(b)-len("+00:00"):]
	return b[len(b)-1] == 'Z' || string(zone[1:3]) < "24" && string(zone[4:]) < "60"
}

func upper(c, letter byte) byte {
	if c == letter {
		return c - 'a' + 'A'
	}
	return c
}

// storable says whether every reader of a time can hold it.
func storable(t time.Time) bool {
	year := t.UTC().Year()
	return year >= 1970 && year <= 9999
}

// CheckTime reads a time given as a JSON string and notes what is wrong with it;
// nothing, null and "" are the zero time.
func (v *Invalid) CheckTime(field string, raw json.RawMessage) time.Time {
	if len(raw) == 0 || string(raw) == "null" || string(raw) == `""` {
		return time.Time{}
	}
	var s string
	if json.Unmarshal(raw, &s) != nil {
		v.Add(field, "time", ErrTime.Error())
		return time.Time{}
	}
	return v.CheckTimeText(field, s)
}

// CheckTimeText is CheckTime for a text outside of JSON; "" is the zero time.
func (v *Invalid) CheckTimeText(field, s string) time.Time {
	if s == "" {
		return time.Time{}
	}
	t, err := ParseTime(s)
	if err != nil {
		v.Add(field, "time", err.Error())
	}
	return t
}
