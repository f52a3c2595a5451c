package promises

import (
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"crier/internal/client"
	"crier/internal/criertest"
)

// shotIn takes a picture where CRIER_TEST_SHOTS names a folder.
func (t *tab) shotIn(name string) {
	if dir := os.Getenv("CRIER_TEST_SHOTS"); dir != "" {
		t.shot(filepath.Join(dir, name+".png"))
	}
}

// logIn signs in through the form and ends in the inbox.
func (t *tab) logIn(name, password string) {
	t.tb.Helper()
	t.open("/login")
	t.write("#username", name)
	t.write("#password", password)
	t.click(sel("login-submit"))
	t.until("the inbox after logging in", `location.pathname === '/inbox' && document.querySelector('[data-view=inbox][aria-current=page]')`)
}

// Somebody who forgot a password asks for a mail on the page, follows its link,
// and comes in with the new one; the link is good once, and all sessions ended.
func TestResetOnThePage(t *testing.T) {
	t.Parallel()
	p := criertest.Start(t)
	ann := p.SignUpWith("ann", "ann@example.org")
	confirm(t, p.Facts().Mail, "ann@example.org")
	page := openTab(t, p.Facts().HTTP)
	page.forgive() // the console tells of each refused request
	page.open("/login")
	page.click(sel("forgot"))
	page.write(sel("reset-name"), "nobody-of-that-name")
	page.click(sel("reset-ask"))
	page.until("it is not said whether there is such an account", `document.querySelector('[data-testid=reset-asked]')?.textContent.startsWith('If there is such an account')`)
	page.open("/reset")
	page.write(sel("reset-name"), "ann@example.org")
	page.click(sel("reset-ask"))
	page.until("a mail is on its way", `document.querySelector('[data-testid=reset-asked]')`)
	page.until("the mail catcher is named", `document.querySelector('[data-testid=mail-link]')?.href === "`+p.Facts().Mail+`/"`)
	page.shotIn("reset-asked")
	var link string
	criertest.Eventually(t, patience, "the mail", func() bool {
		for _, m := range catcher(t, p) {
			var whole struct{ Text string }
			getJSON(t, p.Facts().Mail+"/api/v1/message/"+m.ID, &whole)
			link = regexp.MustCompile(`http\S+/reset\?token=\S+`).FindString(whole.Text)
		}
		return link != ""
	})
	if n := len(catcher(t, p)); n != 1 {
		t.Errorf("%d mails", n)
	}

	path := strings.TrimPrefix(link, p.Facts().HTTP)
	page.open(path)
	page.write(sel("reset-password"), "battery staple")
	page.write(sel("reset-again"), "battery stable")
	page.click(sel("reset-submit"))
	page.until("the two differ", `document.querySelector('.invalid #reset-again')`)
	page.fill(sel("reset-password"), "12345678")
	page.fill(sel("reset-again"), "12345678")
	page.click(sel("reset-submit"))
	page.until("it is refused beside its field", `document.querySelector('.invalid #reset-password')`)
	page.fill(sel("reset-password"), "battery staple")
	page.fill(sel("reset-again"), "battery staple")
	page.click(sel("reset-submit"))
	page.until("the login", `location.pathname === '/login'`)
	wantCode(t, ann.Client, "GET", "/profile", nil, "unauthorized")
	page.logIn("ann", "battery staple")

	page.open(path)
	page.write(sel("reset-password"), "battery staple two")
	page.write(sel("reset-again"), "battery staple two")
	page.click(sel("reset-submit"))
	page.until("the link was used", `document.querySelector('[data-testid=reset-problem]:not([hidden])')?.textContent.includes('was used')`)
	page.until("another can be asked for", `document.querySelector('[data-testid=reset-confirm] a[href="/reset"]').offsetParent`)
}

// One sees where one is signed in, ends what is elsewhere, changes the password
// and ends all.
func TestAccountOnThePage(t *testing.T) {
	t.Parallel()
	p := criertest.Start(t)
	page, other := openTab(t, p.Facts().HTTP), openTab(t, p.Facts().HTTP)
	page.signUp("ann")
	other.logIn("ann", criertest.Password)
	other.untilLive("sse")
	program := p.SignUp("ann") // signs in, as a program does
	page.click(sel("person"))
	page.click(sel("account-link"))
	page.until("the three sessions, this one first", `document.querySelectorAll('[data-testid=session]').length === 3 && document.querySelector('[data-testid=session]').dataset.current === 'true'`)
	page.until("they are told apart", `/Chrome on Linux/.test(document.querySelector('[data-testid=sessions]').textContent) && /A Go program/.test(document.querySelector('[data-testid=sessions]').textContent)`)
	page.shotIn("account")
	for _, tab := range []*tab{page, other} {
		tab.forgive() // the console tells of each refused request
	}
	eval[bool](page, `([...document.querySelectorAll('[data-testid=session]')].find((s) => s.textContent.includes('Go program')).querySelector('[data-testid=session-end]').click(), true)`)
	page.until("one less", `document.querySelectorAll('[data-testid=session]').length === 2`)
	wantCode(t, program.Client, "GET", "/profile", nil, "unauthorized")
	page.click(sel("session-end"))
	page.until("only this one", `document.querySelectorAll('[data-testid=session]').length === 1`)
	other.until("the other browser is signed out", `document.querySelector('[data-testid=login-link]')`)

	page.write(sel("password-now"), "not this one")
	page.write(sel("password-new"), "battery staple")
	page.write(sel("password-again"), "battery staple")
	page.click(sel("password-submit"))
	page.until("the present one is wrong", `document.querySelector('.invalid #password-now')`)
	page.fill(sel("password-now"), criertest.Password)
	page.click(sel("password-submit"))
	page.until("it is changed", `/password is changed/.test(document.querySelector('[data-testid=toast]')?.textContent)`)
	other.logIn("ann", "battery staple")

	eval[bool](page, `(window.saved = null, URL.createObjectURL = (b) => (b.text().then((text) => { window.saved = JSON.parse(text); }), 'data:text/plain,'), HTMLAnchorElement.prototype.click = () => {}, true)`)
	page.click(sel("export"))
	page.until("one's data", `window.saved?.user.username === 'ann' && window.saved.sessions.length === 2`)

	page.click(sel("end-all"))
	page.click(sel("question-yes"))
	page.until("signed out here", `location.pathname === '/login' && document.querySelector('[data-testid=login-link]')`)
	other.until("and there", `document.querySelector('[data-testid=login-link]')`)
}

