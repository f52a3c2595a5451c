package promises

import (
	"fmt"
	"testing"
	"time"

	"crier/internal/criertest"
)

// What an alert's row says is true: an edge counts only from its other side, so
// where the price is there already it has to leave first. Selecting an alert does
// not change how the form looks.
func TestPageSaysWhatMustHappenFirst(t *testing.T) {
	t.Parallel()
	p := criertest.Start(t)
	page := openTab(t, p.Facts().HTTP)
	page.signUp("ann")
	page.untilLive("sse")
	tick(t, p, "BTCUSDT", "50")
	ann := p.SignUp("ann")
	cases := []struct {
		alert map[string]any
		want  string
		id    int
	}{
		{alert: map[string]any{"condition": "enters", "low": "40", "high": "60"}, want: "must leave it first"},
		{alert: map[string]any{"condition": "enters", "low": "50", "high": "60"}, want: "must leave it first"},
		{alert: map[string]any{"condition": "enters", "low": "60", "high": "70"}, want: "to go"},
		{alert: map[string]any{"condition": "exits", "low": "60", "high": "70"}, want: "must come into the band first"},
		{alert: map[string]any{"condition": "exits", "low": "40", "high": "60"}, want: "to go"},
		{alert: map[string]any{"condition": "crosses_above", "target": "45"}, want: "must fall below 45 first"},
		{alert: map[string]any{"condition": "crosses_above", "target": "60"}, want: "to go"},
		{alert: map[string]any{"condition": "crosses_below", "target": "55"}, want: "must rise above 55 first"},
		{alert: map[string]any{"condition": "crosses_below", "target": "45"}, want: "to go"},
	}
	for i := range cases {
		cases[i].alert["symbol"] = "BTCUSDT"
		var made struct {
			ID int `json:"id"`
		}
		mustDo(t, ann.Client, "POST", "/alerts", cases[i].alert, &made)
		cases[i].id = made.ID
	}
	page.goTo("alerts")
	for _, c := range cases {
		page.until(fmt.Sprint(c.alert), fmt.Sprintf(`document.querySelector('[data-testid=alert-item][data-id="%d"] .distance')?.textContent.includes(%q)`, c.id, c.want))
	}
	const colour = `getComputedStyle(document.querySelector('[data-testid=alert-form]')).color`
	before := eval[string](page, colour)
	page.click(fmt.Sprintf(`[data-testid=alert-item][data-id="%d"] a`, cases[0].id))
	page.until("an alert is selected", `document.querySelector('[data-testid=alert-detail]')`)
	if after := eval[string](page, colour); after != before {
		t.Errorf("the form turns from %s to %s when an alert is selected", before, after)
	}
}

// A source that others write ticks for has an interval of its own: it is not called
// stale above every view; the age stands beside its symbol.
func TestPageDoesNotCallOthersStale(t *testing.T) {
	t.Parallel()
	p := criertest.Start(t)
	page := openTab(t, p.Facts().HTTP)
	rec := p.TickRecord("SERVER.ROOM", "21.5")
	rec.Value = fmt.Appendf(nil, `{"symbol":"SERVER.ROOM","price":"21.5","source":"me","time":%q}`, time.Now().Add(-2*time.Hour).UTC().Format(time.RFC3339))
	if err := p.Kgo(t).ProduceSync(t.Context(), rec).FirstErr(); err != nil {
		t.Fatal(err)
	}
	page.open("/prices")
	page.until("its age stands beside it", `document.querySelector('[data-testid=price-row][data-symbol="SERVER.ROOM"] .old')?.textContent.includes('old')`)
	var status struct {
		Feeds []struct {
			Source string `json:"source"`
			Stale  bool   `json:"stale"`
		} `json:"feeds"`
	}
	criertest.Eventually(t, patience, "the source is known", func() bool {
		mustDo(t, p.Service(), "GET", "/status", nil, &status)
		return len(status.Feeds) == 1
	})
	if status.Feeds[0].Stale {
		t.Errorf("the feed %s is called stale", status.Feeds[0].Source)
	}
	eval[bool](page, module("banner.js")+`.then(({loadStatus}) => loadStatus()).then(() => true)`)
	if text := eval[string](page, `document.querySelector('[data-symbol="SERVER.ROOM"] .old').textContent + [...document.querySelectorAll('[data-kind=stale]')].map((b) => b.textContent).join()`); text != "2 h old" {
		t.Errorf("the page says %q", text)
	}
}

// The first steps never name a price that has been reached already.
func TestPageNamesAPriceAhead(t *testing.T) {
	t.Parallel()
	p := criertest.Start(t)
	page := openTab(t, p.Facts().HTTP)
	tick(t, p, "BTCUSDT", "50000")
	page.open("/inbox")
	page.until("a price is named", `!document.querySelector('[data-testid=step-alert]')?.disabled && document.querySelector('[data-testid=steps]').textContent.includes('When BTCUSDT')`)
	// Whatever the page does on a tick has been done when this hears of it.
	eval[bool](page, `Promise.all([`+module("state.js")+`, `+module("ticks.js")+`]).then(([{on}, {priceOf}]) => { window.heard = 0; window.passed = []; on('prices', () => { const price = Number(priceOf('BTCUSDT').price); const named = Number(/rises to or above ([\d,.]*\d)/.exec(document.querySelector('[data-testid=steps]').textContent)[1].replaceAll(',', '')); window.heard = price; if (named <= price) window.passed.push(named + ' at ' + price); }); return true; })`)
	for _, price := range []string{"51000", "52000", "53000"} {
		tick(t, p, "BTCUSDT", price)
		page.until("the page has "+price, `window.heard === `+price)
	}
	if passed := eval[string](page, `window.passed.join('; ')`); passed != "" {
		t.Errorf("named although reached: %s", passed)
	}
}
