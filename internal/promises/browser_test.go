package promises

import (
	"context"
	"encoding/json"
	"fmt"
	"image/png"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"

	"crier/internal/client"
	"crier/internal/criertest"
	"crier/internal/decimal"
	"crier/internal/event"
)

// firing is what the page's inbox says of a fired alert.
type firing struct {
	ID      int64         `json:"id"`
	Kind    string        `json:"kind"`
	Payload event.Trigger `json:"payload"`
}

// inboxOf reads the inbox with the page's own session, oldest first.
func inboxOf(t *tab) []firing {
	t.tb.Helper()
	return eval[[]firing](t, `fetch('/api/v1/notifications?limit=50').then((r) => r.json()).then(({results}) => results.reverse())`)
}

// firstMet is the tick that an alert set before all of them must fire on.
func firstMet(tb testing.TB, ticks []played, condition event.Condition, target string) played {
	tb.Helper()
	mark, err := decimal.Parse(target)
	if err != nil {
		tb.Fatal(err)
	}
	for _, p := range ticks {
		if rule := (event.Rule{Condition: condition, Target: mark}); rule.Met(p.Price, mark) {
			return p
		}
	}
	tb.Fatalf("no tick is %s %s", condition, target)
	return played{}
}

// The whole promise in a real browser: somebody signs up in the page and sets
// alerts there; real ticks make them arrive without a reload, over SSE and then
// over WebSocket, each fired on the very tick that had to fire it; the server is
// killed and started again with a replay under the open page, and the page
// catches up by itself with what came meanwhile and what comes afterwards. The
// console has nothing to say against it but that nobody answered meanwhile.
func TestBrowserFromTickToPage(t *testing.T) {
	p := criertest.Start(t)
	page := openTab(t, p.Facts().HTTP)
	page.signUp("ann")
	page.untilLive("sse")
	// A document that was loaded anew would not have it.
	eval[bool](page, `window.sameDocument = true`)

	above := page.setAlert("above", "1,667.30")
	ticks := produceRecording(t, p, ethTrades)
	page.until("the alert fired", `document.querySelector('[data-testid=alert-item][data-state=triggered]')`)
	page.until("one is unread", `document.querySelector('[data-testid=unread]').textContent === '1'`)
	page.goTo("inbox")
	if title := page.item(1); !strings.Contains(title, "ETHUSDT") || !strings.Contains(title, "1667.3") {
		t.Errorf("the title is %q", title)
	}
	checkFiring(t, inboxOf(page)[0], above, firstMet(t, ticks, event.Above, "1667.30"))

	page.click(sel("status-chip") + " .chip-main")
	page.click(sel("transport-ws") + " + span")
	page.untilLive("ws")
	page.run("closing the panel", chromedp.KeyEvent("\x1b"))
	below := page.setAlert("below", "1666.21")
	page.goTo("inbox")
	ticks = produceRecording(t, p, ethTrades)
	page.item(2)
	checkFiring(t, inboxOf(page)[1], below, firstMet(t, ticks, event.Below, "1666.21"))
	page.until("still the same document", `window.sameDocument`)

	page.run("reloading", chromedp.Reload())
	page.untilLive("ws") // the choice is kept
	page.item(1)
	page.item(2)
	eval[bool](page, `window.sameDocument = true`)

	replayed := page.setAlert("above", "1667.32")
	page.goTo("inbox")
	user := p.SignUp("ann")
	page.serverGoes()
	p.Kill()
	page.until("the chip says so", `['waiting', 'connecting'].includes(document.querySelector('[data-testid=status-chip]').dataset.state)`)
	p.Start("CRIER_FEEDS=replay:" + recording(t, ethTrades) + "@max")
	// The page may still be waiting; what is sent now is either missed or live.
	send(t, p, user.ID, "sent after the restart")
	page.untilLive("ws")
	page.item(3)
	page.item(4)
	titles := page.item(3) + page.item(4)
	if !strings.Contains(titles, "sent after the restart") || !strings.Contains(titles, "ETHUSDT") {
		t.Errorf("after the restart came %q", titles)
	}
	for _, n := range inboxOf(page) {
		if n.Kind == "alert" && n.Payload.AlertID == int64(replayed) && n.Payload.Price.String() != "1667.32" {
			t.Errorf("the replayed alert fired at %v", n.Payload.Price)
		}
	}
	send(t, p, user.ID, "sent to the page that came back")
	page.item(5)
	page.until("still the same document", `window.sameDocument`)
}

