package event

import (
	"encoding/json"
	"time"

	"crier/internal/decimal"
)

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
	AlertID   int64     `json:"alert_id"`
	UserID    UserID    `json:"user_id"`
	Symbol    string    `json:"symbol"`
	Condition Condition `json:"condition"`
	// What the condition asks for: a target, a percentage (with a window where it
	// has one), or a band.
	Target  *decimal.Decimal `json:"target,omitempty"`
	Percent *decimal.Decimal `json:"percent,omitempty"`
	Window  string           `json:"window,omitempty"`
	Low     *decimal.Decimal `json:"low,omitempty"`
	High    *decimal.Decimal `json:"high,omitempty"`

	Price     decimal.Decimal `json:"price"`
	Time      time.Time       `json:"time"`
	Source    string          `json:"source"`
	TickID    string          `json:"tick_id,omitempty"`
	Topic     string          `json:"topic"`
	TopicID   string          `json:"topic_id"`
	Partition int32           `json:"partition"`
	Offset    int64           `json:"offset"`
	Before    *TickBefore     `json:"before,omitempty"` // the tick before it that counts for the alert
	// Reference is what Change is measured from: the window's low or high, the best
	// price, else the tick before. Change is in percent, cut to two digits.
	Reference *decimal.Decimal `json:"reference,omitempty"`
	Change    string           `json:"change,omitempty"`

	Revision   int64     `json:"revision"`         // of the alert that was matched
	RecordedAt time.Time `json:"recorded_at"`      // the tick's timestamp in Kafka: cooldown and expiry go by it
	Firing     int       `json:"firing,omitempty"` // given by the consumer: 1, 2, 3 … within the alert
	Note       string    `json:"note,omitempty"`   // the owner's own words, given by the consumer
}

// Tick says which tick met the alert. Its timestamp in Kafka tells it from others
// that have been at the same offset.
func (t *Trigger) Tick() Origin {
	return Origin{TopicID: t.TopicID, Partition: t.Partition, Offset: t.Offset, Fingerprint: t.RecordedAt.UnixMilli()}
}

// TickBefore is the tick before the one that met an alert.
type TickBefore struct {
	Price  decimal.Decimal `json:"price"`
	Time   time.Time       `json:"time"`
	Source string          `json:"source,omitempty"`
	Offset int64           `json:"offset"`
}

// SetRule says what the trigger's condition asks for.
func (t *Trigger) SetRule(r Rule) {
	t.Condition = r.Condition
	target, high := r.Target, r.High
	switch {
	case r.Condition.Band():
		t.Low, t.High = &target, &high
	case r.Condition.Percent():
		t.Percent = &target
		if r.Condition.Windowed() {
			t.Window = r.Window.String()
		}
	default:
		t.Target = &target
	}
}

// Asked is what the condition asks for, in words: 70000.50, 5 % in 1h0m0s, 90 to 110.
func (t *Trigger) Asked() string {
	switch {
	case t.Low != nil && t.High != nil:
		return t.Low.String() + " to " + t.High.String()
	case t.Percent != nil && t.Window != "":
		return t.Percent.String() + " % in " + t.Window
	case t.Percent != nil:
		return t.Percent.String() + " %"
	case t.Target != nil:
		return t.Target.String()
	}
	return ""
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
	if !t.Condition.known() {
		v.Add("condition", "enum", "must be "+ConditionNames)
	}
	v.checkStorable("time", t.Time)
	v.checkStorable("recorded_at", t.RecordedAt)
	if t.Before != nil {
		v.checkStorable("before.time", t.Before.Time)
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

// checkStorable notes a time that is absent or that could not be stored.
func (v *Invalid) checkStorable(field string, t time.Time) {
	if t.IsZero() {
		v.Add(field, "required", "is required")
	} else if !storable(t) {
		v.Add(field, "time", ErrTime.Error())
	}
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
