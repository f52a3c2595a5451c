package promises

import (
	"image/png"
	"net/smtp"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"

	"crier/internal/criertest"
)

// The mail catcher's pages are readable in dark mode, whether a mail knows dark mode
// or not, and show new mails without being loaded again.
func TestMailCatcherOnThePage(t *testing.T) {
	t.Parallel()
	p := criertest.Start(t)
	deliver := func(subject, html string) {
		t.Helper()
		text := "Subject: " + subject + "\r\nContent-Type: text/html\r\n\r\n" + html + "\r\n"
		if err := smtp.SendMail(p.Facts().SMTP, nil, "a@example.org", []string{"b@example.org"}, []byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	const words = `<h1>WWWWW MMMMM</h1><p>WWWWW MMMMM WWWWW MMMMM</p></body></html>`
	deliver("knows dark", `<!doctype html><html><head><meta name="color-scheme" content="light dark"></head><body>`+words)
	deliver("knows nothing", `<!doctype html><html><body>`+words)
	page := openTab(t, p.Facts().Mail)
	page.open("/")
	eval[bool](page, `window.sameDocument = true`)
	page.until("both mails", `document.querySelectorAll('ol a').length === 2`)
	page.run("dark", colours("dark"))
	eval[bool](page, `(document.querySelector('ol a').focus(), window.focused = document.activeElement.getAttribute('href'), true)`)
	deliver("third", "<p>later</p>")
	page.until("the third, in the same document, with the focus where it was",
		`document.querySelectorAll('ol a').length === 3 && document.title.startsWith('(3)') && window.sameDocument && document.activeElement.getAttribute('href') === window.focused`)
	page.shotIn("mails-dark")
	for _, scheme := range []string{"light", "dark"} {
		for _, subject := range []string{"knows dark", "knows nothing"} {
			page.run(scheme, colours(scheme), chromedp.EmulateViewport(800, 800))
			page.open("/")
			eval[bool](page, `[...document.querySelectorAll('ol a')].find((a) => a.textContent.includes('`+subject+`')).click() ?? true`)
			page.until("the mail's frame", `document.querySelector('iframe') && document.readyState === 'complete'`)
			box := eval[[4]int](page, `(({left, top, right, bottom}) => [left, top, right, Math.min(bottom, innerHeight)].map(Math.round))(document.querySelector('iframe').getBoundingClientRect())`)
			file := filepath.Join(t.TempDir(), strings.ReplaceAll(subject, " ", "-")+".png")
			criertest.Eventually(t, patience, subject+" is readable in "+scheme, func() bool {
				page.shot(file)
				return legible(t, file, box)
			})
			page.shotIn("mail-" + scheme + "-" + strings.ReplaceAll(subject, " ", "-"))
		}
	}
}

// legible says whether part of a picture has dark and light in it, as words have.
func legible(t *testing.T, path string, box [4]int) bool {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	img, err := png.Decode(f)
	if err != nil {
		t.Fatal(err)
	}
	darkest, lightest := uint32(0xffff), uint32(0)
	for y := box[1] + 2; y < box[3]-2; y++ {
		for x := box[0] + 2; x < box[2]-20; x++ { // less the scroll bar
			r, g, b, _ := img.At(x, y).RGBA()
			grey := (r + g + b) / 3
			darkest, lightest = min(darkest, grey), max(lightest, grey)
		}
	}
	return lightest-darkest > 0x9000
}
