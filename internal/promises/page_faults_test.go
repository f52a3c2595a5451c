package promises

import (
	"fmt"
	"testing"

	"crier/internal/criertest"
)

// rows are how many rows the list has, and how many of them are unread.
const rows = `document.querySelectorAll('[data-testid=inbox-item]').length`

// A loader that fails tries again later and later, and not any more once its view
// is left: with the server gone, the page of alerts asks a few times, not thousands.
func TestPageDoesNotStorm(t *testing.T) {
	t.Parallel()
	p := criertest.Start(t)
	page := openTab(t, p.Facts().HTTP)
	page.signUp("ann")
	page.untilLive("sse")
	tick(t, p, "BTCUSDT", "5")
	page.serverGoes()
	p.Kill()
	page.forgive() // the browser logs what nobody answered
	const asked = `performance.getEntriesByType('resource').filter(({name}) => name.includes('/candles')).length`
	page.goTo("alerts")
	page.until("the chart has asked and failed", asked+` > 0 && document.querySelector('.chart-note')?.textContent.includes('could not be loaded')`)
	// However slow the machine is, more requests than this come from no waiting loop.
	if n := eval[int](page, `new Promise((r) => setTimeout(r, 4000)).then(() => `+asked+`)`); n > 8 {
		t.Errorf("%d requests within some seconds", n)
	}
	page.goTo("inbox")
	left := eval[int](page, asked)
	if n := eval[int](page, `new Promise((r) => setTimeout(r, 3000)).then(() => `+asked+`)`); n > left {
		t.Errorf("%d requests more after the view was left", n-left)
	}
}

// What collapses is one row; what is marked read elsewhere is read in every row that
// is shown, not in the first page alone; Undo of an archived one brings it back as
// unread as it was.
func TestPageAgreesWithTheServer(t *testing.T) {
	t.Parallel()
	p := criertest.Start(t)
	page := openTab(t, p.Facts().HTTP)
	page.signUp("ann")
	page.untilLive("sse")
	page.goTo("inbox")
	ann := p.SignUp("ann") // the same account, signed in elsewhere
	for i := range 4 {
		mustSend(t, p.Service(), map[string]any{"user_id": ann.ID, "title": fmt.Sprint("build ", i), "collapse_key": "build"})
	}
	page.until("one row of four that collapse", rows+` === 1 && document.querySelector('[data-testid=unread]').textContent === '1' && document.querySelector('[data-testid=inbox-item]').textContent.includes('build 3')`)
	for i := range 80 {
		mustSend(t, p.Service(), map[string]any{"user_id": ann.ID, "title": fmt.Sprint("item ", i)})
	}
	page.until("all are counted", `document.querySelector('[data-testid=unread]').textContent === '81'`)
	page.open("/inbox")
	page.untilLive("sse")
	for want := 30; want < 81; want += 30 {
		page.until(fmt.Sprint(want, " rows"), fmt.Sprint(rows, " === ", want))
		page.click(sel("inbox-more"))
	}
	page.until("all rows", rows+` === 81`)
	mustDo(t, ann.Client, "POST", "/notifications/read-all", nil, nil)
	page.until("no row is unread, and no badge", rows+` === 81 && document.querySelectorAll('[data-testid=inbox-item].unread').length === 0 && document.querySelector('[data-testid=unread]').hidden`)

	// Undo of "Mark all read" brings back what it marked, however much that is.
	for i := range 60 {
		mustSend(t, p.Service(), map[string]any{"user_id": ann.ID, "title": fmt.Sprint("more ", i)})
	}
	page.until("60 are unread", `document.querySelector('[data-testid=unread]').textContent === '60'`)
	page.click(sel("read-all"))
	page.until("all are read", `document.querySelector('[data-testid=unread]').hidden`)
	page.click(sel("undo"))
	page.until("60 are unread again", `document.querySelector('[data-testid=unread]').textContent === '60' && !document.querySelector('[data-testid=unread]').hidden`)
	mustDo(t, ann.Client, "POST", "/notifications/read-all", nil, nil)
	page.until("read elsewhere", `document.querySelector('[data-testid=unread]').hidden`)

	mustSend(t, p.Service(), map[string]any{"user_id": ann.ID, "title": "to be archived"})
	page.until("it is there, unread", `document.querySelector('[data-testid=inbox-item].unread')?.textContent.includes('to be archived')`)
	eval[bool](page, module("inbox-store.js")+`.then(({inbox}) => inbox.archive(inbox.items[0].id)).then(() => true)`)
	page.until("Undo is offered", `[...document.querySelectorAll('[data-testid=toast] button')].some((b) => b.textContent === 'Undo')`)
	eval[bool](page, `[...document.querySelectorAll('[data-testid=toast] button')].find((b) => b.textContent === 'Undo').click() ?? true`)
	page.until("it is back, unread", `document.querySelector('[data-testid=inbox-item].unread')?.textContent.includes('to be archived') && document.querySelector('[data-testid=unread]').textContent === '1'`)
}

