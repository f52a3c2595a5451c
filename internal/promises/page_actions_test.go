package promises

import (
	"fmt"
	"net/http"
	"testing"

	"github.com/chromedp/chromedp"

	"crier/internal/criertest"
	"crier/internal/kafka"
)

// A send to everyone is not one press: the page says how many people it reaches, by
// email too, and nothing is sent until somebody has confirmed it.
func TestPageAsksBeforeItSendsToEveryone(t *testing.T) {
	t.Parallel()
	p := criertest.Start(t)
	page := openTab(t, p.Facts().HTTP)
	page.signUp("ann")
	page.untilLive("sse")
	bob := p.SignUpWith("bob", "bob@example.org")
	confirm(t, p.Facts().Mail, "bob@example.org")
	requireCode(t, bob.Do(t.Context(), "GET", "/notifications/everyone", nil, nil), 403, "forbidden")
	var audience struct{ Inboxes, Emails int }
	mustDo(t, p.Service(), "GET", "/notifications/everyone", nil, &audience)
	if audience.Emails != 1 || audience.Inboxes < 2 {
		t.Fatalf("a send to everyone reaches %+v", audience)
	}
	page.goTo("send")
	page.click(sel("send-to-everyone") + " + span")
	page.fill(sel("send-key"), p.Facts().APIKey)
	eval[bool](page, `(document.querySelector('[data-testid=send-mail]').click(), true)`)
	before := p.EndOf(t, kafka.Notifications)

	page.click(sel("send-submit"))
	page.until("it says how many", fmt.Sprintf(`document.querySelector('dialog[open]')?.textContent.includes('%d inboxes, and goes by email to 1 person')`, audience.Inboxes))
	page.until("Cancel has the focus", `document.activeElement.textContent === 'Cancel'`)
	page.shotIn("everyone")
	page.click(sel("question-no"))
	page.until("the question is gone", `!document.querySelector('dialog')`)
	if after := p.EndOf(t, kafka.Notifications); after != before {
		t.Fatalf("%d records were sent although it was cancelled", after-before)
	}

	page.click(sel("send-submit"))
	page.click(sel("question-yes"))
	page.until("it is on its way", `document.querySelector('[data-testid=send-trace]')?.textContent.includes('accepted')`)
	if after := p.EndOf(t, kafka.Notifications); after != before+1 {
		t.Errorf("%d records were sent, want 1", after-before)
	}
	mustDo(t, bob.Client, "POST", "/notifications/read-all", nil, nil)
}

// A guest keeps the account by choosing a name and a password, without the password
// that nobody knows; signing out before that says what is lost.
func TestPageKeepsAGuestsAccount(t *testing.T) {
	t.Parallel()
	p := criertest.Start(t)
	page := openTab(t, p.Facts().HTTP)
	page.open("/login")
	page.click(sel("guest"))
	page.until("a guest's inbox", `location.pathname === '/inbox'`)
	page.untilLive("sse")
	id := eval[string](page, module("state.js")+`.then(({get}) => get('user').id)`)
	mustSend(t, p.Service(), map[string]any{"user_id": id, "title": "for the guest"})
	page.item(1)

	page.click(sel("person"))
	page.click(sel("sign-out"))
	page.until("it says what is lost", `document.querySelector('dialog[open]')?.textContent.includes('lose this inbox')`)
	page.shotIn("guest-leaves")
	page.click(sel("question-keep"))
	page.until("the form to keep it", `location.pathname === '/account' && document.querySelector('[data-testid=keep-form]')`)
	page.until("no present password is asked for", `!document.querySelector('#password-now')`)
	page.shotIn("keep")
	page.forgive() // the browser logs what is refused
	p.SignUp("ann")
	page.fill("#keep-username", "ann")
	page.fill("#keep-password", criertest.Password)
	page.click(sel("keep-submit"))
	page.until("another has the name", `document.querySelector('.invalid #keep-username') && document.querySelector('.invalid').textContent.includes('is taken')`)
	page.fill("#keep-username", "former-guest")
	page.fill("#keep-email", "guest@example.org")
	page.click(sel("keep-submit"))
	page.until("an ordinary account", `document.querySelector('#password-now') && document.querySelector('[data-testid=account-username]').textContent === 'former-guest'`)

	kept := p.SignUp("former-guest") // signs in: there is such an account
	if string(kept.ID) != id {
		t.Fatalf("user %s was kept as %s", id, kept.ID)
	}
	requireCode(t, kept.Do(t.Context(), "POST", "/guest/keep", map[string]any{"username": "once-more", "password": criertest.Password}, nil), 409, "conflict")
	var profile map[string]any
	mustDo(t, kept.Client, "GET", "/profile", nil, &profile)
	if profile["guest"] != nil || profile["email"] != "guest@example.org" {
		t.Errorf("the profile is %v", profile)
	}
	page.click(sel("person"))
	page.click(sel("sign-out"))
	page.until("signed out without a question", `document.querySelector('[data-testid=login-link]')`)
	page.logIn("former-guest", criertest.Password)
	page.item(1)
}

// What becomes of a notification is in sight while it is sent, whatever is unfolded
// and on a phone, and it is told whole: pushed to how many connections, mailed, and
// delivered to the user's destinations.
func TestPageTracesASend(t *testing.T) {
	t.Parallel()
	p := criertest.Start(t)
	ann := p.SignUpWith("ann", "ann@example.org")
	confirm(t, p.Facts().Mail, "ann@example.org")
	hook := criertest.NewReceiver(t, func(w http.ResponseWriter, _ criertest.Hook) { w.WriteHeader(http.StatusNoContent) })
	var account struct {
		ID int64 `json:"id"`
	}
	mustDo(t, ann.Client, "POST", "/accounts", map[string]any{"account_name": "Shop", "email": "shop@example.org"}, &account)
	mustDo(t, ann.Client, "POST", fmt.Sprintf("/accounts/%d/destinations", account.ID), map[string]any{"url": hook.URL}, nil)
	page := openTab(t, p.Facts().HTTP)
	page.logIn("ann", criertest.Password)
	page.untilLive("sse")
	const inSight = `(() => { const b = document.querySelector('[data-testid=send-trace]').lastElementChild?.getBoundingClientRect(); return b && b.height > 0 && b.top >= 0 && b.bottom <= innerHeight; })()`
	for _, size := range [][2]int64{{1280, 800}, {390, 844}} {
		page.run("resizing", chromedp.EmulateViewport(size[0], size[1]))
		page.open("/send")
		page.untilLive("sse")
		eval[bool](page, `(document.querySelectorAll('.more-fields').forEach((d) => { d.open = true; }), document.querySelector('[data-testid=send-mail]').click(), document.querySelector('[data-testid=send-hook]').click(), true)`)
		page.click(sel("send-submit"))
		page.until("in sight at once", inSight)
		page.until("pushed", `document.querySelector('[data-testid=trace-pushed]')?.textContent.includes('to 1 connection')`)
		page.until("mailed", `[...document.querySelectorAll('[data-testid=send-trace] [data-state=sent]')].some((l) => l.textContent.includes('Email to ann@example.org: sent'))`)
		page.until("delivered", `[...document.querySelectorAll('[data-testid=send-trace] [data-state=sent]')].some((l) => l.textContent.includes('Webhook'))`)
		page.until("in sight at the end", inSight)
		page.shotIn(fmt.Sprint("trace-", size[0]))
	}
}