// Leaving takes the typed name, and takes everything along.
func TestLeavingOnThePage(t *testing.T) {
	t.Parallel()
	p := criertest.Start(t)
	page := openTab(t, p.Facts().HTTP)
	page.signUp("ann")
	page.open("/account")
	page.write(sel("leave-name"), "an")
	if !eval[bool](page, `document.querySelector('[data-testid=leave-submit]').disabled`) {
		t.Error("half a name is enough to leave")
	}
	page.run("the rest of it", keys(sel("leave-name"), "n"))
	page.click(sel("leave-submit"))
	page.until("gone", `location.pathname === '/' && document.querySelector('[data-testid=login-link]')`)
	err := (&client.Client{Base: p.Facts().HTTP}).Do(t.Context(), "POST", "/login", map[string]string{"username": "ann", "password": criertest.Password}, nil)
	var refusal *client.Error
	if !errors.As(err, &refusal) || refusal.Status != http.StatusUnauthorized {
		t.Errorf("signing in again: %v", err)
	}
}

// A notification goes to oneself later and is taken back; one goes to everyone
// with a service's key, without which the page says what is missing; and one by
// email says what became of it.
func TestSendingOnThePage(t *testing.T) {
	t.Parallel()
	p := criertest.Start(t)
	bob := p.SignUp("bob")
	page := openTab(t, p.Facts().HTTP)
	page.open("/signup")
	page.write("#username", "ann")
	page.write("#password", criertest.Password)
	page.write("#email", "ann@example.org")
	page.click(sel("signup-submit"))
	confirm(t, p.Facts().Mail, "ann@example.org")
	page.until("the inbox", `location.pathname === '/inbox'`)
	page.untilLive("sse")
	page.goTo("send")
	page.click(sel("send-submit"))
	page.until("it is shown", `document.querySelector('[data-testid=trace-shown]')`)

	eval[bool](page, `document.querySelectorAll('.more-fields').forEach((d) => { d.open = true; }) ?? true`)
	page.fill(sel("send-deliver"), "2026-12-31T12:00:00")
	eval[bool](page, `(() => { const d = new Date(Date.now() + 36e5); d.setMinutes(d.getMinutes() - d.getTimezoneOffset()); const f = document.querySelector('[data-testid=send-deliver]'); f.value = d.toISOString().slice(0, 19); f.dispatchEvent(new Event('input', {bubbles: true})); return true; })()`)
	page.click(sel("send-submit"))
	page.click(sel("trace-cancel"))
	page.until("it is taken back", `/cancelled/.test(document.querySelector('[data-testid=trace-scheduled]')?.textContent)`)
	page.shotIn("send-cancelled")
	page.fill(sel("send-deliver"), "")

	page.click(sel("send-to-everyone") + " + span")
	page.until("it is said what it takes", `/takes its key/.test(document.querySelector('#send-who').textContent)`)
	page.click(sel("send-submit"))
	page.until("the key is missing", `document.querySelector('.invalid #send-key')`)
	page.fill(sel("send-key"), p.Facts().APIKey)
	page.fill(sel("send-title"), "to all")
	page.click(sel("send-submit"))
	page.click(sel("question-yes"))
	page.until("it is on its way", `/every inbox/.test(document.querySelector('[data-testid=send-trace]').textContent)`)
	if got := bob.Follow(t, "0", 1); got[0].Title != "to all" {
		t.Errorf("bob got %+v", got)
	}

	page.click(sel("send-to-me") + " + span")
	page.fill(sel("send-title"), "by email, too")
	eval[bool](page, `(document.querySelector('[data-testid=send-mail]').click(), true)`)
	page.click(sel("send-submit"))
	page.until("it is shown", `document.querySelector('[data-testid=trace-shown]')`)
	eval[bool](page, `(document.querySelector('[data-testid=send-trace] a').click(), true)`)
	page.until("the mail was sent", `/Email to ann@example.org: sent/.test(document.querySelector('[data-testid=delivery][data-state=sent]')?.textContent)`)
	page.shotIn("delivery")
	page.base = p.Facts().Mail
	page.open("/")
	page.shotIn("mails")
	page.forgive()
	page.click("li a")
	page.until("the mail", `document.querySelector('iframe')`)
	page.shotIn("mail")
}
