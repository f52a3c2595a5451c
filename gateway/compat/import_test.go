package compat_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"crier/internal/criertest"
)

// Lines of another system, with hashes that Django made of the password "pass".
const importedLines = `
{"type":"user","id":700,"username":"Ann","email":"ann@example.org","password":"pbkdf2_sha256$1000$bEcnydHSXXiuVROad8fS3T$h+k0mkvixw2eKVyMNnjYG1oge6qhpgPQB//J2E7wOjk=","created_at":"2021-02-03T04:05:06.789+00:00"}
{"type":"user","id":701,"email":"bob@example.org","password":"argon2$argon2id$v=19$m=102400,t=2,p=8$b0E3bkdFc0I1THk1Rk5oTEtSMnhvaQ$tiIhPFd5bDECC1yZiGW++7aWMLBH2RVukQOss4qJYZA"}
{"type":"user","id":702,"username":"gone","email":null,"password":"!unusable"}
{"type":"user","id":699,"username":"second","email":"ANN@example.org","password":""}
{"type":"room","name":"garden"}
{"type":"account","id":50,"account_name":"Shop","email":"shop@example.org","website":"hello.com","secret_token":"oldsecret","created_at":"2021-02-03T04:05:06Z"}
{"type":"destination","id":60,"account_id":50,"url":"HOOK","http_method":"PUT","headers":{"APP_ID":"1"}}
{"type":"alert","username":"ann","target":"70000.50","condition":"above","email":"ann@example.org"}
{"type":"alert","username":"ann","target":"70000.50","condition":"above","email":"ann@example.org","state":"triggered"}
{"type":"alert","user_id":701,"target":5,"condition":"below","email":"bob@example.org","state":"deleted"}
`

