package match

import (
	"slices"
	"time"

	"crier/internal/decimal"
	"crier/internal/event"
)

// Bucket is the lowest and highest price of one source of a symbol in a second
// or a minute, by the stream's own time, and the offset of its first tick.
type Bucket struct {
	N         int64 // seconds or minutes since 1970
	Low, High decimal.Decimal
	First     int64
}

// history is what a stream's windows are made of: its buckets, as far back as
// the longest windows reach. Held only for streams that have windows.
type history struct {
	seconds, minutes []Bucket
}

// How many buckets are kept: those of the longest window of each kind, and the
// present one. Twice as many are let stand before the older half goes.
const (
	keepSeconds = int64(time.Hour/time.Second) + 1
	keepMinutes = int64(event.MaxWindow/time.Minute) + 1
)

func (h *history) of(unit time.Duration) []Bucket {
	if unit == time.Minute {
		return h.minutes
	}
	return h.seconds
}

// add takes a tick into the present buckets.
func (h *history) add(tau int64, price decimal.Decimal, offset int64) {
	h.seconds = addBucket(h.seconds, floorDiv(tau, int64(time.Second)), price, offset, keepSeconds)
	h.minutes = addBucket(h.minutes, floorDiv(tau, int64(time.Minute)), price, offset, keepMinutes)
}

func addBucket(b []Bucket, n int64, price decimal.Decimal, offset, keep int64) []Bucket {
	if last := len(b) - 1; last >= 0 && b[last].N == n {
		if price.Cmp(b[last].Low) < 0 {
			b[last].Low = price
		}
		if price.Cmp(b[last].High) > 0 {
			b[last].High = price
		}
		return b
	}
	b = append(b, Bucket{n, price, price, offset})
	if len(b)%1024 == 0 {
		old := 0
		for old < len(b) && b[old].N < n-keep {
			old++
		}
		if old > len(b)/2 {
			b = slices.Clone(b[old:])
		}
	}
	return b
}

func floorDiv(a, b int64) int64 {
	q := a / b
	if a%b < 0 {
		q--
	}
	return q
}

// window is one length of window on one stream: queues of the lows and highs
// that may yet count, shared by all alerts of the length, and their thresholds
// on how far the price is above the low and below the high, in percent.
type window struct {
	length     int64 // nanoseconds
	unit       time.Duration
	lows       []extreme // rising towards the end
	highs      []extreme // falling towards the end
	rise, fall series
	up, down   decimal.Decimal // the present percentages
	percent    decimal.Percent
}

// extreme is a bucket's low or high.
type extreme struct {
	n     int64
	price decimal.Decimal
}

// newWindow makes a window of what its stream has seen so far.
func newWindow(length time.Duration, h *history) *window {
	w := &window{length: int64(length), unit: event.Bucket(length)}
	for _, b := range h.of(w.unit) {
		w.push(b.N, b.Low, b.High)
	}
	return w
}

func (w *window) push(n int64, low, high decimal.Decimal) {
	w.lows = pushExtreme(w.lows, extreme{n, low}, -1)
	w.highs = pushExtreme(w.highs, extreme{n, high}, 1)
}

// pushExtreme adds to a queue, whose elements further back are better by sign.
func pushExtreme(q []extreme, e extreme, sign int) []extreme {
	for len(q) > 0 {
		last := q[len(q)-1]
		if c := last.price.Cmp(e.price) * sign; c > 0 || c == 0 && last.n == e.n {
			break
		}
		q = q[:len(q)-1]
	}
	if len(q) > 0 && q[len(q)-1].n == e.n {
		return q // the bucket has a better one
	}
	return append(q, e)
}

// advance takes a tick into the window and computes the percentages.
func (w *window) advance(tau int64, price decimal.Decimal) {
	w.push(floorDiv(tau, int64(w.unit)), price, price)
	w.measure(tau, price)
}

func (w *window) measure(tau int64, price decimal.Decimal) {
	from := w.from(tau)
	for len(w.lows) > 1 && w.lows[0].n < from {
		w.lows = w.lows[1:]
	}
	for len(w.highs) > 1 && w.highs[0].n < from {
		w.highs = w.highs[1:]
	}
	w.up, w.down = w.percent.Change(w.lows[0].price, price), w.percent.Fall(w.highs[0].price, price)
}

// from is the first bucket of the window that ends at tau.
func (w *window) from(tau int64) int64 { return floorDiv(tau-w.length, int64(w.unit)) }

func (w *window) value(c event.Condition) decimal.Decimal {
	if c == event.PercentDown {
		return w.down
	}
	return w.up
}

func (w *window) reference(c event.Condition) decimal.Decimal {
	if c == event.PercentDown {
		return w.highs[0].price
	}
	return w.lows[0].price
}

// seriesOf is where the condition's thresholds stand.
func (w *window) seriesOf(c event.Condition) *series {
	if c == event.PercentDown {
		return &w.fall
	}
	return &w.rise
}

// replayed is a window as it was before a past tick of its stream, for alerts
// that are heard of late. hist holds the buckets before the present one of that
// tick whole; what the tick's own bucket held before it is added by the caller.
func replayed(length time.Duration, h *history, before int64) *window {
	w := &window{length: int64(length), unit: event.Bucket(length)}
	for _, b := range h.of(w.unit) {
		if b.N >= before {
			break
		}
		w.push(b.N, b.Low, b.High)
	}
	return w
}
