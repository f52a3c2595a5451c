package gateway_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"crier/gateway"
	"crier/gateway/api"
	"crier/internal/destination"
	"crier/internal/event"
	"crier/internal/inbox"
	"crier/internal/kafka"
	"crier/internal/schedule"
	"crier/internal/token"
)

// marker is in every text that is kept of the user of these tests.
const marker = "zebra"

// leaveTraces stores the marker wherever a user's texts are kept.
func (w *world) leaveTraces(uid event.UserID, access string) {
	w.t.Helper()
	for path, body := range map[string]string{
		"/alerts":   `{"symbol":"BTCUSDT","condition":"above","target":"1","message":"zebra","note":"zebra"}`,
		"/accounts": `{"account_name":"zebra","email":"zebra@example.org"}`,
	} {
		if status, _, text := w.ask("POST", "/api/v1"+path, body, bearer(access)); status != 201 {
			w.t.Fatalf("%s: %d %s", path, status, text)
		}
	}
	topic := "11111111-1111-4111-8111-111111111111"
	err := w.db.Tx(w.t.Context(), func(tx pgx.Tx) error {
		if err := inbox.OpenInboxes(w.t.Context(), tx, uid, "bystander"); err != nil {
			return err
		}
		now := time.Now()
		items := []inbox.Item{{UserID: uid, EventID: "e1", Title: marker, Priority: "normal", Origin: event.Origin{TopicID: topic}}, {UserID: "bystander", EventID: "e2", Title: "stays", Priority: "normal", Origin: event.Origin{TopicID: topic, Offset: 1}}}
		if _, err := inbox.Put(w.t.Context(), tx, now, items); err != nil {
			return err
		}
		var sends []*schedule.Send
		for i, target := range []string{string(uid), string(uid), "bystander"} {
			text := marker
			if target == "bystander" {
				text = "stays"
			}
			value := fmt.Appendf(nil, `{"user_id":%q,"title":%q}`, target, text)
			sends = append(sends, &schedule.Send{Sender: "shop", EventID: fmt.Sprint("later-", i), Target: target, Hash: []byte("h"), DueAt: now.Add(time.Hour),
				Record: kafka.Record{TopicID: topic, Offset: int64(10 + i), Key: []byte(text), Value: value, Headers: []kafka.Header{{Key: "x", Value: []byte(text)}}}})
		}
		if _, err := schedule.Keep(w.t.Context(), tx, sends, now); err != nil {
			return err
		}
		var account event.AccountID
		if err := tx.QueryRow(w.t.Context(), `select id from accounts where owner = $1`, string(uid)).Scan(&account); err != nil {
			return err
		}
		if _, err := destination.Take(w.t.Context(), tx, []destination.Item{{AccountID: account, EventID: "i1", Data: []byte(`"zebra"`), Origin: event.Origin{TopicID: topic, Offset: 20}}}, now); err != nil {
			return err
		}
		for _, sql := range []string{
			`insert into idempotent_sends (sender, key, content_hash, created_at) values ('user:' || $1, 'zebra', '', now())`,
			`insert into deliveries (user_id, notification_id, channel, address, state, created_at, updated_at) values ($1, 1, 'email', 'zebra@example.org', 'queued', now(), now())`,
			`insert into river_job (args, kind, max_attempts) values (jsonb_build_object('user_id', $1::text, 'notification_id', 1, 'address', 'zebra@example.org'), 'mail', 3)`,
			`update pending_sends set done_at = now() where target = $1 and event_id = 'later-1'`,
		} {
			if _, err := tx.Exec(w.t.Context(), sql, string(uid)); err != nil {
				return fmt.Errorf("%s: %w", sql, err)
			}
		}
		return nil
	})
	if err != nil {
		w.t.Fatal(err)
	}
}

// traces are the tables in which a row has the marker.
func (w *world) traces() (found []string) {
	w.t.Helper()
	rows, err := w.db.Query(w.t.Context(), `select table_name::text from information_schema.tables where table_schema = current_schema() and table_type = 'BASE TABLE' order by 1`)
	if err != nil {
		w.t.Fatal(err)
	}
	tables, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		w.t.Fatal(err)
	}
	for _, table := range tables {
		var n int
		// Binary columns are shown in hexadecimal.
		sql := `select count(*) from ` + pgx.Identifier{table}.Sanitize() + ` r where r::text like '%zebra%' or r::text like '%' || encode('zebra', 'hex') || '%' or r::text like '%' || encode('zebra', 'base64') || '%'`
		if err := w.db.QueryRow(w.t.Context(), sql).Scan(&n); err != nil {
			w.t.Fatalf("%s: %v", table, err)
		}
		if n > 0 {
			found = append(found, table)
		}
	}
	return found
}

