package promises

import (
	"testing"

	"crier/internal/criertest"
)

// Users' texts have their own direction, so that the beginning of an Arabic title is not
// what is cut off, and stand apart from the text around them, whatever control
// characters of direction they hold.
func TestPageKeepsTheDirectionOfTexts(t *testing.T) {
	t.Parallel()
	p := criertest.Start(t)
	page := openTab(t, p.Facts().HTTP)
	page.signUp("ann")
	page.untilLive("sse")
	ann := p.SignUp("ann")
	mustSend(t, p.Service(), map[string]any{"user_id": ann.ID, "title": "مرحبا بكم، الطلب رقم 123 جاهز.", "body": "سعر BTC ارتفع 5% (مؤكد)."})
	mustSend(t, p.Service(), map[string]any{"user_id": ann.ID, "title": "Order 123 is ready", "body": "\u202eevil"})
	page.item(2)
	page.open("/inbox/1")
	page.item(2)
	page.until("its details", `document.querySelector('[data-testid=inbox-detail][data-id="1"]')`)
	for selector, want := range map[string]string{
		`[data-testid=inbox-item][data-id="1"] .title`: "rtl isolate", `[data-testid=inbox-item][data-id="1"] .body`: "rtl isolate",
		`[data-testid=inbox-item][data-id="2"] .title`: "ltr isolate", `[data-testid=inbox-detail] h2`: "rtl isolate", `[data-testid=inbox-detail] .full`: "rtl plaintext",
	} {
		if got := eval[string](page, `(({direction, unicodeBidi}) => direction + ' ' + unicodeBidi)(getComputedStyle(document.querySelector('`+selector+`')))`); got != want {
			t.Errorf("%s: %s, want %s", selector, got, want)
		}
	}
	page.shotIn("directions")
}

// An answer that is not Crier's, as a proxy's sign-in page, is named as such.
func TestPageNamesForeignAnswers(t *testing.T) {
	t.Parallel()
	p := criertest.Start(t)
	page := openTab(t, p.Facts().HTTP)
	page.signUp("ann")
	page.untilLive("sse")
	ann := p.SignUp("ann")
	mustSend(t, p.Service(), map[string]any{"user_id": ann.ID, "title": "one"})
	page.item(1)
	eval[bool](page, `((real) => { window.fetch = (url, options) => options?.method === 'POST' ? Promise.resolve(new Response('<h1>Sign in</h1>')) : real(url, options); return true; })(window.fetch)`)
	page.click(`[data-testid=inbox-item][data-id="1"] [data-testid=toggle-read]`)
	page.until("what went wrong", `document.querySelector('[data-testid=toast]')?.textContent === 'Not marked as read. The answer is not Crier’s: something else answered in its place.'`)
	page.until("it is unread again", `document.querySelector('[data-testid=inbox-item][data-id="1"]').classList.contains('unread')`)
}
