package promises

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"crier/internal/client"
	"crier/internal/criertest"
	"crier/internal/event"
	"crier/internal/postgres"
	"crier/internal/user"
)

// caught is a mail as the catcher shows it.
type caught struct {
	ID      string
	Subject string
	To      []struct{ Address string }
}

// catcher lists the mails that were caught, newest first, without those that ask for
// a confirmation.
func catcher(t *testing.T, p *criertest.Program) []caught {
	t.Helper()
	return slices.DeleteFunc(allCaught(t, p.Facts().Mail), func(m caught) bool { return m.Subject == confirmSubject })
}

const confirmSubject = "Confirm your email address"

func allCaught(t *testing.T, base string) []caught {
	t.Helper()
	var page struct{ Messages []caught }
	getJSON(t, base+"/api/v1/messages", &page)
	return page.Messages
}

// confirm follows the link in the confirmation mail to an address, and confirms it
// for the only account that has given it.
func confirm(t *testing.T, mailBase, address string) {
	t.Helper()
	link := confirmLink(t, mailBase, address)
	if status, text := visit(t, http.MethodGet, link, nil); status != http.StatusOK || !strings.Contains(text, "<button>Confirm</button>") {
		t.Fatalf("the page of the link: %d %s", status, text)
	}
	if status, text := visit(t, http.MethodPost, link, nil); status != http.StatusOK || !strings.Contains(text, "Confirmed") {
		t.Fatalf("confirming: %d %s", status, text)
	}
}

// confirmLink is the link in the confirmation mail to an address, once there is one.
func confirmLink(t *testing.T, mailBase, address string) string {
	t.Helper()
	var link string
	criertest.Eventually(t, patience, "a confirmation mail to "+address, func() bool {
		for _, m := range allCaught(t, mailBase) {
			if m.Subject != confirmSubject || m.To[0].Address != address {
				continue
			}
			var whole struct{ Text string }
			getJSON(t, mailBase+"/api/v1/message/"+m.ID, &whole)
			link = regexp.MustCompile(`http\S+/confirm\?token=\S+`).FindString(whole.Text)
		}
		return link != ""
	})
	return link
}

func getJSON(t *testing.T, address string, v any) {
	t.Helper()
	resp, err := http.Get(address)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(resp.Body).Decode(v); err != nil {
		t.Fatal(err)
	}
}

type fate struct {
	Channel, Address, State, Error string
	Attempts                       int
}

func fates(t *testing.T, u *criertest.User, id int64) []fate {
	t.Helper()
	var page struct{ Results []fate }
	if err := u.Do(t.Context(), "GET", fmt.Sprintf("/notifications/%d/deliveries", id), nil, &page); err != nil {
		t.Fatal(err)
	}
	return page.Results
}

