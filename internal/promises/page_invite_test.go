package promises

import (
	"strings"
	"testing"

	"crier/internal/criertest"
)

// Where signing up needs an invitation, the page asks for its code, which the operator
// has made on the command line; it is good once.
func TestPageSignsUpByInvitation(t *testing.T) {
	t.Parallel()
	p := criertest.Start(t, "CRIER_SIGNUP=invite")
	out, stderr, err := p.Run(t.Context(), "", "invites", "add")
	if err != nil {
		t.Fatalf("%v %s %s", err, out, stderr)
	}
	page := openTab(t, p.Facts().HTTP)
	page.forgive() // the console tells of each refused request
	sign := func(name, code string) {
		page.open("/signup")
		page.until("the code is asked for", `document.querySelector('[data-testid=invite-field]:not([hidden]) #invite')`)
		page.write("#username", name)
		page.write("#password", criertest.Password)
		page.write("#invite", code)
		page.click(sel("signup-submit"))
	}
	sign("ann", "not-a-code")
	page.until("the code is refused", `document.querySelector('.invalid #invite')`)
	sign("ann", strings.TrimSpace(out))
	page.until("the inbox", `location.pathname === '/inbox'`)
	if _, stderr, err := p.Run(t.Context(), "", "invites", "add", "--uses", "0"); err == nil || !strings.Contains(stderr, "uses") {
		t.Errorf("no use: %v %s", err, stderr)
	}
}
