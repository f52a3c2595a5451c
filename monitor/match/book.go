package match

import (
	"container/heap"
	"time"

	"crier/internal/decimal"
	"crier/internal/event"
)

// book holds the alerts of one symbol and source: those above in order of
// rising targets, those below in order of falling ones, so that a tick looks
// at the first of each and at what it meets, and at nothing else.
type book struct {
	above, below targetHeap
	deadCount    int
}

func (s *symbol) book(source string) *book {
	b := s.books[source]
	if b == nil {
		b = &book{below: targetHeap{falling: true}}
		s.books[source] = b
	}
	return b
}

func (b *book) push(e *entry) {
	if e.alert.Condition == event.Above {
		heap.Push(&b.above, e)
	} else {
		heap.Push(&b.below, e)
	}
}

// popMet takes out one alert that the price meets, nil if there is none left.
func (b *book) popMet(price decimal.Decimal) *entry {
	for _, h := range [2]*targetHeap{&b.above, &b.below} {
		for len(h.entries) > 0 {
			first := h.entries[0]
			if first.dead {
				heap.Pop(h)
				b.deadCount--
				continue
			}
			if first.alert.Condition.Met(price, first.alert.Target) {
				return heap.Pop(h).(*entry)
			}
			break
		}
	}
	return nil
}

// died notes that one more entry may be dead, and clears them out when they are
// more than half: so memory stays in proportion to the living.
func (b *book) died() {
	b.deadCount++
	if b.deadCount < 64 || b.deadCount*2 < len(b.above.entries)+len(b.below.entries) {
		return
	}
	b.above.sweep()
	b.below.sweep()
	b.deadCount = 0
}

// targetHeap is a heap by target, then by id.
type targetHeap struct {
	entries []*entry
	falling bool
}

func (h *targetHeap) sweep() {
	kept := h.entries[:0]
	for _, e := range h.entries {
		if !e.dead {
			kept = append(kept, e)
		}
	}
	clear(h.entries[len(kept):])
	h.entries = kept
	heap.Init(h)
}

func (h *targetHeap) Len() int { return len(h.entries) }

func (h *targetHeap) Less(i, j int) bool {
	a, b := &h.entries[i].alert, &h.entries[j].alert
	c := a.Target.Cmp(b.Target)
	if h.falling {
		c = -c
	}
	return c < 0 || c == 0 && a.ID < b.ID
}

func (h *targetHeap) Swap(i, j int) { h.entries[i], h.entries[j] = h.entries[j], h.entries[i] }

func (h *targetHeap) Push(x any) { h.entries = append(h.entries, x.(*entry)) }

func (h *targetHeap) Pop() any {
	last := len(h.entries) - 1
	e := h.entries[last]
	h.entries[last] = nil
	h.entries = h.entries[:last]
	return e
}

// pendingHeap holds alerts whose place is ahead, by place.
type pendingHeap []*entry

func (h pendingHeap) Len() int           { return len(h) }
func (h pendingHeap) Less(i, j int) bool { return h[i].alert.Place < h[j].alert.Place }
func (h pendingHeap) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *pendingHeap) Push(x any)        { *h = append(*h, x.(*entry)) }
func (h *pendingHeap) Pop() any          { return popLast((*[]*entry)(h)) }

// coolingHeap holds alerts that have fired and will again, by when they may.
type coolingHeap []*entry

func (h coolingHeap) Len() int           { return len(h) }
func (h coolingHeap) Less(i, j int) bool { return h[i].readyAt().Before(h[j].readyAt()) }
func (h coolingHeap) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *coolingHeap) Push(x any)        { *h = append(*h, x.(*entry)) }
func (h *coolingHeap) Pop() any          { return popLast((*[]*entry)(h)) }

func (e *entry) readyAt() time.Time { return e.alert.LastFired.Add(e.alert.Cooldown) }

func popLast(h *[]*entry) *entry {
	last := len(*h) - 1
	e := (*h)[last]
	(*h)[last] = nil
	*h = (*h)[:last]
	return e
}
