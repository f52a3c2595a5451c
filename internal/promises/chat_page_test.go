package promises

import (
	"fmt"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"

	"crier/internal/criertest"
	"crier/internal/event"
)

// say writes into the open room and presses Enter.
func (t *tab) say(text string) {
	t.tb.Helper()
	t.until("the room can be written to", `document.querySelector('[data-testid=chat-input]:not(:disabled)')`)
	t.fill(sel("chat-input"), text)
	t.press(sel("chat-input"), "Enter")
}

// press sends one key to what a selector names.
func (t *tab) press(selector, key string) {
	t.tb.Helper()
	eval[bool](t, fmt.Sprintf(`document.querySelector(%q).dispatchEvent(new KeyboardEvent('keydown', {key: %q, bubbles: true, cancelable: true})) || true`, selector, key))
}

// chatLine is an expression: the line of the open room whose words are these.
func chatLine(text string) string {
	return fmt.Sprintf(`[...document.querySelectorAll('[data-testid=chat-line]')].find((l) => (l.querySelector('.words code') ?? l.querySelector('.words'))?.textContent === %q)`, text)
}

// untilSaid waits until a line is there and stored.
func (t *tab) untilSaid(text string) {
	t.tb.Helper()
	t.until(text+" is said", chatLine(text)+`?.dataset.state === 'sent'`)
}

// enter opens a room and waits until the person is seen in it.
func (t *tab) enter(room, name string) {
	t.tb.Helper()
	t.click(`[data-room="` + room + `"] a`)
	t.until(name+" is seen in "+room, fmt.Sprintf(`location.pathname === '/rooms/%s' && [...document.querySelectorAll('[data-testid=member]')].some((m) => m.textContent.startsWith(%q))`, room, name))
}

// Two people talk in a room of the page: each sees the other come and go, what
// they say, how they change and take it back; a command is not text; a mention
// reaches the inbox; another room counts what is unread in it; and whatever
// anybody writes stays text.
func TestChatOnThePage(t *testing.T) {
	t.Parallel()
	p := criertest.Start(t)
	ann, bob := openTab(t, p.Facts().HTTP), openTab(t, p.Facts().HTTP)
	ann.signUp("ann")
	bob.signUp("bob")
	for _, page := range []*tab{ann, bob} {
		page.goTo("rooms")
		page.untilLive("sse")
	}
	ann.enter("friends", "ann")
	bob.enter("friends", "bob")
	ann.until("bob's coming", `[...document.querySelectorAll('.line.joined')].some((l) => l.textContent.includes('bob') && l.textContent.includes('joined'))`)
	ann.until("both are members", `document.querySelectorAll('[data-testid=member]').length === 2`)

	// The echo is there before any answer can be.
	eval[bool](ann, `(() => { const fetched = window.fetch; window.held = []; window.release = () => { window.fetch = fetched; held.forEach((go) => go()); return true; }; window.fetch = (...a) => String(a[0]).endsWith('/messages') && a[1]?.method === 'POST' ? new Promise((go) => held.push(() => go(fetched(...a)))) : fetched(...a); return true; })()`)
	ann.say("hello @bob")
	ann.until("it is pending", chatLine("hello @bob")+`?.dataset.state === 'pending'`)
	eval[bool](ann, `release()`)
	ann.untilSaid("hello @bob")
	bob.untilSaid("hello @bob")
	bob.until("it names bob", `document.querySelector('.line.named .mention.me')?.textContent === '@bob'`)
	bob.until("the inbox has the mention", `document.querySelector('[data-testid=unread]').textContent === '1'`)

	bob.say("/stock=aapl.us")
	ann.until("the command", `document.querySelector('.line.custom')?.querySelector('code').textContent === '/stock=aapl.us'`)
	if colour := eval[string](ann, `getComputedStyle(document.querySelector('.line.custom code')).color`); colour != "rgb(107, 47, 179)" {
		t.Errorf("a command is %s", colour)
	}
	bob.untilSaid("/stock=aapl.us")

	const evil = `<img src=x onerror="window.evil=1"><b>bold</b>`
	ann.say(evil)
	bob.untilSaid(evil)
	bob.until("markup is text", `!window.evil && !document.querySelector('.lines img, .lines b')`)

	ann.say("a typo")
	ann.untilSaid("a typo")
	ann.press(sel("chat-input"), "ArrowUp")
	ann.fill(sel("chat-editor"), "no typo")
	ann.press(sel("chat-editor"), "Enter")
	for _, page := range []*tab{ann, bob} {
		page.until("it is changed, and says so", chatLine("no typo")+`?.textContent.includes('edited')`)
	}
	for range 2 {
		eval[bool](ann, `(`+chatLine("no typo")+`.querySelector('[data-testid=chat-delete]').click(), true)`)
	}
	bob.until("it is deleted", `!(`+chatLine("no typo")+`) && document.querySelector('[data-testid=chat-line][data-state=deleted]')`)
	if eval[bool](bob, chatLine("hello @bob")+`.querySelector('[data-testid=chat-edit]') !== null`) {
		t.Error("bob may edit what ann said")
	}

	bob.shotIn("chat")
	bob.enter("family", "bob")
	ann.until("bob's going", `[...document.querySelectorAll('.line.parted')].some((l) => l.textContent.includes('bob') && l.textContent.includes('left'))`)
	ann.say("are you there?")
	ann.say("bob?")
	badge := `document.querySelector('[data-room=friends] [data-testid=room-unread]').textContent`
	bob.until("two are unread in the other room", badge+` === '2' && document.querySelector('[data-testid=rooms-unread]').textContent === '2'`)
	bob.click(`[data-room="friends"] a`)
	bob.until("the line before what is new", `document.querySelector('[data-testid=chat-new].break')?.nextElementSibling.textContent.includes('are you there?')`)
	bob.until("and it is read", `document.querySelector('[data-testid=rooms-unread]').hidden`)
	bob.run("reloading", chromedp.Reload())
	bob.untilSaid("bob?")
	bob.until("it stays read", `document.querySelector('[data-testid=rooms-unread]').hidden && document.querySelectorAll('[data-testid=room]').length >= 3`)
}

