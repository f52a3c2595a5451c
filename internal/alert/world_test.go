package alert_test

import (
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"crier/internal/alert"
	"crier/internal/criertest"
	"crier/internal/decimal"
	"crier/internal/event"
	"crier/internal/postgres"
)

const (
	ann     event.UserID = "1"
	topicID string       = "11111111-1111-4111-8111-111111111111"
)

// now is a time that Postgres keeps exactly.
var now = time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)

func after(d time.Duration) time.Time { return now.Add(d) }

func place(offset int64) event.Place {
	return event.Place{TopicID: topicID, Partition: 3, Offset: offset}
}

type world struct {
	*alert.Store
	t  *testing.T
	db *postgres.DB
}

func newWorld(t *testing.T, limit int) *world {
	t.Helper()
	db := criertest.Database(t, 25)
	return &world{alert.New(db, limit), t, db}
}

func price(t *testing.T, s string) decimal.Decimal {
	t.Helper()
	d, err := decimal.Parse(s)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func (w *world) create(a alert.Alert) alert.Alert {
	w.t.Helper()
	if a.UserID == "" {
		a.UserID = ann
	}
	if a.Symbol == "" {
		a.Symbol = "BTCUSDT"
	}
	if a.Repeat == "" {
		a.Repeat = alert.Once
	}
	if a.Condition == "" {
		a.Condition, a.Target = event.Above, price(w.t, "70000.50")
	}
	if a.Place.TopicID == "" {
		a.Place = place(100)
	}
	made, err := w.Create(w.t.Context(), a, now)
	if err != nil {
		w.t.Fatal(err)
	}
	return made
}

func (w *world) get(id int64) alert.Alert {
	w.t.Helper()
	a, err := w.Get(w.t.Context(), ann, id, now)
	if err != nil {
		w.t.Fatal(err)
	}
	return a
}

// set writes a state directly, as time and the consumer would.
func (w *world) set(id int64, state alert.State) {
	w.t.Helper()
	if _, err := w.db.Exec(w.t.Context(), `update alerts set state = $2, taken = true, triggered_at = case when $2 = 'triggered' then $3::timestamptz end where id = $1`, id, string(state), now); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) tx(fn func(tx pgx.Tx) error) {
	w.t.Helper()
	if err := w.db.Tx(w.t.Context(), fn); err != nil {
		w.t.Fatal(err)
	}
}

// take notes that the matcher has an alert.
func (w *world) take(rev alert.Revision) {
	w.t.Helper()
	w.tx(func(tx pgx.Tx) error { return alert.Take(w.t.Context(), tx, []alert.Revision{rev}) })
}

// trigger proposes an alert on the tick at that offset, recorded then.
func trigger(a alert.Alert, offset int64, recorded time.Time) event.Trigger {
	return event.Trigger{
		AlertID: a.ID, UserID: a.UserID, Symbol: a.Symbol, Condition: a.Condition, Target: &a.Target, Price: a.Target, Time: recorded, Source: "test",
		Topic: "ticks", TopicID: topicID, Partition: 3, Offset: offset, Revision: a.Revision, RecordedAt: recorded,
	}
}

// fire decides triggers and records those that fire with notification ids from
// first on.
func (w *world) fire(first int64, triggers ...event.Trigger) []alert.Decision {
	w.t.Helper()
	var out []alert.Decision
	w.tx(func(tx pgx.Tx) error {
		d, err := alert.Decide(w.t.Context(), tx, triggers)
		if err != nil {
			return err
		}
		out = d.List
		ids := make([]int64, len(triggers))
		for i, x := range d.List {
			if x.Verdict == alert.Fire {
				ids[i] = first
				first++
			}
		}
		return d.Record(w.t.Context(), tx, ids, now)
	})
	return out
}
