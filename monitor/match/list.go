package match

import (
	"cmp"
	"slices"
	"sort"
)

// ordered is what a list is sorted by.
type ordered[K any] interface{ less(K) bool }

// list is a sorted list of {key, reference} in chunks: arrays without pointers,
// nearly full after a load, of which only the front is looked at by a
// tick. An insertion or a removal costs a search over the chunks and the move of
// half a chunk. Equal keys are in order of their references.
type list[K ordered[K]] struct {
	chunks []chunk[K]
	n      int
	bulk   []entry[K] // added while loading, not yet in order
}

type entry[K any] struct {
	key K
	ref uint32
}

// chunk holds keys and references apart: no padding between them.
type chunk[K any] struct {
	keys []K
	refs []uint32
}

// A chunk of steps takes 3 KiB, of keys 5: each array is one of the allocator's
// own sizes, so nothing is lost in rounding.
const (
	chunkSize = 256
	chunkLoad = 250 // filled by a load, which leaves room for later ones
)

func before[K ordered[K]](k K, ref uint32, l K, lref uint32) bool {
	return k.less(l) || !l.less(k) && ref < lref
}

// find is the chunk in which {k, ref} stands or would stand, and where.
func (l *list[K]) find(k K, ref uint32) (c, i int) {
	c = sort.Search(len(l.chunks), func(c int) bool {
		last := len(l.chunks[c].keys) - 1
		return !before(l.chunks[c].keys[last], l.chunks[c].refs[last], k, ref)
	})
	if c == len(l.chunks) {
		return c, 0
	}
	ch := &l.chunks[c]
	i = sort.Search(len(ch.keys), func(i int) bool { return !before(ch.keys[i], ch.refs[i], k, ref) })
	return c, i
}

func (l *list[K]) add(k K, ref uint32) {
	l.n++
	if len(l.chunks) == 0 {
		l.chunks = append(l.chunks, chunk[K]{[]K{k}, []uint32{ref}})
		return
	}
	c, i := l.find(k, ref)
	if c == len(l.chunks) {
		c--
		i = len(l.chunks[c].keys)
	}
	if len(l.chunks[c].keys) >= chunkSize {
		l.split(c)
		if half := len(l.chunks[c].keys); i > half {
			c, i = c+1, i-half
		}
	}
	ch := &l.chunks[c]
	ch.keys, ch.refs = slices.Insert(ch.keys, i, k), slices.Insert(ch.refs, i, ref)
}

// split makes two chunks of one. Values that arrive in order leave the first of
// them full.
func (l *list[K]) split(c int) {
	ch := &l.chunks[c]
	half := len(ch.keys) / 2
	if c == len(l.chunks)-1 {
		half = chunkLoad
	}
	upper := chunk[K]{make([]K, 0, chunkSize), make([]uint32, 0, chunkSize)}
	upper.keys, upper.refs = append(upper.keys, ch.keys[half:]...), append(upper.refs, ch.refs[half:]...)
	ch.keys, ch.refs = ch.keys[:half], ch.refs[:half]
	l.chunks = slices.Insert(l.chunks, c+1, upper)
}

// remove takes out {k, ref}; false: it is not there.
func (l *list[K]) remove(k K, ref uint32) bool {
	c, i := l.find(k, ref)
	if c == len(l.chunks) {
		return false
	}
	ch := &l.chunks[c]
	if i == len(ch.keys) || ch.refs[i] != ref || before(ch.keys[i], 0, k, 0) || before(k, 0, ch.keys[i], 0) {
		return false
	}
	l.n--
	ch.keys, ch.refs = slices.Delete(ch.keys, i, i+1), slices.Delete(ch.refs, i, i+1)
	if len(ch.keys) == 0 {
		l.chunks = slices.Delete(l.chunks, c, c+1)
	}
	return true
}

// popUpTo takes out the first entry whose key is at most limit.
func (l *list[K]) popUpTo(limit K) (e entry[K], ok bool) {
	if len(l.chunks) == 0 {
		return e, false
	}
	ch := &l.chunks[0]
	if limit.less(ch.keys[0]) {
		return e, false
	}
	e = entry[K]{ch.keys[0], ch.refs[0]}
	l.n--
	if len(ch.keys) == 1 {
		*ch = chunk[K]{}
		l.chunks = l.chunks[1:]
		if len(l.chunks) == 0 {
			l.chunks = nil
		}
		return e, true
	}
	ch.keys, ch.refs = ch.keys[1:], ch.refs[1:]
	return e, true
}