func checkFiring(t *testing.T, got firing, alert int, want played) {
	t.Helper()
	if got.Kind != "alert" || got.Payload.AlertID != int64(alert) || got.Payload.Offset != want.Offset || got.Payload.Price.Cmp(want.Price) != 0 {
		t.Errorf("got %+v, want alert %d on %+v", got, alert, want)
	}
}

func send(t *testing.T, p *criertest.Program, userID, title string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := p.Service().Do(ctx, "POST", "/notifications", map[string]any{"user_id": userID, "title": title, "body": "From a service."}, nil); err != nil {
		t.Fatal(err)
	}
}

// Swagger's page of the embedded default works as it is: sending comes first, the
// API key and an example are filled in, and "Try it out" sends a notification that
// reaches the demo user's inbox. The example of an alert is accepted, too.
func TestBrowserSwagger(t *testing.T) {
	t.Parallel()
	p := criertest.Start(t)
	page := openTab(t, p.Facts().HTTP)
	page.open("/swagger/")
	const operation = "#operations-notifications-post_notifications"
	page.until("Swagger lists the operation", `document.querySelector('`+operation+`')`)
	page.until("sending comes first", `document.querySelector('.opblock').id === 'operations-notifications-post_notifications'`)
	page.until("no error is shown", `!document.querySelector('.errors-wrapper, .loading-container .failed-config')`)
	page.click(operation + " .opblock-summary-control")
	page.until("the operation is authorised", `document.querySelector('`+operation+` .authorization__btn.locked, `+operation+` .authorization__btn[aria-label*="unlocked"] ~ .locked, `+operation+` .authorization__btn svg.locked')`)
	page.click(operation + " .try-out__btn")
	page.until("the body can be written", `document.querySelector('`+operation+` textarea.body-param__text')`)
	page.click(operation + " .execute")
	page.until("202", `document.querySelector('`+operation+` .live-responses-table .response td.response-col_status')?.textContent.trim().startsWith('202')`)
	var secrets struct {
		DemoPassword string `json:"demo_password"`
	}
	b, err := os.ReadFile(filepath.Join(p.Dir, "secrets.json"))
	if err == nil {
		err = json.Unmarshal(b, &secrets)
	}
	if err != nil || secrets.DemoPassword == "" {
		t.Fatal("the data dir does not have the demo user's password:", err)
	}
	var in struct{ Access string }
	mustDo(t, p.Service(), "POST", "/login", map[string]any{"username": "demo", "password": secrets.DemoPassword}, &in)
	demo := &client.Client{Base: p.Facts().HTTP, Token: in.Access}
	criertest.Eventually(t, patience, "it is in the demo user's inbox", func() bool {
		var list struct{ Results []struct{ Body string } }
		mustDo(t, demo, "GET", "/notifications", nil, &list)
		return len(list.Results) == 1 && list.Results[0].Body == "Sent from Swagger."
	})
	const alerts = "#operations-alerts-post_alerts"
	page.click(alerts + " .opblock-summary-control")
	page.click(alerts + " .try-out__btn")
	page.click(alerts + " .execute")
	page.until("201", `document.querySelector('`+alerts+` .live-responses-table .response td.response-col_status')?.textContent.trim().startsWith('201')`)
}

// A page that was left holds no connection, although the browser keeps it for
// "back": over HTTP/1.1 a browser opens six to a server, so the seventh page
// would stand still. Going back brings the stream back.
func TestBrowserLeftPages(t *testing.T) {
	t.Parallel()
	p := criertest.Start(t)
	page := openTab(t, p.Facts().HTTP)
	for range 5 {
		for _, path := range []string{"/prices", "/send"} {
			page.open(path)
			page.untilLive("sse")
		}
	}
	if status := eval[int](page, `fetch('/api/v1/status').then((r) => r.status)`); status != 200 {
		t.Errorf("the tenth page's request was answered with %d", status)
	}
	eval[bool](page, `(setTimeout(() => history.back()), true)`) // a kept page loads nothing that could be waited for
	page.until("the page before", `location.pathname === '/prices'`)
	page.untilLive("sse")
	criertest.Eventually(t, patience, "one stream is open", func() bool { return p.Metric("crier_gateway_streams") == 1 })
}

