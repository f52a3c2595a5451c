package webhook_test

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/prometheus/client_golang/prometheus"

	"crier/consumer/webhook"
	"crier/internal/criertest"
	"crier/internal/destination"
	"crier/internal/event"
	"crier/internal/postgres"
)

const patience = 30 * time.Second

// world is a database with one account.
type world struct {
	t       *testing.T
	db      *postgres.DB
	store   *destination.Store
	account event.AccountID
	offset  int64

	mu   sync.Mutex // guards told
	told []destination.Destination
}

func newWorld(t *testing.T) *world {
	t.Helper()
	db := criertest.Database(t, 0)
	w := &world{t: t, db: db, store: destination.New(db)}
	acc, _, err := w.store.CreateAccount(t.Context(), destination.Account{Name: "Shop", Email: "shop@example.org"}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	w.account = acc.ID
	return w
}

// destination adds one; what is not said is POST without anything special.
func (w *world) destination(url string, change func(*destination.Destination)) (destination.Destination, string) {
	w.t.Helper()
	d := destination.Destination{AccountID: w.account, URL: url, Method: http.MethodPost, Headers: map[string]string{}}
	if change != nil {
		change(&d)
	}
	made, secret, err := w.store.Create(w.t.Context(), d, time.Now())
	if err != nil {
		w.t.Fatal(err)
	}
	return made, secret
}

func ordered(d *destination.Destination) { d.Ordered = true }

// push brings items in, as the consumer does.
func (w *world) push(data ...string) {
	w.t.Helper()
	items := make([]destination.Item, len(data))
	for i, s := range data {
		w.offset++
		items[i] = destination.Item{AccountID: w.account, EventID: fmt.Sprintf("evt-%d", w.offset), Data: []byte(s),
			Origin: event.Origin{TopicID: "6b1b36cb-9b2b-4b5c-8f43-b8d0cd6a3b0a", Offset: w.offset}}
	}
	err := w.db.Tx(w.t.Context(), func(tx pgx.Tx) error {
		taken, err := destination.Take(w.t.Context(), tx, items, time.Now())
		for _, o := range taken {
			if o.Status != event.StatusStored {
				w.t.Errorf("an item was %s: %s", o.Status, o.Reason)
			}
		}
		return err
	})
	if err != nil {
		w.t.Fatal(err)
	}
}

func numbered(n int) []string {
	out := make([]string, n)
	for i := range out {
		out[i] = fmt.Sprint(i)
	}
	return out
}

// start runs a dispatcher until the returned func, or the end of the test. Waits
// are short unless the test says otherwise.
func (w *world) start(cfg webhook.Config, allow ...string) (stop func()) {
	w.t.Helper()
	if cfg.Waits == nil {
		cfg.Waits = []time.Duration{50 * time.Millisecond, 50 * time.Millisecond}
	}
	if allow == nil {
		allow = []string{"127.0.0.0/8"}
	}
	guard, err := destination.NewGuard(allow)
	if err != nil {
		w.t.Fatal(err)
	}
	tell := func(_ context.Context, d destination.Destination) error {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.told = append(w.told, d)
		return nil
	}
	d := webhook.New(cfg, w.store, guard, tell, slog.New(slog.DiscardHandler), prometheus.NewRegistry())
	d.Start(w.t.Context())
	var once sync.Once
	stop = func() {
		once.Do(func() {
			ctx, cancel := context.WithTimeout(context.Background(), patience)
			defer cancel()
			if err := d.Stop(ctx); err != nil {
				w.t.Errorf("stopping: %v", err)
			}
			if err := d.Err(); err != nil {
				w.t.Errorf("the dispatcher ended by itself: %v", err)
			}
		})
	}
	w.t.Cleanup(stop)
	return stop
}

// now is a destination as it is now.
func (w *world) now(d destination.Destination) destination.Destination {
	w.t.Helper()
	found, err := w.store.ByID(w.t.Context(), d.ID)
	if err != nil {
		w.t.Fatal(err)
	}
	return found
}

// attempts are a destination's, oldest first.
func (w *world) attempts(d destination.Destination) []destination.Attempt {
	w.t.Helper()
	list, _, err := w.store.Attempts(w.t.Context(), d.ID, 0, false, 1000)
	if err != nil {
		w.t.Fatal(err)
	}
	for i, j := 0, len(list)-1; i < j; i, j = i+1, j-1 {
		list[i], list[j] = list[j], list[i]
	}
	return list
}

// awaitAttempts waits until so many are in the log.
func (w *world) awaitAttempts(d destination.Destination, n int) []destination.Attempt {
	w.t.Helper()
	criertest.Eventually(w.t, patience, fmt.Sprintf("%d attempts in the log", n), func() bool { return len(w.attempts(d)) >= n })
	return w.attempts(d)
}

// settled waits until nothing waits at a destination.
func (w *world) settled(d destination.Destination) {
	w.t.Helper()
	criertest.Eventually(w.t, patience, "nothing waits", func() bool { return w.now(d).Waiting == 0 })
}

func (w *world) exec(sql string, args ...any) {
	w.t.Helper()
	if _, err := w.db.Exec(w.t.Context(), sql, args...); err != nil {
		w.t.Fatal(err)
	}
}