// A list that was requested before an item was archived, and arrives afterwards, does
// not bring the item back.
func TestPageIgnoresAListFromBeforeAChange(t *testing.T) {
	t.Parallel()
	p := criertest.Start(t)
	page := openTab(t, p.Facts().HTTP)
	page.signUp("ann")
	page.untilLive("sse")
	ann := p.SignUp("ann") // the same account, signed in elsewhere
	for i := range 3 {
		mustSend(t, p.Service(), map[string]any{"user_id": ann.ID, "title": fmt.Sprint("item ", i)})
	}
	page.until("three rows", rows+` === 3`)
	// From now on answers with lists arrive when they are released.
	eval[bool](page, `(() => { const fetched = window.fetch; window.held = []; window.lists = 0; window.release = () => { window.fetch = counting; held.forEach((go) => go()); return true; };
		const isList = (a) => String(a[0]).includes('/notifications?limit=') && (a[1]?.method ?? 'GET') === 'GET';
		const counting = (...a) => { if (isList(a)) lists += 1; return fetched(...a); };
		window.fetch = async (...a) => { const answer = await counting(...a); if (isList(a)) await new Promise((go) => held.push(go)); return answer; }; return true; })()`)
	mustDo(t, ann.Client, "POST", "/notifications/1/read", nil, nil) // elsewhere: the page loads its list again
	page.until("the list was loaded", `held.length === 1`)
	eval[bool](page, module("inbox-store.js")+`.then(({inbox}) => inbox.archive(2)).then(() => true)`)
	page.until("the item is gone", rows+` === 2`)
	eval[bool](page, `release()`)
	page.until("the list is loaded again, and the item is still gone", `lists > 1 && `+rows+` === 2 && document.querySelectorAll('[data-testid=inbox-item].unread').length === 1`)
}

// "Older" is not dropped when the list is loaded again while its page is on its way.
func TestPageKeepsAskingForOlder(t *testing.T) {
	t.Parallel()
	p := criertest.Start(t)
	page := openTab(t, p.Facts().HTTP)
	page.signUp("ann")
	page.untilLive("sse")
	page.goTo("inbox")
	ann := p.SignUp("ann")
	for i := range 60 {
		mustSend(t, p.Service(), map[string]any{"user_id": ann.ID, "title": fmt.Sprint("item ", i)})
	}
	page.until("all are counted", `document.querySelector('[data-testid=unread]').textContent === '60'`)
	page.open("/inbox")
	page.untilLive("sse")
	page.until("the first page", rows+` === 30 && !document.querySelector('[data-testid=inbox-more]').hidden`)
	// The answer to "Older" is held until the list has been loaded again.
	eval[bool](page, module("inbox-store.js")+`.then(({inbox}) => {
		const real = window.fetch;
		window.fetch = async (...args) => {
			const answer = await real(...args);
			if (new URL(args[0], location.origin).searchParams.has('cursor')) {
				window.fetch = real;
				await inbox.load();
			}
			return answer;
		};
		return inbox.more();
	}).then(() => true)`)
	page.until("both pages", rows+` === 60`)
}
