package event

import (
	"encoding/json"
	"time"

	"crier/internal/decimal"
)

// Condition is what an alert waits for.
type Condition string

// The conditions of this version.
const (
	Above Condition = "above" // price ≥ target
	Below Condition = "below" // price ≤ target
)

// Met says whether a price satisfies a condition on its own.
func (c Condition) Met(price, target decimal.Decimal) bool {
	if c == Above {
		return price.Cmp(target) >= 0
	}
	return price.Cmp(target) <= 0
}

// Place is where a record stands in Kafka. TopicID tells a topic from another
// one of the same name that was made after the first was deleted (KIP-516).
type Place struct {
	TopicID   string `json:"topic_id,omitempty"`
	Partition int32  `json:"partition"`
	Offset    int64  `json:"offset"`
}

// Trigger says that a tick met an alert: a record of topic `triggers`, keyed by
// user. The matcher proposes it; the consumer decides whether the alert fires.
type Trigger struct {
	AlertID    int64           `json:"alert_id"`
	UserID     UserID          `json:"user_id"`
	Symbol     string          `json:"symbol"`
	Condition  Condition       `json:"condition"`
	Target     decimal.Decimal `json:"target"`
	Price      decimal.Decimal `json:"price"`
	Time       time.Time       `json:"time"`
	Source     string          `json:"source"`
	TickID     string          `json:"tick_id,omitempty"`
	Topic      string          `json:"topic"`
	TopicID    string          `json:"topic_id"`
	Partition  int32           `json:"partition"`
	Offset     int64           `json:"offset"`
	Revision   int64           `json:"revision"`         // of the alert that was matched
	RecordedAt time.Time       `json:"recorded_at"`      // the tick's timestamp in Kafka: cooldown and expiry go by it
	Firing     int             `json:"firing,omitempty"` // given by the consumer: 1, 2, 3 … within the alert
	Note       string          `json:"note,omitempty"`   // the owner's own words, given by the consumer
}

// ParseTrigger reads and checks one record of `triggers`. The error is an Invalid.
func ParseTrigger(value []byte) (Trigger, error) {
	var t Trigger
	if err := DecodeObject(value, &t); err != nil {
		return t, err
	}
	var v Invalid
	if t.AlertID < 1 {
		v.Add("alert_id", "required", "must be a positive whole number")
	}
	v.checkUserID("user_id", t.UserID)
	v.CheckSymbol("symbol", t.Symbol)
	if t.Condition != Above && t.Condition != Below {
		v.Add("condition", "enum", "must be above or below")
	}
	if t.Time.IsZero() {
		v.Add("time", "required", "is required")
	}
	if t.RecordedAt.IsZero() {
		v.Add("recorded_at", "required", "is required")
	}
	if t.Partition < 0 || t.Offset < 0 {
		v.Add("offset", "range", "partition and offset must not be negative")
	}
	if !IsUUID(t.TopicID) {
		v.Add("topic_id", "uuid", "must be the id of the tick's topic")
	}
	v.CheckText("source", t.Source, 100)
	return t, v.Err()
}

// IsUUID says whether s has the form of a UUID in small letters (RFC 9562).
func IsUUID(s string) bool {
	if len(s) != 36 {
		return false
	}
	for i := 0; i < len(s); i++ {
		c := s[i]
		if i == 8 || i == 13 || i == 18 || i == 23 {
			if c != '-' {
				return false
			}
			continue
		}
		if !(c >= '0' && c <= '9' || c >= 'a' && c <= 'f') {
			return false
		}
	}
	return true
}

// AppendJSON appends the trigger as its record, without white space.
func (t Trigger) AppendJSON(b []byte) []byte {
	out, _ := json.Marshal(t) // every member encodes
	return append(b, out...)
}
