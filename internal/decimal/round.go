package decimal

import (
	"bytes"
	"math/big"
	"strconv"
)

// Longest JSON number that is rounded, in bytes, and the largest exponent: all
// that programs write for a binary64, and the numbers of any price beyond it.
const (
	maxNumber   = 1100
	maxExponent = 400
)

// parseNumber reads a JSON number. Programs print a price that they computed as a
// float with more digits than any price has (1.2345678901234567e-05), so what is
// more than MaxScale digits after the point is rounded, half away from zero. Text
// in quotes was written on purpose, and stays strict.
func parseNumber(b []byte) (Decimal, error) {
	d, err := ParseBytes(b)
	if err != ErrRange || len(b) > maxNumber {
		return d, err
	}
	if i := bytes.IndexAny(b, "eE"); i >= 0 {
		// big.Rat would work out a number of any size.
		exp, err := strconv.Atoi(string(b[i+1:]))
		if err != nil || exp > maxExponent {
			return Decimal{}, ErrRange
		}
		if exp < -maxExponent-maxNumber {
			return Decimal{}, nil
		}
	}
	r, ok := new(big.Rat).SetString(string(b))
	if !ok {
		return Decimal{}, ErrSyntax
	}
	text := []byte(r.FloatString(MaxScale))
	return ParseBytes(bytes.TrimRight(bytes.TrimRight(text, "0"), "."))
}
