package match

import (
	"container/heap"
	"slices"
	"sort"
)

// group is trailing stops of one stream that have the same best price, and so
// will have the same one for ever: a new best price moves the group as one, and
// groups that come to the same price become one. The one that fires first, with
// the smallest percentage, gives the group's threshold.
//
// A group has an id within its stream, by which its best price is saved; members
// that came with a group that was taken in are found by the id that they had.
type group struct {
	id      int64
	best    key
	items   trailHeap
	taken   []int64 // ids of groups that were taken in
	stream  uint32
	hasDown bool
	downKey key
	dirty   bool
}

type trailItem struct {
	percent  key
	instance uint32
}

type trailHeap []trailItem

func (h trailHeap) Len() int { return len(h) }
func (h trailHeap) Less(i, j int) bool {
	return h[i].percent.less(h[j].percent) || h[i].percent == h[j].percent && h[i].instance < h[j].instance
}
func (h trailHeap) Swap(i, j int) { h[i], h[j] = h[j], h[i] }
func (h *trailHeap) Push(x any)   { *h = append(*h, x.(trailItem)) }
func (h *trailHeap) Pop() any {
	last := (*h)[len(*h)-1]
	*h = (*h)[:len(*h)-1]
	return last
}

func (p *Partition) arrangeTrailing(in *instance, e *extra, st *stream) {
	switch {
	case !in.armed:
		p.setUp(in, e, st, in.best)
	case !in.streak:
		p.follow(in, e, st)
	default:
		p.setUp(in, e, st, p.stop(in.best, e.target).next())
		p.awaitHeld(in, e, st)
	}
}

// follow lets an instance go with its best price's group.
func (p *Partition) follow(in *instance, e *extra, st *stream) {
	i := sort.Search(len(st.groups), func(i int) bool { return !in.best.less(p.groups.at(st.groups[i]).best) })
	if i == len(st.groups) || p.groups.at(st.groups[i]).best != in.best {
		n, g := p.groups.take()
		st.groupSeq++
		*g = group{id: st.groupSeq, best: in.best, stream: st.number}
		p.touch(n)
		st.groupIDs[g.id] = n
		st.groups = slices.Insert(st.groups, i, n)
	}
	p.join(in, e, st.groups[i])
	p.setStop(st, st.groups[i])
}

func (p *Partition) join(in *instance, e *extra, n uint32) {
	in.group, in.dirty = n+1, true
	p.note(in)
	heap.Push(&p.groups.at(n).items, trailItem{e.target, in.number})
}

// setStop sets a group's threshold, or lets it go when it is empty.
func (p *Partition) setStop(st *stream, n uint32) {
	g := p.groups.at(n)
	for len(g.items) > 0 && !p.follows(g.items[0].instance, n) {
		heap.Pop(&g.items)
	}
	want, has := key{}, false
	if len(g.items) > 0 && g.best.positive() {
		want, has = p.stop(g.best, g.items[0].percent), true
	}
	if g.hasDown && (!has || g.downKey != want) {
		st.price.down.remove(g.downKey.neg(), kindGroup|n)
		g.hasDown = false
	}
	if has && !g.hasDown {
		st.price.down.add(want.neg(), kindGroup|n, false)
		g.hasDown, g.downKey = true, want
	}
	if len(g.items) == 0 {
		st.groups = slices.DeleteFunc(st.groups, func(m uint32) bool { return m == n })
		p.disband(st, n)
	}
}

// touch notes that a group's best price is to be saved.
func (p *Partition) touch(n uint32) {
	if g := p.groups.at(n); !g.dirty {
		g.dirty = true
		p.touched = append(p.touched, n)
	}
}

func (p *Partition) follows(instance, n uint32) bool {
	in := p.instances.at(instance)
	return !in.dead && in.group == n+1
}

// disband forgets a group that nobody follows any more.
func (p *Partition) disband(st *stream, n uint32) {
	g := p.groups.at(n)
	for _, id := range append(g.taken, g.id) {
		delete(st.groupIDs, id)
		p.removed = append(p.removed, StateID{AlertID: -id, Symbol: st.symbol.name, Source: st.source})
	}
	p.groups.release(n)
}

// lift moves the groups whose best price the stream's newest one exceeds.
func (p *Partition) lift(st *stream, v key) {
	last := len(st.groups) - 1
	if last < 0 || !p.groups.at(st.groups[last]).best.less(v) {
		return
	}
	n := st.groups[last]
	st.groups = st.groups[:last]
	for len(st.groups) > 0 && !v.less(p.groups.at(st.groups[len(st.groups)-1]).best) {
		other := st.groups[len(st.groups)-1]
		st.groups = st.groups[:len(st.groups)-1]
		n = p.merge(st, n, other)
	}
	g := p.groups.at(n)
	g.best = v
	p.touch(n)
	st.groups = append(st.groups, n)
	p.setStop(st, n)
}

// merge takes the smaller of two groups into the larger.
func (p *Partition) merge(st *stream, a, b uint32) uint32 {
	if len(p.groups.at(a).items) < len(p.groups.at(b).items) {
		a, b = b, a
	}
	into, from := p.groups.at(a), p.groups.at(b)
	for _, it := range from.items {
		if p.follows(it.instance, b) {
			p.instances.at(it.instance).group = a + 1
			heap.Push(&into.items, it)
		}
	}
	for _, id := range append(from.taken, from.id) {
		st.groupIDs[id] = a
		into.taken = append(into.taken, id)
	}
	p.merged = append(p.merged, State{StateID: StateID{AlertID: -from.id, Symbol: st.symbol.name, Source: st.source}, Group: into.id})
	if from.hasDown {
		st.price.down.remove(from.downKey.neg(), kindGroup|b)
	}
	p.groups.release(b)
	return a
}

// stopped looks at the members of a group whose first stop the price has reached.
func (p *Partition) stopped(st *stream, n uint32, v key, look func(instance uint32)) {
	g := p.groups.at(n)
	g.hasDown = false // it was taken out by the sweep
	for len(g.items) > 0 {
		it := g.items[0]
		if p.follows(it.instance, n) {
			if p.stop(g.best, it.percent).less(v) {
				break
			}
			in := p.instances.at(it.instance)
			in.best, in.group, in.dirty = g.best, 0, true
			heap.Pop(&g.items)
			look(it.instance)
			g = p.groups.at(n)
			continue
		}
		heap.Pop(&g.items)
	}
	p.setStop(st, n)
}
