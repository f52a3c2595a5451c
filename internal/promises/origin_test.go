package promises

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"

	"crier/internal/criertest"
)

// ownPage is somebody's own page, as README.md shows it.
const ownPage = `<!doctype html><meta charset="utf-8"><title>a page of its own</title><ul id="list"></ul>
<script type="module">
  import { connect } from '%[1]s/static/crier.js';
  connect({
    url: '%[1]s',
    token: () => '%[2]s',
    topics: ['ticks:ETHUSDT'],
    onEvent: ({ type, data }) => {
      if (type === 'notification') document.getElementById('list').append(data.title);
      if (type === 'tick') document.title = [data].flat().at(-1).price;
    },
  });
</script>`

// A page of another origin imports crier.js from the gateway, buys a ticket with
// its user's token, and gets notifications and ticks, where the operator allows
// its origin; where he does not, the browser keeps it out.
func TestBrowserOtherOrigin(t *testing.T) {
	t.Parallel()
	var text string
	site := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/" {
			w.WriteHeader(http.StatusNoContent) // the icon that browsers ask for
			return
		}
		w.Header().Set("Content-Type", "text/html")
		fmt.Fprint(w, text)
	}))
	t.Cleanup(site.Close)
	p := criertest.Start(t, "CRIER_ALLOWED_ORIGINS="+site.URL)
	ann := p.SignUp("ann")
	text = fmt.Sprintf(ownPage, p.Facts().HTTP, ann.Token)
	page := openTab(t, site.URL)
	page.open("/")
	criertest.Eventually(t, patience, "its stream is open", func() bool { return p.Metric("crier_gateway_streams") == 1 })
	send(t, p, ann.ID, "to a page of another origin")
	page.until("the notification on the other page", `document.getElementById('list').textContent === 'to a page of another origin'`)
	produceRecording(t, p, ethTrades)
	page.until("the last price on the other page", `document.title === '1667.3'`)

	stranger := httptest.NewServer(site.Config.Handler)
	t.Cleanup(stranger.Close)
	other := openTab(t, stranger.URL)
	other.open("/")
	if said := eval[string](other, `fetch('`+p.Facts().HTTP+`/api/v1/stream/ticket', {method: 'POST', headers: {Authorization: 'Bearer x'}}).then(() => 'let in', (e) => e.name)`); said != "TypeError" {
		t.Errorf("a page of an origin that is not allowed was %s", said)
	}
	eval[bool](other, `import('`+p.Facts().HTTP+`/static/crier.js').then(({connect}) => connect({url: '`+p.Facts().HTTP+`', token: () => 'x', onState: (state) => { window.state = state; }})).then(() => true)`)
	other.until("crier.js says what to look at", `window.state?.reason?.includes('CRIER_ALLOWED_ORIGINS') && window.state.reason.includes(location.origin)`)
	other.forgive() // it says that it was kept out, which is right
}