// A fired alert goes to its address once, naming symbol, target and price; what
// became of it can be seen; and whoever gets it can stop the next by one POST.
func TestAlertByMail(t *testing.T) {
	t.Parallel()
	p := criertest.Start(t)
	u := p.SignUp("ann")
	alert := func() {
		mustAlertBody(t, u, map[string]string{"symbol": "GOLD", "condition": "above", "target": "2000.50", "email": "ann@example.org"})
	}
	alert()
	confirm(t, p.Facts().Mail, "ann@example.org")
	out, stderr, err := p.Run(t.Context(), "", "send", "--user", u.ID, "--title", "first in the inbox")
	if err != nil {
		t.Fatalf("%v %s %s", err, out, stderr)
	}
	u.Follow(t, "0", 1)
	tick(t, p, "GOLD", "2001.75")
	criertest.Eventually(t, time.Minute, "a mail", func() bool { return len(catcher(t, p)) == 1 })
	m := catcher(t, p)[0]
	if m.To[0].Address != "ann@example.org" || !strings.Contains(m.Subject, "GOLD") || !strings.Contains(m.Subject, "2000.50") || !strings.Contains(m.Subject, "2001.75") {
		t.Errorf("mail %+v", m)
	}
	var whole struct{ HTML, Text string }
	getJSON(t, p.Facts().Mail+"/api/v1/message/"+m.ID, &whole)
	if !strings.Contains(whole.Text, "2001.75") || !strings.Contains(whole.HTML, "2000.50") || !strings.Contains(whole.Text, p.Facts().HTTP+"/inbox/2") {
		t.Errorf("text %s\nhtml %s", whole.Text, whole.HTML)
	}
	requireFate(t, u, 2, fate{Channel: "email", Address: "ann@example.org", State: "sent", Attempts: 1})

	_, link, _ := strings.Cut(whole.Text, "No more of these: ")
	link = strings.TrimSpace(link)
	if status, text := visit(t, http.MethodGet, link, nil); status != http.StatusOK || !strings.Contains(text, "ann@example.org") {
		t.Errorf("the page of the link: %d %s", status, text)
	}
	alert()
	criertest.Eventually(t, time.Minute, "looking has not unsubscribed", func() bool { return len(catcher(t, p)) == 2 })
	if status, text := visit(t, http.MethodPost, link, url.Values{"List-Unsubscribe": {"One-Click"}}); status != http.StatusOK {
		t.Fatalf("unsubscribing: %d %s", status, text)
	}
	alert()
	u.Follow(t, "0", 4)
	requireFate(t, u, 4, fate{Channel: "email", Address: "ann@example.org", State: "suppressed", Attempts: 1})
	if n := len(catcher(t, p)); n != 2 {
		t.Errorf("%d mails", n)
	}
	if status, text := visit(t, http.MethodPost, link[:len(link)-3]+"xyz", nil); status != http.StatusNotFound {
		t.Errorf("a changed link: %d %s", status, text)
	}
}

// visit asks for a page as a browser or a mail program does.
func visit(t *testing.T, method, address string, form url.Values) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, address, strings.NewReader(form.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(b)
}

func requireFate(t *testing.T, u *criertest.User, id int64, want fate) {
	t.Helper()
	var got []fate
	deadline := time.Now().Add(time.Minute)
	for got = fates(t, u, id); len(got) != 1 || got[0] != want; got = fates(t, u, id) {
		if time.Now().After(deadline) {
			t.Fatalf("deliveries of %d: %+v, want %+v", id, got, want)
		}
		criertest.Pause()
	}
}

func tick(t *testing.T, p *criertest.Program, symbol, price string) {
	t.Helper()
	k := p.Kgo(t)
	rec := p.TickRecord(symbol, price)
	if err := k.ProduceSync(t.Context(), rec).FirstErr(); err != nil {
		t.Fatal(err)
	}
}

// A notification goes by email where its channels say so, to its user's
// address; the inbox has it in any case.
func TestSendByMail(t *testing.T) {
	t.Parallel()
	p := criertest.Start(t)
	ann, bob := p.SignUpWith("ann", "ann@example.org"), p.SignUp("bob")
	confirm(t, p.Facts().Mail, "ann@example.org")
	for _, u := range []*criertest.User{ann, bob} {
		if err := p.Service().Do(t.Context(), "POST", "/notifications", map[string]any{"user_id": u.ID, "title": "hi " + u.Username, "channels": []string{"inbox", "email"}}, nil); err != nil {
			t.Fatal(err)
		}
		u.Follow(t, "0", 1)
	}
	requireFate(t, ann, 1, fate{Channel: "email", Address: "ann@example.org", State: "sent", Attempts: 1})
	requireFate(t, bob, 1, fate{Channel: "email", State: "failed", Error: "the user has no email address"})
	if m := catcher(t, p); len(m) != 1 || m[0].Subject != "hi ann" {
		t.Errorf("mails %+v", m)
	}
}

