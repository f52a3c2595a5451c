package inbox_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"crier/internal/event"
	"crier/internal/inbox"
)

// A day's mails of a user and to an address are bounded, across batches; what is not
// queued costs nothing, and the next day begins again.
func TestMailBudgets(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	day := time.Date(2026, 5, 1, 23, 0, 0, 0, time.UTC)
	spend := func(at time.Time, user event.UserID, n int, address func(i int) string, state string) (queued int) {
		t.Helper()
		list := make([]inbox.Delivery, n)
		for i := range list {
			list[i] = inbox.Delivery{UserID: user, NotificationID: int64(i), Channel: inbox.ByEmail, Address: address(i), State: state}
		}
		if err := w.db.Tx(t.Context(), func(tx pgx.Tx) error { return inbox.SpendMails(t.Context(), tx, list, at) }); err != nil {
			t.Fatal(err)
		}
		for i := range list {
			switch {
			case list[i].State == inbox.Queued:
				queued++
			case state == inbox.Queued && (list[i].State != inbox.Suppressed || list[i].Error == ""):
				t.Errorf("%+v", list[i])
			}
		}
		return queued
	}
	one := func(address string) func(int) string { return func(int) string { return address } }
	each := func(i int) string { return fmt.Sprintf("a%d@example.org", i) }
	for i, c := range []struct {
		at      time.Time
		user    event.UserID
		n       int
		address func(int) string
		state   string
		want    int
	}{
		{day, "1", 600, each, inbox.Queued, 600},
		{day, "1", 300, each, inbox.Failed, 0},
		{day, "1", 600, each, inbox.Queued, 400},
		{day, "2", 600, one("b@example.org"), inbox.Queued, 600},
		{day, "3", 600, one("B@example.org"), inbox.Queued, 400},
		{day, "3", 1, one("c@example.org"), inbox.Queued, 1},
		{day.Add(time.Hour), "1", 5, one("b@example.org"), inbox.Queued, 5},
	} {
		if got := spend(c.at, c.user, c.n, c.address, c.state); got != c.want {
			t.Errorf("%d: %d are mailed, want %d", i, got, c.want)
		}
	}
	if err := w.SweepBudgets(t.Context(), day.Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	var n int
	if err := w.db.QueryRow(t.Context(), `select count(*) from budgets`).Scan(&n); err != nil || n != 2 {
		t.Errorf("%d counts after the sweep, %v; want the 2 of the new day", n, err)
	}
}

// A sender's mentions are bounded in an hour, of one other user more narrowly.
func TestMentionBudgets(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	hour := time.Date(2026, 5, 1, 22, 0, 0, 0, time.UTC)
	spend := func(at time.Time, from event.UserID, n int, to func(i int) event.UserID) (within int) {
		t.Helper()
		list := make([]inbox.Mention, n)
		for i := range list {
			list[i] = inbox.Mention{From: from, To: to(i)}
		}
		err := w.db.Tx(t.Context(), func(tx pgx.Tx) error {
			ok, err := inbox.SpendMentions(t.Context(), tx, list, at)
			for _, yes := range ok {
				if yes {
					within++
				}
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		return within
	}
	one := func(int) event.UserID { return "9" }
	each := func(i int) event.UserID { return event.UserID(fmt.Sprint(i)) }
	for i, c := range []struct {
		at   time.Time
		from event.UserID
		n    int
		to   func(int) event.UserID
		want int
	}{
		{hour, "a", 50, one, 50}, {hour.Add(59 * time.Minute), "a", 50, one, 10}, {hour, "b", 1, one, 1},
		{hour, "c", 400, each, 400}, {hour, "c", 400, each, 200}, {hour.Add(time.Hour), "c", 1, each, 1}, {hour.Add(time.Hour), "a", 100, one, 60},
	} {
		if got := spend(c.at, c.from, c.n, c.to); got != c.want {
			t.Errorf("%d: %d mentions, want %d", i, got, c.want)
		}
	}
}
