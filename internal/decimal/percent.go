package decimal

import (
	"math/big"
	"math/bits"
)

// FromKey is the value of a Key, shown with as many digits as it needs.
func FromKey(hi int64, lo uint64) Decimal {
	d := Decimal{hi: hi, lo: lo, scale: MaxScale}
	return d.trimmed()
}

// trimmed shows no zeros at the end.
func (d Decimal) trimmed() Decimal {
	u := d
	if u.hi < 0 {
		u = u.neg()
	}
	_, frac := bits.Div64(uint64(u.hi), u.lo, pow10[MaxScale])
	d.scale = MaxScale
	for d.scale > 0 && frac%10 == 0 {
		frac /= 10
		d.scale--
	}
	return d
}

// Neg is -d.
func (d Decimal) Neg() Decimal { return d.neg() }

// Add is d + e. Both are below 10^18, so that sums of a few stay in range.
func (d Decimal) Add(e Decimal) Decimal {
	lo, carry := bits.Add64(d.lo, e.lo, 0)
	hi, _ := bits.Add64(uint64(d.hi), uint64(e.hi), carry)
	return Decimal{hi: int64(hi), lo: lo, scale: max(d.scale, e.scale)}
}

// Sub is d - e.
func (d Decimal) Sub(e Decimal) Decimal { return d.Add(e.neg()) }

// Trunc cuts digits behind the point beyond scale, towards zero.
func (d Decimal) Trunc(scale int) Decimal {
	if int(d.scale) <= scale {
		return d
	}
	neg := d.hi < 0
	if neg {
		d = d.neg()
	}
	whole, frac := bits.Div64(uint64(d.hi), d.lo, pow10[MaxScale])
	frac -= frac % pow10[MaxScale-scale]
	hi, lo := bits.Mul64(whole, pow10[MaxScale])
	lo, carry := bits.Add64(lo, frac, 0)
	out := Decimal{hi: int64(hi + carry), lo: lo, scale: uint8(scale)}
	if neg {
		return out.neg()
	}
	return out
}

// maxValue is the largest value: 10^18 less the last digit.
var maxValue = func() Decimal {
	lo, borrow := bits.Sub64(limitLo, 1, 0)
	return Decimal{hi: int64(limitHi - borrow), lo: lo, scale: MaxScale}
}()

// Percent is a calculator of percentages. It keeps its working memory, so that
// one that is called for every tick does not allocate; it is not safe for
// concurrent use. The zero value is ready.
type Percent struct{ a, b, c big.Int }

var (
	hundred  = big.NewInt(100)
	one      = new(big.Int).SetUint64(1e18)
	ofWhole  = new(big.Int).Mul(hundred, one) // 100 %, in units of 10^-18
	low64    = new(big.Int).SetUint64(^uint64(0))
	maxUnits = new(big.Int).Sub(new(big.Int).Exp(big.NewInt(10), big.NewInt(36), nil), big.NewInt(1))
)

func setUnits(z *big.Int, d Decimal) *big.Int {
	neg := d.hi < 0
	if neg {
		d = d.neg()
	}
	z.SetUint64(uint64(d.hi))
	z.Lsh(z, 64)
	var lo big.Int
	z.Or(z, lo.SetUint64(d.lo))
	if neg {
		z.Neg(z)
	}
	return z
}

func fromUnits(z *big.Int) Decimal {
	neg := z.Sign() < 0
	var abs, lo big.Int
	abs.Abs(z)
	if abs.Cmp(maxUnits) > 0 {
		abs.Set(maxUnits)
	}
	lo.And(&abs, low64)
	abs.Rsh(&abs, 64)
	d := Decimal{hi: int64(abs.Uint64()), lo: lo.Uint64(), scale: MaxScale}
	if neg {
		d = d.neg()
	}
	return d
}

// Change is by how many percent `to` is above `from`, rounded down to the 18th
// digit: a percentage p with at most 18 digits is reached exactly when Change is
// at least p. 0 where from is not positive: there is no percentage of it. What is
// too large to be written is the largest value.
func (p *Percent) Change(from, to Decimal) Decimal {
	if from.Sign() <= 0 {
		return Decimal{}
	}
	setUnits(&p.a, to)
	setUnits(&p.b, from)
	p.a.Sub(&p.a, &p.b)
	p.a.Mul(&p.a, ofWhole)
	// Euclidean division rounds down where the divisor is positive.
	p.c.Div(&p.a, &p.b)
	return fromUnits(&p.c)
}

// Fall is by how many percent `to` is below `from`, rounded down.
func (p *Percent) Fall(from, to Decimal) Decimal {
	if from.Sign() <= 0 {
		return Decimal{}
	}
	setUnits(&p.a, from)
	setUnits(&p.b, to)
	p.b.Sub(&p.a, &p.b)
	p.b.Mul(&p.b, ofWhole)
	p.c.Div(&p.b, &p.a)
	return fromUnits(&p.c)
}

// Below is d less percent, rounded down to the 18th digit: a price is at or below
// the exact value exactly when it is at or below this.
func (p *Percent) Below(d, percent Decimal) Decimal {
	setUnits(&p.a, percent)
	p.a.Sub(ofWhole, &p.a)
	p.b.Mul(setUnits(&p.b, d), &p.a)
	p.c.Div(&p.b, ofWhole)
	return fromUnits(&p.c)
}

// AtLeastAbove is d plus percent, rounded up to the 18th digit: a price is at or
// above the exact value exactly when it is at or above this.
func (p *Percent) AtLeastAbove(d, percent Decimal) Decimal {
	setUnits(&p.a, percent)
	p.a.Add(ofWhole, &p.a)
	p.b.Mul(setUnits(&p.b, d), &p.a)
	p.b.Neg(&p.b)
	p.c.Div(&p.b, ofWhole) // rounds the negative down
	p.c.Neg(&p.c)
	return fromUnits(&p.c)
}

// Max is the largest value that can be written.
func Max() Decimal { return maxValue }
