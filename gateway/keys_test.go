package gateway_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"crier/gateway"
	"crier/gateway/api"
	"crier/internal/event"
	"crier/internal/kafka"
	"crier/internal/problem"
	"crier/internal/scope"
	"crier/internal/token"
	"crier/internal/user"
)

// makeKey makes a key and returns what sends it.
func (w *world) makeKey(k user.Key) credential {
	w.t.Helper()
	text, _, err := w.users.MakeKey(w.t.Context(), k, time.Now())
	if err != nil {
		w.t.Fatal(err)
	}
	return withKey(text)
}

func withKey(text string) credential {
	return func(r *http.Request) { r.Header.Set("X-API-Key", text) }
}

// keyWith makes a key with these scopes.
func (w *world) keyWith(owner string, scopes ...scope.Scope) credential {
	w.t.Helper()
	return w.makeKey(user.Key{Owner: owner, Grant: scope.Grant{Scopes: scopes}})
}

// refused is the body of a refusal.
type refused struct {
	Code          problem.Code `json:"code"`
	Type          string       `json:"type"`
	Detail        string       `json:"detail"`
	NeededScopes  []string     `json:"needed_scopes"`
	GrantedScopes []string     `json:"granted_scopes"`
	AllowedKinds  []string     `json:"allowed_kinds"`
}

func refusal(t *testing.T, text string) (r refused) {
	t.Helper()
	if err := json.Unmarshal([]byte(text), &r); err != nil {
		t.Fatalf("%q: %v", text, err)
	}
	return r
}

// A key may send to whom its scopes say, and nothing but the kinds that it is limited to.
func TestKeySends(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	w.signUp("ann")
	uid := w.userID("ann")
	toUser, toTopic, toAll := `"user_id":"`+uid+`"`, `"topic":"news"`, `"everyone":true`
	users, topics, everyone := w.keyWith("u", scope.SendUsers), w.keyWith("t", scope.SendTopics), w.keyWith("e", scope.SendEveryone)
	kinds := w.makeKey(user.Key{Owner: "k", Grant: scope.Grant{Scopes: []scope.Scope{scope.SendUsers, scope.AlertsWrite}, Kinds: []string{"order", "invoice.*"}}})
	for _, c := range []struct {
		name   string
		key    credential
		body   string
		status int
		code   problem.Code
		needs  string
	}{
		{"users to a user", users, toUser, 202, "", ""},
		{"users to several", users, `"user_ids":["` + uid + `"]`, 202, "", ""},
		{"users to a topic", users, toTopic, 403, problem.InsufficientScope, "send:topics"},
		{"users to everyone", users, toAll, 403, problem.InsufficientScope, "send:everyone"},
		{"topics to a topic", topics, toTopic, 202, "", ""},
		{"topics to a user", topics, toUser, 403, problem.InsufficientScope, "send:users"},
		{"topics to everyone", topics, toAll, 403, problem.InsufficientScope, "send:everyone"},
		{"everyone to everyone", everyone, toAll, 202, "", ""},
		{"everyone to a user", everyone, toUser, 403, problem.InsufficientScope, "send:users"},
		{"everyone to a topic", everyone, toTopic, 403, problem.InsufficientScope, "send:topics"},
		{"a user and a topic at once", users, toUser + "," + toTopic, 400, problem.InvalidInput, ""},
		{"a user and everyone at once", users, toUser + "," + toAll, 400, problem.InvalidInput, ""},
		{"everyone behind its contrary", users, toUser + `,"everyone":false,"everyone":true`, 400, problem.InvalidInput, ""},
		{"nobody but everyone", users, `"everyone":false,"everyone":true`, 403, problem.InsufficientScope, "send:everyone"},
		{"a topic as a user", users, `"user_id":"topic:news"`, 400, problem.InvalidInput, ""},
		{"a room as a user", users, `"user_id":"room:den"`, 400, problem.InvalidInput, ""},
		{"one forbidden among several", users, `"user_ids":["` + uid + `","topic:news"]`, 400, problem.InvalidInput, ""},
		{"everyone as a user", users, `"user_id":"everyone"`, 404, problem.UserNotFound, ""},

		{"an allowed kind", kinds, toUser + `,"kind":"order"`, 202, "", ""},
		{"an allowed prefix", kinds, toUser + `,"kind":"invoice.paid"`, 202, "", ""},
		{"the prefix' neighbour", kinds, toUser + `,"kind":"invoices"`, 403, problem.KindNotAllowed, ""},
		{"the default kind", kinds, toUser, 403, problem.KindNotAllowed, ""},
		{"an empty kind is the default", kinds, toUser + `,"kind":""`, 403, problem.KindNotAllowed, ""},
		{"no kind", kinds, toUser + `,"kind":null`, 403, problem.KindNotAllowed, ""},
		{"another case", kinds, toUser + `,"kind":"Order"`, 400, problem.InvalidInput, ""},
		{"a Cyrillic o", kinds, toUser + `,"kind":"оrder"`, 400, problem.InvalidInput, ""},
		{"an escaped Latin o", kinds, toUser + `,"kind":"\u006frder"`, 202, "", ""},
		{"a space", kinds, toUser + `,"kind":"order "`, 400, problem.InvalidInput, ""},
		{"a NUL", kinds, toUser + `,"kind":"order\u0000alert"`, 400, problem.InvalidInput, ""},
		{"the star itself", kinds, toUser + `,"kind":"invoice.*"`, 400, problem.InvalidInput, ""},
		{"two kinds, of which the last counts", kinds, toUser + `,"kind":"order","kind":"alert"`, 403, problem.KindNotAllowed, ""},
		{"a kind in another member's case", kinds, toUser + `,"kind":"alert","Kind":"order"`, 403, problem.KindNotAllowed, ""},
	} {
		status, _, text := w.ask("POST", "/api/v1/notifications", `{"title":"x",`+c.body+`}`, c.key)
		if status != c.status {
			t.Errorf("%s: %d %s, want %d", c.name, status, text, c.status)
			continue
		}
		if status == 202 {
			continue
		}
		r := refusal(t, text)
		if c.code != "" && r.Code != c.code || c.needs != "" && !slices.Equal(r.NeededScopes, []string{c.needs}) {
			t.Errorf("%s: %s, want %s %s", c.name, text, c.code, c.needs)
		}
		if r.Code == problem.KindNotAllowed && (!slices.Equal(r.AllowedKinds, []string{"order", "invoice.*"}) || !strings.Contains(r.Detail, "invoice.*")) {
			t.Errorf("%s: %s does not name what is allowed", c.name, text)
		}
	}
	if status, _, text := w.ask("POST", "/api/v1/alerts", `{"user_id":"`+uid+`","condition":"above","target":"1"}`, kinds); status != 403 || refusal(t, text).Code != problem.KindNotAllowed {
		t.Errorf("an alert, which sends the kind alert: %d %s", status, text)
	}
	// What a key cannot send it cannot send by an older system's address either.
	if status, _, text := w.ask("POST", "/api/notifications/send", `{"user_id":`+uid+`,"payload":1}`, kinds); status != 403 || !strings.Contains(text, "invoice.*") {
		t.Errorf("another kind by the older address: %d %s", status, text)
	}
}

