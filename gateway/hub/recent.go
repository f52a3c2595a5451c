package hub

import (
	"bytes"
	"slices"
	"time"

	"crier/internal/event"
)

// Bounds of what a shard remembers of its last deliveries: 2 MiB for all shards.
// A reader whose connection broke for a few seconds is given from there what it
// missed, without a query.
const (
	recentBytes = 32 << 10
	recentSlots = 128
)

// lingering is how long the audience of an inbox or topic is kept, and noted what
// it misses, after its last stream has gone. Check looks after it, so it may be
// longer by as much as that is apart. There are at most maxWithout of them in a
// shard, however fast streams come and go.
const (
	lingering  = time.Minute
	maxWithout = 1000
)

// recent is a shard's last deliveries: two rings, of slots and of the bytes that
// they stand for, which hold nothing that the collector has to look at but the
// audiences. The shard's lock guards it. Slots have numbers that only grow; slot n
// stands at n modulo recentSlots.
type recent struct {
	slots        []slot
	bytes        []byte
	oldest, next int64 // numbers of slots: what is between them is there
	at           int   // where the next delivery's bytes go
}

// slot is one delivery: its data and kind stand behind each other.
type slot struct {
	of               *audience
	id               int64
	before           int64 // number of the slot with the place before; noSlot
	from, data, kind int32
}

const noSlot = -1

// put notes a delivery. What cannot be replayed as it is, is not noted, and what
// was noted of its audience is then of no use: places may not be left out.
func (r *recent) put(a *audience, d *Stored) {
	if newest := r.slot(a, a.newest); newest != nil && d.ID <= newest.id {
		return // a repeat
	}
	before := a.newest
	if newest := r.slot(a, before); newest == nil || newest.id != d.ID-1 || bytes.Contains(d.Data, []byte(`"replaces":`)) {
		before = noSlot // what it replaces is no longer there
	}
	size := len(d.Data) + len(d.Kind)
	if size > recentBytes/8 || mayVanish(a.user, d) {
		a.newest = noSlot
		return
	}
	if r.slots == nil {
		r.slots, r.bytes = make([]slot, recentSlots), make([]byte, recentBytes)
	}
	if r.at+size > len(r.bytes) {
		r.drop(r.at, len(r.bytes))
		r.at = 0
	}
	r.drop(r.at, r.at+size)
	if r.next-r.oldest == recentSlots {
		r.oldest++
	}
	r.slots[r.next%recentSlots] = slot{of: a, id: d.ID, before: before, from: int32(r.at), data: int32(len(d.Data)), kind: int32(len(d.Kind))}
	r.at += copy(r.bytes[r.at:], d.Data)
	r.at += copy(r.bytes[r.at:], d.Kind)
	a.newest = r.next
	r.next++
}

// drop forgets the slots whose bytes stand in a range that is written anew. The
// oldest ones stand first behind the place of writing.
func (r *recent) drop(from, to int) {
	for ; r.oldest < r.next; r.oldest++ {
		s := &r.slots[r.oldest%recentSlots]
		if size := s.data + s.kind; int(s.from) >= to || int(s.from+size) <= from {
			return
		}
		s.of = nil
	}
}

// mayVanish says that it may be gone, or look otherwise, without a signal that
// says so: a notification with an end; and all that happens in rooms, where people
// take back what they said, and are forgotten when they leave.
func mayVanish(owner event.UserID, d *Stored) bool {
	_, room := owner.Room()
	return room || d.Author != "" || bytes.Contains(d.Data, []byte(`"expires_at":"`))
}

// slot is the slot with a number, nil if it is no longer there.
func (r *recent) slot(a *audience, number int64) *slot {
	if number < r.oldest || number >= r.next || r.slots == nil {
		return nil
	}
	if s := &r.slots[number%recentSlots]; s.of == a {
		return s
	}
	return nil
}

// after is what came after a place, in order and without a hole; nil if that is
// not known, or more than a page.
func (r *recent) after(a *audience, has int64) []*Event {
	var found []*slot
	size := 0
	for s := r.slot(a, a.newest); s != nil && s.id > has && len(found) < page; s = r.slot(a, s.before) {
		found = append(found, s)
		size += int(s.data)
	}
	if len(found) == 0 || found[len(found)-1].id != has+1 {
		return nil
	}
	slices.Reverse(found)
	copied := make([]byte, 0, size)
	events := make([]*Event, len(found))
	for i, s := range found {
		text := r.bytes[s.from:]
		at := len(copied)
		copied = append(copied, text[:s.data]...)
		d := Stored{ID: s.id, Data: copied[at:len(copied):len(copied)], Kind: string(text[s.data:][:s.kind])}
		events[i] = d.Event(a.user)
	}
	return events
}