// What another system has kept is brought in: its users log in with the names, ids,
// passwords and secrets that they have, on the clients that they have.
func TestImport(t *testing.T) {
	t.Parallel()
	p := criertest.Start(t)
	hook := criertest.NewReceiver(t, nil)
	lines := strings.ReplaceAll(importedLines, "HOOK", hook.URL+"/x")
	load := func(text string) (string, string, error) {
		t.Helper()
		return p.Run(t.Context(), text, "import", "--webhook-allow=127.0.0.0/8")
	}
	if out, errOut, err := load(lines); err != nil || out != `{"imported":10,"present":0,"refused":0}`+"\n" {
		t.Fatalf("%s %s %v", out, errOut, err)
	}
	// Again, nothing changes, however a number is written.
	lines = strings.ReplaceAll(lines, `"70000.50"`, `"70000.5000"`)
	if out, errOut, err := load(lines); err != nil || out != `{"imported":0,"present":10,"refused":0}`+"\n" {
		t.Fatalf("again: %s %s %v", out, errOut, err)
	}

	s := &stranger{t: t, base: p.Facts().HTTP, kind: "Bearer"}
	s.want("POST", "/login", members{"username": "ann", "password": "Pass"}, 400, members{"error": nil})
	// The first login is by the old hash, the second by a new one.
	for range 2 {
		_, in := s.do("POST", "/login", members{"username": "Ann", "password": "pass"})
		s.token = fmt.Sprint(in["access"])
		s.want("GET", "/profile", nil, 200, members{"username": "Ann", "email": "ann@example.org"})
	}
	_, list := s.do("GET", "/fetch_alerts", nil)
	for _, part := range []string{"target_price:70000.50 trigger_condition:above", "state:created", "state:triggered"} {
		if !strings.Contains(fmt.Sprint(list), part) {
			t.Errorf("Ann's alerts are %v", list)
		}
	}
	// An imported address is signed in by, and gets mail, without a confirmation here.
	s.want("POST", "/api/login", members{"email": "ANN@example.org", "password": "pass"}, 200, members{"JWT token": nil, "access": nil, "refresh": nil})
	db, err := pgx.Connect(t.Context(), p.Facts().Postgres)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close(context.WithoutCancel(t.Context()))
	var confirmed int
	if err := db.QueryRow(t.Context(), `select count(*) from mail_consents where address = 'ann@example.org' and confirmed_at is not null`).Scan(&confirmed); err != nil || confirmed != 2 {
		t.Errorf("%d users have the address confirmed, %v", confirmed, err)
	}
	bob := &stranger{t: t, base: s.base, kind: "Bearer"}
	_, in := bob.do("POST", "/api/login", members{"email": "bob@example.org", "password": "pass"})
	bob.token = fmt.Sprint(in["JWT token"])
	if _, deleted := bob.do("GET", "/fetch_alerts?state=deleted", nil); !strings.Contains(fmt.Sprint(deleted), "target_price:5.00 trigger_condition:below") {
		t.Errorf("Bob's deleted alerts are %v", deleted)
	}
	// An account without a password gets in by none, and a password that is set now
	// keeps the rules of new ones.
	s.want("POST", "/login", members{"username": "gone", "password": "!unusable"}, 400, members{"error": nil})
	if status, text := s.send("POST", "/api/v1/password", "application/json", `{"password":"pass","new_password":"short"}`); status != 400 || !strings.Contains(text, "at least 8 characters") {
		t.Errorf("a new password that is too short: %d %s", status, text)
	}

	// Its id is the old one, and the next one is behind it.
	key := &stranger{t: t, base: s.base, key: p.Facts().APIKey}
	key.want("POST", "/api/notifications/send", members{"user_id": 700, "payload": 1}, 200, members{"user_id": 700, "payload": 1})
	fresh := p.SignUp("fresh")
	if fresh.ID != "703" {
		t.Errorf("a new user has the id %s", fresh.ID)
	}

	self := map[string]any{"account_id": 50, "account_name": "Shop", "email": "shop@example.org", "website": "hello.com"}
	s.want("GET", "/account?account_id=50&secret_token=oldsecret", nil, 200, members{"status": true, "data": self})
	made := s.want("POST", "/account", members{"account_name": "New", "email": "new@example.org"}, 200, members{"status": true, "message": nil, "data": nil})
	if data, _ := made["data"].(map[string]any); fmt.Sprint(data["account_id"]) != "51" {
		t.Errorf("a new account is %v", data)
	}
	s.want("POST", "/server/incoming_data", members{"account_id": 50, "secret_token": "oldsecret", "data": members{"a": 1}}, 200, members{"status": true})
	if h := hook.Await(t, 1)[0]; h.Method != "PUT" || h.Header.Get("APP_ID") != "1" || h.Body != `{"a":1}` {
		t.Errorf("the destination got %+v", h)
	}
	s.want("POST", "/destination", members{"account_id": 50, "secret_token": "oldsecret", "url": hook.URL + "/y", "http_method": "POST"}, 200, members{"status": true, "message": "Destination Created Successfully", "data": nil})
	s.want("DELETE", "/destination", members{"destination_id": 60, "secret_token": "oldsecret"}, 200, members{"status": true, "message": nil})

	_, in = s.do("POST", "/login", members{"username": "ann", "password": "pass"})
	chat := (&stranger{t: t, base: s.base, kind: "Token", token: fmt.Sprint(in["token"])}).chat("/ws/chat", false)
	chat.hear()
	chat.say(`{"type":"join","room_name":"garden"}`)
	if m := chat.hear(); m["code"] != "joined" {
		t.Errorf("the room: %v", m)
	}
}

