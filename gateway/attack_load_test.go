package gateway_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"crier/gateway"
	"crier/internal/kafka"
)

// Attacks by requests that are expensive; each test is one.

// Somebody's many expensive requests at once must not take the connections to Postgres
// from others: those who sign in, ask who they are, and send. A table that cannot be read
// stands for however slow the requests are.
func TestAttackExpensiveRequests(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *gateway.Config, _ *kafka.Config) { c.TrustedProxies = []string{"127.0.0.1"} })
	mallory, _ := w.signUp("mallory")
	ann, _ := w.signUp("ann")
	address := func(r *http.Request) { r.Header.Set("X-Forwarded-For", "198.51.100.7") }
	for _, c := range []struct {
		name, lock, method string
		path               func(i int) string
		body               string
		who                credential
		n                  int
		running            int // of n, at once
		most               int // of n, running and waiting; others are refused at once
	}{
		{"searches", "lock table notifications", "GET", func(i int) string { return fmt.Sprint("/api/v1/notifications?q=x", i) }, "", bearer(mallory), 40, 1, 33},
		{"candles of one address", "lock table candles", "GET", func(i int) string { return fmt.Sprint("/api/v1/prices/GOLD/candles?source=x&limit=", i+1) }, "", address, 120, 1, 33},
		{"dry runs", "lock table candles", "POST", func(int) string { return "/api/v1/alerts/dry-run" }, `{"symbol":"GOLD","condition":"above","target":"1","source":"x"}`, bearer(mallory), 60, 1, 5},
		{"exports", "lock table notifications", "GET", func(int) string { return "/api/v1/export" }, "", bearer(mallory), 40, 1, 5},
		{"changes of one inbox", "select from inboxes where user_id = '1' for update", "POST", func(int) string { return "/api/v1/notifications/seen" }, "", bearer(mallory), 60, 1, 60},
	} {
		tx, err := w.db.Begin(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := tx.Exec(t.Context(), c.lock); err != nil {
			t.Fatal(err)
		}
		var all sync.WaitGroup
		var mu sync.Mutex
		answers := make(map[int]int)
		for i := range c.n {
			all.Go(func() {
				status, h, _ := w.ask(c.method, c.path(i), c.body, c.who)
				if status == 429 && h.Get("Retry-After") == "" {
					t.Errorf("%s: 429 without Retry-After", c.name)
				}
				mu.Lock()
				defer mu.Unlock()
				answers[status]++
			})
		}
		eventually(t, func() string {
			mu.Lock()
			defer mu.Unlock()
			var waiting int
			if err := w.db.QueryRow(t.Context(), `select count(*) from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database()`).Scan(&waiting); err != nil {
				return err.Error()
			}
			if answers[429] == c.n-c.most && waiting == c.running {
				return ""
			}
			return fmt.Sprintf("%s: answers %v, %d wait in Postgres; want %d refused and %d waiting", c.name, answers, waiting, c.n-c.most, c.running)
		})
		for _, other := range []struct{ method, path, body string }{
			{"GET", "/api/v1/profile", ""},
			{"POST", "/api/v1/login", `{"username":"ann","password":"correct horse"}`},
			{"POST", "/api/v1/notifications", `{"user_id":2,"title":"x","idempotency_key":"` + c.name + `"}`},
		} {
			if status, _, text := w.ask(other.method, other.path, other.body, bearer(ann)); status/100 != 2 {
				t.Errorf("%s: meanwhile %s: %d %s", c.name, other.path, status, text)
			}
		}
		if err := tx.Rollback(context.WithoutCancel(t.Context())); err != nil {
			t.Fatal(err)
		}
		all.Wait()
		if answers[200] == 0 || answers[200]+answers[429] != c.n {
			t.Errorf("%s: answers %v", c.name, answers)
		}
	}
}

