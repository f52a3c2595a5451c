package promises

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"crier/internal/criertest"
)

// Whoever gives somebody else's address, at sign-up by any client's way or in alerts,
// must not have them mailed: the address gets one mail that asks, with nothing in it
// that the attacker has written, and its owner decides for each account.
func TestAttackMailToStrangers(t *testing.T) {
	t.Parallel()
	p := criertest.Start(t)
	const victim = "victim@example.org"
	mallory := p.SignUpWith("mallory", victim)
	for i := range 20 {
		mustDo(t, mallory.Client, "POST", "/notifications", map[string]any{"user_id": mallory.ID, "title": fmt.Sprint("buy ", i), "channels": []string{"inbox", "email"}}, nil)
	}
	mustAlertBody(t, mallory, map[string]string{"symbol": "GOLD", "condition": "above", "target": "1", "email": victim, "message": "buy"})
	for path, form := range map[string]url.Values{
		"/register":     {"username": {"eve"}, "password": {criertest.Password}, "email": {"Victim@example.org"}},
		"/api/register": {"password": {criertest.Password}, "email": {"VICTIM@example.org"}},
	} {
		if status, text := visit(t, http.MethodPost, p.Facts().HTTP+path, form); status != http.StatusCreated {
			t.Fatalf("%s: %d %s", path, status, text)
		}
	}
	eve := p.SignUp("eve")
	mustAlertBody(t, eve, map[string]string{"symbol": "GOLD", "condition": "above", "target": "1", "email": victim})
	tick(t, p, "GOLD", "5")
	mallory.Follow(t, "0", 21)
	eve.Follow(t, "0", 1)
	for _, id := range []int64{1, 21} {
		requireFate(t, mallory, id, fate{Channel: "email", Address: victim, State: "suppressed", Error: "the address is not confirmed: its owner has not followed the link in the mail to it"})
	}
	// Nor is it a way to new passwords.
	mustDo(t, mallory.Client, "POST", "/password/reset", map[string]string{"username": "mallory"}, nil)
	mustDo(t, mallory.Client, "POST", "/password/reset", map[string]string{"email": victim}, nil)
	link := confirmLink(t, p.Facts().Mail, victim)
	// What is queued later than all of it is sent: nothing else is on its way.
	ann := p.SignUpWith("ann", "ann@example.org")
	confirm(t, p.Facts().Mail, "ann@example.org")
	mustDo(t, ann.Client, "POST", "/password/reset", map[string]string{"username": "ann"}, nil)
	criertest.Eventually(t, patience, "ann's link", func() bool { return len(catcher(t, p)) == 1 })
	toVictim := 0
	for _, m := range allCaught(t, p.Facts().Mail) {
		if strings.EqualFold(m.To[0].Address, victim) {
			toVictim++
			var whole struct{ HTML, Text string }
			getJSON(t, p.Facts().Mail+"/api/v1/message/"+m.ID, &whole)
			if text := whole.HTML + whole.Text + m.Subject; strings.Contains(text, "mallory") || strings.Contains(text, "buy") {
				t.Errorf("the attacker's words: %s", text)
			}
		}
	}
	if toVictim != 1 {
		t.Errorf("%d mails to the victim, want 1", toVictim)
	}

	// The owner sees who waits, and a click is for one of them.
	status, text := visit(t, http.MethodGet, link, nil)
	if status != http.StatusOK || !strings.Contains(text, "<strong>mallory</strong>") || !strings.Contains(text, "<strong>eve</strong>") {
		t.Errorf("the page: %d %s", status, text)
	}
	if status, text := visit(t, http.MethodPost, link, nil); status != http.StatusOK || strings.Contains(text, "Confirmed") {
		t.Errorf("of several, none named: %d %s", status, text)
	}
	if status, text := visit(t, http.MethodPost, link, url.Values{"user_id": {eve.ID}}); status != http.StatusOK || !strings.Contains(text, "Confirmed") || strings.Contains(text, "<strong>eve</strong>") {
		t.Errorf("confirming eve: %d %s", status, text)
	}
	for _, c := range []struct {
		link string
		form url.Values
	}{{link, url.Values{"user_id": {"4711"}}}, {link[:len(link)-3] + "xyz", nil}, {link, url.Values{"token": {"x"}}}} {
		if status, text := visit(t, http.MethodPost, c.link, c.form); status != http.StatusNotFound {
			t.Errorf("%s %v: %d %s, want 404", c.link, c.form, status, text)
		}
	}
	mustDo(t, eve.Client, "POST", "/notifications", map[string]any{"user_id": eve.ID, "title": "wanted", "channels": []string{"inbox", "email"}}, nil)
	mustDo(t, mallory.Client, "POST", "/notifications", map[string]any{"user_id": mallory.ID, "title": "buy more", "channels": []string{"inbox", "email"}}, nil)
	eve.Follow(t, "1", 1)
	mallory.Follow(t, "21", 1)
	requireFate(t, eve, 2, fate{Channel: "email", Address: "Victim@example.org", State: "sent", Attempts: 1})
	requireFate(t, mallory, 22, fate{Channel: "email", Address: victim, State: "suppressed", Error: "the address is not confirmed: its owner has not followed the link in the mail to it"})
	var me struct {
		EmailConfirmed bool `json:"email_confirmed"`
	}
	mustDo(t, eve.Client, "GET", "/profile", nil, &me)
	if !me.EmailConfirmed {
		t.Error("eve's profile does not say that her address is confirmed")
	}
}