// each calls fn with every entry, in order but for those added in bulk.
func (l *list[K]) each(fn func(K, uint32)) {
	for c := range l.chunks {
		ch := &l.chunks[c]
		for i := range ch.keys {
			fn(ch.keys[i], ch.refs[i])
		}
	}
	for _, e := range l.bulk {
		fn(e.key, e.ref)
	}
}

// keep takes out what fn does not want, and fills the chunks anew.
func (l *list[K]) keep(fn func(uint32) bool) {
	kept := make([]entry[K], 0, l.n)
	l.each(func(k K, ref uint32) {
		if fn(ref) {
			kept = append(kept, entry[K]{k, ref})
		}
	})
	l.fill(kept)
}

// seal puts what was added in bulk into its order, with what was there.
func (l *list[K]) seal() {
	if len(l.bulk) == 0 {
		return
	}
	all := l.bulk
	l.bulk = nil
	l.each(func(k K, ref uint32) { all = append(all, entry[K]{k, ref}) })
	slices.SortFunc(all, func(a, b entry[K]) int {
		switch {
		case a.key.less(b.key):
			return -1
		case b.key.less(a.key):
			return 1
		}
		return cmp.Compare(a.ref, b.ref)
	})
	l.fill(all)
}

func (l *list[K]) fill(sorted []entry[K]) {
	l.n, l.chunks = len(sorted), make([]chunk[K], 0, len(sorted)/chunkLoad+1)
	for len(sorted) > 0 {
		n := min(chunkLoad, len(sorted))
		size := chunkSize
		if n == len(sorted) {
			size = n // most symbols have a few alerts only
		}
		ch := chunk[K]{make([]K, n, size), make([]uint32, n, size)}
		for i, e := range sorted[:n] {
			ch.keys[i], ch.refs[i] = e.key, e.ref
		}
		l.chunks = append(l.chunks, ch)
		sorted = sorted[n:]
	}
}

// side is thresholds that wake who waits for a value to come from below: an
// entry is woken by a value at or above its key.
type side struct {
	narrow list[steps]
	wide   list[key]
}

func (s *side) add(k key, ref uint32, bulk bool) {
	if n, ok := k.exactSteps(); ok {
		if bulk {
			s.narrow.bulk = append(s.narrow.bulk, entry[steps]{n, ref})
		} else {
			s.narrow.add(n, ref)
		}
		return
	}
	if bulk {
		s.wide.bulk = append(s.wide.bulk, entry[key]{k, ref})
	} else {
		s.wide.add(k, ref)
	}
}

func (s *side) remove(k key, ref uint32) bool {
	if n, ok := k.exactSteps(); ok {
		return s.narrow.remove(n, ref)
	}
	return s.wide.remove(k, ref)
}

func (s *side) pop(v key, floor steps) (k key, ref uint32, ok bool) {
	if e, ok := s.narrow.popUpTo(floor); ok {
		return e.key.key(), e.ref, true
	}
	e, ok := s.wide.popUpTo(v)
	return e.key, e.ref, ok
}

func (s *side) each(fn func(key, uint32)) {
	s.narrow.each(func(n steps, ref uint32) { fn(n.key(), ref) })
	s.wide.each(fn)
}

func (s *side) keep(fn func(uint32) bool) { s.narrow.keep(fn); s.wide.keep(fn) }
func (s *side) seal()                     { s.narrow.seal(); s.wide.seal() }
func (s *side) len() int                  { return s.narrow.n + s.wide.n }

// series is the thresholds on one value that changes from tick to tick. Those
// woken by a fall are held with their sign turned.
type series struct {
	up, down side
}

func (s *series) seal() { s.up.seal(); s.down.seal() }

func (s *series) keep(fn func(uint32) bool) { s.up.keep(fn); s.down.keep(fn) }

// sweep takes out, one after the other, what the value v wakes.
func (s *series) sweep(v key, wake func(k key, ref uint32, rising bool)) {
	if s.up.len() > 0 {
		for floor := v.floorSteps(); ; {
			k, ref, ok := s.up.pop(v, floor)
			if !ok {
				break
			}
			wake(k, ref, true)
		}
	}
	if s.down.len() > 0 {
		turned := v.neg()
		for floor := turned.floorSteps(); ; {
			k, ref, ok := s.down.pop(turned, floor)
			if !ok {
				break
			}
			wake(k.neg(), ref, false)
		}
	}
}
