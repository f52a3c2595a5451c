package event

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// UserID names a user. It is text everywhere; a JSON number is accepted on
// input and taken as its decimal text, because older clients send one.
type UserID string

// UnmarshalJSON takes a string or a whole number.
func (u *UserID) UnmarshalJSON(b []byte) error {
	if len(b) > 0 && b[0] == '"' {
		var s string
		if err := json.Unmarshal(b, &s); err != nil {
			return err
		}
		*u = UserID(s)
		return nil
	}
	if bytes.Equal(b, []byte("null")) {
		return nil
	}
	for i, c := range b {
		if (c < '0' || c > '9') && (i > 0 || c != '-') {
			return Invalid{{Field: "user_id", Rule: "type", Message: "must be a string or a whole number"}}
		}
	}
	*u = UserID(b)
	return nil
}

// MaxUserID is the longest user id in bytes; the longest `sub` that identity
// providers are known to issue is 255 ASCII characters (OpenID Connect Core 2).
const MaxUserID = 255

func (v *Invalid) checkUserID(field string, id UserID) {
	switch {
	case id == "":
		v.Add(field, "required", "is required")
	case len(id) > MaxUserID:
		v.Add(field, "length", fmt.Sprintf("must be at most %d bytes", MaxUserID))
	case !printable(string(id)):
		v.Add(field, "characters", "must not hold control characters")
	default:
		if _, ok := id.Topic(); ok {
			v.Add(field, "reserved", "must not begin with topic: or room:")
		}
	}
}

// CheckUserID notes what is wrong with a user id.
func (v *Invalid) CheckUserID(field string, id UserID) { v.checkUserID(field, id) }

// CheckText notes a text that is longer than limit characters or that Postgres
// and terminals cannot hold (NUL, other control characters but tab and line ends).
func (v *Invalid) CheckText(field, s string, limit int) {
	if utf8.RuneCountInString(s) > limit {
		v.Add(field, "length", fmt.Sprintf("must be at most %d characters", limit))
	}
	if !utf8.ValidString(s) {
		v.Add(field, "utf8", "must be valid UTF-8")
	}
	for _, r := range s {
		if r < 0x20 && r != '\n' && r != '\r' && r != '\t' || r == 0x7f {
			v.Add(field, "characters", "must not hold control characters")
			return
		}
	}
}

func printable(s string) bool {
	for _, r := range s {
		if r < 0x20 || r == 0x7f || r == utf8.RuneError {
			return false
		}
	}
	return true
}

// CheckURL notes a link that a browser should not be sent to: only http, https
// and paths of the page's own host are allowed, so never javascript:.
func (v *Invalid) CheckURL(field, s string) {
	if s == "" {
		return
	}
	if len(s) > 2048 {
		v.Add(field, "length", "must be at most 2048 bytes")
		return
	}
	u, err := url.Parse(s)
	if err != nil || strings.ContainsFunc(s, unlinkable) || !(isOwnPath(s) || (u.Scheme == "http" || u.Scheme == "https") && u.Host != "") {
		v.Add(field, "url", "must be an http or https URL, or a path that begins with /")
	}
}

// unlinkable are characters that browsers remove from a URL before they read it
// (the URL standard, section 4.4), or that hide what it says.
func unlinkable(r rune) bool {
	return unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r) || r == '\u2028' || r == '\u2029' || r == utf8.RuneError
}

// isOwnPath says whether a browser that resolves s stays on the page's host, also
// when it resolves the result again. It reads a backslash as a slash and removes
// dot segments, encoded ones, too: /.//host becomes //host, another host's address.
func isOwnPath(s string) bool {
	path, _, _ := strings.Cut(s, "#")
	path, _, _ = strings.Cut(path, "?")
	path = strings.ReplaceAll(path, `\`, "/")
	if !strings.HasPrefix(path, "/") || strings.HasPrefix(path, "//") {
		return false
	}
	var kept []string
	segments := strings.Split(path[1:], "/")
	for i, segment := range segments {
		switch strings.ReplaceAll(strings.ToLower(segment), "%2e", ".") {
		case "..":
			kept = kept[:max(0, len(kept)-1)]
		case ".":
		default:
			kept = append(kept, segment)
			continue
		}
		if i == len(segments)-1 {
			kept = append(kept, "")
		}
	}
	return len(kept) < 2 || kept[0] != ""
}

// CheckName notes a name that is not made of lower-case letters, digits, '.', '_'
// and '-', begun by a letter or digit, at most limit long.
func (v *Invalid) CheckName(field, s string, limit int) {
	if !isName(s, limit) {
		v.Add(field, "name", fmt.Sprintf("must be 1 to %d of a-z, 0-9, '.', '_', '-', and begin with a letter or digit", limit))
	}
}

func isName(s string, limit int) bool {
	if len(s) == 0 || len(s) > limit {
		return false
	}
	for i := 0; i < len(s); i++ {
		c := s[i]
		alnum := c >= 'a' && c <= 'z' || c >= '0' && c <= '9'
		if !alnum && (i == 0 || c != '.' && c != '_' && c != '-') {
			return false
		}
	}
	return true
}

// appendString appends s as a JSON string. Unlike encoding/json it leaves
// <, > and & alone: the data goes to JSON readers, never into HTML.
func appendString(b []byte, s string) []byte {
	plain := true
	for i := 0; i < len(s); i++ {
		if c := s[i]; c < 0x20 || c == '"' || c == '\\' || c >= 0x7f {
			plain = false
			break
		}
	}
	if plain {
		b = append(b, '"')
		b = append(b, s...)
		return append(b, '"')
	}
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	_ = enc.Encode(s) // a string always encodes
	return append(b, bytes.TrimRight(buf.Bytes(), "\n")...)
}

func appendTime(b []byte, t time.Time) []byte {
	b = append(b, '"')
	b = t.UTC().AppendFormat(b, time.RFC3339Nano)
	return append(b, '"')
}

// compact removes the white space from a JSON value, so that it stands on one
// line of an event stream. An absent value and null are both nothing.
func compact(raw json.RawMessage) json.RawMessage {
	if len(raw) == 0 || bytes.Equal(bytes.TrimSpace(raw), []byte("null")) {
		return nil
	}
	if bytes.IndexByte(raw, '\n') < 0 && bytes.IndexByte(raw, '\r') < 0 {
		return raw
	}
	var buf bytes.Buffer
	if json.Compact(&buf, raw) != nil {
		return raw
	}
	return buf.Bytes()
}

// CleanText is s without what Postgres cannot hold, for texts that are kept for
// people to read and are not worth refusing (a user agent).
func CleanText(s string) string {
	return strings.Map(func(r rune) rune {
		if r < 0x20 || r == 0x7f || r == utf8.RuneError {
			return -1
		}
		return r
	}, s)
}
