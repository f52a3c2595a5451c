package candle_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"crier/internal/candle"
	"crier/internal/criertest"
	"crier/internal/decimal"
	"crier/internal/event"
	"crier/internal/postgres"
	"crier/internal/price"
)

const topicID = "11111111-1111-4111-8111-111111111111"

var noon = time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)

type world struct {
	*candle.Store
	t  *testing.T
	db *postgres.DB
}

func newWorld(t *testing.T) *world {
	t.Helper()
	db := criertest.Database(t, 0)
	return &world{candle.New(db), t, db}
}

func (w *world) put(list ...candle.Candle) {
	w.t.Helper()
	if err := w.db.Tx(w.t.Context(), func(tx pgx.Tx) error { return candle.Put(w.t.Context(), tx, list) }); err != nil {
		w.t.Fatal(err)
	}
}

// made is a candle of ticks at these prices, whose offsets begin with first.
func made(interval time.Duration, start time.Time, topic string, first int64, prices ...string) candle.Candle {
	c := candle.Candle{Symbol: "X", Source: "a", Interval: interval, Start: start, TopicID: topic}
	size := decimal.FromUnits(1, 1)
	for i, p := range prices {
		c.Add(&event.Tick{Price: decimal.MustParse(p), Size: &size}, first+int64(i))
	}
	return c
}

func (w *world) list(r candle.Range) string {
	w.t.Helper()
	r.Symbol, r.Source, r.Limit = "X", "a", max(r.Limit, 1)
	got, err := w.List(w.t.Context(), r)
	if err != nil {
		w.t.Fatal(err)
	}
	out := ""
	for _, c := range got {
		out += fmt.Sprintf("%s %s/%s/%s/%s v%s n%d @%d-%d; ", c.Start.Format("15:04:05"), c.Open, c.High, c.Low, c.Close, c.Volume, c.Ticks, c.First, c.Last)
	}
	return out
}

// What comes is added to what is there; what was added before changes nothing; in a
// topic made anew offsets begin again.
func TestPutIsIdempotent(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	minute := candle.Range{Interval: time.Minute, From: noon, To: noon.Add(time.Hour)}
	first := made(time.Minute, noon, topicID, 5, "10", "12.5", "9")
	for range 2 {
		w.put(first)
	}
	if got := w.list(minute); got != "12:00:00 10/12.5/9/9 v0.3 n3 @5-7; " {
		t.Errorf("got %s", got)
	}
	w.put(made(time.Minute, noon, topicID, 8, "0.00000001", "11"))
	w.put(made(time.Minute, noon, "22222222-2222-4222-8222-222222222222", 0, "20"))
	if got := w.list(minute); got != "12:00:00 10/20/0.00000001/20 v0.6 n6 @0-0; " {
		t.Errorf("got %s", got)
	}
}

// A range gives the newest of what lies in it, in order of time.
func TestList(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for i := range 5 {
		w.put(made(time.Second, noon.Add(time.Duration(i)*time.Second), topicID, int64(i), fmt.Sprint(i)))
	}
	if got := w.list(candle.Range{Interval: time.Second, From: noon.Add(time.Second), To: noon.Add(4 * time.Second), Limit: 2}); got != "12:00:02 2/2/2/2 v0.1 n1 @2-2; 12:00:03 3/3/3/3 v0.1 n1 @3-3; " {
		t.Errorf("got %s", got)
	}
}

// The price of a day before is the last one that is old enough, else the first
// there is; candles that are too old go, back from their source's newest tick.
func TestDayBeforeAndPrune(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	last := price.Last{Tick: event.Tick{Symbol: "X", Source: "a", Price: decimal.MustParse("5"), Time: noon}, Recorded: noon, Place: event.Place{TopicID: topicID, Offset: 9}, StreamTime: noon, Ticks: 9}
	if err := price.New(w.db).Put(t.Context(), []price.Last{last}); err != nil {
		t.Fatal(err)
	}
	day := func() string {
		before, err := w.DayBefore(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return fmt.Sprint(before[[2]string{"X", "a"}])
	}
	w.put(made(time.Minute, noon.Add(-time.Hour), topicID, 5, "3", "4"))
	if got := day(); got != "3" {
		t.Errorf("without an older one it is %s", got)
	}
	w.put(made(time.Minute, noon.Add(-25*time.Hour), topicID, 2, "1", "2"), made(time.Minute, noon.Add(-26*time.Hour), topicID, 0, "7"),
		made(time.Second, noon.Add(-26*time.Hour), topicID, 0, "7"), made(time.Second, noon.Add(-24*time.Hour), topicID, 1, "7"))
	if got := day(); got != "2" {
		t.Errorf("a day before it was %s", got)
	}
	if n, err := w.Prune(t.Context()); err != nil || n != 1 {
		t.Errorf("%d were removed, %v; want the second that is more than a day old", n, err)
	}
}
