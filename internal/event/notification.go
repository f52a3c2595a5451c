package event

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"time"
	"unicode/utf8"
)

// Limits of a notification, in characters (bytes for the payload). They keep
// one notification well inside a default Kafka batch of 1 MB and a screen.
const (
	MaxPayload        = 64 << 10
	MaxTitle          = 500
	MaxBody           = 10_000
	MaxKind           = 50
	MaxIdempotencyKey = 255
	MaxSource         = 100
	MaxRecipients     = 10_000
	MaxDepth          = 100 // of a payload: readers in other languages give up near 1,000
	MaxCollapseKey    = 100
	MaxDelay          = 366 * 24 * time.Hour // how far ahead deliver_at may lie
)

// KindMessage is the kind of a notification that names none, KindAlert that of
// a fired alert.
const (
	KindMessage = "message"
	KindAlert   = "alert"
)

// Priorities in rising order; the index is what is stored.
var Priorities = []string{"low", "normal", "high", "urgent"}

// Channels are the ways out that a notification may name.
var Channels = []string{"inbox", "email", "webhook"}

// Notification is what a producer wants said: a record of topic
// `notifications`, keyed by user. See Validate for what it must keep.
type Notification struct {
	UserID         UserID          `json:"user_id,omitempty"`
	UserIDs        []UserID        `json:"user_ids,omitempty"`
	Topic          string          `json:"topic,omitempty"`
	Everyone       bool            `json:"everyone,omitempty"`
	Payload        json.RawMessage `json:"payload,omitempty" swaggertype:"object"`
	Title          string          `json:"title,omitempty"`
	Body           string          `json:"body,omitempty"`
	URL            string          `json:"url,omitempty"`
	Kind           string          `json:"kind,omitempty"`
	Priority       string          `json:"priority,omitempty"`
	Channels       []string        `json:"channels,omitempty"`
	IdempotencyKey string          `json:"idempotency_key,omitempty"`
	Source         string          `json:"source,omitempty"`
	DeliverAt      json.RawMessage `json:"deliver_at,omitempty" swaggertype:"string" format:"date-time"`
	ExpiresAt      json.RawMessage `json:"expires_at,omitempty" swaggertype:"string" format:"date-time"`
	CollapseKey    string          `json:"collapse_key,omitempty"`

	due, ends time.Time // of DeliverAt and ExpiresAt, set by Validate
}

// ParseNotification reads and checks one record of `notifications`. The error
// is an Invalid.
func ParseNotification(value []byte) (Notification, error) {
	var n Notification
	err := decodeNotification(value, &n)
	if err == nil {
		return n, nil
	}
	if message := envelope(value); message != "" {
		return n, Invalid{{Field: "", Rule: "envelope", Message: message}}
	}
	return n, err
}

func decodeNotification(value []byte, n *Notification) error {
	if !utf8.Valid(value) {
		return Invalid{{Field: "", Rule: "utf8", Message: "must be valid UTF-8"}}
	}
	if err := DecodeObject(value, n); err != nil {
		return err
	}
	return n.Validate()
}

// Validate fills in defaults (kind, priority), puts the payload on one line,
// removes repeated users, and returns every broken rule as an Invalid.
func (n *Notification) Validate() error {
	var v Invalid
	n.validateTarget(&v)
	n.Payload = compact(n.Payload)
	if len(n.Payload) > MaxPayload {
		v.Add("payload", "length", fmt.Sprintf("must be at most %d bytes", MaxPayload))
	}
	if depth(n.Payload) > MaxDepth {
		v.Add("payload", "depth", fmt.Sprintf("must be at most %d levels deep", MaxDepth))
	}
	if len(n.Payload) == 0 && n.Title == "" && n.Body == "" {
		v.Add("payload", "required", "one of payload, title and body is required")
	}
	v.CheckText("title", n.Title, MaxTitle)
	v.CheckText("body", n.Body, MaxBody)
	v.CheckURL("url", n.URL)
	if n.Kind == "" {
		n.Kind = KindMessage
	}
	v.CheckName("kind", n.Kind, MaxKind)
	if n.Priority == "" {
		n.Priority = "normal"
	}
	if !slices.Contains(Priorities, n.Priority) {
		v.Add("priority", "enum", "must be low, normal, high or urgent")
	}
	for i, c := range n.Channels {
		if !slices.Contains(Channels, c) {
			v.Add(fmt.Sprintf("channels[%d]", i), "enum", "must be inbox, email or webhook")
		}
	}
	v.CheckText("idempotency_key", n.IdempotencyKey, MaxIdempotencyKey)
	v.CheckText("source", n.Source, MaxSource)
	v.CheckText("collapse_key", n.CollapseKey, MaxCollapseKey)
	n.due = v.CheckTime("deliver_at", n.DeliverAt)
	n.ends = v.CheckTime("expires_at", n.ExpiresAt)
	if !n.ends.IsZero() && !n.due.IsZero() && !n.ends.After(n.due) {
		v.Add("expires_at", "order", "must be after deliver_at")
	}
	n.validateWaysOut(&v)
	return v.Err()
}