// A mail whose notification was stored is sent once, though the program died
// right after storing it, and though the server was away at first.
func TestMailSurvivesTheProgram(t *testing.T) {
	t.Parallel()
	address := criertest.FreeAddr(t)
	p := criertest.NewProgram(t, "CRIER_SMTP_URL=smtp+plain://"+address)
	p.Start("CRIER_TEST_FAIL_AT=consumer.after-store:1")
	u := p.SignUpWith("ann", "ann@example.org")
	db, err := postgres.Open(t.Context(), postgres.Config{URL: p.Facts().Postgres, MaxConns: 1})
	if err != nil {
		t.Fatal(err)
	}
	// No mail of any kind can be sent yet.
	err = user.New(db).ConfirmAddress(t.Context(), event.UserID(u.ID), "ann@example.org", time.Now())
	db.Close()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Service().Do(t.Context(), "POST", "/notifications", map[string]any{"user_id": u.ID, "title": "hi", "channels": []string{"inbox", "email"}}, nil); err != nil {
		t.Fatal(err)
	}
	p.Died()
	p.Start()
	criertest.Eventually(t, 100*time.Second, "an attempt fails", func() bool {
		f := fates(t, u, 1)
		return len(f) == 1 && f[0].State == "retrying" && f[0].Error != ""
	})
	peer := criertest.SMTP(t, address)
	criertest.Eventually(t, 100*time.Second, "the mail arrives", func() bool { return peer.Count() == 1 })
	criertest.Eventually(t, time.Minute, "it is noted", func() bool { return fates(t, u, 1)[0].State == "sent" })
	if n := peer.Count(); n != 1 {
		t.Errorf("%d mails", n)
	}
}

// Whoever forgot a password gets a link by mail; it sets a new one, once, and
// ends what the old one had opened. Nobody learns who has an account.
func TestPasswordReset(t *testing.T) {
	t.Parallel()
	p := criertest.Start(t)
	u := p.SignUpWith("ann", "ann@example.org")
	confirm(t, p.Facts().Mail, "ann@example.org")
	nobody := *u
	nobody.Client = &client.Client{Base: u.Base}
	do := func(path string, body any) error { return nobody.Do(t.Context(), "POST", path, body, nil) }
	for _, who := range []map[string]string{{"email": "nobody@example.org"}, {"username": "demo"}, {"email": "ANN@example.org"}} {
		if err := do("/password/reset", who); err != nil {
			t.Errorf("%v: %v", who, err)
		}
	}
	requireCode(t, do("/password/reset", map[string]string{}), 400, "invalid_input")
	criertest.Eventually(t, time.Minute, "a mail", func() bool { return len(catcher(t, p)) > 0 })
	m := catcher(t, p)[0]
	if m.To[0].Address != "ann@example.org" || m.Subject != "A new password for ann" {
		t.Errorf("%+v", m)
	}
	var whole struct{ HTML, Text string }
	getJSON(t, p.Facts().Mail+"/api/v1/message/"+m.ID, &whole)
	_, token, _ := strings.Cut(whole.Text, p.Facts().HTTP+"/reset?token=")
	token, _, _ = strings.Cut(strings.TrimSpace(token), "\n")
	token = strings.TrimSpace(token)
	if token == "" || !strings.Contains(whole.HTML, token) {
		t.Fatalf("the mail is %s", whole.Text)
	}
	requireCode(t, do("/password/reset/confirm", map[string]string{"token": token, "new_password": "short"}), 400, "invalid_input")
	requireCode(t, do("/password/reset/confirm", map[string]string{"token": token[1:], "new_password": "battery staple"}), 404, "not_found")
	if err := do("/password/reset/confirm", map[string]string{"token": token, "new_password": "battery staple"}); err != nil {
		t.Fatal(err)
	}
	requireCode(t, do("/password/reset/confirm", map[string]string{"token": token, "new_password": "battery staple 2"}), 404, "not_found")
	requireCode(t, u.Do(t.Context(), "GET", "/profile", nil, nil), 401, "unauthorized")
	requireCode(t, do("/login", map[string]string{"username": "ann", "password": "correct horse"}), 401, "invalid_login")
	if err := do("/login", map[string]string{"email": "ann@example.org", "password": "battery staple"}); err != nil {
		t.Error(err)
	}
	if n := len(catcher(t, p)); n != 1 {
		t.Errorf("%d mails", n)
	}
}
