package lifecycle

import (
	"sync"
	"time"
)

// Repeats keeps lines that repeat out of a log: of each kind the first is written,
// and then one a minute at most, with how many were left out. It is safe for
// concurrent use.
type Repeats struct {
	mu    sync.Mutex // guards kinds
	kinds map[string]*repeated
}

// repeated is one kind of line.
type repeated struct {
	written time.Time
	skipped int
}

// maxKinds bounds what is remembered; when it is full all begin again.
const maxKinds = 1000

// NewRepeats makes one.
func NewRepeats() *Repeats { return &Repeats{kinds: make(map[string]*repeated)} }

// Next reports whether a line of this kind is to be written now, and how many were
// left out since the last one.
func (r *Repeats) Next(kind string) (write bool, skipped int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := time.Now()
	k := r.kinds[kind]
	if k == nil {
		if len(r.kinds) >= maxKinds {
			clear(r.kinds)
		}
		k = &repeated{}
		r.kinds[kind] = k
	}
	if !k.written.IsZero() && now.Sub(k.written) < remindEvery {
		k.skipped++
		return false, 0
	}
	skipped = k.skipped
	k.written, k.skipped = now, 0
	return true, skipped
}
