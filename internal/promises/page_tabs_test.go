package promises

import (
	"context"
	"sync"
	"testing"

	"github.com/chromedp/chromedp"

	"crier/internal/criertest"
)

// another opens one more tab of the same browser.
func (t *tab) another() *tab {
	t.tb.Helper()
	one := &tab{tb: t.tb, base: t.base}
	ctx, cancel := chromedp.NewContext(t.ctx, chromedp.WithListener(one.hear))
	one.ctx = ctx
	one.close = sync.OnceFunc(func() {
		one.report()
		bye, end := context.WithTimeout(ctx, patience)
		defer end()
		if err := chromedp.Cancel(bye); err != nil {
			t.tb.Errorf("closing a tab: %v", err)
		}
		cancel()
	})
	t.tb.Cleanup(one.close)
	one.run("opening a tab")
	return one
}

// Over HTTP/1.1 a browser has six connections to a server, and each event stream
// holds one: five tabs have a stream, so that what is done in any of them is done.
// One more says why it is not live, and is as soon as another is closed.
func TestPageInManyTabs(t *testing.T) {
	t.Parallel()
	p := criertest.Start(t)
	page := openTab(t, p.Facts().HTTP)
	page.signUp("ann")
	page.untilLive("sse")
	ann := p.SignUp("ann")
	tabs := []*tab{page}
	for range 4 {
		tabs = append(tabs, page.another())
		tabs[len(tabs)-1].open("/inbox")
		tabs[len(tabs)-1].untilLive("sse")
	}
	const queued = `document.querySelector('[data-testid=status-chip][data-state=queued]') && document.querySelector('[data-testid=banner][data-kind=queued]')?.textContent.includes('Five other tabs')`
	sixth, seventh := page.another(), page.another()
	mustSend(t, p.Service(), map[string]any{"user_id": ann.ID, "title": "one"})
	for _, late := range []*tab{sixth, seventh} {
		late.open("/inbox")
		late.until("it says why it is not live", queued)
		late.item(1)
	}
	seventh.shotIn("seventh-tab")
	page.item(1)
	page.run("to the row", chromedp.ScrollIntoView(chromedp.CSS(sel("toggle-read"))))
	page.click(sel("inbox-item") + " a")
	page.until("an action works with seven tabs open", `document.querySelector('[data-testid=unread]').hidden`)
	if got := p.Metric("crier_gateway_streams"); got != 5 {
		t.Errorf("%v streams are open, want 5", got)
	}

	tabs[1].close()
	criertest.Eventually(t, patience, "five streams again", func() bool { return p.Metric("crier_gateway_streams") == 5 })
	mustSend(t, p.Service(), map[string]any{"user_id": ann.ID, "title": "two"})
	tabs[2].close()
	for _, late := range []*tab{sixth, seventh} {
		late.untilLive("sse")
		late.until("no banner", `!document.querySelector('[data-kind=queued]')`)
		late.item(2)
	}

	// A WebSocket is none of the six connections; the choice is the browser's.
	eighth := page.another()
	eighth.open("/inbox")
	eighth.until("it says why it is not live", queued)
	eighth.click(`[data-kind=queued] button`)
	eighth.untilLive("ws")
	eighth.item(2)
}