// userID is the id of an account.
func (w *world) userID(name string) string {
	w.t.Helper()
	acc, err := w.users.ByLogin(w.t.Context(), name)
	if err != nil || len(acc) == 0 {
		w.t.Fatal(acc, err)
	}
	return string(acc[0].UserID())
}

// What the holder of a narrow key could try beyond its scopes.
func TestAttackNarrowKey(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *gateway.Config, _ *kafka.Config) { c.Signup = "closed" })
	ann, err := func() (user.Account, error) {
		admin := w.keyWith("admin", scope.UsersCreate)
		if status, _, text := w.ask("POST", "/api/v1/signup", `{"username":"ann","password":"correct horse"}`, admin); status != 201 {
			t.Fatalf("a key with users:create: %d %s", status, text)
		}
		found, err := w.users.ByLogin(t.Context(), "ann")
		return found[0], err
	}()
	if err != nil {
		t.Fatal(err)
	}
	uid := string(ann.UserID())
	wide, narrow := w.makeKey(user.Key{Owner: "shop", Grant: scope.Grant{All: true}}), w.keyWith("mailer", scope.SendUsers)
	send := func(key credential, idempotency string) (int, string) {
		status, _, text := w.ask("POST", "/api/v1/notifications", `{"user_id":"`+uid+`","title":"x","idempotency_key":"`+idempotency+`"}`, key)
		return status, text
	}
	_, first := send(wide, "k1")
	if status, second := send(narrow, "k1"); status != 202 || second == first {
		t.Errorf("another service's idempotency key gave its answer: %d %s", status, second)
	}
	var sent api.Accepted
	if err := json.Unmarshal([]byte(first), &sent); err != nil {
		t.Fatal(err)
	}
	status, _, text := w.ask("POST", "/api/v1/accounts", `{"account_name":"a","email":"a@example.org"}`, wide)
	var account api.NewAccount
	if err := json.Unmarshal([]byte(text), &account); err != nil || status != 201 {
		t.Fatalf("%d %s", status, text)
	}
	id := fmt.Sprint(account.ID)
	recaller := w.keyWith("recaller", scope.SentRead, scope.SentRecall)
	for _, c := range []struct {
		name, method, path, body string
		key                      credential
		status                   int
		code                     problem.Code
	}{
		{"recalling what another sent", "DELETE", "/api/v1/notifications/sent/" + sent.EventID + "?user_id=" + uid, "", narrow, 403, problem.InsufficientScope},
		{"recalling what another service sent", "DELETE", "/api/v1/notifications/sent/" + sent.EventID + "?user_id=" + uid, "", recaller, 404, problem.NotFound},
		{"seeing another service's scheduled send", "GET", "/api/v1/notifications/scheduled/" + sent.EventID, "", recaller, 404, problem.NotFound},
		{"making a room", "POST", "/api/v1/rooms", `{"name":"den"}`, narrow, 403, problem.InsufficientScope},
		{"a user's inbox", "GET", "/api/v1/notifications", "", narrow, 401, problem.Unauthorized},
		{"a user's ticket", "POST", "/api/v1/stream/ticket", "", narrow, 401, problem.Unauthorized},
		{"a user's ticket with all scopes", "POST", "/api/v1/stream/ticket", "", wide, 401, problem.Unauthorized},
		{"a stream", "GET", "/api/v1/stream?topics=news", "", narrow, 403, problem.Forbidden},
		{"a stream of ticks", "GET", "/api/v1/stream?topics=ticks:BTCUSDT", "", wide, 403, problem.Forbidden},
		{"signing somebody up", "POST", "/api/v1/signup", `{"username":"bob","password":"correct horse"}`, narrow, 403, problem.InsufficientScope},
		{"signing up by an older address", "POST", "/register", `{"username":"bob","password":"correct horse"}`, narrow, 403, ""},
		{"an account", "GET", "/api/v1/accounts/" + id, "", narrow, 403, problem.InsufficientScope},
		{"an account that does not exist", "GET", "/api/v1/accounts/999", "", narrow, 403, problem.InsufficientScope},
		{"an account with a wrong token", "GET", "/api/v1/accounts/" + id, "", with(narrow, accountToken("x")), 404, problem.NotFound},
		{"an account with its token", "GET", "/api/v1/accounts/" + id, "", with(narrow, accountToken(account.SecretToken)), 200, ""},
		{"pushing for an account", "POST", "/api/v1/incoming", `{"account_id":` + id + `,"data":1}`, narrow, 403, problem.InsufficientScope},
		{"pushing with the reader's scope", "POST", "/api/v1/incoming", `{"account_id":` + id + `,"data":1}`, w.keyWith("reader", scope.AccountsRead), 403, problem.InsufficientScope},
		{"pushing with the account's token", "POST", "/api/v1/incoming", `{"account_id":` + id + `,"data":1,"secret_token":"` + account.SecretToken + `"}`, narrow, 202, ""},
		{"an encoded path", "DELETE", "/api/v1/%75sers/" + uid, "", narrow, 403, problem.InsufficientScope},
		{"a slash at the end", "DELETE", "/api/v1/users/" + uid + "/", "", narrow, 403, problem.InsufficientScope},
		{"HEAD of an export", "HEAD", "/api/v1/users/" + uid + "/export", "", narrow, 403, ""},
		{"a user's id in the header", "DELETE", "/api/v1/users/" + uid, "", with(narrow, func(r *http.Request) { r.Header.Set(api.ForUser, uid) }), 403, problem.InsufficientScope},
	} {
		status, _, text := w.ask(c.method, c.path, c.body, c.key)
		if status != c.status || c.code != "" && refusal(t, text).Code != c.code {
			t.Errorf("%s: %d %s, want %d %s", c.name, status, text, c.status, c.code)
		}
	}
	// The older systems' addresses of accounts answer 200 whatever they say.
	for _, c := range []struct{ method, path, body string }{
		{"GET", "/account", `{}`}, {"GET", "/account", `{"account_id":` + id + `}`}, {"POST", "/account", `{"account_name":"b","email":"b@example.org"}`},
		{"DELETE", "/account", `{"account_id":` + id + `}`}, {"DELETE", "/account", `{"account_id":999}`}, {"GET", "/destination", `{"account_id":` + id + `}`},
		{"DELETE", "/destination", `{"destination_id":999}`}, {"POST", "/server/incoming_data", `{"account_id":` + id + `,"data":1}`},
		{"GET", "/server/incoming_data", `{"account_id":` + id + `,"data":1}`},
	} {
		if _, _, text := w.ask(c.method, c.path, c.body, narrow); !strings.Contains(text, `"status":false`) || !strings.Contains(text, "needs the scope accounts:") || strings.Contains(text, "a@example.org") {
			t.Errorf("%s %s %s: %s", c.method, c.path, c.body, text)
		}
	}
	if found, err := w.users.ByLogin(t.Context(), "bob"); err != nil || len(found) > 0 {
		t.Errorf("bob was signed up: %v, %v", found, err)
	}
}

