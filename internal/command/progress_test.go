package command

import (
	"testing"
	"time"
)

// The bar shows what part of a file was read; without a size there is a count.
func TestProgressLine(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		sent        int
		refused     int
		read, total int64
		want        string
	}{
		{0, 0, 0, 100, "[                              ]   0%  0 sent, 0/s"},
		{500, 0, 50, 100, "[===============               ]  50%  500 sent, 250/s"},
		{1000, 0, 200, 100, "[==============================] 100%  1000 sent, 500/s"},
		{1000, 0, 200, 0, "1000 sent, 500/s"},
		{1000, 7, 200, 0, "1000 sent, 500/s, 7 refused"},
	} {
		if got := progressLine(c.sent, c.refused, c.read, c.total, 2*time.Second); got != c.want {
			t.Errorf("%q, want %q", got, c.want)
		}
	}
}
