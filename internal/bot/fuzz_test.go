package bot

import "testing"

// Whatever a source of quotes answers, it is a price that can be read or an
// error.
func FuzzParseQuote(f *testing.F) {
	for _, s := range []string{"", "Close\n1", "Symbol,Close\nA,N/D", "Symbol,Date,Time,Open,High,Low,Close,Volume\r\nAAPL.US,2026-11-20,22:00:08,91.72,93.5,91.3,93.42,38942510\r\n", "close,close\n\"1", "Close\n-1"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		price, err := parseQuote(s)
		if (price == "") != (err != nil) {
			t.Errorf("%q: %q, %v", s, price, err)
		}
	})
}
