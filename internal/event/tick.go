package event

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"crier/internal/decimal"
)

// Tick is one price of one symbol: a record of topic `ticks`, keyed by symbol.
// A symbol is just a name; a temperature is as good as a coin.
type Tick struct {
	Symbol string
	Price  decimal.Decimal
	Size   *decimal.Decimal // nil when the source does not say
	Time   time.Time        // when the source says it happened
	Source string           // who says so: binance, replay, …
	ID     string           // the source's own id, if it has one
}

// AppendJSON appends the tick as its record.
func (t Tick) AppendJSON(b []byte) []byte {
	b = append(b, `{"symbol":`...)
	b = appendString(b, t.Symbol)
	b = append(b, `,"price":"`...)
	b, _ = t.Price.AppendText(b)
	b = append(b, '"')
	if t.Size != nil {
		b = append(b, `,"size":"`...)
		b, _ = t.Size.AppendText(b)
		b = append(b, '"')
	}
	b = append(b, `,"time":`...)
	b = appendTime(b, t.Time)
	b = append(b, `,"source":`...)
	b = appendString(b, t.Source)
	if t.ID != "" {
		b = append(b, `,"id":`...)
		b = appendString(b, t.ID)
	}
	return append(b, '}')
}

// MarshalJSON is AppendJSON.
func (t Tick) MarshalJSON() ([]byte, error) { return t.AppendJSON(nil), nil }

// MaxAhead is how far a tick's time may be after its arrival: clocks differ by seconds.
// A time beyond it is a mistake (another unit, a wrong clock), and would move the time of
// its symbol's stream, by which windows and candles go, to where no other tick comes.
const MaxAhead = 5 * time.Minute

// ParseTick reads and checks one record of `ticks`, which arrived at a time. A tick
// without a time of its own is taken to have happened then. Times long past are good:
// recordings are replayed. The error is an Invalid.
func ParseTick(value []byte, recorded time.Time) (Tick, error) {
	var raw struct {
		Symbol *string         `json:"symbol"`
		Price  json.RawMessage `json:"price"`
		Size   json.RawMessage `json:"size"`
		Time   *string         `json:"time"`
		Source string          `json:"source"`
		ID     json.RawMessage `json:"id"`
	}
	if err := DecodeObject(value, &raw); err != nil {
		return Tick{}, err
	}
	var v Invalid
	t := Tick{Source: raw.Source, Time: recorded}
	if raw.Symbol == nil {
		v.Add("symbol", "required", "is required")
	} else {
		t.Symbol = *raw.Symbol
		v.CheckSymbol("symbol", t.Symbol)
	}
	if p := v.checkPrice("price", raw.Price, true); p != nil {
		t.Price = *p
	}
	t.Size = v.checkPrice("size", raw.Size, false)
	if raw.Time != nil && *raw.Time != "" {
		at, err := ParseTime(*raw.Time)
		if err != nil {
			v.Add("time", "time", err.Error())
		} else if at.After(recorded.Add(MaxAhead)) {
			v.Add("time", "future", fmt.Sprintf("must be at most %v after the tick's arrival (%s)", MaxAhead, recorded.UTC().Format(time.RFC3339)))
		}
		t.Time = at
	}
	v.CheckText("source", t.Source, 100)
	t.ID = idText(raw.ID)
	v.CheckText("id", t.ID, 200)
	if err := v.Err(); err != nil {
		return Tick{}, err
	}
	return t, nil
}

// idText takes an id as the source wrote it: a string, or a number as its digits.
func idText(raw json.RawMessage) string {
	var s string
	if len(raw) == 0 || string(raw) == "null" {
		return ""
	}
	if json.Unmarshal(raw, &s) == nil {
		return s
	}
	return string(raw)
}

// Absent says whether an optional member was left out, or has no value: forms and
// many serializers send null or an empty text for it.
func Absent(raw json.RawMessage) bool {
	return len(raw) == 0 || string(raw) == "null" || string(raw) == `""`
}

func (v *Invalid) checkPrice(field string, raw json.RawMessage, required bool) *decimal.Decimal {
	if Absent(raw) {
		if required {
			v.Add(field, "required", "is required")
		}
		return nil
	}
	var d decimal.Decimal
	if err := d.UnmarshalJSON(raw); err != nil {
		v.Add(field, "decimal", err.Error())
		return nil
	}
	return &d
}

// CheckPrice reads a price given as a JSON string or number and notes what is
// wrong with it; nil when it is absent or wrong.
func (v *Invalid) CheckPrice(field string, raw json.RawMessage, required bool) *decimal.Decimal {
	return v.checkPrice(field, raw, required)
}

// MaxSymbol is the longest symbol in bytes.
const MaxSymbol = 64

// CheckSymbols returns what is wrong with a variable's list of symbols.
func CheckSymbols(variable string, symbols []string) error {
	var errs []error
	for i, s := range symbols {
		var v Invalid
		if v.CheckSymbol("symbol", s); len(v) > 0 {
			errs = append(errs, fmt.Errorf("%s %q: %s", variable, s, v[0].Message))
		} else if slices.Contains(symbols[:i], s) {
			errs = append(errs, fmt.Errorf("%s %q: is named twice", variable, s))
		}
	}
	return errors.Join(errs...)
}

// CheckSymbol notes a symbol that is empty, too long, or that could not stand
// in a topic list or a URL path: letters, digits and . _ - : / are allowed.
func (v *Invalid) CheckSymbol(field, s string) {
	if s == "" {
		v.Add(field, "required", "is required")
		return
	}
	bad := len(s) > MaxSymbol
	for i := 0; i < len(s) && !bad; i++ {
		c := s[i]
		alnum := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
		bad = !alnum && c != '.' && c != '_' && c != '-' && c != ':' && c != '/'
	}
	if bad {
		v.Add(field, "symbol", fmt.Sprintf("must be 1 to %d of letters, digits and . _ - : /", MaxSymbol))
	}
}