func (n *Notification) validateTarget(v *Invalid) {
	targets := 0
	for _, given := range []bool{n.UserID != "", len(n.UserIDs) > 0, n.Topic != "", n.Everyone} {
		if given {
			targets++
		}
	}
	switch {
	case targets == 0:
		v.Add("user_id", "required", "is required")
	case targets > 1:
		v.Add("user_id", "one_of", "only one of user_id, user_ids, topic and everyone may be given")
	case n.UserID != "":
		v.checkUserID("user_id", n.UserID)
	case n.Topic != "":
		v.CheckSendTopic("topic", n.Topic)
	}
	if len(n.UserIDs) > MaxRecipients {
		v.Add("user_ids", "length", fmt.Sprintf("must be at most %d users", MaxRecipients))
		return
	}
	seen := make(map[UserID]bool, len(n.UserIDs))
	unique := n.UserIDs[:0]
	for i, id := range n.UserIDs {
		v.checkUserID(fmt.Sprintf("user_ids[%d]", i), id)
		if !seen[id] {
			seen[id] = true
			unique = append(unique, id)
		}
	}
	n.UserIDs = unique
}

// validateWaysOut notes channels that do not fit the target.
func (n *Notification) validateWaysOut(v *Invalid) {
	if len(n.Channels) > 0 && !slices.Contains(n.Channels, "inbox") {
		v.Add("channels", "inbox", "must hold inbox: what goes out by other ways is kept there")
	}
	for i, c := range n.Channels {
		if n.Topic != "" && c != "inbox" {
			v.Add(fmt.Sprintf("channels[%d]", i), "target", "a topic has followers, and no addresses of theirs")
		}
	}
	if n.Topic != "" && n.CollapseKey != "" {
		v.Add("collapse_key", "target", "replaces what one reader has not read; a topic has many")
	}
}

// CheckTimes returns as an Invalid what is wrong with its times at now: too far
// ahead, or over.
func (n *Notification) CheckTimes(now time.Time) error {
	var v Invalid
	if n.due.Sub(now) > MaxDelay {
		v.Add("deliver_at", "range", "must be at most 366 days ahead")
	}
	if !n.ends.IsZero() && !n.ends.After(now) {
		v.Add("expires_at", "range", "must be in the future")
	}
	return v.Err()
}

// DueAt is when it is to be delivered; zero: at once. Known after Validate.
func (n *Notification) DueAt() time.Time { return n.due }

// EndsAt is when it is worth nothing any more; zero: never. Known after Validate.
func (n *Notification) EndsAt() time.Time { return n.ends }

// depth is how deep the arrays and objects of valid JSON go.
func depth(raw []byte) int {
	deepest, now, inString := 0, 0, false
	for i := 0; i < len(raw); i++ {
		switch c := raw[i]; {
		case inString && c == '\\':
			i++
		case c == '"':
			inString = !inString
		case inString:
		case c == '[' || c == '{':
			now++
			deepest = max(deepest, now)
		case c == ']' || c == '}':
			now--
		}
	}
	return deepest
}