// screens are the main views in the sizes and colours that people have.
var screens = []struct {
	name          string
	width, height int64
	scheme        string
}{
	{"desktop-light", 1280, 800, "light"},
	{"desktop-dark", 1280, 800, "dark"},
	{"phone-light", 390, 844, "light"},
	{"phone-dark", 390, 844, "dark"},
	{"tablet-light", 768, 1024, "light"},
	{"narrow-dark", 320, 640, "dark"},
	{"zoomed-light", 320, 256, "light"}, // 1280 by 1024 at 400 %, WCAG 1.4.10
}

// Every main view can be drawn in light and dark, on a desk and on a phone,
// without leaving the screen's width. The pictures are kept where
// CRIER_TEST_SCREENSHOTS names a folder.
func TestBrowserScreens(t *testing.T) {
	t.Parallel()
	dir := os.Getenv("CRIER_TEST_SCREENSHOTS")
	if dir == "" {
		dir = t.TempDir()
	}
	p := criertest.Start(t, "CRIER_FEEDS=simulated,replay:"+recording(t, ethTrades)+"@max", "CRIER_SIMULATED_SEED=7", "CRIER_SYMBOLS=BTCUSDT,SOLUSDT,XRPUSDT")
	page := openTab(t, p.Facts().HTTP)
	photograph := func(view, path string, drawn string) {
		for _, s := range screens {
			page.run("resizing", chromedp.EmulateViewport(s.width, s.height), colours(s.scheme))
			page.open(path)
			page.until(view+" is drawn", drawn)
			page.until("the stream is open", `document.querySelector('[data-testid=status-chip][data-state=live]')`)
			if excess := eval[int](page, `document.documentElement.scrollWidth - document.documentElement.clientWidth`); excess > 0 {
				t.Errorf("%s on %s is %d pixels wider than the screen: %s", view, s.name, excess, eval[string](page, `[...document.querySelectorAll('body *')].filter((n) => n.getBoundingClientRect().right > innerWidth + 1 || n.scrollWidth > innerWidth).map((n) => n.tagName + '.' + n.className).join(' ')`))
			}
			if faults := eval[[]string](page, overlaps); len(faults) > 0 {
				t.Errorf("%s on %s:\n%s", view, s.name, strings.Join(faults, "\n"))
			}
			file := filepath.Join(dir, view+"-"+s.name+".png")
			page.shot(file)
			checkPicture(t, file, int(s.width))
		}
	}
	photograph("first-visit", "/", `document.querySelector('[data-testid=steps]') && document.querySelectorAll('[data-testid=price-row][data-price]').length >= 3`)
	photograph("signup", "/signup", `document.querySelector('[data-testid=signup-form]')`)
	photograph("login", "/login", `document.querySelector('[data-testid=forgot]')`)
	photograph("reset", "/reset", `document.querySelector('[data-testid=reset-form]')`)
	photograph("reset-link", "/reset?token=x", `document.querySelector('[data-testid=reset-confirm]')`)

	page.run("resizing", chromedp.EmulateViewport(1280, 800))
	page.signUp("ann")
	user := p.SignUp("ann")
	furnish(t, p, user)
	page.untilLive("sse")
	var priced = `document.querySelectorAll('[data-testid=price-row][data-price]').length >= 3`
	photograph("prices", "/prices", priced)
	photograph("alerts", "/alerts/1", `document.querySelector('.detail h2, .detail h1') && document.querySelectorAll('[data-testid=alert-item]').length >= 3`)
	photograph("send", "/send", `document.querySelector('[data-testid=send-title]')`)
	photograph("destinations", "/destinations", `document.querySelector('[data-view=destinations][aria-current]') && document.querySelector('main h1')`)
	photograph("inbox", "/inbox", `document.querySelectorAll('[data-testid=inbox-item]').length >= 5`)
	photograph("rooms", "/rooms/friends", `document.querySelectorAll('[data-testid=chat-line][data-kind=message]').length >= 9 && document.querySelector('[data-testid=member]')`)
	photograph("rooms-none", "/rooms", `document.querySelectorAll('[data-testid=room]').length >= 3`)
	photograph("account", "/account", `document.querySelector('[data-testid=session]')`)
	photograph("inbox-detail", "/inbox/3", `document.querySelector('[data-testid=inbox-detail]')`)
}

