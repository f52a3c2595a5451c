package promises

import (
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"crier/internal/client"
	"crier/internal/criertest"
)

func status(err error) int {
	var refusal *client.Error
	if errors.As(err, &refusal) {
		return refusal.Status
	}
	return 0
}

// A person changes their password, which ends their other sessions; takes their
// data along; and leaves, with all of it: what is sent to them afterwards is
// refused, and their alerts fire no more.
func TestOwnAccount(t *testing.T) {
	t.Parallel()
	p := criertest.Start(t)
	ann, other := p.SignUpWith("ann", "ann@example.org"), p.SignUp("ann")
	mustAlertBody(t, ann, map[string]string{"symbol": "GOLD", "condition": "above", "target": "1"})
	mustAlertBody(t, ann, map[string]string{"symbol": "GOLD", "condition": "above", "target": "1000000"})
	tick(t, p, "GOLD", "5")
	ann.Follow(t, "0", 1)

	for body, want := range map[[2]string]int{
		{"wrong password", "battery staple"}: http.StatusUnauthorized, {criertest.Password, "12345678"}: http.StatusBadRequest, {"", "battery staple"}: http.StatusBadRequest,
	} {
		err := ann.Do(t.Context(), "POST", "/password", map[string]string{"password": body[0], "new_password": body[1]}, nil)
		if status(err) != want {
			t.Errorf("%v: %v, want %d", body, err, want)
		}
	}
	if err := ann.Do(t.Context(), "POST", "/password", map[string]string{"password": criertest.Password, "new_password": "battery staple"}, nil); err != nil {
		t.Fatal(err)
	}
	if err := other.Do(t.Context(), "GET", "/profile", nil, nil); status(err) != http.StatusUnauthorized {
		t.Errorf("the other session lives: %v", err)
	}
	anyone := &client.Client{Base: ann.Base}
	if err := anyone.Do(t.Context(), "POST", "/login", map[string]string{"username": "ann", "password": criertest.Password}, nil); status(err) != http.StatusUnauthorized {
		t.Errorf("the old password: %v", err)
	}
	if err := anyone.Do(t.Context(), "POST", "/login", map[string]string{"username": "ann", "password": "battery staple"}, nil); err != nil {
		t.Errorf("the new password: %v", err)
	}

	var export struct {
		User          struct{ Username, Email string }
		Alerts        []struct{ State string }
		Firings       map[string][]struct{ Price string }
		Notifications []struct{ Kind string }
	}
	if err := ann.Do(t.Context(), "GET", "/export", nil, &export); err != nil {
		t.Fatal(err)
	}
	if export.User.Username != "ann" || len(export.Alerts) != 2 || len(export.Firings["1"]) != 1 || export.Firings["1"][0].Price != "5" || len(export.Notifications) != 1 {
		t.Errorf("export %+v", export)
	}

	// Known to the gateway, so that leaving has something to forget.
	if err := p.Service().Do(t.Context(), "POST", "/notifications", map[string]string{"user_id": ann.ID, "title": "before"}, nil); err != nil {
		t.Fatal(err)
	}
	ended := streamEnd(t, ann)
	if err := ann.Do(t.Context(), "DELETE", "/profile", nil, nil); err != nil {
		t.Fatal(err)
	}
	requireSoon(t, ended, "the stream ends")
	if err := ann.Do(t.Context(), "GET", "/profile", nil, nil); status(err) != http.StatusUnauthorized {
		t.Errorf("after leaving: %v", err)
	}
	if err := p.Service().Do(t.Context(), "POST", "/notifications", map[string]string{"user_id": ann.ID, "title": "x"}, nil); status(err) != http.StatusNotFound {
		t.Errorf("sending to who has left: %v", err)
	}
	tick(t, p, "GOLD", "2000000")
	again := p.SignUp("ann")
	if again.ID == ann.ID {
		t.Error("the id was given again")
	}
	if err := p.Service().Do(t.Context(), "POST", "/notifications", map[string]string{"user_id": again.ID, "title": "x"}, nil); err != nil {
		t.Fatal(err)
	}
	if n := again.Follow(t, "0", 1); n[0].Title != "x" {
		t.Errorf("the new account begins with %+v", n)
	}
}