// Recipients are the owners of the inboxes that it goes to, in the order given:
// users, or a topic. Everyone is not among them.
func (n *Notification) Recipients() []UserID {
	switch {
	case n.UserID != "":
		return []UserID{n.UserID}
	case n.Topic != "":
		return []UserID{TopicOwner(n.Topic)}
	}
	return n.UserIDs
}

// ContentHash tells whether two notifications with one idempotency key say the
// same. It covers what the reader sees, not the key or the sender.
func (n *Notification) ContentHash() []byte {
	h := sha256.New()
	var parts []string
	for _, s := range []string{n.Title, n.Body, n.URL, n.Kind, n.Priority, string(n.Payload)} {
		fmt.Fprintf(h, "%d:%s", len(s), s)
	}
	// What older versions refused is hashed only where it is there, so that their
	// hashes hold.
	for name, s := range map[string]string{"d": string(n.DeliverAt), "e": string(n.ExpiresAt), "c": n.CollapseKey} {
		if s != "" && s != "null" {
			parts = append(parts, name+s)
		}
	}
	slices.Sort(parts)
	for _, s := range parts {
		fmt.Fprintf(h, "%d:%s", len(s), s)
	}
	return h.Sum(nil)[:16]
}

// Stored is a notification in its user's inbox, or a message in its topic: a
// row there, a record of topic `deliveries`, and what the browser gets.
type Stored struct {
	ID         int64 // its place in the inbox: 1, 2, 3 …
	EventID    string
	UserID     UserID // the inbox's owner: a user, or a topic (TopicOwner)
	Kind       string
	Title      string
	Body       string
	URL        string
	Payload    json.RawMessage
	Priority   string
	Unread     int // the user's unread count after it arrived
	CreatedAt  time.Time
	ReadAt     *time.Time
	ArchivedAt *time.Time
	ExpiresAt  *time.Time
	Collapse   string // its collapse key
	Replaces   int64  // the id of the unread one that it collapsed; 0: none
	Author     string // of a room's message: the id of who said it
}

// AppendJSON appends the form that clients get, on one line.
func (s *Stored) AppendJSON(b []byte) []byte {
	b = append(b, `{"id":`...)
	b = strconv.AppendInt(b, s.ID, 10)
	b = append(b, `,"event_id":`...)
	b = appendString(b, s.EventID)
	topic, ofTopic := s.UserID.Topic()
	if ofTopic {
		b = append(b, `,"topic":`...)
		b = appendString(b, topic)
		if s.Author != "" {
			b = append(b, `,"user_id":`...)
			b = appendString(b, s.Author)
		}
	} else {
		b = append(b, `,"user_id":`...)
		b = appendString(b, string(s.UserID))
	}
	b = append(b, `,"kind":`...)
	b = appendString(b, s.Kind)
	b = append(b, `,"title":`...)
	b = appendString(b, s.Title)
	b = append(b, `,"body":`...)
	b = appendString(b, s.Body)
	if s.URL != "" {
		b = append(b, `,"url":`...)
		b = appendString(b, s.URL)
	}
	if len(s.Payload) > 0 {
		b = append(b, `,"payload":`...)
		b = append(b, s.Payload...)
	}
	b = append(b, `,"priority":`...)
	b = appendString(b, s.Priority)
	if !ofTopic {
		b = append(b, `,"unread":`...)
		b = strconv.AppendInt(b, int64(s.Unread), 10)
	}
	if s.Collapse != "" {
		b = append(b, `,"collapse_key":`...)
		b = appendString(b, s.Collapse)
	}
	if s.Replaces > 0 {
		b = append(b, `,"replaces":`...)
		b = strconv.AppendInt(b, s.Replaces, 10)
	}
	b = append(b, `,"created_at":`...)
	b = appendTime(b, s.CreatedAt)
	if s.ReadAt != nil {
		b = append(b, `,"read_at":`...)
		b = appendTime(b, *s.ReadAt)
	}
	if s.ArchivedAt != nil {
		b = append(b, `,"archived_at":`...)
		b = appendTime(b, *s.ArchivedAt)
	}
	if s.ExpiresAt != nil {
		b = append(b, `,"expires_at":`...)
		b = appendTime(b, *s.ExpiresAt)
	}
	return append(b, '}')
}

