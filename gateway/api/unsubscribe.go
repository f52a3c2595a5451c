package api

import (
	"html/template"
	"net/http"
	"time"

	"crier/internal/problem"
	"crier/internal/user"
)

// unsubscribePage asks before it does anything: mail scanners follow links, and
// must not unsubscribe anybody (RFC 8058 section 1).
var unsubscribePage = template.Must(template.New("unsubscribe").Parse(`<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>Mail from Crier</title>
<link rel="stylesheet" href="/static/style.css"></head>
<body><main class="unsubscribe"><h1>Mail to {{.Address}}</h1>
{{if .Off}}<p>No more mail is sent to this address.</p>
<form method="post"><input type="hidden" name="token" value="{{.Token}}"><input type="hidden" name="again" value="1"><button>Send mail again</button></form>
{{else}}<p>Notifications and alerts are sent to this address.</p>
<form method="post"><input type="hidden" name="token" value="{{.Token}}"><button>No more mail to this address</button></form>{{end}}
</main></body></html>
`))

// UnsubscribePage is where the link in a mail leads: it changes nothing.
//
//	@Summary	The page of a mail's unsubscribe link
//	@Tags		account
//	@Param		token	query	string	true	"from a mail"
//	@Success	200		{string}	string	"a page"
//	@Failure	404		{object}	Problem
//	@Router		/unsubscribe [get]
func (a *API) UnsubscribePage(w http.ResponseWriter, r *http.Request) error {
	token := r.URL.Query().Get("token")
	address, err := a.unsubscriber(r, token)
	if err != nil {
		return err
	}
	off, err := a.Inbox.IsUnsubscribed(r.Context(), address)
	if err != nil {
		return err
	}
	return showUnsubscribe(w, address, token, off)
}

// Unsubscribe stops mail to the address of a mail's link, or with again=1 begins
// it again. Mail programs POST List-Unsubscribe=One-Click here (RFC 8058).
//
//	@Summary	Stop mail to an address
//	@Tags		account
//	@Param		token	query	string	true	"from a mail's List-Unsubscribe"
//	@Success	200		{string}	string	"a page"
//	@Failure	404		{object}	Problem
//	@Router		/unsubscribe [post]
func (a *API) Unsubscribe(w http.ResponseWriter, r *http.Request) error {
	r.Body = http.MaxBytesReader(w, r.Body, 16<<10)
	token := r.FormValue("token")
	address, err := a.unsubscriber(r, token)
	if err != nil {
		return err
	}
	off := r.FormValue("again") == ""
	if err := a.Inbox.SetUnsubscribed(r.Context(), address, off, time.Now()); err != nil {
		return err
	}
	return showUnsubscribe(w, address, token, off)
}

func (a *API) unsubscriber(r *http.Request, token string) (string, error) {
	signer, err := a.Users.Signer(r.Context(), user.Unsubscribing)
	if err != nil {
		return "", err
	}
	address, ok := signer.Text(token)
	if !ok {
		return "", problem.New(problem.NotFound, "This link is not whole; use the one in the mail.")
	}
	return address, nil
}

func showUnsubscribe(w http.ResponseWriter, address, token string, off bool) error {
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Security-Policy", "default-src 'none'; style-src 'self'; form-action 'self'; frame-ancestors 'none'")
	return unsubscribePage.Execute(w, struct {
		Address, Token string
		Off            bool
	}{address, token, off})
}