// A service's key is made by a command, known to every gateway at once, and
// refused once it is revoked; its owner is the sender of what it sends.
func TestServiceKeys(t *testing.T) {
	t.Parallel()
	p := criertest.Start(t)
	ann := p.SignUp("ann")
	run := func(args ...string) string {
		t.Helper()
		out, stderr, err := p.Run(t.Context(), "", args...)
		if err != nil {
			t.Fatalf("%v: %v %s", args, err, stderr)
		}
		return criertest.Lines(out)[0]
	}
	shop := &client.Client{Base: ann.Base, APIKey: run("keys", "add", "shop")}
	bank := &client.Client{Base: ann.Base, APIKey: run("keys", "add", "bank")}
	send := func(c *client.Client, title string) error {
		return c.Do(t.Context(), "POST", "/notifications", map[string]string{"user_id": ann.ID, "title": title, "idempotency_key": "1"}, nil)
	}
	for _, err := range []error{send(shop, "shop"), send(bank, "bank"), send(shop, "shop")} {
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := send(shop, "something else"); status(err) != http.StatusUnprocessableEntity {
		t.Errorf("the same key for something else: %v", err)
	}
	ann.Follow(t, "0", 2)
	if list, _, err := p.Run(t.Context(), "", "keys", "list"); err != nil || len(criertest.Lines(list)) != 2 {
		t.Errorf("%s, %v", list, err)
	}
	if _, _, err := p.Run(t.Context(), "", "keys", "revoke", "shop"); err != nil {
		t.Error(err)
	}
	if err := send(shop, "shop"); status(err) != http.StatusUnauthorized {
		t.Errorf("a revoked key: %v", err)
	}
	if err := send(bank, "bank"); err != nil {
		t.Errorf("another's key: %v", err)
	}
	if _, _, err := p.Run(t.Context(), "", "keys", "add", "Bad Name"); err == nil {
		t.Error("a bad name was taken")
	}
}

// What a key has scheduled is its service's: it is delivered when the key has ended, and
// a successor can see and cancel it.
func TestKeySchedulesAndEnds(t *testing.T) {
	t.Parallel()
	p := criertest.Start(t)
	ann := p.SignUp("ann")
	key := func(args ...string) *client.Client {
		t.Helper()
		out, stderr, err := p.Run(t.Context(), "", args...)
		if err != nil {
			t.Fatalf("%v: %v %s", args, err, stderr)
		}
		return &client.Client{Base: ann.Base, APIKey: criertest.Lines(out)[0]}
	}
	first := key("keys", "add", "shop", "--scope", "send:users,sent:read,sent:recall", "--kind", "order", "--expires", "90d")
	schedule := func(title string, in time.Duration) string {
		t.Helper()
		var accepted struct {
			EventID string `json:"event_id"`
		}
		body := map[string]any{"user_id": ann.ID, "title": title, "kind": "order", "deliver_at": time.Now().Add(in)}
		if err := first.Do(t.Context(), "POST", "/notifications", body, &accepted); err != nil {
			t.Fatal(err)
		}
		return "/notifications/scheduled/" + accepted.EventID
	}
	soon, late, third := schedule("soon", 3*time.Second), schedule("late", time.Hour), schedule("third", time.Hour)
	second := key("keys", "rotate", "shop", "--overlap", "0s")
	if err := first.Do(t.Context(), "DELETE", late, nil, nil); status(err) != http.StatusUnauthorized || !strings.Contains(err.Error(), "expired at") {
		t.Errorf("the ended key: %v", err)
	}
	for method, path := range map[string]string{"GET": soon, "DELETE": late} {
		if err := second.Do(t.Context(), method, path, nil, nil); err != nil {
			t.Errorf("%s %s by the successor: %v", method, path, err)
		}
	}
	if n := ann.Follow(t, "0", 1); n[0].Title != "soon" {
		t.Errorf("delivered %+v", n)
	}
	if err := second.Do(t.Context(), "POST", "/rooms", map[string]string{"name": "den"}, nil); status(err) != http.StatusForbidden {
		t.Errorf("beyond its scopes: %v", err)
	}
	for _, want := range []string{"1", "0"} { // the second time there are neither keys nor sends
		if out, stderr, err := p.Run(t.Context(), "", "keys", "revoke", "shop", "--cancel-sends"); err != nil || strings.TrimSpace(out) != want {
			t.Errorf("cancelled %q, want %s: %v %s", out, want, err, stderr)
		}
	}
	if out, stderr, err := p.Run(t.Context(), "", "keys", "add", "shop", "--scope", "sent:read"); err != nil {
		t.Error(err, stderr)
	} else {
		var state struct {
			State string `json:"state"`
		}
		reader := &client.Client{Base: ann.Base, APIKey: criertest.Lines(out)[0]}
		if err := reader.Do(t.Context(), "GET", third, nil, &state); err != nil || state.State != "cancelled" {
			t.Errorf("the third is %+v, %v", state, err)
		}
	}
}
