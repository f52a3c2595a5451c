package promises

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"crier/internal/client"
	"crier/internal/criertest"
)

// wantCode says that a request is refused with a code.
func wantCode(t *testing.T, c *client.Client, method, path string, body any, code string) {
	t.Helper()
	err := c.Do(t.Context(), method, path, body, nil)
	var refusal *client.Error
	if code == "" && err != nil || code != "" && (!errors.As(err, &refusal) || refusal.Code != code) {
		t.Errorf("%s %s: %v, want %q", method, path, err, code)
	}
}

// An account is its owner's, an API key's, and whoever's has its token; to others
// it does not exist.
func TestAccountsBelongToTheirOwners(t *testing.T) {
	t.Parallel()
	p := criertest.Start(t)
	ann, bob, nobody := p.SignUp("ann"), p.SignUp("bob"), &client.Client{Base: p.Facts().HTTP}
	var acc struct {
		ID          int64
		SecretToken string `json:"secret_token"`
	}
	mustDo(t, ann.Client, "POST", "/accounts", map[string]string{"account_name": "Shop", "email": "shop@example.org"}, &acc)
	wantCode(t, bob.Client, "POST", "/accounts", map[string]string{"account_name": "Shop", "email": "shop@example.org"}, "email_taken")
	wantCode(t, ann.Client, "POST", "/accounts", map[string]string{"account_name": "", "email": "x"}, "invalid_input")
	wantCode(t, nobody, "POST", "/accounts", map[string]string{"account_name": "Nobody's", "email": "nobody@example.org"}, "unauthorized")
	wantCode(t, nobody, "GET", "/accounts", nil, "unauthorized")
	path := fmt.Sprintf("/accounts/%d", acc.ID)
	for _, at := range []string{path, path + "/destinations"} {
		wantCode(t, ann.Client, "GET", at, nil, "")
		wantCode(t, p.Service(), "GET", at, nil, "")
		wantCode(t, bob.Client, "GET", at, nil, "not_found")
		wantCode(t, nobody, "GET", at, nil, "unauthorized")
		wantCode(t, ann.Client, "GET", strings.Replace(at, path, "/accounts/999", 1), nil, "not_found")
	}
	var page struct{ Count int }
	mustDo(t, bob.Client, "GET", "/accounts", nil, &page)
	if page.Count != 0 {
		t.Errorf("bob sees %d accounts", page.Count)
	}

	hook := criertest.NewReceiver(t, nil)
	var d struct {
		ID     int64
		Secret string
	}
	mustDo(t, ann.Client, "POST", path+"/destinations", map[string]any{"url": hook.URL, "ordered": true}, &d)
	if !strings.HasPrefix(d.Secret, "whsec_") {
		t.Errorf("the signing secret is %q", d.Secret)
	}
	wantCode(t, ann.Client, "POST", path+"/destinations", map[string]any{"url": "http://10.0.0.1", "rate": -1, "headers": map[string]string{"Host": "x"}}, "invalid_input")
	var others struct{ ID int64 }
	mustDo(t, bob.Client, "POST", "/accounts", map[string]string{"account_name": "Bob's", "email": "bob@example.org"}, &others)
	at := fmt.Sprintf("%s/destinations/%d", path, d.ID)
	wantCode(t, bob.Client, "GET", strings.Replace(at, path, fmt.Sprintf("/accounts/%d", others.ID), 1), nil, "not_found")
	for _, verb := range []string{"/test", "/secret", "/replay", "/attempts/1/replay"} {
		wantCode(t, bob.Client, "POST", at+verb, map[string]any{"since": time.Now()}, "not_found")
	}
	wantCode(t, ann.Client, "POST", at+"/replay", map[string]any{}, "invalid_input")
	wantCode(t, ann.Client, "POST", at+"/replay", map[string]any{"since": "yesterday"}, "invalid_input")
	wantCode(t, ann.Client, "POST", at+"/attempts/99/replay", nil, "not_found")

	incoming := func(token, key string, data any) map[string]any {
		return map[string]any{"account_id": acc.ID, "secret_token": token, "data": data, "idempotency_key": key}
	}
	var first, second struct {
		EventID string `json:"event_id"`
		Offset  int64
	}
	mustDo(t, nobody, "POST", "/incoming", incoming(acc.SecretToken, "k", 1), &first)
	mustDo(t, nobody, "POST", "/incoming", incoming(acc.SecretToken, "k", 1), &second)
	if first != second || first.EventID == "" {
		t.Errorf("the same key was answered %+v, then %+v", first, second)
	}
	wantCode(t, nobody, "POST", "/incoming", incoming(acc.SecretToken, "k", 2), "idempotency_key_reused")
	wantCode(t, nobody, "POST", "/incoming", incoming("wrong", "", 1), "not_found")
	wantCode(t, nobody, "POST", "/incoming", incoming("", "", 1), "unauthorized")
	wantCode(t, nobody, "POST", "/incoming", incoming(acc.SecretToken, "", strings.Repeat("x", 66_000)), "invalid_input")
	wantCode(t, ann.Client, "POST", "/incoming", incoming("", "", 2), "")
	if h := hook.Await(t, 2); len(h) != 2 || h[0].Header.Get("Webhook-Id") != fmt.Sprintf("%s_%d", first.EventID, d.ID) {
		t.Errorf("came %+v", h)
	}
	var renewed struct {
		SecretToken string `json:"secret_token"`
	}
	mustDo(t, ann.Client, "POST", path+"/secret", nil, &renewed)
	wantCode(t, nobody, "POST", "/incoming", incoming(acc.SecretToken, "", 1), "not_found")
	wantCode(t, nobody, "POST", "/incoming", incoming(renewed.SecretToken, "", 1), "")
	wantCode(t, ann.Client, "DELETE", at, nil, "")
	wantCode(t, ann.Client, "DELETE", path, nil, "")
	wantCode(t, ann.Client, "GET", path, nil, "not_found")
}

