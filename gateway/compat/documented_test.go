package compat_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/twmb/franz-go/pkg/kgo"

	"crier/internal/criertest"
)

// oldTables are the older systems' tables as Django makes them, in words that
// Postgres and SQLite both take, with a row or two in each.
var oldTables = map[string]string{
	"auth_user": `create table auth_user (id integer primary key, password varchar(128) not null, last_login TIME, is_superuser bool not null, username varchar(150) not null,
			first_name varchar(150) not null, last_name varchar(150) not null, email varchar(254) not null, is_staff bool not null, is_active bool not null, date_joined TIME not null);
		insert into auth_user values (800, 'pbkdf2_sha256$1000$bEcnydHSXXiuVROad8fS3T$h+k0mkvixw2eKVyMNnjYG1oge6qhpgPQB//J2E7wOjk=', null, false, 'old.ann', '', '', 'old.ann@example.org', false, true, '2021-02-03 04:05:06.789');
		insert into auth_user values (801, '!x', null, true, 'old_admin', '', '', 'admin@example.org', true, true, '2020-01-01 00:00:00');`,
	"alerts_by_name": `create table alerts_alert (id integer primary key, user_id integer not null, target_price numeric(20,8) not null, trigger_condition varchar(10) not null, email varchar(254) not null, state varchar(10) not null);
		insert into alerts_alert values (1, 800, 70000.5, 'above', 'old.ann@example.org', 'created');
		insert into alerts_alert values (2, 800, 10, 'below', 'old.ann@example.org', 'deleted');`,
	"alerts_by_email": `create table alerts_alert (id integer primary key, user_id integer not null, price numeric(20,2) not null, status varchar(10) not null);
		insert into alerts_alert values (1, 800, 70000.5, 'created');
		insert into alerts_alert values (2, 800, 10, 'triggered');`,
	"pusher": `create table pusher_account (account_id integer primary key, account_name varchar(100) not null, email varchar(254) not null, website varchar(200), secret_token varchar(100) not null);
		insert into pusher_account values (40, 'Old shop', 'old@example.org', null, 'old-secret');
		create table pusher_destination (id integer primary key, account_id integer not null, url varchar(200) not null, http_method varchar(10) not null, headers JSON not null);
		insert into pusher_destination values (41, 40, 'HOOK/x', 'POST', '{"APP_ID": "1"}');`,
	"chat": `create table chat_room (id integer primary key, created_on TIME not null, updated_on TIME not null, name varchar(50) not null);
		insert into chat_room values (1, '2021-02-03 04:05:06', '2021-02-03 04:05:06', 'old-room');`,
}

// documentedSQL is a page's block in a language, "sql" or "sqlite".
func documentedSQL(t *testing.T, page, language string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("../../docs", page))
	if err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile("(?s)```" + language + "\n(.*?)```").FindSubmatch(text)
	if m == nil {
		t.Fatalf("%s has no block of %s", page, language)
	}
	return string(m[1])
}

func statements(sql string) []string {
	list := strings.Split(sql, ";")
	return slices.DeleteFunc(list, func(s string) bool { return strings.TrimSpace(s) == "" })
}

// fromPostgres is what the statements write in a database with these tables.
func fromPostgres(t *testing.T, tables, sql string) string {
	t.Helper()
	db, err := pgx.Connect(t.Context(), criertest.Postgres(t))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close(context.WithoutCancel(t.Context()))
	tables = strings.NewReplacer("TIME", "timestamptz", "JSON", "jsonb").Replace(tables)
	if _, err := db.Exec(t.Context(), tables); err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	for _, s := range statements(sql) {
		rows, err := db.Query(t.Context(), s)
		if err != nil {
			t.Fatalf("%s: %v", s, err)
		}
		lines, err := pgx.CollectRows(rows, func(r pgx.CollectableRow) (string, error) {
			values := r.RawValues()
			return string(values[0]), nil // JSON, as psql prints it
		})
		if err != nil {
			t.Fatalf("%s: %v", s, err)
		}
		out.WriteString(strings.Join(lines, "\n") + "\n")
	}
	return out.String()
}

