package promises

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"crier/internal/client"
	"crier/internal/criertest"
)

// follower reads one user's stream through every interruption, with an
// independent client that reconnects with the last event id it has.
type follower struct {
	mu   sync.Mutex
	ids  []int64
	stop context.CancelFunc
	wait sync.WaitGroup
}

func follow(t *testing.T, u *criertest.User) *follower {
	ctx, cancel := context.WithCancel(context.Background())
	f := &follower{stop: cancel}
	f.wait.Go(func() {
		_ = u.Stream(ctx, client.StreamOptions{Since: "0", Reconnect: true}, func(e client.Event) {
			if e.Type != "notification" {
				return
			}
			var n struct{ ID int64 }
			if json.Unmarshal(e.Data, &n) == nil {
				f.mu.Lock()
				f.ids = append(f.ids, n.ID)
				f.mu.Unlock()
			}
		}) // it ends with the test, by its context
	})
	t.Cleanup(func() { cancel(); f.wait.Wait() })
	return f
}

func (f *follower) seen() []int64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]int64(nil), f.ids...)
}

// requireSequence says that a stream brought 1, 2, 3 … n, each once, in order.
func (f *follower) requireSequence(t *testing.T, n int) {
	t.Helper()
	// A member of a group that is killed during a rebalance is noticed after the
	// rebalance timeout of a minute.
	criertest.Eventually(t, 3*time.Minute, fmt.Sprintf("%d notifications on the stream", n), func() bool { return len(f.seen()) >= n })
	for i, id := range f.seen() {
		if id != int64(i+1) {
			t.Fatalf("the stream's entry %d is notification %d: %v", i+1, id, f.seen())
		}
	}
	if got := len(f.seen()); got != n {
		t.Fatalf("%d notifications on the stream, want %d", got, n)
	}
}

// slowTicks is a recording of a symbol that ticks every 10 ms for a while, and
// crosses 150 and 250 once.
func slowTicks(t *testing.T, n int) string {
	t.Helper()
	var b strings.Builder
	b.WriteString("time_ms,trade_id,symbol,side,price,quantity\n")
	for i := range n {
		price := 100
		switch {
		case i > 2*n/3:
			price = 300
		case i > n/3:
			price = 200
		}
		fmt.Fprintf(&b, "%d,%d,SLOW,buy,%d.%02d,1\n", 1700000000000+10*i, i+1, price, i%100)
	}
	path := filepath.Join(t.TempDir(), "slow.csv")
	if err := os.WriteFile(path, []byte(b.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// The whole program kills itself at each line between an effect and what
// follows it, and is started again: everything that was accepted is stored and
// shown once, in order, and every alert that was made and met fires once.
func TestKilledAtEachPoint(t *testing.T) {
	for _, point := range []string{
		"consumer.before-store:5", "consumer.after-store:1", "consumer.after-store:7", "consumer.after-produce:3", "consumer.after-commit:4",
		"matcher.before-propose:2", "matcher.after-propose:1", "matcher.after-propose:4", "matcher.after-take:1", "matcher.before-commit:2", "matcher.after-commit:1",
	} {
		t.Run(point, func(t *testing.T) {
			t.Parallel()
			killedAt(t, point)
		})
	}
}

func killedAt(t *testing.T, point string) {
	p := criertest.Start(t)
	u := p.SignUp("ann")
	var early []int64 // alerts that are there before the first tick
	for _, target := range []string{"150", "250"} {
		early = append(early, mustAlert(t, u, target))
	}
	key := p.Facts().APIKey
	p.Stop()
	feed := "CRIER_FEEDS=replay:" + slowTicks(t, 150) + "@1"
	p.Launch("CRIER_TEST_FAIL_AT="+point, feed)
	life := sync.WaitGroup{}
	life.Go(func() {
		p.Died()
		p.Start(feed)
	})
	f := follow(t, u)
	sent, late := busy(t, &client.Client{Base: u.Base, APIKey: key}, u)
	life.Wait()
	all := allAlerts(t, u)
	for _, id := range append(early, late...) {
		if !slices.Contains(all, id) {
			t.Errorf("alert %d was accepted and is gone", id)
		}
	}
	awaitFired(t, u, all)
	f.requireSequence(t, sent+len(all))
	requireOnce(t, u, sent)
}

func mustAlert(t *testing.T, u *criertest.User, target string) int64 {
	t.Helper()
	var made struct{ ID int64 }
	if err := u.Do(t.Context(), "POST", "/alerts", map[string]string{"symbol": "SLOW", "condition": "above", "target": target}, &made); err != nil {
		t.Fatal(err)
	}
	return made.ID
}

// busy sends notifications, each with a key and again until it is accepted, and
// makes alerts that are met at once, through the program's death and second
// life.
func busy(t *testing.T, service *client.Client, u *criertest.User) (sent int, alerts []int64) {
	t.Helper()
	for i := range 40 {
		body := map[string]any{"user_id": u.ID, "title": fmt.Sprint("n", i), "idempotency_key": fmt.Sprint("key-", i)}
		criertest.Eventually(t, 60*time.Second, "a send is accepted", func() bool {
			return service.Do(t.Context(), "POST", "/notifications", body, nil) == nil
		})
		sent++
		if i%4 != 0 {
			continue
		}
		var made struct{ ID int64 }
		err := u.Do(t.Context(), "POST", "/alerts", map[string]string{"symbol": "SLOW", "condition": "above", "target": "0.01"}, &made)
		var refusal *client.Error
		if errors.As(err, &refusal) {
			t.Fatal(err)
		}
		if err == nil {
			alerts = append(alerts, made.ID)
		}
	}
	return sent, alerts
}

// allAlerts are those that were made, also where the answer was lost.
func allAlerts(t *testing.T, u *criertest.User) []int64 {
	t.Helper()
	var page struct{ Results []struct{ ID int64 } }
	if err := u.Do(t.Context(), "GET", "/alerts?limit=200", nil, &page); err != nil {
		t.Fatal(err)
	}
	var ids []int64
	for _, a := range page.Results {
		ids = append(ids, a.ID)
	}
	return ids
}

func awaitFired(t *testing.T, u *criertest.User, ids []int64) {
	t.Helper()
	for _, id := range ids {
		criertest.Eventually(t, 30*time.Second, fmt.Sprintf("alert %d fires", id), func() bool {
			var a struct {
				State   string
				Firings int
			}
			err := u.Do(t.Context(), "GET", fmt.Sprintf("/alerts/%d", id), nil, &a)
			return err == nil && a.State == "triggered" && a.Firings == 1
		})
	}
}

// requireOnce says that each of the sent notifications is in the inbox once.
func requireOnce(t *testing.T, u *criertest.User, sent int) {
	t.Helper()
	var page struct {
		Count   int
		Results []criertest.Notification
	}
	if err := u.Do(t.Context(), "GET", "/notifications?kind=message&limit=200", nil, &page); err != nil {
		t.Fatal(err)
	}
	titles := make(map[string]int)
	for _, n := range page.Results {
		titles[n.Title]++
	}
	for i := range sent {
		if titles[fmt.Sprint("n", i)] != 1 {
			t.Errorf("notification %d is in the inbox %d times", i, titles[fmt.Sprint("n", i)])
		}
	}
	if page.Count != sent {
		t.Errorf("%d messages in the inbox, want %d", page.Count, sent)
	}
}