// overlaps names controls, headings and labels that lie on each other, or are cut
// off at the side of the screen. What lies below a bar that stays in place is
// scrolled there, and compared with its like only.
const overlaps = `(() => {
	const stays = (node) => { for (let n = node; n; n = n.parentElement) if (['fixed', 'sticky'].includes(getComputedStyle(n).position)) return n; return null; };
	const name = (node) => (node.getAttribute('aria-label') || node.textContent || node.placeholder || node.id).trim().slice(0, 40) + ' <' + node.tagName.toLowerCase() + '>';
	const boxOf = (node) => {
		if (!/^H[1-3]$/.test(node.tagName)) return node.getBoundingClientRect();
		const words = document.createRange(); // a heading's own box is as wide as its column
		words.selectNodeContents(node);
		return words.getBoundingClientRect();
	};
	const all = [...document.querySelectorAll('a, button, input, select, textarea, summary, h1, h2, h3, .label, .chip-label, .name')].filter((n) => {
		if (!n.checkVisibility({visibilityProperty: true, opacityProperty: true}) || n.closest('.unseen, .skip, svg') || n.matches('.segments input')) return false;
		const box = n.getBoundingClientRect();
		return box.width > 1 && box.height > 1;
	}).map((node) => {
		// What a scrolling or clipping ancestor hides is not seen.
		const box = boxOf(node);
		const seen = {left: box.left, top: box.top, right: box.right, bottom: box.bottom};
		for (let n = node.parentElement; n && n !== document.documentElement; n = n.parentElement) {
			const style = getComputedStyle(n);
			if (style.overflowX === 'visible' && style.overflowY === 'visible' || n === document.body) continue;
			const clip = n.getBoundingClientRect();
			seen.left = Math.max(seen.left, clip.left); seen.right = Math.min(seen.right, clip.right);
			seen.top = Math.max(seen.top, clip.top); seen.bottom = Math.min(seen.bottom, clip.bottom);
		}
		return {node, box, seen, stays: stays(node)};
	}).filter(({seen}) => seen.right - seen.left > 1 && seen.bottom - seen.top > 1);
	const faults = [];
	for (const {node, box} of all) if (box.left < -1 || box.right > innerWidth + 1) faults.push(name(node) + ' leaves the screen');
	for (let i = 0; i < all.length; i++) for (let j = i + 1; j < all.length; j++) {
		const [a, b] = [all[i], all[j]];
		if (a.stays !== b.stays || a.node.contains(b.node) || b.node.contains(a.node)) continue;
		const width = Math.min(a.seen.right, b.seen.right) - Math.max(a.seen.left, b.seen.left);
		const height = Math.min(a.seen.bottom, b.seen.bottom) - Math.max(a.seen.top, b.seen.top);
		if (width > 2 && height > 2) faults.push(name(a.node) + ' lies on ' + name(b.node));
	}
	return faults;
})()`

// colours makes the page believe that the person likes light or dark, and no movement.
func colours(scheme string) chromedp.Action[chromedp.Void] {
	return chromedp.Func(func(ctx context.Context, t *chromedp.Target) error {
		_, err := cdp.Call(ctx, t, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{
			{Name: "prefers-color-scheme", Value: scheme}, {Name: "prefers-reduced-motion", Value: "reduce"}}})
		return err
	})
}

