package promises

import (
	"fmt"
	"strings"
	"testing"

	"crier/internal/criertest"
)

// A mark of an alert that is moved across the price says that it would fire at once,
// and asks before it does; moved elsewhere it can be moved back.
func TestPageAsksBeforeAnAlertFires(t *testing.T) {
	t.Parallel()
	p := criertest.Start(t)
	page := openTab(t, p.Facts().HTTP)
	page.signUp("ann")
	page.untilLive("sse")
	ann := p.SignUp("ann")
	for i := range 40 {
		timedTicks(t, p, "ETHUSDT", "a", [2]string{fmt.Sprint(i*60, "s"), fmt.Sprint(100 + i*i%17)})
	}
	criertest.Eventually(t, patience, "the candles are written", func() bool { return p.GroupAt(t, "crier-matcher", "ticks") == 40 })
	var alert struct {
		ID      int    `json:"id"`
		Target  string `json:"target"`
		Firings int    `json:"firings"`
	}
	mustDo(t, ann.Client, "POST", "/alerts", map[string]any{"symbol": "ETHUSDT", "condition": "above", "target": "115"}, &alert)
	now := func() (string, int) {
		mustDo(t, ann.Client, "GET", fmt.Sprint("/alerts/", alert.ID), nil, &alert)
		return alert.Target, alert.Firings
	}
	page.goTo("alerts")
	page.until("every plot has a name", `[...document.querySelectorAll('svg.chart-plot')].length > 0 && [...document.querySelectorAll('svg.chart-plot > title')].every((t) => t.textContent !== '')`)
	page.click(fmt.Sprintf(`[data-testid=alert-item][data-id="%d"] a`, alert.ID))
	mark := sel("alert-detail") + " " + sel("mark-target")
	page.until("the mark is drawn", `document.querySelector('`+mark+`') && document.querySelector('[data-testid=alert-detail] .chart-plot .line').getAttribute('d')?.length > 100`)
	if role := eval[string](page, `document.querySelector('`+mark+`').closest('svg').getAttribute('role')`); role == "img" {
		t.Error("the marks are parts of an image, which no screen reader shows")
	}
	enter := func() {
		eval[bool](page, `document.querySelector('`+mark+`').dispatchEvent(new KeyboardEvent('keyup', {key: 'Enter', bubbles: true}))`)
	}
	for range 6 {
		page.press(mark, "PageDown")
	}
	page.until("it is said", `document.querySelector('[data-testid=alert-detail] .chart-note').textContent.includes('would fire at once')`)
	enter()
	page.until("it is asked", `document.querySelector('dialog[open]')?.textContent.includes('would fire at once')`)
	page.shotIn("fires-at-once")
	page.click(sel("question-no"))
	page.until("the mark is where it was", `document.querySelector('`+mark+`').getAttribute('aria-valuenow') === '115'`)
	if target, firings := now(); target != "115" || firings != 0 {
		t.Fatalf("the alert is at %s with %d firings, although it was cancelled", target, firings)
	}

	page.press(mark, "ArrowUp")
	enter()
	page.until("it is moved, and can be moved back", `[...document.querySelectorAll('[data-testid=toast]')].some((t) => t.textContent.includes('is set to') && t.querySelector('button'))`)
	if target, _ := now(); target == "115" {
		t.Error("the mark was not moved")
	}
	page.click(sel("undo"))
	criertest.Eventually(t, patience, "it is moved back", func() bool { target, _ := now(); return target == "115" })
	if target, firings := now(); target != "115" || firings != 0 {
		t.Errorf("the alert is at %s with %d firings", target, firings)
	}
}

// Characters are counted as the server counts them: an emoji is one, also where a
// message is changed.
func TestPageCountsCharacters(t *testing.T) {
	t.Parallel()
	p := criertest.Start(t)
	page := openTab(t, p.Facts().HTTP)
	page.signUp("ann")
	page.untilLive("sse")
	page.goTo("rooms")
	page.enter("friends", "ann")
	fill := func(selector string, count int) {
		eval[bool](page, fmt.Sprintf(`(() => { const f = document.querySelector(%q); f.focus(); f.select(); return document.execCommand('insertText', false, '😀'.repeat(%d)); })()`, selector, count))
	}
	fill(sel("chat-input"), 300)
	page.press(sel("chat-input"), "Enter")
	page.untilSaid(strings.Repeat("😀", 300))
	page.press(sel("chat-input"), "ArrowUp")
	page.until("it can be changed", `document.querySelector('[data-testid=chat-editor]')`)
	fill(sel("chat-editor"), 513)
	page.press(sel("chat-editor"), "Enter")
	page.until("one is too many", `document.querySelector('.editing-field .problem')?.textContent.startsWith('Too long by 1')`)
	fill(sel("chat-editor"), 512)
	page.press(sel("chat-editor"), "Enter")
	page.untilSaid(strings.Repeat("😀", 512))
}

