package event

import (
	"errors"
	"slices"
	"strconv"
	"strings"
)

// Cursor is a stream's place: the id of the last notification that its reader
// has, and the last place in each durable topic it follows. Clients treat its
// text as opaque.
type Cursor struct {
	Inbox  int64
	Topics map[string]int64
}

// ErrCursor is a text that no Crier has written.
var ErrCursor = errors.New("unreadable cursor")

// maxCursor bounds the text a stranger may send: 100 topics of 100 letters.
const maxCursor = 16 << 10

// ParseCursor reads INBOX or INBOX;TOPIC=PLACE;…, as String writes it.
func ParseCursor(s string) (Cursor, error) {
	if s == "" || len(s) > maxCursor {
		return Cursor{}, ErrCursor
	}
	head, rest, more := strings.Cut(s, ";")
	inbox, err := parsePlace(head)
	if err != nil {
		return Cursor{}, err
	}
	c := Cursor{Inbox: inbox}
	for more {
		var part string
		part, rest, more = strings.Cut(rest, ";")
		name, place, ok := strings.Cut(part, "=")
		at, err := parsePlace(place)
		if !ok || name == "" || err != nil {
			return Cursor{}, ErrCursor
		}
		if c.Topics == nil {
			c.Topics = make(map[string]int64)
		}
		c.Topics[name] = at
	}
	return c, nil
}

func parsePlace(s string) (int64, error) {
	if s == "" || s[0] == '+' || s[0] == '-' {
		return 0, ErrCursor
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		return 0, ErrCursor
	}
	return n, nil
}

// String is the cursor's text, topics in order of name.
func (c Cursor) String() string {
	b := strconv.AppendInt(nil, c.Inbox, 10)
	names := make([]string, 0, len(c.Topics))
	for name := range c.Topics {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		b = append(b, ';')
		b = append(b, name...)
		b = append(b, '=')
		b = strconv.AppendInt(b, c.Topics[name], 10)
	}
	return string(b)
}