// A line that cannot be imported is named with its field and rule; the others are
// imported. What belongs to a refused user goes to nobody else.
func TestImportRefusals(t *testing.T) {
	t.Parallel()
	p := criertest.Start(t)
	ann := p.SignUp("ann")
	for _, c := range []struct{ line, want string }{
		{`nope`, `is not valid JSON`},
		{`[]`, `must be a JSON object`},
		{`{}`, `type: must be user, room, account, destination or alert`},
		{`{"type":"group"}`, `type: must be user, room, account, destination or alert`},
		{`{"type":"user"}`, `id: is required: a whole number from 1 on; username: is required`},
		{`{"type":"user","id":"7","username":"x"}`, `id: must be`},
		{`{"type":"user","id":-1,"username":"x"}`, `id: is required: a whole number from 1 on`},
		{`{"type":"user","id":900,"username":"a b"}`, `username: must be of letters, digits and @ . + - _`},
		{`{"type":"user","id":900,"username":"x","email":"x"}`, `email: must be an email address`},
		{`{"type":"user","id":900,"username":"x","password":"secret"}`, `password: must be a hash of Django's`},
		{`{"type":"user","id":900,"username":"x","password":"pbkdf2_sha256$99999999$salt$h+k0mkvixw2eKVyMNnjYG1oge6qhpgPQB//J2E7wOjk="}`, `password: must be a hash of Django's`},
		{`{"type":"user","id":900,"username":"x","created_at":"yesterday"}`, `created_at: must be a time`},
		{`{"type":"user","id":` + ann.ID + `,"username":"other"}`, `id: is another user's here`},
		{`{"type":"alert","user_id":` + ann.ID + `,"target":1,"condition":"above"}`, `user_id: is of a user whose line was refused`},
		{`{"type":"user","id":901,"username":"ANN"}`, `username: is another user's here, in any case of letters`},
		{`{"type":"alert","username":"ann","target":1,"condition":"above"}`, `user_id: is of a user whose line was refused`},
		{`{"type":"room","name":"a b"}`, `name: must`},
		{`{"type":"account","id":1}`, `account_name: is required; email: is required; secret_token: is required`},
		{`{"type":"destination","id":1,"account_id":99,"url":"https://example.org/x","http_method":"POST"}`, `account_id: is no account's here`},
		{`{"type":"destination","id":1,"account_id":1,"url":"ftp://x","http_method":"LOOK"}`, `url: must`},
		{`{"type":"destination","id":1,"url":"https://example.org/x"}`, `account_id: is required`},
		{`{"type":"alert","target":1,"condition":"above"}`, `user_id: user_id or username is required`},
		{`{"type":"alert","username":"nobody","target":1,"condition":"above"}`, `There is no user "nobody".`},
		{`{"type":"alert","user_id":999999,"target":1,"condition":"above"}`, `user_id`},
		{`{"type":"alert","username":"demo","target":"cheap","condition":"above"}`, `target: must`},
		{`{"type":"alert","username":"demo","target":1,"condition":"above","state":"fired"}`, `state: must be created, paused, triggered or deleted`},
	} {
		// A user's line before that is refused is part of the same run.
		before := ""
		if strings.Contains(c.want, "line was refused") {
			before = `{"type":"user","id":` + ann.ID + `,"username":"other"}` + "\n" + `{"type":"user","id":901,"username":"ANN"}` + "\n"
		}
		out, errOut, err := p.Run(t.Context(), before+c.line+"\n"+`{"type":"room","name":"kept"}`+"\n", "import")
		last := fmt.Sprintf("crier: line %d: ", strings.Count(before, "\n")+1)
		_, said, _ := strings.Cut(errOut, last)
		if err == nil || !strings.Contains(said, c.want) || !strings.Contains(out, `"refused":`+fmt.Sprint(strings.Count(before, "\n")+1)) {
			t.Errorf("%s: %v\n%s%s, want %s", c.line, err, out, errOut, c.want)
		}
	}
	var own struct{ Count int }
	if err := ann.Do(t.Context(), "GET", "/alerts", nil, &own); err != nil || own.Count != 0 {
		t.Errorf("Ann has %d alerts of others, %v", own.Count, err)
	}
	criertest.Eventually(t, 30*time.Second, "the room of the good lines is there", func() bool {
		out, _, err := p.Run(t.Context(), "", "rooms", "list")
		return err == nil && strings.Contains(out, "kept")
	})
}