// A fired alert is shown wherever one is, with the way to it, and heard if wished; in
// the inbox itself it is in view already.
func TestPageShowsAFiredAlert(t *testing.T) {
	t.Parallel()
	p := criertest.Start(t)
	page := openTab(t, p.Facts().HTTP)
	page.signUp("ann")
	page.untilLive("sse")
	ann := p.SignUp("ann")
	set := func(target string) {
		mustDo(t, ann.Client, "POST", "/alerts", map[string]any{"symbol": "BTCUSDT", "condition": "above", "target": target}, nil)
	}
	eval[bool](page, `(window.tones = 0, AudioContext.prototype.createOscillator = ((real) => function () { window.tones += 1; return real.call(this); })(AudioContext.prototype.createOscillator), true)`)
	const shown = `[...document.querySelectorAll('[data-testid=toast]')].find((t) => t.textContent.includes('BTCUSDT rose'))`
	set("100")
	page.goTo("prices")
	tick(t, p, "BTCUSDT", "101")
	page.until("it is shown", shown)
	page.shotIn("fired")
	if tones := eval[int](page, `window.tones`); tones != 0 {
		t.Errorf("%d tones were played that nobody asked for", tones)
	}
	eval[bool](page, `(`+shown+`.querySelector('button').click(), true)`)
	page.until("the way leads to it", `location.pathname === '/inbox/1' && document.querySelector('[data-testid=inbox-detail]')`)

	page.goTo("alerts")
	page.click(sel("alert-sound"))
	page.until("it is heard at once", `window.tones === 1`)
	set("110")
	tick(t, p, "BTCUSDT", "111")
	page.until("heard and shown", `window.tones === 2 && `+shown)
	page.goTo("inbox")
	page.until("the line is gone", `!(`+shown+`)`)
	set("120")
	tick(t, p, "BTCUSDT", "121")
	page.item(3)
	page.until("heard in the inbox, too", `window.tones === 3`)
	if eval[bool](page, `Boolean(`+shown+`)`) {
		t.Error("a line stands over the inbox for what is in it")
	}
}

// Percentages and trailing stops say from what they are measured, and how far the price
// has to go, as the matcher has it.
func TestPageSaysHowFarPercentagesAre(t *testing.T) {
	t.Parallel()
	p := criertest.Start(t)
	page := openTab(t, p.Facts().HTTP)
	page.signUp("ann")
	page.untilLive("sse")
	ann := p.SignUp("ann")
	timedTicks(t, p, "ETHUSDT", "a", [2]string{"0s", "90"}, [2]string{"3h", "100"}, [2]string{"3h1m", "110"}, [2]string{"3h2m", "104"})
	criertest.Eventually(t, patience, "the candles are written", func() bool { return p.GroupAt(t, "crier-matcher", "ticks") == 4 })
	set := func(alert map[string]any) int64 {
		alert["symbol"] = "ETHUSDT"
		var made struct{ ID int64 }
		mustDo(t, ann.Client, "POST", "/alerts", alert, &made)
		return made.ID
	}
	// The low of 90 is out of the window of an hour, not out of that of a day.
	up, down := set(map[string]any{"condition": "percent_up", "percent": "10", "window": "1h"}), set(map[string]any{"condition": "percent_down", "percent": "10", "window": "1h"})
	day, stop := set(map[string]any{"condition": "percent_up", "percent": "30", "window": "24h"}), set(map[string]any{"condition": "trailing_stop", "percent": "10"})
	timedTicks(t, p, "ETHUSDT", "a", [2]string{"3h3m", "107"}, [2]string{"3h4m", "105"})
	type reference struct {
		AlertID   int64  `json:"alert_id"`
		Reference string `json:"reference"`
		FiresAt   string `json:"fires_at"`
	}
	want := map[int64]reference{up: {up, "100", "110"}, down: {down, "110", "99"}, day: {day, "90", "117"}, stop: {stop, "107", "96.3"}}
	var got struct{ Results []reference }
	criertest.Eventually(t, patience, "all references", func() bool {
		mustDo(t, ann.Client, "GET", "/alerts/references", nil, &got)
		for _, r := range got.Results {
			if want[r.AlertID] != r {
				return false
			}
		}
		return len(got.Results) == len(want)
	})
	page.goTo("alerts")
	for id, text := range map[int64]string{up: "4.76", down: "5.71", day: "11.43", stop: "8.29"} {
		page.until(fmt.Sprint("alert ", id, " says how far it is"), fmt.Sprintf(`document.querySelector('[data-testid=alert-item][data-id="%d"] .distance')?.textContent.startsWith('%s') && document.querySelector('[data-testid=alert-item][data-id="%d"] .distance').title.includes('fires at')`, id, text, id))
	}
	page.click(fmt.Sprintf(`[data-testid=alert-item][data-id="%d"] a`, stop))
	page.until("in full", `document.querySelector('.measured')?.textContent.includes('from 107, fires at 96.3')`)
	page.shotIn("measured")
	// Stops with one best price share it, also after others have joined them.
	second := set(map[string]any{"condition": "trailing_stop", "percent": "20"})
	timedTicks(t, p, "ETHUSDT", "a", [2]string{"3h5m", "120"}, [2]string{"3h6m", "119"})
	want = map[int64]reference{stop: {stop, "120", "108"}, second: {second, "120", "96"}}
	criertest.Eventually(t, patience, "the stops follow", func() bool {
		mustDo(t, ann.Client, "GET", "/alerts/references", nil, &got)
		n := 0
		for _, r := range got.Results {
			if want[r.AlertID] == r {
				n++
			}
		}
		return n == 2
	})
}