// Ten addresses of one user wait to be confirmed at most: a tick that fires 120
// alerts mails nobody, and 120 addresses are not asked.
func TestAttackManyAddresses(t *testing.T) {
	t.Parallel()
	p := criertest.Start(t)
	mallory := p.SignUp("mallory")
	for i := range 12 {
		body := map[string]string{"condition": "above", "target": "1", "email": fmt.Sprintf("a%d@example.org", i)}
		err := mallory.Do(t.Context(), "POST", "/alerts", body, nil)
		if i < 10 && err != nil {
			t.Fatal(err)
		}
		if i >= 10 {
			requireCode(t, err, 409, "limit_reached")
		}
	}
	var made struct{ ID int64 }
	mustDo(t, mallory.Client, "POST", "/alerts", map[string]string{"condition": "above", "target": "1"}, &made)
	requireCode(t, mallory.Do(t.Context(), "PATCH", fmt.Sprintf("/alerts/%d", made.ID), map[string]string{"email": "b@example.org"}, nil), 409, "limit_reached")
	mustDo(t, mallory.Client, "PATCH", fmt.Sprintf("/alerts/%d", made.ID), map[string]string{"email": "a3@example.org"}, nil)

	csv := "condition,target,email\nabove,1,a4@example.org\n"
	for i := range 20 {
		csv += fmt.Sprintf("above,1,c%d@example.org\n", i%2)
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, mallory.Base+"/api/v1/alerts/import", strings.NewReader(csv))
	if err != nil {
		t.Fatal(err)
	}
	req.Header = http.Header{"Authorization": {"Bearer " + mallory.Token}, "Content-Type": {"text/csv"}}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var answer struct{ Created, Refused int }
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil || answer.Created != 1 || answer.Refused != 20 {
		t.Errorf("import: %+v, %v; want 1 created and 20 refused", answer, err)
	}
}

// A link to a new password overtakes the notifications that wait for a slow mail
// server.
func TestLinksOvertakeNotifications(t *testing.T) {
	t.Parallel()
	p := criertest.Start(t, "CRIER_MAIL_RATE=2")
	ann := p.SignUpWith("ann", "ann@example.org")
	confirm(t, p.Facts().Mail, "ann@example.org")
	const many = 50 // 25 s of mails
	for i := range many {
		mustDo(t, ann.Client, "POST", "/notifications", map[string]any{"user_id": ann.ID, "title": fmt.Sprint("n", i), "channels": []string{"inbox", "email"}}, nil)
	}
	ann.Follow(t, "0", many)
	mustDo(t, ann.Client, "POST", "/password/reset", map[string]string{"username": "ann"}, nil)
	var before int
	criertest.Eventually(t, 2*patience, "the link", func() bool {
		list := catcher(t, p)
		before = len(list) - 1
		return slices.ContainsFunc(list, func(m caught) bool { return m.Subject == "A new password for ann" })
	})
	if before >= many {
		t.Errorf("the link came after %d notifications", before)
	}
}
