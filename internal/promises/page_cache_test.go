package promises

import (
	"testing"

	"crier/internal/criertest"
)

// On a second visit the page's files come from the browser's cache, without a question to
// the gateway; on the first they come compressed.
func TestPageIsKeptByTheBrowser(t *testing.T) {
	t.Parallel()
	p := criertest.Start(t)
	page := openTab(t, p.Facts().HTTP)
	const files = `performance.getEntriesByType('resource').filter((e) => new URL(e.name).pathname.startsWith('/static/'))`
	page.open("/prices")
	page.until("the page is loaded", `document.readyState === 'complete' && `+files+`.length > 40`)
	first := eval[struct{ Count, Bytes, Whole int }](page, `(() => { const f = `+files+`; return {
		count: f.length, bytes: f.reduce((n, e) => n + e.transferSize, 0), whole: f.reduce((n, e) => n + e.decodedBodySize, 0)}; })()`)
	t.Logf("the first visit: %+v", first)
	if first.Bytes >= first.Whole/2 {
		t.Errorf("the first visit takes %d bytes of %d", first.Bytes, first.Whole)
	}
	page.open("/inbox")
	page.until("the page is loaded again", `location.pathname === '/inbox' && document.readyState === 'complete' && `+files+`.length > 40`)
	if again := eval[[]string](page, files+`.filter((e) => e.transferSize > 0).map((e) => e.name)`); len(again) > 0 {
		t.Errorf("the second visit asked again for %v", again)
	}
}