// fromSQLite is the same in SQLite.
func fromSQLite(t *testing.T, tables, sql string) string {
	t.Helper()
	python := criertest.Python(t, "sqlite3")
	tables = strings.NewReplacer("TIME", "datetime", "JSON", "text").Replace(tables)
	cmd := exec.CommandContext(t.Context(), python, "-c", `
import sqlite3, sys
db = sqlite3.connect(":memory:")
db.executescript(sys.argv[1])
for statement in sys.argv[2:]:
    for row in db.execute(statement):
        print(row[0])
`, tables)
	cmd.Args = append(cmd.Args, statements(sql)...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return string(out)
}

// The SQL of each system's page writes lines of its tables that are imported, and then
// its own clients find what is theirs.
func TestDocumentedSQL(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		page, tables string
		languages    []string
		imported     int
		check        func(*testing.T, *criertest.Program, *stranger)
	}{
		{"compatible-alerts-by-username.md", oldTables["auth_user"] + oldTables["alerts_by_name"], []string{"sql", "sqlite"}, 4, func(t *testing.T, _ *criertest.Program, s *stranger) {
			_, in := s.do("POST", "/login", members{"username": "old.ann", "password": "pass"})
			s.token = fmt.Sprint(in["access"])
			if _, list := s.do("GET", "/fetch_alerts", nil); !strings.Contains(fmt.Sprint(list), "email:old.ann@example.org id:1 state:created target_price:70000.50 trigger_condition:above") {
				t.Errorf("alerts %v", list)
			}
		}},
		{"compatible-alerts-by-email.md", oldTables["auth_user"] + oldTables["alerts_by_email"], []string{"sql", "sqlite"}, 4, func(t *testing.T, _ *criertest.Program, s *stranger) {
			_, in := s.do("POST", "/api/login", members{"email": "old.ann@example.org", "password": "pass"})
			s.token = fmt.Sprint(in["JWT token"])
			if _, list := s.do("GET", "/api/alerts/triggered", nil); !strings.Contains(fmt.Sprint(list["results"]), "email:old.ann@example.org id:2 price:10.00 status:triggered") {
				t.Errorf("alerts %v", list)
			}
		}},
		{"compatible-notifications.md", oldTables["auth_user"], []string{"sql"}, 2, func(t *testing.T, p *criertest.Program, s *stranger) {
			_, in := s.do("POST", "/api/users/token", members{"username": "old.ann", "password": "pass"})
			conn := socket{t, dial(t, "ws"+strings.TrimPrefix(s.base, "http")+"/ws/notifications/800/?token="+fmt.Sprint(in["identity"]))}
			// The record that takes the place of the queue's message.
			produce(t, p, "notifications", "800", `{"user_id": 800, "payload": {"test": "hello"}}`)
			conn.want(`{"key":"1","type":"server_notification","value":{"test":"hello"}}`)
		}},
		{"compatible-data-pusher.md", oldTables["pusher"], []string{"sql", "sqlite"}, 2, func(t *testing.T, p *criertest.Program, s *stranger) {
			s.want("GET", "/account?account_id=40&secret_token=old-secret", nil, 200, members{"status": true, "data": nil})
			produce(t, p, "incoming", "40", `{"account_id":40,"data":{"order":7}}`)
		}},
		{"compatible-chat.md", oldTables["auth_user"] + oldTables["chat"], []string{"sql"}, 3, func(_ *testing.T, _ *criertest.Program, s *stranger) {
			_, in := s.do("POST", "/login", members{"username": "old.ann", "password": "pass"})
			s.token = fmt.Sprint(in["token"])
			chat := s.chat("/ws/chat/", false)
			chat.hear()
			chat.say(`{"type":"join","room_name":"old-room"}`)
			chat.want(`{"type":"room:notification","code":"joined","you":true,"user":"old.ann","room_name":"old-room","status":{"users":[{"name":"old.ann","you":true}],"messages":[]}}`)
		}},
	} {
		t.Run(c.page, func(t *testing.T) {
			t.Parallel()
			p := criertest.Start(t)
			hook := criertest.NewReceiver(t, nil)
			tables := strings.ReplaceAll(c.tables, "HOOK", hook.URL)
			for i, language := range c.languages {
				sql := documentedSQL(t, c.page, language)
				write := fromPostgres
				if language == "sqlite" {
					write = fromSQLite
				}
				// The second database has the same content, which is present then.
				want := fmt.Sprintf(`{"imported":%d,"present":0,"refused":0}`, c.imported)
				if i > 0 {
					want = fmt.Sprintf(`{"imported":0,"present":%d,"refused":0}`, c.imported)
				}
				lines := write(t, tables, sql)
				out, errOut, err := p.Run(t.Context(), lines, "import", "--webhook-allow=127.0.0.0/8")
				if err != nil || strings.TrimSpace(out) != want {
					t.Fatalf("%s of\n%s: %s %s %v, want %s", language, lines, out, errOut, err, want)
				}
			}
			c.check(t, p, &stranger{t: t, base: p.Facts().HTTP, kind: "Token"})
			if c.tables == oldTables["pusher"] {
				if h := hook.Await(t, 1)[0]; h.Body != `{"order":7}` || h.Header.Get("APP_ID") != "1" {
					t.Errorf("the destination got %+v", h)
				}
			}
		})
	}
}

// produce writes a record as a program of the older system's would.
func produce(t *testing.T, p *criertest.Program, topic, key, value string) {
	t.Helper()
	rec := &kgo.Record{Topic: topic, Key: []byte(key), Value: []byte(value)}
	if err := p.Kgo(t).ProduceSync(t.Context(), rec).FirstErr(); err != nil {
		t.Fatal(err)
	}
}
