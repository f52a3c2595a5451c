package promises

import (
	"context"
	"testing"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"

	"crier/internal/criertest"
)

// A notification with an address leads there and is read then; its details are a
// button away. Addresses in a text are links, and nothing else in it is.
func TestPageFollowsLinks(t *testing.T) {
	t.Parallel()
	p := criertest.Start(t)
	page := openTab(t, p.Facts().HTTP)
	page.signUp("ann")
	page.untilLive("sse")
	ann := p.SignUp("ann")
	mustSend(t, p.Service(), map[string]any{"user_id": ann.ID, "title": "prices", "url": "/prices"})
	mustSend(t, p.Service(), map[string]any{"user_id": ann.ID, "title": "elsewhere", "url": "https://example.org/x"})
	mustSend(t, p.Service(), map[string]any{"user_id": ann.ID, "title": "text", "body": `See https://example.org/a?b=1, or <a href="https://example.org/c">javascript:alert(1)</a>.`})
	page.item(3)
	page.until("another site opens in a tab of its own", `(({target, rel, href}) => target === '_blank' && rel.includes('noopener') && href === 'https://example.org/x')(document.querySelector('[data-testid=inbox-item][data-id="2"] .row-link'))`)
	page.click(`[data-testid=inbox-item][data-id="1"] .row-link`)
	page.until("it leads there, and is read", `location.pathname === '/prices' && document.querySelector('[data-testid=unread]').textContent === '2'`)
	page.goTo("inbox")
	page.item(1)
	page.shotIn("links")
	eval[bool](page, `(document.querySelector('[data-testid=inbox-item][data-id="1"] [data-testid=details]').click(), true)`)
	page.until("its details", `location.pathname === '/inbox/1' && document.querySelector('[data-testid=inbox-detail][data-id="1"]')`)
	page.click(`[data-testid=inbox-item][data-id="3"] .row-link`)
	page.until("the text", `document.querySelector('[data-testid=inbox-detail][data-id="3"]')`)
	if got := eval[[]string](page, `[...document.querySelectorAll('[data-testid=inbox-detail] .full a')].map((a) => a.getAttribute('href'))`); len(got) != 2 || got[0] != "https://example.org/a?b=1" || got[1] != "https://example.org/c" {
		t.Errorf("the links are %q", got)
	}
}

// Whoever archives with the keyboard goes on with the next one.
func TestPageKeepsTheFocus(t *testing.T) {
	t.Parallel()
	p := criertest.Start(t)
	page := openTab(t, p.Facts().HTTP)
	page.signUp("ann")
	page.untilLive("sse")
	ann := p.SignUp("ann")
	for _, title := range []string{"one", "two", "three"} {
		mustSend(t, p.Service(), map[string]any{"user_id": ann.ID, "title": title})
	}
	page.item(3)
	press := func(selector string) {
		t.Helper()
		eval[bool](page, `((b) => { b.focus(); b.click(); return true; })(document.querySelector('`+selector+`'))`)
	}
	press(`[data-testid=inbox-item][data-id="2"] [data-testid=archive]`)
	page.until("the next has the focus", rows+` === 2 && document.activeElement.closest('[data-testid=inbox-item]')?.dataset.id === '1'`)
	page.open("/inbox/3")
	page.until("the third in full, beside the list", rows+` === 2 && document.querySelector('[data-testid=detail-archive]')`)
	press(sel("detail-archive"))
	page.until("the next has it again", rows+` === 1 && document.activeElement.closest('[data-testid=inbox-item]')?.dataset.id === '1'`)
	press(`[data-testid=inbox-item][data-id="1"] [data-testid=archive]`)
	page.until("no row is left: the heading", rows+` === 0 && document.activeElement.tagName === 'H1'`)
}

// With forced colours, which leave no backgrounds, the view that is shown has an outline.
func TestPageWithForcedColours(t *testing.T) {
	t.Parallel()
	p := criertest.Start(t)
	page := openTab(t, p.Facts().HTTP)
	page.run("forced colours", chromedp.Func(func(ctx context.Context, t *chromedp.Target) error {
		_, err := cdp.Call(ctx, t, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{{Name: "forced-colors", Value: "active"}}})
		return err
	}))
	page.open("/prices")
	page.until("an outline", `getComputedStyle(document.querySelector('[data-view=prices]')).outlineStyle === 'solid' && getComputedStyle(document.querySelector('[data-view=send]')).outlineStyle === 'none'`)
}
