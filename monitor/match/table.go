package match

import "math/bits"

// slot is what the index keeps of every alert: 16 bytes. What a trigger says
// beyond it is read from Postgres when the alert is met.
type slot struct {
	id       int64
	revision uint32
	meta     uint32
}

// The bits of meta: the low ones are the number of the alert's symbol, or of its
// extra if it is extended.
const (
	numberMask   = 1<<24 - 1
	edgeBit      = 1 << 24 // crosses_above or crosses_below
	fallingBit   = 1 << 25 // below or crosses_below
	anyBit       = 1 << 26 // counts ticks of any source
	deadBit      = 1 << 27 // passed over where it still stands in a list
	proposedBit  = 1 << 28 // fires once and has been emitted
	extendedBit  = 1 << 29
	pendingBit   = 1 << 30 // its place lies ahead
	maxSlotCount = 1 << 30 // references have two bits for what they refer to
)

func (s *slot) number() uint32   { return s.meta & numberMask }
func (s *slot) is(b uint32) bool { return s.meta&b != 0 }

const pageSize = 1 << 14

// table is the slots, found by their alert's id: an open-addressing hash of slot
// numbers, at most 7/8 full. Pages, so that growing copies nothing.
type table struct {
	pages [][]slot
	count uint32 // slots in use or free
	free  []uint32
	index []uint32 // slot number + 1; 0: empty
	live  int
}

func (t *table) at(n uint32) *slot { return &t.pages[n/pageSize][n%pageSize] }

func (t *table) home(id int64) uint32 {
	// Fibonacci hashing, then the range by multiplication: no division, and sizes
	// other than powers of two.
	h := uint64(id) * 0x9E3779B97F4A7C15
	n, _ := bits.Mul64(h, uint64(len(t.index)))
	return uint32(n)
}

// get is an alert's slot number.
func (t *table) get(id int64) (uint32, bool) {
	if len(t.index) == 0 {
		return 0, false
	}
	for i := t.home(id); ; {
		e := t.index[i]
		if e == 0 {
			return 0, false
		}
		if t.at(e-1).id == id {
			return e - 1, true
		}
		if i++; int(i) == len(t.index) {
			i = 0
		}
	}
}

// put makes a slot for an id that has none.
func (t *table) put(s slot) uint32 {
	if (t.live+1)*8 > len(t.index)*7 {
		t.grow(max(64, len(t.index)+len(t.index)/4))
	}
	var n uint32
	if len(t.free) > 0 {
		n = t.free[len(t.free)-1]
		t.free = t.free[:len(t.free)-1]
	} else {
		n = t.count
		t.count++
		if int(n/pageSize) == len(t.pages) {
			t.pages = append(t.pages, make([]slot, pageSize))
		}
	}
	*t.at(n) = s
	t.live++
	t.insert(n)
	return n
}

func (t *table) insert(n uint32) {
	i := t.home(t.at(n).id)
	for t.index[i] != 0 {
		if i++; int(i) == len(t.index) {
			i = 0
		}
	}
	t.index[i] = n + 1
}

// grow makes the hash larger; with room known beforehand it is made once.
func (t *table) grow(size int) {
	old := t.index
	t.index = make([]uint32, size)
	for _, e := range old {
		if e != 0 {
			t.insert(e - 1)
		}
	}
}

// forget takes an id out of the hash; its slot stays until release.
func (t *table) forget(id int64) {
	size := uint32(len(t.index))
	i := t.home(id)
	for ; t.at(t.index[i]-1).id != id; i = (i + 1) % size {
	}
	t.live--
	// What follows moves up, so that no search ends at the hole too early.
	for j := i; ; {
		j = (j + 1) % size
		e := t.index[j]
		if e == 0 {
			break
		}
		h := t.home(t.at(e - 1).id)
		if (j+size-h)%size >= (j+size-i)%size {
			t.index[i] = e
			i = j
		}
	}
	t.index[i] = 0
}

// release lets a slot be used again; nothing refers to it any more.
func (t *table) release(n uint32) { t.free = append(t.free, n) }

// slab is numbered values of one type in pages.
type slab[T any] struct {
	pages []*[256]T
	count uint32
	free  []uint32
}

func (s *slab[T]) at(n uint32) *T { return &s.pages[n/256][n%256] }

func (s *slab[T]) take() (uint32, *T) {
	if len(s.free) > 0 {
		n := s.free[len(s.free)-1]
		s.free = s.free[:len(s.free)-1]
		return n, s.at(n)
	}
	n := s.count
	s.count++
	if int(n/256) == len(s.pages) {
		s.pages = append(s.pages, new([256]T))
	}
	return n, s.at(n)
}

func (s *slab[T]) release(n uint32) {
	var zero T
	*s.at(n) = zero
	s.free = append(s.free, n)
}
