// Package decimal holds prices exactly: 128-bit fixed point with 18 digits
// after the point, and the scale the text was written with, so that what a
// feed wrote is what the screen shows.
//
// Values are plain structs, comparable by Cmp (never by ==, which would tell
// 1.0 from 1.00), safe to copy and to share. Nothing here allocates except
// the text forms.
package decimal

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/bits"
	"strconv"
)

// MaxScale is the number of digits kept after the point. The finest price step
// of the exchanges we read is 1e-8; tokens quoted against each other need up
// to 18, which is also what an ERC-20 amount has.
const MaxScale = 18

// MaxInteger is the number of digits allowed before the point.
const MaxInteger = 18

// Errors of Parse. They name the rule that the text broke.
var (
	ErrSyntax = errors.New("must be a decimal number such as 70000.50")
	ErrRange  = fmt.Errorf("must have at most %d digits before and %d after the point", MaxInteger, MaxScale)
)

// Decimal is an exact decimal number. The zero value is 0.
type Decimal struct {
	// hi and lo are the two's complement 128-bit value times 10^18.
	hi    int64
	lo    uint64
	scale uint8
}

var pow10 = [...]uint64{1, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18}

// Parse reads [+-]digits[.digits][e[+-]digits]. The exponent is accepted
// because JSON numbers are written that way by browsers below 1e-6.
func Parse(s string) (Decimal, error) { return parse(s) }

// ParseBytes is Parse for text that need not become a string.
func ParseBytes(b []byte) (Decimal, error) { return parse(b) }

func parse[T string | []byte](s T) (Decimal, error) {
	i, neg := 0, false
	if len(s) > 0 && (s[0] == '-' || s[0] == '+') {
		neg = s[0] == '-'
		i++
	}
	var hi, lo uint64
	digits, fraction, point := 0, 0, false
	for ; i < len(s); i++ {
		c := s[i]
		if c == '.' {
			if point {
				return Decimal{}, ErrSyntax
			}
			point = true
			continue
		}
		if c < '0' || c > '9' {
			break
		}
		digits++
		if point {
			fraction++
		}
		// 36 significant digits stay below 2^127; zeros in front are free.
		var carry uint64
		h, l := bits.Mul64(lo, 10)
		l, carry = bits.Add64(l, uint64(c-'0'), 0)
		over, m := bits.Mul64(hi, 10)
		m, c2 := bits.Add64(m, h, carry)
		if over != 0 || c2 != 0 || m>>63 != 0 {
			return Decimal{}, ErrRange
		}
		hi, lo = m, l
	}
	if digits == 0 || (point && fraction == 0) {
		return Decimal{}, ErrSyntax
	}
	scale := fraction
	if i < len(s) {
		if s[i] != 'e' && s[i] != 'E' {
			return Decimal{}, ErrSyntax
		}
		exp, err := strconv.Atoi(string(s[i+1:]))
		if err != nil {
			return Decimal{}, ErrSyntax
		}
		if exp < -4*MaxScale || exp > 4*MaxScale {
			return Decimal{}, ErrRange
		}
		scale -= exp
	}
	// Zeros at the end beyond what is kept say nothing.
	for scale > MaxScale && (hi|lo) != 0 {
		q, r := div10(hi, lo)
		if r != 0 {
			return Decimal{}, ErrRange
		}
		hi, lo = q.hi, q.lo
		scale--
	}
	if scale > MaxScale {
		scale = MaxScale
	}
	shown := max(scale, 0)
	for ; scale < MaxScale; scale++ {
		h, l := bits.Mul64(lo, 10)
		over, m := bits.Mul64(hi, 10)
		m, c := bits.Add64(m, h, 0)
		if over != 0 || c != 0 || m>>63 != 0 {
			return Decimal{}, ErrRange
		}
		hi, lo = m, l
	}
	// 10^36 is the first value with 19 digits before the point.
	if hi > limitHi || (hi == limitHi && lo >= limitLo) {
		return Decimal{}, ErrRange
	}
	d := Decimal{hi: int64(hi), lo: lo, scale: uint8(shown)}
	if neg {
		d = d.neg()
	}
	return d, nil
}

