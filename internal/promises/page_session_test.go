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
	eval[bool](page, fmt.Sprintf(module("inbox-store.js")+`.then(({inbox}) => inbox.setRead(%d, true)).then(() => true)`, id))
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

// Search and filter of the inbox are in its address: a reload and the way back keep
// both the list and the box.
func TestPageKeepsTheSearch(t *testing.T) {
	t.Parallel()
	p := criertest.Start(t)
	page := openTab(t, p.Facts().HTTP)
	page.signUp("ann")
	ann := p.SignUp("ann")
	for i := range 9 {
		mustSend(t, p.Service(), map[string]any{"user_id": ann.ID, "title": fmt.Sprint("Item ", i)})
	}
	ann.Follow(t, "0", 9)
	page.open("/inbox") // of a burst the page would show the first few and count the rest
	page.untilLive("sse")
	page.until("nine rows", rows+` === 9`)
	const found = rows + ` === 1 && document.querySelector('[data-testid=inbox-item]').textContent.includes('Item 7') && document.querySelector('[data-testid=inbox-search]').value === 'Item 7' && new URLSearchParams(location.search).get('q') === 'Item 7'`
	page.write(sel("inbox-search"), "Item 7")
	page.until("one is found", found)
	page.goTo("prices")
	eval[bool](page, `(history.back(), true)`)
	page.until("it is found after going back", `location.pathname === '/inbox' && `+found)
	eval[bool](page, `(location.reload(), true)`)
	page.until("it is found after a reload", found)
	page.click(sel("inbox-item") + " a")
	page.until("in full, beside the list", `/^\/inbox\/\d+$/.test(location.pathname) && `+found)
	page.click(sel("filter-unread"))
	page.until("filtered, too", `new URLSearchParams(location.search).get('unread') === 'true' && document.querySelector('[data-testid=filter-unread]').getAttribute('aria-pressed') === 'true'`)
	page.goTo("prices")
	page.goTo("inbox")
	page.until("the rail leads to all", rows+` === 9 && location.search === '' && document.querySelector('[data-testid=inbox-search]').value === ''`)
}

// The inbox shows one kind where that is asked for, in its address, too; what comes of
// another kind counts, and is not in the list.
func TestPageFiltersByKind(t *testing.T) {
	t.Parallel()
	p := criertest.Start(t)
	page := openTab(t, p.Facts().HTTP)
	page.signUp("ann")
	ann := p.SignUp("ann")
	for i := range 6 {
		mustSend(t, p.Service(), map[string]any{"user_id": ann.ID, "title": fmt.Sprint("Item ", i), "kind": []string{"invoice", "comment"}[i%2]})
	}
	ann.Follow(t, "0", 6)
	page.open("/inbox")
	page.untilLive("sse")
	page.until("six rows", rows+` === 6`)
	page.choose(sel("filter-kind"), "invoice")
	page.until("three of one kind", rows+` === 3 && new URLSearchParams(location.search).get('kind') === 'invoice'`)
	for i, kind := range []string{"invoice", "comment", "report"} {
		mustSend(t, p.Service(), map[string]any{"user_id": ann.ID, "title": fmt.Sprint("Later ", i), "kind": kind})
	}
	page.until("one more comes, and three more are unread", rows+` === 4 && document.getElementById('unread').textContent === '9'`)
	page.until("what has come is of a kind to choose", `[...document.querySelector('[data-testid=filter-kind]').options].map((o) => o.value).join() === ',comment,invoice,report'`)
	eval[bool](page, `(location.reload(), true)`)
	page.until("the same after a reload", rows+` === 4 && document.querySelector('[data-testid=filter-kind]').value === 'invoice'`)
	page.choose(sel("filter-kind"), "")
	page.until("all", rows+` === 9 && location.search === ''`)
}