// What was said long ago comes as one scrolls back, and the text under the eyes
// stays where it is.
func TestChatHistoryOnThePage(t *testing.T) {
	t.Parallel()
	p := criertest.Start(t)
	ann := p.SignUp("ann")
	talkers := []*criertest.User{ann, p.SignUp("cem")} // more at once than one may say
	for n := range 120 {
		mustDo(t, talkers[n%2].Client, "POST", "/rooms/friends/messages", map[string]any{"body": fmt.Sprintf("number %d, %s", n, strings.Repeat("long ", n%12))}, nil)
	}
	var said struct{ Results []struct{ Body string } }
	criertest.Eventually(t, patience, "all is stored", func() bool {
		mustDo(t, ann.Client, "GET", "/rooms/friends/messages?limit=200", nil, &said)
		return len(said.Results) == 120
	})
	page := openTab(t, p.Facts().HTTP)
	page.signUp("bob")
	page.open("/rooms/friends")
	lines := `document.querySelectorAll('[data-testid=chat-line][data-kind=message]').length`
	page.until("the newest are there, at the end", lines+` === 50 && (() => { const l = document.querySelector('[data-testid=chat-log]'); return l.scrollHeight - l.scrollTop - l.clientHeight < 48; })()`)
	// Where the first line stands in the window, before the scroll and after.
	eval[bool](page, `(() => { const l = document.querySelector('[data-testid=chat-log]'); window.first = document.querySelector('[data-testid=chat-line][data-kind=message]'); l.scrollTop = 300; window.was = first.getBoundingClientRect().top; return true; })()`)
	page.until("older ones came", lines+` === 100`)
	if moved := eval[float64](page, `first.getBoundingClientRect().top - was`); moved < -2 || moved > 2 {
		t.Errorf("the text moved by %v pixels", moved)
	}
	mustDo(t, ann.Client, "POST", "/rooms/friends/messages", map[string]any{"body": "meanwhile"}, nil)
	page.until("what is new waits", `/^1 new$/.test(document.querySelector('[data-testid=chat-new].pill').textContent)`)
	page.until("and does not move the text", `Math.abs(first.getBoundingClientRect().top - was) < 2`)
	eval[bool](page, `(document.querySelector('[data-testid=chat-log]').scrollTop = 0, true)`)
	page.until("the beginning", lines+` === 121 && document.querySelector('.before').textContent.includes('begins')`)
	page.click(sel("chat-new") + ".pill")
	page.untilSaid("meanwhile")
}

