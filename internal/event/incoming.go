package event

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"unicode/utf8"
)

// AccountID names an account of the data pusher. It is a number; its decimal
// text is accepted on input, because Kafka's key and forms have it so.
type AccountID int64

// UnmarshalJSON takes a whole number, or its decimal text.
func (a *AccountID) UnmarshalJSON(b []byte) error {
	if bytes.Equal(b, []byte("null")) {
		return nil
	}
	if len(b) > 1 && b[0] == '"' {
		b = b[1 : len(b)-1]
	}
	n, err := strconv.ParseInt(string(b), 10, 64)
	if err != nil || n < 1 {
		return Invalid{{Field: "account_id", Rule: "type", Message: "must be an account's number"}}
	}
	*a = AccountID(n)
	return nil
}

// Incoming is data pushed in for an account: a record of topic `incoming`, keyed
// by account.
type Incoming struct {
	AccountID      AccountID       `json:"account_id" swaggertype:"integer"`
	Data           json.RawMessage `json:"data" swaggertype:"object"`
	IdempotencyKey string          `json:"idempotency_key,omitempty"`
	EventID        string          `json:"event_id,omitempty"`
}

// AppendJSON appends the item as its record. The data stays as it was written:
// encoding/json would drop white space and escape <, > and &, and what a
// destination gets is signed byte for byte.
func (in *Incoming) AppendJSON(b []byte) []byte {
	b = strconv.AppendInt(append(b, `{"account_id":`...), int64(in.AccountID), 10)
	b = append(append(b, `,"data":`...), in.Data...)
	if in.IdempotencyKey != "" {
		b = appendString(append(b, `,"idempotency_key":`...), in.IdempotencyKey)
	}
	if in.EventID != "" {
		b = appendString(append(b, `,"event_id":`...), in.EventID)
	}
	return append(b, '}')
}

// MaxEventID is the longest event id that a producer may give, in bytes.
const MaxEventID = 100

// ParseIncoming reads and checks one record of `incoming`. The error is an
// Invalid.
func ParseIncoming(value []byte) (Incoming, error) {
	var in Incoming
	if !utf8.Valid(value) {
		return in, Invalid{{Field: "", Rule: "utf8", Message: "must be valid UTF-8"}}
	}
	if err := DecodeObject(value, &in); err != nil {
		return in, err
	}
	return in, in.Validate()
}

// Validate puts the data on one line and returns every broken rule as an
// Invalid.
func (in *Incoming) Validate() error {
	var v Invalid
	if in.AccountID == 0 {
		v.Add("account_id", "required", "is required")
	}
	if len(in.Data) == 0 {
		v.Add("data", "required", "is required")
	}
	if c := compact(in.Data); c != nil { // null is data, too
		in.Data = c
	}
	if len(in.Data) > MaxPayload {
		v.Add("data", "length", fmt.Sprintf("must be at most %d bytes", MaxPayload))
	}
	if depth(in.Data) > MaxDepth {
		v.Add("data", "depth", fmt.Sprintf("must be at most %d levels deep", MaxDepth))
	}
	v.CheckText("idempotency_key", in.IdempotencyKey, MaxIdempotencyKey)
	if in.EventID != "" && !isEventID(in.EventID) {
		v.Add("event_id", "characters", fmt.Sprintf("must be 1 to %d of letters, digits, '_' and '-'", MaxEventID))
	}
	return v.Err()
}

// isEventID says whether an id can stand in a header and in what is signed,
// where a '.' would part it.
func isEventID(s string) bool {
	if len(s) > MaxEventID {
		return false
	}
	for i := 0; i < len(s); i++ {
		c := s[i]
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '_' && c != '-' {
			return false
		}
	}
	return true
}