// furnish fills an inbox and sets alerts, so that there is something to see.
func furnish(t *testing.T, p *criertest.Program, user *criertest.User) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for _, n := range []map[string]any{
		{"title": "Backup finished", "body": "412 GB in 38 min, checked against the last one."},
		{"title": "Deploy of api v2.3 is live", "body": "All eight machines answer. Rolled out by Mara in 4 minutes; the previous version stays warm for an hour.", "url": "https://deploy.example.org/api/2.3"},
		{"title": "Disk of db-2 is 91 % full", "body": "At this pace it is full on Thursday.", "priority": "high", "payload": map[string]any{"host": "db-2", "used": 0.91, "mount": "/var/lib/postgresql"}},
		{"title": "Payment gateway refuses every card", "body": "Since 14:02, both regions.", "priority": "urgent"},
		{"title": "A title that somebody has written far too long for one line of any list, so that it has to end somewhere", "body": "And a body that goes on as well, for more than two lines in a narrow list, because programs that write notifications rarely count what they write, and nobody stops them."},
	} {
		n["user_id"] = user.ID
		if err := p.Service().Do(ctx, "POST", "/notifications", n, nil); err != nil {
			t.Fatal(err)
		}
	}
	user.Follow(t, "0", 5)
	for _, a := range []map[string]any{
		{"symbol": "ETHUSDT", "condition": "above", "target": "1600", "note": "sell a third"},
		{"symbol": "BTCUSDT", "condition": "above", "target": "250000", "repeat": "every", "cooldown": "1h"},
		{"symbol": "SOLUSDT", "condition": "below", "target": "0.01", "email": "ann@example.org"},
	} {
		if err := user.Do(ctx, "POST", "/alerts", a, nil); err != nil {
			t.Fatal(err)
		}
	}
	user.Follow(t, "5", 1) // the alert that was true already
	converse(t, p, user)
}

// converse fills a room.
func converse(t *testing.T, p *criertest.Program, user *criertest.User) {
	t.Helper()
	mara, jo := p.SignUp("mara"), p.SignUp("jo")
	at := "/rooms/friends/messages"
	for _, said := range []struct {
		by   *criertest.User
		what map[string]any
	}{
		{mara, map[string]any{"body": "Deploy of api v2.3 is live, all eight machines answer."}},
		{mara, map[string]any{"body": "The old version stays warm for an hour."}},
		{user, map[string]any{"body": "Thanks. Latency looks the same as before: https://graphs.example.org/api/latency?range=1h"}},
		{jo, map[string]any{"body": "@ann can you look at the disk of db-2? At this pace it is full on Thursday, and I would rather not find out on Thursday what happens then."}},
		{user, map[string]any{"body": "On it."}},
		{user, map[string]any{"body": "It keeps the logs of three weeks.\nTwo of them can go."}},
		{jo, map[string]any{"body": "Good, thank you @mara"}},
		{mara, map[string]any{"body": "aVeryLongWordWithoutAnyPlaceToBreakItWhichSomebodyPastedFromALogFileAndWhichGoesOnAndOnUntilItDoesNotFitIntoAnyLineAtAll"}},
		{jo, map[string]any{"body": "Lunch?"}},
	} {
		mustDo(t, said.by.Client, "POST", at, said.what, nil)
	}
	criertest.Eventually(t, patience, "all was said", func() bool {
		var page struct{ Results []struct{ ID int64 } }
		mustDo(t, user.Client, "GET", at, nil, &page)
		if len(page.Results) < 9 {
			return false
		}
		mustDo(t, user.Client, "POST", "/rooms/friends/read", map[string]any{"id": page.Results[3].ID}, nil)
		mustDo(t, user.Client, "PATCH", fmt.Sprintf("%s/%d", at, page.Results[4].ID), map[string]any{"body": "On it, now."}, nil)
		return true
	})
}

// checkPicture reads a picture back: it has the screen's width, and is not of
// one colour.
func checkPicture(t *testing.T, path string, width int) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	img, err := png.Decode(f)
	if err != nil {
		t.Fatalf("reading %s: %v", path, err)
	}
	colours := make(map[[4]uint32]bool)
	b := img.Bounds()
	for y := b.Min.Y; y < b.Max.Y; y += 7 {
		for x := b.Min.X; x < b.Max.X; x += 7 {
			r, g, bl, a := img.At(x, y).RGBA()
			colours[[4]uint32{r, g, bl, a}] = true
		}
	}
	if b.Dx() != width || len(colours) < 8 {
		t.Errorf("%s is %d pixels wide with %d colours", path, b.Dx(), len(colours))
	}
}
