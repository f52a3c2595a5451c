package promises

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/chromedp/cdproto/input"
	"github.com/chromedp/chromedp"

	"crier/internal/criertest"
)

// drag takes what a selector finds by its middle and moves it by so many pixels.
func (t *tab) drag(selector string, by float64) {
	t.tb.Helper()
	box := eval[[]float64](t, fmt.Sprintf(`(() => { const n = document.querySelector(%q); n.scrollIntoView({block: "center"}); const b = n.getBoundingClientRect(); return [b.x + b.width / 3, b.y + b.height / 2]; })()`, selector))
	at := func(kind input.DispatchMouseEventType, dy float64) chromedp.Action[chromedp.Void] {
		return chromedp.MouseEvent(kind, box[0], box[1]+dy, chromedp.ButtonLeft)
	}
	t.run("dragging "+selector, at(input.DispatchMouseEventTypeMousePressed, 0), at(input.DispatchMouseEventTypeMouseMoved, by/2), at(input.DispatchMouseEventTypeMouseMoved, by), at(input.DispatchMouseEventTypeMouseReleased, by))
}

// The page writes every condition as a sentence, draws a symbol's candles with the
// alert's marks, sets a target by dragging its line, both in a new alert and in one
// that stands, and shows what a firing says.
func TestBrowserChart(t *testing.T) {
	t.Parallel()
	p := criertest.Start(t)
	page := openTab(t, p.Facts().HTTP)
	page.signUp("ann")
	for i := range 40 {
		timedTicks(t, p, "ETHUSDT", "a", [2]string{fmt.Sprint(i*60, "s"), fmt.Sprint(100 + i*i%17)})
	}
	criertest.Eventually(t, patience, "the candles are written", func() bool { return p.GroupAt(t, "crier-matcher", "ticks") == 40 })
	page.goTo("alerts")
	page.choose(sel("alert-symbol"), "ETHUSDT")
	page.choose(sel("alert-condition"), "crosses_above")
	page.write(sel("alert-target"), "110")
	page.until("the line is drawn", `document.querySelector('.sentence-form .chart-plot .line').getAttribute('d')?.length > 100 && document.querySelector('.sentence-form [data-testid=mark-target]')`)
	shots := os.Getenv("CRIER_TEST_SHOTS") // a folder, for whoever wants to see it
	if shots != "" {
		page.shot(filepath.Join(shots, "form.png"))
	}
	page.drag(`.sentence-form `+sel("mark-target")+` .grip`, -30)
	page.until("the target follows the line", `Number(document.querySelector('[data-testid=alert-target]').value) > 110`)
	page.click(sel("alert-create"))
	page.until("the alert stands, with its line", `document.querySelector('[data-testid=alert-detail] [data-testid=mark-target]')`)
	set := eval[string](page, `document.querySelector('[data-testid=alert-detail] h2').textContent`)
	page.drag(sel("alert-detail")+` `+sel("mark-target")+` .grip`, 25)
	page.until("the alert has another target", `document.querySelector('[data-testid=alert-detail] h2').textContent !== `+fmt.Sprintf("%q", set))
	if shots != "" {
		page.shot(filepath.Join(shots, "detail.png"))
	}
	timedTicks(t, p, "ETHUSDT", "a", [2]string{"41m", "100"}, [2]string{"42m", "130"})
	page.until("the firing is shown with the tick before it", `document.querySelector('[data-testid=firing] [data-testid=firing-before]')?.textContent.includes('100')`)

	page.goTo("alerts")
	page.choose(sel("alert-condition"), "percent_down")
	page.write(sel("alert-percent"), "5")
	page.click(sel("alert-create"))
	page.until("the second alert's sentence", `document.querySelector('[data-testid=alert-detail] h2')?.textContent.includes('falls by 5 % within 1h')`)
	page.goTo("alerts")
	page.choose(sel("alert-condition"), "exits")
	page.write(sel("alert-low"), "90")
	page.write(sel("alert-high"), "140")
	page.click(sel("alert-more"))
	page.choose(sel("alert-confirm"), "3 ticks")
	page.click(sel("alert-create"))
	page.until("the third alert's sentence", `document.querySelector('[data-testid=alert-detail] h2')?.textContent.includes('leaves the band 90 to 140') && document.querySelector('[data-testid=alert-detail]').textContent.includes('held for 3 ticks')`)
	if shots != "" {
		page.shot(filepath.Join(shots, "list.png"))
	}
	page.goTo("inbox")
	page.item(1)
	page.click(`[data-testid=inbox-item][data-id="1"] a`)
	page.click(sel("detail-snooze"))
	page.goTo("alerts")
	page.until("the fired alert holds again", `[...document.querySelectorAll('[data-testid=alert-item]')].every((row) => row.dataset.state === 'created')`)
}