// wantNoTraces waits for nothing: what is left to the sweep is swept here.
func (w *world) wantNoTraces() {
	w.t.Helper()
	store := destination.New(w.db)
	for n := int64(1); n > 0; {
		var err error
		if n, err = store.Prune(w.t.Context(), time.Now().Add(-time.Hour), 1); err != nil {
			w.t.Fatal(err)
		}
	}
	if found := w.traces(); len(found) > 0 {
		w.t.Errorf("something is left in %v", found)
	}
	var cancelled, waiting, others int
	err := w.db.QueryRow(w.t.Context(), `select count(*) filter (where cancelled_at is not null and done_at is null), count(*) filter (where cancelled_at is null and done_at is null),
		(select count(*) from notifications where user_id = 'bystander') from pending_sends`).Scan(&cancelled, &waiting, &others)
	if err != nil || cancelled != 1 || waiting != 1 || others != 1 {
		w.t.Errorf("%d scheduled sends cancelled, %d of others wait, %d notifications of others (%v); want one of each", cancelled, waiting, others, err)
	}
}

// Leaving removes every text of the user from every table.
func TestLeaveKeepsNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	access, _ := w.signUp(marker)
	var me struct{ ID event.UserID }
	if _, _, text := w.ask("GET", "/api/v1/profile", "", bearer(access)); json.Unmarshal([]byte(text), &me) != nil {
		t.Fatal(text)
	}
	w.leaveTraces(me.ID, access)
	if found := w.traces(); len(found) < 8 {
		t.Fatalf("the user is in %v only", found)
	}
	if status, _, text := w.ask("DELETE", "/api/v1/profile", "", bearer(access)); status != 204 {
		t.Fatalf("leaving: %d %s", status, text)
	}
	w.wantNoTraces()
}

// A service exports and erases any user, also one whose account is an identity
// provider's; nobody else does.
func TestServiceErasesAndExportsUsers(t *testing.T) {
	t.Parallel()
	for _, external := range []bool{false, true} {
		t.Run(fmt.Sprintf("external %v", external), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, func(c *gateway.Config, _ *kafka.Config) { c.ExternalUsers = external })
			uid, access := event.UserID("auth0|ze/1"), ""
			if external {
				var err error
				if access, err = w.tokens.Mint(token.Identity{UserID: uid, Expires: time.Now().Add(time.Hour)}, time.Now()); err != nil {
					t.Fatal(err)
				}
			} else {
				access, _ = w.signUp(marker)
				var me struct{ ID event.UserID }
				if _, _, text := w.ask("GET", "/api/v1/profile", "", bearer(access)); json.Unmarshal([]byte(text), &me) != nil {
					t.Fatal(text)
				}
				uid = me.ID
			}
			w.leaveTraces(uid, access)
			path := "/api/v1/users/" + url.PathEscape(string(uid))
			key := func(r *http.Request) { r.Header.Set("X-API-Key", apiKey) }
			for _, c := range []struct {
				method, path string
				who          credential
				want         int
			}{
				{"GET", path + "/export", bearer(access), 403},
				{"DELETE", path, bearer(access), 403},
				{"DELETE", path, func(*http.Request) {}, 401},
				{"DELETE", "/api/v1/users/room:general", key, 400},
			} {
				if status, _, text := w.ask(c.method, c.path, "", c.who); status != c.want {
					t.Errorf("%s %s: %d %s, want %d", c.method, c.path, status, text, c.want)
				}
			}
			var out api.ExportView
			status, _, text := w.ask("GET", path+"/export", "", key)
			if err := json.Unmarshal([]byte(text), &out); err != nil || status != 200 || out.User.ID != uid || len(out.Alerts) != 1 || len(out.Notifications) != 1 || len(out.Accounts) != 1 {
				t.Errorf("export: %d %s (%v)", status, text, err)
			}
			if status, _, text := w.ask("DELETE", path, "", key); status != 204 {
				t.Fatalf("erasing: %d %s", status, text)
			}
			w.wantNoTraces()
			want := 404
			if external {
				want = 204 // any id may be a user's
			}
			if status, _, text := w.ask("DELETE", path, "", key); status != want {
				t.Errorf("erased again: %d %s, want %d", status, text, want)
			}
		})
	}
}
