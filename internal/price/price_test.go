package price_test

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"crier/internal/criertest"
	"crier/internal/decimal"
	"crier/internal/event"
	"crier/internal/price"
)

func TestMain(m *testing.M) { criertest.Main(m) }

const (
	topic1 = "11111111-1111-4111-8111-111111111111"
	topic2 = "22222222-2222-4222-8222-222222222222"
)

var now = time.Date(2026, 5, 1, 12, 0, 0, 123456000, time.UTC)

func newStore(t *testing.T) *price.Store {
	t.Helper()
	db := criertest.Database(t, 0)
	return price.New(db)
}

// last is a tick whose price is its offset.
func last(symbol, source, topic string, offset int64) price.Last {
	return price.Last{
		Tick:  event.Tick{Symbol: symbol, Price: decimal.FromUnits(offset, 2), Time: now, Source: source, ID: fmt.Sprint(offset)},
		Place: event.Place{TopicID: topic, Partition: 3, Offset: offset}, Recorded: now.Add(time.Second),
	}
}

func read(t *testing.T, s *price.Store) []string {
	t.Helper()
	all, err := s.All(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, l := range all {
		out = append(out, fmt.Sprintf("%s/%s=%s@%d", l.Symbol, l.Source, l.Price, l.Place.Offset))
		if !l.Time.Equal(now) || !l.Recorded.Equal(now.Add(time.Second)) || l.Place.Partition != 3 || l.ID != fmt.Sprint(l.Place.Offset) {
			t.Errorf("read %+v", l)
		}
	}
	return out
}

// The last tick of each symbol and source is kept: an earlier one of the same
// topic never replaces a later one, one of a topic made anew does.
func TestPut(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	for i, c := range []struct {
		put  []price.Last
		want []string
	}{
		{nil, nil},
		{[]price.Last{last("B", "x", topic1, 5), last("A", "y", topic1, 6), last("A", "x", topic1, 7)}, []string{"A/x=0.07@7", "A/y=0.06@6", "B/x=0.05@5"}},
		{[]price.Last{last("A", "x", topic1, 3), last("B", "x", topic1, 50)}, []string{"A/x=0.07@7", "A/y=0.06@6", "B/x=0.50@50"}},
		{[]price.Last{last("A", "x", topic2, 1)}, []string{"A/x=0.01@1", "A/y=0.06@6", "B/x=0.50@50"}},
	} {
		if err := s.Put(t.Context(), c.put); err != nil {
			t.Fatal(err)
		}
		if got := read(t, s); !slices.Equal(got, c.want) {
			t.Errorf("step %d: %v, want %v", i, got, c.want)
		}
	}
}

// Many writers, each with its own order of symbols: nobody waits for ever, and
// the latest stays.
func TestPutUnderConcurrency(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	var wg sync.WaitGroup
	for k := range 10 {
		wg.Go(func() {
			for i := range 20 {
				list := []price.Last{last("A", "x", topic1, int64(i)), last("B", "x", topic1, int64(i)), last("C", "x", topic1, int64(i))}
				if k%2 == 0 {
					slices.Reverse(list)
				}
				if err := s.Put(t.Context(), list); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if got, want := read(t, s), []string{"A/x=0.19@19", "B/x=0.19@19", "C/x=0.19@19"}; !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}
