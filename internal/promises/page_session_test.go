package promises

import (
	"fmt"
	"testing"

	"crier/internal/criertest"
)

// All tabs share one cookie. What a tab that shows one user asks for is not done to
// another who signed in meanwhile; the tab says so, and shows who is there.
func TestPageOfAnotherUser(t *testing.T) {
	t.Parallel()
	p := criertest.Start(t)
	page := openTab(t, p.Facts().HTTP)
	page.signUp("one")
	page.untilLive("sse")
	one, two := p.SignUp("one"), p.SignUp("two")
	mustSend(t, p.Service(), map[string]any{"user_id": one.ID, "title": "for one"})
	id := eval[int](page, `new Promise((r) => { const look = () => { const row = document.querySelector('[data-testid=inbox-item]'); row ? r(Number(row.dataset.id)) : setTimeout(look, 20); }; look(); })`)
	for range id {
		mustSend(t, p.Service(), map[string]any{"user_id": two.ID, "title": "for two"})
	}
	var mine struct {
		Unread int `json:"unread"`
	}
	criertest.Eventually(t, patience, "two has as many", func() bool {
		mustDo(t, two.Client, "GET", "/notifications/counts", nil, &mine)
		return mine.Unread == id
	})
	page.forgive() // the browser logs what is refused
	// Another tab signs in: the cookie is the browser's.
	if status := eval[int](page, fmt.Sprintf(`fetch('/api/v1/login', {method: 'POST', headers: {'Content-Type': 'application/json'}, body: JSON.stringify({username: 'two', password: %q})}).then(({status}) => status)`, criertest.Password)); status != 200 {
		t.Fatalf("signing in as two: %d", status)
	}
	eval[bool](page, fmt.Sprintf(`import('/static/app/inbox-store.js').then(({inbox}) => inbox.setRead(%d, true)).then(() => true)`, id))
	page.until("it says who has signed in", `[...document.querySelectorAll('[data-testid=toast]')].some((t) => t.textContent.includes('Somebody else has signed in'))`)
	page.until("the rows are two's", `document.querySelector('[data-testid=inbox-item]')?.textContent.includes('for two')`)
	mustDo(t, two.Client, "GET", "/notifications/counts", nil, &mine)
	if mine.Unread != id {
		t.Errorf("two has %d unread, want all %d", mine.Unread, id)
	}
}

// A session that ended elsewhere is not turned into a stranger's first visit: the
// page says so, and after the login it is where it was.
func TestPageOfAnEndedSession(t *testing.T) {
	t.Parallel()
	p := criertest.Start(t)
	page := openTab(t, p.Facts().HTTP)
	page.signUp("ann")
	page.untilLive("sse")
	page.goTo("send")
	page.forgive() // the browser logs what is refused
	ann := p.SignUp("ann")
	mustDo(t, ann.Client, "POST", "/logout", map[string]any{"all": true}, nil)
	page.until("it says that the session has ended", `location.pathname === '/login' && document.querySelector('[data-testid=session-ended]')`)
	page.write("#username", "ann")
	page.write("#password", criertest.Password)
	page.click(sel("login-submit"))
	page.until("it is where it was", `location.pathname === '/send' && document.querySelector('[data-view=send][aria-current=page]')`)
}
