package match

import (
	"math"
	"math/bits"

	"crier/internal/decimal"
)

// key is a decimal as the index compares it: its value in units of 10^-18, in
// two's complement. It keeps no digits to be shown.
type key struct {
	hi int64
	lo uint64
}

func keyOf(d decimal.Decimal) key {
	hi, lo := d.Key()
	return key{hi, lo}
}

func (a key) decimal() decimal.Decimal { return decimal.FromKey(a.hi, a.lo) }

func (a key) less(b key) bool { return a.hi < b.hi || a.hi == b.hi && a.lo < b.lo }

func (a key) add(b key) key {
	lo, carry := bits.Add64(a.lo, b.lo, 0)
	hi, _ := bits.Add64(uint64(a.hi), uint64(b.hi), carry)
	return key{int64(hi), lo}
}

func (a key) neg() key {
	lo, borrow := bits.Sub64(0, a.lo, 0)
	hi, _ := bits.Sub64(0, uint64(a.hi), borrow)
	return key{int64(hi), lo}
}

func (a key) sub(b key) key { return a.add(b.neg()) }

// next and prev are the neighbours on the grid of 10^-18: strictly above k means
// at least k.next().
func (a key) next() key { return a.add(key{0, 1}) }
func (a key) prev() key { return a.add(key{-1, math.MaxUint64}) }

func (a key) positive() bool { return a.hi > 0 || a.hi == 0 && a.lo > 0 }

func maxKey(a, b key) key {
	if a.less(b) {
		return b
	}
	return a
}

func minKey(a, b key) key {
	if b.less(a) {
		return b
	}
	return a
}

// steps is a key in whole steps of 10^-8, half as large. Exchanges quote in no
// finer steps, so nearly all targets are held as steps; the rest are held as keys.
type steps int64

// unitsPerStep is 10^-8 in units of 10^-18.
const unitsPerStep = 1e10

func (a steps) less(b steps) bool { return a < b }

func (a steps) key() key {
	u := uint64(a)
	if a < 0 {
		u = -u
	}
	hi, lo := bits.Mul64(u, unitsPerStep)
	k := key{int64(hi), lo}
	if a < 0 {
		return k.neg()
	}
	return k
}

// exactSteps is the key as steps, if it is a whole number of them and fits.
func (a key) exactSteps() (steps, bool) {
	u := a
	if a.hi < 0 {
		u = a.neg()
	}
	if uint64(u.hi) >= unitsPerStep {
		return 0, false
	}
	q, r := bits.Div64(uint64(u.hi), u.lo, unitsPerStep)
	if r != 0 || q >= math.MaxInt64 {
		return 0, false
	}
	if a.hi < 0 {
		return -steps(q), true
	}
	return steps(q), true
}

// floorSteps is the most steps that are not above the key, as far as they go.
func (a key) floorSteps() steps {
	neg := a.hi < 0
	u := a
	if neg {
		u = a.neg()
	}
	if uint64(u.hi) >= unitsPerStep {
		if neg {
			return math.MinInt64
		}
		return math.MaxInt64
	}
	q, r := bits.Div64(uint64(u.hi), u.lo, unitsPerStep)
	if q >= math.MaxInt64 {
		if neg {
			return math.MinInt64
		}
		return math.MaxInt64
	}
	if !neg {
		return steps(q)
	}
	if r != 0 {
		q++
	}
	return -steps(q)
}
