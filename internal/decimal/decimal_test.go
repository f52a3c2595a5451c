package decimal

import (
	"encoding/json"
	"errors"
	"math/big"
	"testing"
)

func TestParseKeepsTheDigitsThatWereWritten(t *testing.T) {
	for in, want := range map[string]string{
		"0": "0", "1": "1", "-1": "-1", "+7": "7", "70000.50": "70000.50", "0.00001234": "0.00001234",
		"1666.8": "1666.8", "000012.30": "12.30", "1e3": "1000", "1e-7": "0.0000001", "1.5E2": "150",
		"999999999999999999.999999999999999999": "999999999999999999.999999999999999999",
		"-0.5":                                  "-0.5", "1.0000000000000000000000": "1.000000000000000000", ".5": "0.5",
		"0e40": "0", "0.000000000000000000000": "0.000000000000000000",
	} {
		d, err := Parse(in)
		if err != nil || d.String() != want {
			t.Errorf("Parse(%q) = %s, %v; want %s", in, d, err, want)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	for in, want := range map[string]error{
		"": ErrSyntax, "-": ErrSyntax, ".": ErrSyntax, "1.": ErrSyntax, "1.2.3": ErrSyntax, "0x1": ErrSyntax, "NaN": ErrSyntax,
		"Inf": ErrSyntax, "1e": ErrSyntax, "1e+": ErrSyntax, " 1": ErrSyntax, "1 ": ErrSyntax, "1,5": ErrSyntax, "1_000": ErrSyntax,
		"1000000000000000000": ErrRange, "1e18": ErrRange, "0.0000000000000000001": ErrRange, "1e999": ErrRange,
		"1000000000000000000000000000000000000000000": ErrRange,
	} {
		if d, err := Parse(in); !errors.Is(err, want) {
			t.Errorf("Parse(%q) = %s, %v; want %v", in, d, err, want)
		}
	}
}

func TestCmpIsByValue(t *testing.T) {
	ordered := []string{"-999999999999999999", "-1.5", "-1.49", "0", "0.000000000000000001", "1", "1.01", "70000", "70000.01"}
	for i, a := range ordered {
		for j, b := range ordered {
			want := 0
			if i < j {
				want = -1
			} else if i > j {
				want = 1
			}
			if got := MustParse(a).Cmp(MustParse(b)); got != want {
				t.Errorf("%s against %s: %d, want %d", a, b, got, want)
			}
		}
	}
	if MustParse("1.0").Cmp(MustParse("1.000")) != 0 {
		t.Error("1.0 and 1.000 differ")
	}
}

func TestJSON(t *testing.T) {
	var v struct{ A, B Decimal }
	if err := json.Unmarshal([]byte(`{"A":"96440.10","B":96440.10}`), &v); err != nil {
		t.Fatal(err)
	}
	out, _ := json.Marshal(v)
	if string(out) != `{"A":"96440.10","B":"96440.10"}` {
		t.Errorf("got %s", out)
	}
	if err := json.Unmarshal([]byte(`{"A":true}`), &v); err == nil {
		t.Error("a boolean was taken for a price")
	}
}

func TestFromUnits(t *testing.T) {
	for _, c := range []struct {
		n     int64
		scale int
		want  string
	}{{7000050, 2, "70000.50"}, {-1, 18, "-0.000000000000000001"}, {5, 0, "5"}} {
		if got := FromUnits(c.n, c.scale).String(); got != c.want {
			t.Errorf("FromUnits(%d, %d) = %s, want %s", c.n, c.scale, got, c.want)
		}
	}
}

// Whatever is accepted means the same to math/big, and reads back as itself.
func FuzzParse(f *testing.F) {
	for _, s := range []string{"1666.8", "-0.01", "1e-7", "999999999999999999.999999999999999999", "96440.0", "1e18", "abc"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		d, err := Parse(s)
		if err != nil {
			return
		}
		want, ok := new(big.Rat).SetString(s)
		got, _ := new(big.Rat).SetString(d.String())
		if !ok || want.Cmp(got) != 0 {
			t.Fatalf("Parse(%q) = %s", s, d)
		}
		again, err := Parse(d.String())
		if err != nil || again != d {
			t.Fatalf("%q does not read back: %v %v", d, again, err)
		}
	})
}

func BenchmarkParse(b *testing.B) {
	b.ReportAllocs()
	text := []byte("96440.01")
	for b.Loop() {
		if _, err := ParseBytes(text); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkCmp(b *testing.B) {
	b.ReportAllocs()
	x, y := MustParse("96440.01"), MustParse("96440.02")
	for b.Loop() {
		if x.Cmp(y) != -1 {
			b.Fatal("order")
		}
	}
}

// A JSON number is rounded to what is kept, as programs print floats; text is not.
func TestUnmarshalRoundsNumbers(t *testing.T) {
	for in, want := range map[string]string{
		"8.120000000000001e-06": "0.00000812", "1.2345678901234567e-05": "0.000012345678901235", "1e-19": "0", "5e-19": "0.000000000000000001", "-5e-19": "-0.000000000000000001",
		"4.9e-324": "0", "-1e-19": "0", "1e-99999999": "0", "0.1234567890123456789012345678901234567890123456789": "0.123456789012345679", "70000.50": "70000.50",
		"123456789012345678.9999999999999999999": "123456789012345679", "999999999999999999.9999999999999999999": "error", "1e18": "error", "1.7976931348623157e308": "error",
		"1e99999999": "error", "1e999999999999999999999": "error",
		`"8.120000000000001e-06"`: "error", `"1e-19"`: "error", `"0.000012345678901234"`: "0.000012345678901234",
	} {
		var d Decimal
		got := "error"
		if err := d.UnmarshalJSON([]byte(in)); err == nil {
			got = d.String()
		}
		if got != want {
			t.Errorf("%s: %s, want %s", in, got, want)
		}
	}
}
