package promises

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5"

	"crier/internal/client"
	"crier/internal/criertest"
)

// An account's owner makes an account and a destination on the page, tries it,
// sees what failed and why, replays it alone and with all that failed, disables,
// changes and deletes it.
func TestDestinationsOnThePage(t *testing.T) {
	t.Parallel()
	p := criertest.Start(t)
	var well atomic.Bool
	well.Store(true)
	hook := criertest.NewReceiver(t, func(w http.ResponseWriter, _ criertest.Hook) {
		if !well.Load() {
			w.WriteHeader(http.StatusInternalServerError)
		}
		_, _ = fmt.Fprint(w, "the receiver's words")
	})
	page := openTab(t, p.Facts().HTTP)
	page.signUp("owner")
	page.goTo("destinations")
	page.write(sel("account-name"), "Shop")
	page.write(sel("account-email"), "nonsense")
	page.forgive() // the console tells of each refused request
	page.click(sel("account-create"))
	page.until("the address is refused beside its field", `document.querySelector('[data-testid=account-form] .invalid #account-email')`)
	page.fill(sel("account-email"), "shop@example.org")
	page.click(sel("account-create"))
	page.until("the token is shown", `/^[A-Za-z0-9]{32}$/.test(document.querySelector('[data-testid=secret] code')?.textContent)`)
	token := eval[string](page, `document.querySelector('[data-testid=secret] code').textContent`)

	page.click(sel("destination-add"))
	page.write(sel("destination-url"), "http://169.254.169.254/")
	page.fill(sel("destination-headers"), "Host: me")
	page.click(sel("destination-save"))
	page.until("both are refused beside their fields", `document.querySelectorAll('[data-testid=destination-form] .invalid').length === 2`)
	page.fill(sel("destination-url"), hook.URL+"/hook")
	page.fill(sel("destination-headers"), "X-Mine: yes")
	page.click(sel("destination-save"))
	page.until("the destination is shown with its secret", `/^\/destinations\/\d+$/.test(location.pathname) && document.querySelector('[data-testid=secret] code')?.textContent.startsWith('whsec_')`)
	id := eval[int](page, `Number(location.pathname.split('/')[2])`)

	page.click(sel("destination-test"))
	attempts := func(n int, well bool) string {
		return fmt.Sprintf(`document.querySelectorAll('[data-testid=attempt][data-well=%s]').length === %d`, map[bool]string{true: "yes", false: "no"}[well], n)
	}
	page.until("the test's attempt", attempts(1, true))
	if h := hook.Hooks()[0]; h.Header.Get("X-Mine") != "yes" || !strings.Contains(h.Body, `"test":true`) {
		t.Errorf("the test came as %+v", h)
	}

	well.Store(false)
	push(t, p, token)
	page.until("the attempt that failed", attempts(1, false))
	page.click(`[data-testid=attempt][data-well=no] summary`)
	page.until("its answer", `[...document.querySelectorAll('[data-testid=attempt] details[open] pre')].map((p) => p.textContent).join(' ').includes("the receiver's words")`)
	page.until("it is failing", `document.querySelector('[data-testid=destination-item][data-state=failing]')`)
	if dir := os.Getenv("CRIER_TEST_SHOTS"); dir != "" {
		page.shot(filepath.Join(dir, "destinations.png"))
	}
	well.Store(true)
	page.click(`[data-testid=attempt][data-well=no] [data-testid=replay]`)
	page.until("it went well", attempts(2, true))
	page.until("it is enabled", `document.querySelector('[data-testid=destination-item][data-state=enabled]')`)

	giveUp(t, p, id)
	page.until("what was given up is shown", `document.querySelector('[data-testid=replay-all]')`)
	page.click(sel("replay-all"))
	page.until("it went well, too", attempts(3, true))
	page.until("nothing is left", `!document.querySelector('[data-testid=replay-all]')`)

	page.click(sel("destination-disable"))
	page.until("it is disabled", `document.querySelector('[data-testid=destination-state]').textContent === 'Disabled here'`)
	push(t, p, token)
	page.until("what comes waits", `[...document.querySelectorAll('.facts dd')].some((d) => d.textContent === '1, until it is enabled')`)
	page.click(sel("destination-enable"))
	page.until("it goes on", attempts(4, true))
	page.click(sel("destination-edit"))
	page.choose(sel("destination-method"), "PUT")
	page.click(sel("destination-save"))
	page.until("it is changed", `document.querySelector('[data-testid=destination-detail] h2').textContent.startsWith('PUT ')`)
	page.open(fmt.Sprintf("/destinations/%d", id))
	page.until("it survives a reload", attempts(4, true))
	page.click(sel("destination-delete"))
	page.click(sel("destination-delete"))
	page.until("it is gone", `location.pathname === '/destinations' && document.querySelectorAll('[data-testid=destination-item]').length === 0`)
}

// fill writes over what stands in a field: the browser's driver clears neither an
// empty text area nor what was typed.
func (t *tab) fill(selector, text string) {
	t.tb.Helper()
	t.until("writing into "+selector, fmt.Sprintf(`(() => { const a = document.querySelector(%q); a.value = %q; a.dispatchEvent(new Event('input', {bubbles: true})); return true; })()`, selector, text))
}

func push(t *testing.T, p *criertest.Program, token string) {
	t.Helper()
	c := &client.Client{Base: p.Facts().HTTP}
	if err := c.Do(t.Context(), "POST", "/incoming", map[string]any{"account_id": 1, "secret_token": token, "data": map[string]any{"order": 4711}}, nil); err != nil {
		t.Fatal(err)
	}
}

// giveUp makes the last item of a destination one that was given up: the schedule
// takes a day.
func giveUp(t *testing.T, p *criertest.Program, destination int) {
	t.Helper()
	mustExec(t, p.Facts().Postgres, `insert into pushes (destination_id, item_id, attempts, failed_at)
		select destination_id, max(item_id), 8, now() from push_attempts where destination_id = $1 group by 1`, destination)
}

func mustExec(t *testing.T, database, statement string, args ...any) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), database)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	if _, err := conn.Exec(t.Context(), statement, args...); err != nil {
		t.Fatal(err)
	}
}