// 10^36 = limitHi*2^64 + limitLo.
var limitHi, limitLo = bits.Mul64(1e18, 1e18)

type wide struct{ hi, lo uint64 }

func div10(hi, lo uint64) (wide, uint64) {
	qh, r := hi/10, hi%10
	ql, r := bits.Div64(r, lo, 10)
	return wide{qh, ql}, r
}

func (d Decimal) neg() Decimal {
	lo, borrow := bits.Sub64(0, d.lo, 0)
	hi, _ := bits.Sub64(0, uint64(d.hi), borrow)
	return Decimal{hi: int64(hi), lo: lo, scale: d.scale}
}

// MustParse is Parse for constants in tests and tables; it panics on error.
func MustParse(s string) Decimal {
	d, err := Parse(s)
	if err != nil {
		panic("decimal " + strconv.Quote(s) + ": " + err.Error())
	}
	return d
}

// Cmp is -1, 0 or 1 as d is less than, equal to or greater than e, by value.
func (d Decimal) Cmp(e Decimal) int {
	switch {
	case d.hi != e.hi:
		if d.hi < e.hi {
			return -1
		}
		return 1
	case d.lo < e.lo:
		return -1
	case d.lo > e.lo:
		return 1
	}
	return 0
}

// Sign is -1, 0 or 1.
func (d Decimal) Sign() int { return d.Cmp(Decimal{}) }

// Key is the value as an order-preserving pair, for indexes that keep no scale.
func (d Decimal) Key() (hi int64, lo uint64) { return d.hi, d.lo }

// FromUnits makes n × 10^-scale; scale is at most MaxScale. The simulated feed
// counts in such steps.
func FromUnits(n int64, scale int) Decimal {
	neg := n < 0
	u := uint64(n)
	if neg {
		u = -u
	}
	hi, lo := bits.Mul64(u, pow10[MaxScale-scale])
	d := Decimal{hi: int64(hi), lo: lo, scale: uint8(scale)}
	if neg {
		d = d.neg()
	}
	return d
}

// Float64 is the nearest float, for charts and percentages only; a price is
// never compared or shown by it.
func (d Decimal) Float64() float64 {
	f, _ := strconv.ParseFloat(d.String(), 64)
	return f
}

// AppendText appends the number with the digits it was written with.
func (d Decimal) AppendText(b []byte) ([]byte, error) {
	if d.hi < 0 {
		b = append(b, '-')
		d = d.neg()
	}
	whole, frac := bits.Div64(uint64(d.hi), d.lo, pow10[MaxScale])
	b = strconv.AppendUint(b, whole, 10)
	if d.scale == 0 {
		return b, nil
	}
	b = append(b, '.')
	frac /= pow10[MaxScale-int(d.scale)]
	for n := int(d.scale) - 1; n >= 0; n-- {
		b = append(b, byte('0'+frac/pow10[n]%10))
	}
	return b, nil
}

// String is the number with the digits it was written with.
func (d Decimal) String() string {
	b, _ := d.AppendText(make([]byte, 0, 40))
	return string(b)
}

// MarshalJSON writes a string, never a number: a JSON number becomes a float
// in most readers.
func (d Decimal) MarshalJSON() ([]byte, error) {
	b := append(make([]byte, 0, 42), '"')
	b, _ = d.AppendText(b)
	return append(b, '"'), nil
}

// UnmarshalJSON reads a string, or a number, which is rounded to MaxScale digits
// after the point.
func (d *Decimal) UnmarshalJSON(b []byte) error {
	parse := parseNumber
	if len(b) >= 2 && b[0] == '"' {
		var s string
		if err := json.Unmarshal(b, &s); err != nil {
			return ErrSyntax
		}
		b, parse = []byte(s), ParseBytes
	}
	v, err := parse(b)
	if err != nil {
		return err
	}
	*d = v
	return nil
}
