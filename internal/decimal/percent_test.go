package decimal

import (
	"math/big"
	"math/rand/v2"
	"testing"
)

func rat(t *testing.T, d Decimal) *big.Rat {
	t.Helper()
	r, ok := new(big.Rat).SetString(d.String())
	if !ok {
		t.Fatal(d.String())
	}
	return r
}

func random(rng *rand.Rand) Decimal {
	n := rng.Int64N(1 << uint(1+rng.IntN(62)))
	if rng.IntN(4) == 0 {
		n = -n
	}
	return FromUnits(n, rng.IntN(MaxScale+1))
}

// A percentage is reached exactly when the rounded one says so, and sums are
// exact: compared with fractions.
func TestPercentIsExact(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	var p Percent
	hundredth := big.NewRat(1, 100)
	for range 20_000 {
		from, to, percent := random(rng), random(rng), FromUnits(rng.Int64N(2_000_000), rng.IntN(6))
		if got, want := rat(t, FromKey(from.Add(to).Key())), new(big.Rat).Add(rat(t, from), rat(t, to)); got.Cmp(want) != 0 {
			t.Fatalf("%s + %s = %s", from, to, got)
		}
		share := new(big.Rat).Mul(rat(t, percent), hundredth)
		up := new(big.Rat).Mul(rat(t, from), new(big.Rat).Add(big.NewRat(1, 1), share))
		down := new(big.Rat).Mul(rat(t, from), new(big.Rat).Sub(big.NewRat(1, 1), share))
		if from.Sign() > 0 {
			if got, want := p.Change(from, to).Cmp(percent) >= 0, rat(t, to).Cmp(up) >= 0; got != want {
				t.Fatalf("from %s to %s: at least %s%% is %v", from, to, percent, got)
			}
			if got, want := p.Fall(from, to).Cmp(percent) >= 0, rat(t, to).Cmp(down) <= 0; got != want {
				t.Fatalf("from %s to %s: fallen by %s%% is %v", from, to, percent, got)
			}
		} else if p.Change(from, to).Sign() != 0 || p.Fall(from, to).Sign() != 0 {
			t.Fatalf("a percentage of %s", from)
		}
		if percent.Cmp(FromUnits(100, 0)) <= 0 {
			if got, want := to.Cmp(p.Below(from, percent)) <= 0, rat(t, to).Cmp(down) <= 0; got != want {
				t.Fatalf("%s at or below %s less %s%% is %v", to, from, percent, got)
			}
		}
		if rat(t, from).Cmp(big.NewRat(1e12, 1)) < 0 {
			if got, want := to.Cmp(p.AtLeastAbove(from, percent)) >= 0, rat(t, to).Cmp(up) >= 0; got != want {
				t.Fatalf("%s at or above %s plus %s%% is %v", to, from, percent, got)
			}
		}
	}
}

// Digits that say nothing are not shown; what is cut is cut towards zero.
func TestTruncAndFromKey(t *testing.T) {
	for in, want := range map[string]string{"1.500": "1.5", "70000.00": "70000", "-0.10": "-0.1", "0": "0", "0.000000000000000001": "0.000000000000000001"} {
		if got := FromKey(MustParse(in).Key()).String(); got != want {
			t.Errorf("%s is shown as %s, want %s", in, got, want)
		}
	}
	for in, want := range map[string]string{"5.0299": "5.02", "-5.0299": "-5.02", "7": "7", "-0.001": "0.00", "123456789.999": "123456789.99"} {
		if got := MustParse(in).Trunc(2).String(); got != want {
			t.Errorf("%s cut is %s, want %s", in, got, want)
		}
	}
	if Max().Add(FromUnits(1, MaxScale)).Cmp(MustParse("999999999999999999")) <= 0 {
		t.Error("Max is not the largest value")
	}
}