// MarshalJSON is AppendJSON.
func (s Stored) MarshalJSON() ([]byte, error) { return s.AppendJSON(nil), nil }

// Result answers a producer: a record of topic `results`, with the producer's
// headers echoed. It holds the members of the older protocol too (what was
// sent, or the error).
type Result struct {
	Status    string          `json:"status"` // stored, duplicate, scheduled or rejected
	EventID   string          `json:"event_id,omitempty"`
	ID        int64           `json:"id,omitempty"` // the place in the inbox
	UserID    UserID          `json:"user_id,omitempty"`
	To        string          `json:"to,omitempty"` // the topic it was sent to, or everyone
	Payload   json.RawMessage `json:"payload,omitempty"`
	Error     string          `json:"error,omitempty"`
	Code      string          `json:"code,omitempty"`
	Errors    []FieldError    `json:"errors,omitempty"`
	Topic     string          `json:"topic"`
	Partition int32           `json:"partition"`
	Offset    int64           `json:"offset"`
}

// Results' statuses.
const (
	StatusStored    = "stored"
	StatusDuplicate = "duplicate"
	StatusScheduled = "scheduled" // kept until it is due; another result follows then
	StatusRejected  = "rejected"
)

// Signal is a hint between gateways: a record of topic `signals`, keyed by user.
// Losing one costs at most the 30 s until the next check against Postgres.
type Signal struct {
	Type    string  `json:"type"` // counts or session_ended
	UserID  UserID  `json:"user_id"`
	Session string  `json:"session,omitempty"` // session_ended: empty means all of the user's
	Counts  *Counts `json:"counts,omitempty"`
}

// Types of Signal.
const (
	SignalCounts       = "counts"
	SignalSessionEnded = "session_ended"
)

// Counts are a user's absolute figures. Version grows with every change, so
// that of two the newer is known.
type Counts struct {
	Unread  int   `json:"unread"`
	Unseen  int   `json:"unseen"`
	Version int64 `json:"version"`
}

// Origin says which record something came from. Its position alone does not: a
// partition that has lost acknowledged records (a power cut before they were
// flushed, an unclean election of its leader) gives their offsets to others. So a
// fingerprint of the record belongs to it.
type Origin struct {
	TopicID   string // tells a topic from another one of the same name (KIP-516)
	Partition int32
	Offset    int64
	// Fingerprint is a hash of the record's timestamp, key and value; 0: not known,
	// of what was stored before fingerprints were kept.
	Fingerprint int64
}

// Position is the origin without its fingerprint.
func (o Origin) Position() Origin {
	o.Fingerprint = 0
	return o
}

// Same reports whether two origins of one position are the same record: a
// fingerprint that is not known fits any.
func (o Origin) Same(other Origin) bool {
	return o.Position() == other.Position() && (o.Fingerprint == other.Fingerprint || o.Fingerprint == 0 || other.Fingerprint == 0)
}

// EventID is the event id of a record that brought none, for one of its
// recipients ("" where it has but one): always the same (RFC 9562, version 8).
func (o Origin) EventID(recipient string) string {
	return hashID(fmt.Sprintf("%s/%s/%d/%d/%x", o.TopicID, recipient, o.Partition, o.Offset, uint64(o.Fingerprint)))
}

// EventIDOf is the event id of a send with an idempotency key: the same for the
// same sender, key and user.
func EventIDOf(sender, key string, user UserID) string {
	return hashID(fmt.Sprintf("%d:%s/%d:%s/%s", len(sender), sender, len(key), key, user))
}

// NewID is a random UUID (RFC 9562, version 4).
func NewID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails, see its document
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[0:4], b[4:6], b[6:8], b[8:10], b[10:16])
}

func hashID(s string) string {
	h := sha256.Sum256([]byte(s))
	h[6] = h[6]&0x0f | 0x80
	h[8] = h[8]&0x3f | 0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", h[0:4], h[4:6], h[6:8], h[8:10], h[10:16])
}