func accountToken(text string) credential {
	return func(r *http.Request) { r.Header.Set(api.AccountToken, text) }
}

// with is several credentials at once.
func with(all ...credential) credential {
	return func(r *http.Request) {
		for _, c := range all {
			c(r)
		}
	}
}

// An expired key is refused with when that was; a key that was replaced is good for the
// overlap, and its successor repeats its sends.
func TestKeyLife(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	w.signUp("ann")
	now := time.Now()
	send := func(key string) (int, http.Header, string) {
		return w.ask("POST", "/api/v1/notifications", `{"user_id":"`+w.userID("ann")+`","title":"x","idempotency_key":"k"}`, withKey(key))
	}
	past := now.Add(-time.Minute)
	expired, _, err := w.users.MakeKey(t.Context(), user.Key{Owner: "old", Grant: scope.Grant{All: true}, ExpiresAt: &past}, now.Add(-time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	status, h, text := send(expired)
	if r := refusal(t, text); status != 401 || r.Code != problem.KeyExpired || !strings.Contains(r.Detail, past.UTC().Format(time.RFC3339)) || h.Get("WWW-Authenticate") == "" {
		t.Errorf("an expired key: %d %s", status, text)
	}
	first, _, err := w.users.MakeKey(t.Context(), user.Key{Owner: "shop", Grant: scope.Grant{Scopes: []scope.Scope{scope.SendUsers}}}, now)
	if err != nil {
		t.Fatal(err)
	}
	_, _, answer := send(first)
	second, _, old, err := w.users.RotateKey(t.Context(), "shop", user.Rotation{Overlap: time.Hour, Renew: true}, now)
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{first, second} {
		if status, _, text := send(key); status != 202 || text != answer {
			t.Errorf("after the rotation: %d %s, want %s", status, text, answer)
		}
	}
	if status, _, text := w.ask("POST", "/api/v1/rooms", `{"name":"den"}`, withKey(second)); status != 403 {
		t.Errorf("the successor may do more: %d %s", status, text)
	}
	if err := w.users.RevokeKeys(t.Context(), "shop", old.ID, now); err != nil {
		t.Fatal(err)
	}
	if status, _, text := send(first); status != 401 || refusal(t, text).Code != problem.Unauthorized {
		t.Errorf("the revoked one: %d %s", status, text)
	}
	if status, _, text := send(second); status != 202 {
		t.Errorf("its successor: %d %s", status, text)
	}
	list, err := w.users.Keys(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range list {
		if used := k.LastUsedAt != nil; used != (k.Owner == "shop") {
			t.Errorf("key %d of %s: used %v", k.ID, k.Owner, k.LastUsedAt)
		}
	}
}

// A token with scopes of Crier is a service's: it may do what they say, and nothing as a
// user. A token without is its user's, as before.
func TestServiceTokens(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	w.signUp("ann")
	uid := w.userID("ann")
	mint := func(id token.Identity) string {
		id.Expires = time.Now().Add(time.Minute)
		text, err := w.tokens.Mint(id, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	service := mint(token.Identity{UserID: "shop", Service: true, Grant: scope.Grant{Scopes: []scope.Scope{scope.SendUsers, scope.SentRecall}}})
	body := `{"user_id":"` + uid + `","title":"x","idempotency_key":"k"}`
	status, _, sent := w.ask("POST", "/api/v1/notifications", body, bearer(service))
	if status != 202 {
		t.Fatalf("a service's token: %d %s", status, sent)
	}
	var accepted api.Accepted
	if err := json.Unmarshal([]byte(sent), &accepted); err != nil {
		t.Fatal(err)
	}
	if _, _, other := w.ask("POST", "/api/v1/notifications", body, w.keyWith("shop", scope.SendUsers)); other == sent {
		t.Error("a key and a token of one name are one sender")
	}
	for _, c := range []struct {
		name, method, path, body string
		who                      credential
		status                   int
		code                     problem.Code
	}{
		{"to everyone", "POST", "/api/v1/notifications", `{"everyone":true,"title":"x"}`, bearer(service), 403, problem.InsufficientScope},
		{"a room", "POST", "/api/v1/rooms", `{"name":"den"}`, bearer(service), 403, problem.InsufficientScope},
		{"an inbox of its own", "GET", "/api/v1/notifications", "", bearer(service), 401, problem.Unauthorized},
		{"a stream", "GET", "/api/v1/stream", "", bearer(service), 403, problem.Forbidden},
		{"a stream with the token in its address", "GET", "/api/v1/stream?access_token=" + service, "", func(*http.Request) {}, 401, problem.Unauthorized},
		{"the token as a cookie", "GET", "/api/v1/profile", "", func(r *http.Request) { r.AddCookie(&http.Cookie{Name: api.Cookie, Value: service}) }, 401, problem.Unauthorized},
		{"unknown scopes only", "POST", "/api/v1/notifications", body, bearer(mint(token.Identity{UserID: event.UserID(uid), Service: true, Grant: scope.Grant{Scopes: []scope.Scope{"unknown"}}})), 403, problem.InsufficientScope},
		{"a user's token", "POST", "/api/v1/notifications", `{"everyone":true,"title":"x"}`, bearer(mint(token.Identity{UserID: "1"})), 403, problem.Forbidden},
		{"a user's own", "GET", "/api/v1/notifications", "", bearer(mint(token.Identity{UserID: "1"})), 200, ""},
	} {
		status, _, text := w.ask(c.method, c.path, c.body, c.who)
		if status != c.status || c.code != "" && refusal(t, text).Code != c.code {
			t.Errorf("%s: %d %s, want %d %s", c.name, status, text, c.status, c.code)
		}
	}
}

// A rotation gives a service no further sends: they are counted by its name.
func TestLimitOutlivesRotation(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *gateway.Config, _ *kafka.Config) { c.ExternalUsers, c.SendLimitKey = true, 1 })
	first, _, err := w.users.MakeKey(t.Context(), user.Key{Owner: "shop", Grant: scope.Grant{All: true}}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	ids := make([]string, 10_000)
	for i := range ids {
		ids[i] = fmt.Sprint(i)
	}
	list, err := json.Marshal(ids)
	if err != nil {
		t.Fatal(err)
	}
	if status, _, text := w.ask("POST", "/api/v1/notifications", `{"user_ids":`+string(list)+`,"title":"x"}`, withKey(first)); status != 202 {
		t.Fatalf("%d %.200s", status, text)
	}
	second, _, _, err := w.users.RotateKey(t.Context(), "shop", user.Rotation{Overlap: time.Hour}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	// Many times what a second refills, however slow this machine is.
	if status, h, text := w.ask("POST", "/api/v1/notifications", `{"user_ids":`+string(list)+`,"title":"x"}`, withKey(second)); status != 429 || h.Get("Retry-After") == "" {
		t.Errorf("after the rotation: %d %.200s", status, text)
	}
}

// Where an older system is opened, a narrow key is still narrow: what needs no key is
// asked without one.
func TestNarrowKeyWhereOpened(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *gateway.Config, _ *kafka.Config) { c.CompatOpen = []string{"data-pusher", "notifications"} })
	w.signUp("ann")
	narrow := w.keyWith("rooms", scope.RoomsWrite)
	for _, c := range []struct{ method, path, body, needs string }{
		{"GET", "/account", `{}`, "accounts:read"},
		{"POST", "/account", `{"account_name":"a","email":"a@example.org"}`, "accounts:write"},
		{"POST", "/api/notifications/send", `{"user_id":` + w.userID("ann") + `,"payload":1}`, "send:users"},
	} {
		if _, _, text := w.ask(c.method, c.path, c.body, narrow); !strings.Contains(text, "needs the scope "+c.needs) {
			t.Errorf("%s %s with a narrow key: %s", c.method, c.path, text)
		}
		if status, _, text := w.ask(c.method, c.path, c.body); status != 200 || strings.Contains(text, `"status":false`) {
			t.Errorf("%s %s without a key: %d %s", c.method, c.path, status, text)
		}
	}
}
