package match

import (
	"testing"

	"crier/internal/decimal"
	"crier/internal/event"
)

func over(id int64, target string, place int64) Alert {
	return Alert{ID: id, Revision: 1, Symbol: "X", Rule: event.Rule{Condition: event.Above, Target: decimal.MustParse(target)}, Place: place}
}

func at(offset int64, price string) Tick {
	return Tick{Tick: event.Tick{Symbol: "X", Price: decimal.MustParse(price)}, Offset: offset}
}

type fired []Match

func (f *fired) emit(m Match) { *f = append(*f, m) }

// An alert whose newer revision is in is not fired by the older one, and a
// removed one not at all.
func TestOnlyTheNewestRevisionFires(t *testing.T) {
	p := NewPartition(0)
	var got fired
	p.Put(over(1, "10", 0), got.emit)
	p.Put(over(2, "10", 0), got.emit)
	newer := over(1, "20", 0)
	newer.Revision = 2
	p.Put(newer, got.emit)
	p.Put(over(1, "10", 0), got.emit) // the older one again, late
	p.Remove(2, 1)
	p.Apply(at(0, "15"), got.emit)
	if len(got) != 0 {
		t.Fatalf("fired %+v", got)
	}
	p.Apply(at(1, "20.00"), got.emit)
	if len(got) != 1 || got[0].Revision != 2 || got[0].Tick.Offset != 1 {
		t.Fatalf("fired %+v", got)
	}
	p.Apply(at(1, "20.00"), got.emit) // read again
	if len(got) != 1 {
		t.Fatal("a tick that was applied before counted twice")
	}
}

// The books do not grow with alerts that come and go.
func TestDeadEntriesAreCleared(t *testing.T) {
	p := NewPartition(0)
	var got fired
	for i := int64(1); i <= 100_000; i++ {
		p.Put(over(i, "10", 0), got.emit)
		p.Remove(i, 1)
	}
	if n := p.symbols["X"].any.price.up.len(); n > 200 || p.Len() != 0 {
		t.Errorf("%d entries stay for %d alerts", n, p.Len())
	}
}

// When the ring has turned over, an old place asks for the ticks to be read again.
func TestOldPlaceNeedsHistory(t *testing.T) {
	p := NewPartition(0)
	var got fired
	for i := range int64(ringSize + 10) {
		p.Apply(at(i, "1"), got.emit)
	}
	if p.Put(over(1, "1", 5), got.emit) != History {
		t.Fatal("decided without the ticks")
	}
	if p.Put(over(2, "1", ringSize), got.emit) != Nothing || len(got) != 1 || got[0].Tick.Offset != ringSize-1 {
		t.Fatalf("within the ring: %+v", got)
	}
}