// An export comes in pages, whole, in the form that it always had.
func TestExportByPages(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	ann, _ := w.signUp("ann")
	const many = 250
	for _, sql := range []string{
		`insert into notifications (user_id, id, event_id, kind, title, body, url, payload, priority, unread, created_at, origin_topic, origin_partition, origin_offset)
			select '1', n, 'e' || n, 'message', 'title ' || n, '', '', '', 1, n, now(), gen_random_uuid(), 0, n from generate_series(1, 250) n`,
		`insert into notifications (user_id, id, event_id, kind, title, body, url, payload, priority, unread, created_at, origin_topic, origin_partition, origin_offset, author)
			select 'room:' || case when n % 2 = 0 then 'a' else 'b' end, n, 'r' || n, 'message', '', 'said ' || n, '', '', 1, 0, now(), gen_random_uuid(), 0, n, '1' from generate_series(1, 250) n`,
		`insert into alerts (user_id, symbol, condition, target, firings, created_at, topic_id, partition, place)
			select '1', 'GOLD', 'above', n, n % 2, now(), gen_random_uuid(), 0, 0 from generate_series(1, 250) n`,
		`insert into firings (alert_id, firing, revision, user_id, symbol, price, tick_time, source, topic_id, partition, place, notification_id, created_at)
			select id, 1, 1, '1', 'GOLD', 5, now(), 'x', gen_random_uuid(), 0, id, 1, now() from alerts where firings = 1`,
	} {
		if _, err := w.db.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	status, _, text := w.ask("GET", "/api/v1/export", "", bearer(ann))
	var out struct {
		User          struct{ Username string }
		Sessions      []any
		Alerts        []struct{ ID int64 }
		Firings       map[string][]any
		Notifications []struct{ ID int64 }
		Said          []struct{ Body string }
		Accounts      []any
		Addresses     []any
	}
	if err := json.Unmarshal([]byte(text), &out); status != 200 || err != nil {
		t.Fatalf("%d %v %.200s", status, err, text)
	}
	said := make(map[string]bool)
	for _, s := range out.Said {
		said[s.Body] = true
	}
	if out.User.Username != "ann" || len(out.Sessions) != 1 || len(out.Alerts) != many || len(out.Firings) != many/2 || len(out.Notifications) != many || len(said) != many || out.Accounts == nil || out.Addresses == nil {
		t.Errorf("user %v, %d sessions, %d alerts, %d with firings, %d notifications, %d messages, accounts %v, addresses %v", out.User, len(out.Sessions), len(out.Alerts), len(out.Firings), len(out.Notifications), len(said), out.Accounts, out.Addresses)
	}
	for i, n := range out.Notifications {
		if n.ID != int64(i+1) {
			t.Fatalf("notification %d is %d", i, n.ID)
		}
	}
	// A search counts and lists in one pass.
	for _, c := range []struct {
		query       string
		count, page int
	}{{"q=title", many, 50}, {"q=TITLE+24&limit=5", 11, 5}, {"q=title+24&limit=5&cursor=24", 0 + 11, 0}, {"q=nothing", 0, 0}} {
		var page struct {
			Count   int
			Next    *string
			Results []struct{ Title string }
		}
		status, _, text := w.ask("GET", "/api/v1/notifications?"+c.query, "", bearer(ann))
		if err := json.Unmarshal([]byte(text), &page); status != 200 || err != nil || page.Count != c.count || len(page.Results) != c.page || (page.Next != nil) != (c.count > c.page && c.page > 0) {
			t.Errorf("%s: %d %.300s", c.query, status, text)
		}
		for _, r := range page.Results {
			if !strings.HasPrefix(r.Title, "title") {
				t.Errorf("%s: %q", c.query, r.Title)
			}
		}
	}
}

// eventually polls until fn returns "", or fails the test with its last answer.
func eventually(t *testing.T, fn func() string) {
	t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for {
		last := fn()
		if last == "" {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal(last)
		}
		<-time.After(10 * time.Millisecond)
	}
}