func mustDo(t *testing.T, c *client.Client, method, path string, body, into any) {
	t.Helper()
	if err := c.Do(t.Context(), method, path, body, into); err != nil {
		t.Fatalf("%s %s: %v", method, path, err)
	}
}

// The owner of a destination that answers 410 is told in their inbox and by
// mail, once; what came for it waits, and is delivered when it is enabled again.
func TestOwnerIsToldOfADisabledDestination(t *testing.T) {
	t.Parallel()
	p := criertest.Start(t)
	ann := p.SignUpWith("ann", "ann@example.org")
	confirm(t, p.Facts().Mail, "ann@example.org")
	gone := make(chan struct{})
	hook := criertest.NewReceiver(t, func(w http.ResponseWriter, _ criertest.Hook) {
		select {
		case <-gone:
		default:
			w.WriteHeader(http.StatusGone)
		}
	})
	var acc, d struct{ ID int64 }
	mustDo(t, ann.Client, "POST", "/accounts", map[string]string{"account_name": "Shop", "email": "shop@example.org"}, &acc)
	at := fmt.Sprintf("/accounts/%d/destinations", acc.ID)
	mustDo(t, ann.Client, "POST", at, map[string]any{"url": hook.URL, "ordered": true}, &d)
	at += fmt.Sprintf("/%d", d.ID)
	for n := range 2 {
		mustDo(t, ann.Client, "POST", "/incoming", map[string]any{"account_id": acc.ID, "data": n}, nil)
	}
	var inbox struct {
		Count   int
		Results []struct{ Kind, Title, Body, URL string }
	}
	criertest.Eventually(t, 30*time.Second, "the owner is told", func() bool {
		mustDo(t, ann.Client, "GET", "/notifications", nil, &inbox)
		return inbox.Count > 0
	})
	if n := inbox.Results[0]; inbox.Count != 1 || n.Kind != "destination_disabled" || n.URL != fmt.Sprintf("/destinations/%d", d.ID) || !strings.Contains(n.Body, hook.URL) || !strings.Contains(n.Body, "410") {
		t.Errorf("told %+v", inbox)
	}
	criertest.Eventually(t, 30*time.Second, "the mail", func() bool {
		list := catcher(t, p)
		return len(list) == 1 && list[0].To[0].Address == "ann@example.org" && strings.Contains(list[0].Subject, "destination was disabled")
	})
	wantCode(t, ann.Client, "POST", at+"/test", nil, "conflict")
	close(gone)
	mustDo(t, ann.Client, "PATCH", at, map[string]any{"enabled": true}, nil)
	criertest.Eventually(t, 60*time.Second, "what waited is delivered in order", func() bool {
		hooks := hook.Hooks()
		return len(hooks) == 3 && hooks[1].Body == "0" && hooks[2].Body == "1"
	})
}

// A notification with the channel webhook goes to its user's own destinations,
// signed like everything that does; where it went can be seen.
func TestNotificationByWebhook(t *testing.T) {
	t.Parallel()
	p := criertest.Start(t)
	ann, bob := p.SignUp("ann"), p.SignUp("bob")
	hook := criertest.NewReceiver(t, nil)
	var acc struct{ ID int64 }
	mustDo(t, ann.Client, "POST", "/accounts", map[string]string{"account_name": "Mine", "email": "ann@example.org"}, &acc)
	mustDo(t, ann.Client, "POST", fmt.Sprintf("/accounts/%d/destinations", acc.ID), map[string]any{"url": hook.URL}, nil)
	mustDo(t, p.Service(), "POST", "/notifications", map[string]any{"user_ids": []string{ann.ID, bob.ID}, "title": "to both", "channels": []string{"inbox", "webhook"}}, nil)
	got := hook.Await(t, 1)[0]
	if !strings.Contains(string(got.Body), `"title":"to both"`) || got.Header.Get("Webhook-Signature") == "" {
		t.Errorf("%+v %s", got.Header, got.Body)
	}
	bob.Follow(t, "0", 1)
	criertest.Eventually(t, time.Minute, "both can see what became of it", func() bool {
		a, b := fates(t, ann, 1), fates(t, bob, 1)
		return len(a) == 1 && a[0] == fate{Channel: "webhook", Address: "POST " + hook.URL, State: "sent", Attempts: 1} &&
			len(b) == 1 && b[0].State == "failed" && b[0].Error == "the user has no destination that is enabled"
	})
}