// The server is killed under an open room: what is said meanwhile fails with a
// way to try again, and when it is back nothing is lost and nothing doubled.
func TestChatThroughKillOnThePage(t *testing.T) {
	t.Parallel()
	p := criertest.Start(t)
	page := openTab(t, p.Facts().HTTP)
	page.signUp("ann")
	bob := p.SignUp("bob")
	page.goTo("rooms")
	page.untilLive("sse")
	page.enter("friends", "ann")
	for n := range 5 {
		page.say(fmt.Sprintf("before %d", n))
	}
	page.untilSaid("before 4")
	page.serverGoes()
	p.Kill()
	page.say("while it was away")
	page.until("it failed", chatLine("while it was away")+`?.dataset.state === 'failed'`)
	page.shotIn("chat-failed")
	p.Start()
	mustDo(t, bob.Client, "POST", "/rooms/friends/messages", map[string]any{"body": "said by bob"}, nil)
	page.untilLive("sse")
	page.untilSaid("said by bob")
	page.click(sel("chat-retry"))
	page.untilSaid("while it was away")
	page.say("afterwards")
	page.untilSaid("afterwards")
	want := "before 0|before 1|before 2|before 3|before 4|said by bob|while it was away|afterwards"
	if got := eval[string](page, `[...document.querySelectorAll('[data-testid=chat-line] .words')].map((w) => w.textContent).join('|')`); got != want {
		t.Errorf("the page shows %s", got)
	}
	page.run("reloading", chromedp.Reload())
	page.untilSaid("afterwards")
	if got := eval[string](page, `[...document.querySelectorAll('[data-testid=chat-line] .words')].map((w) => w.textContent).join('|')`); got != want {
		t.Errorf("after a reload the page shows %s", got)
	}
}

// Whoever got no answer says it again with the same event_id: it is said once,
// and mentions once; other words under the same id are not said at all.
func TestSaidAgain(t *testing.T) {
	t.Parallel()
	p := criertest.Start(t)
	ann, bob := p.SignUp("ann"), p.SignUp("bob")
	id := event.NewID()
	for _, body := range []string{"hello @bob", "hello @bob", "something else"} {
		mustDo(t, ann.Client, "POST", "/rooms/friends/messages", map[string]any{"body": body, "event_id": id}, nil)
	}
	mustDo(t, bob.Client, "POST", "/rooms/friends/messages", map[string]any{"body": "hello @bob", "event_id": id}, nil) // another person's id is another
	mustDo(t, ann.Client, "POST", "/rooms/friends/messages", map[string]any{"body": "the end @bob"}, nil)
	var inbox struct{ Results []struct{ Body string } }
	criertest.Eventually(t, patience, "the last mention", func() bool {
		mustDo(t, bob.Client, "GET", "/notifications", nil, &inbox)
		return len(inbox.Results) > 0 && inbox.Results[0].Body == "the end @bob"
	})
	if len(inbox.Results) != 2 {
		t.Errorf("bob was told %+v", inbox)
	}
	var said struct{ Results []event.RoomMessage }
	mustDo(t, ann.Client, "GET", "/rooms/friends/messages", nil, &said)
	var got []string
	for _, m := range said.Results {
		got = append(got, m.Username+": "+m.Body)
	}
	if want := "ann: the end @bob|bob: hello @bob|ann: hello @bob"; strings.Join(got, "|") != want {
		t.Errorf("said %q, want %s", got, want)
	}
}

// Over WebSocket going into another room needs no new connection.
func TestChatOverWebSocketOnThePage(t *testing.T) {
	t.Parallel()
	p := criertest.Start(t)
	page := openTab(t, p.Facts().HTTP)
	page.signUp("ann")
	bob := p.SignUp("bob")
	page.click(sel("status-chip") + " .chip-main")
	page.click(sel("transport-ws") + " + span")
	page.untilLive("ws")
	page.run("closing the panel", chromedp.KeyEvent("\x1b"))
	page.goTo("rooms")
	page.enter("friends", "ann")
	page.say("over the socket")
	page.untilSaid("over the socket")
	eval[bool](page, `(window.states = 0, new MutationObserver(() => { if (document.querySelector('[data-testid=status-chip]').dataset.state !== 'live') states += 1; }).observe(document.querySelector('[data-testid=status-chip]'), {attributes: true}), true)`)
	page.enter("family", "ann")
	page.until("nobody is in the first any more", `document.querySelector('[data-room=friends] .body').textContent === 'nobody here'`)
	mustDo(t, bob.Client, "POST", "/rooms/friends/messages", map[string]any{"body": "from afar"}, nil)
	page.until("it is unread there", `document.querySelector('[data-room=friends] [data-testid=room-unread]').textContent === '1'`)
	if states := eval[int](page, `states`); states > 0 {
		t.Errorf("the connection changed %d times", states)
	}
}
