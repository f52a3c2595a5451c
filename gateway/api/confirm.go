package api

import (
	"context"
	"errors"
	"html/template"
	"net/http"
	"time"

	"crier/internal/event"
	"crier/internal/problem"
	"crier/internal/user"
)

// confirmPage asks before it changes anything, as unsubscribePage does: mail scanners
// follow links, and must not confirm for anybody.
var confirmPage = template.Must(template.New("confirm").Parse(`<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>Mail from Crier</title>
<link rel="stylesheet" href="/static/style.css"></head>
<body><main class="unsubscribe"><h1>Mail to {{.Address}}</h1>
{{if .Done}}<p>Confirmed: notifications and alerts of that account are mailed to this address.</p>{{end}}
{{range .Claims}}<form method="post"><p>The account <strong>{{.Username}}</strong> wants its notifications mailed to this address.</p>
<input type="hidden" name="token" value="{{$.Token}}"><input type="hidden" name="user_id" value="{{.UserID}}"><button>Confirm</button></form>
{{else}}{{if not .Done}}<p>Nothing waits to be confirmed.</p>{{end}}{{end}}
<p><a href="{{.Unsubscribe}}">No mail to this address at all</a></p>
</main></body></html>
`))

// ConfirmPage is where the link in a confirmation mail leads: it changes nothing.
//
//	@Summary	The page of a confirmation mail's link
//	@Tags		account
//	@Param		token	query	string	true	"from the mail"
//	@Success	200		{string}	string	"a page"
//	@Failure	404		{object}	Problem
//	@Router		/confirm [get]
func (a *API) ConfirmPage(w http.ResponseWriter, r *http.Request) error {
	token := r.URL.Query().Get("token")
	address, err := a.addressOwner(r.Context(), token)
	if err != nil {
		return err
	}
	return a.showConfirm(w, r, address, token, false)
}

// Confirm confirms that mail may be sent to the address of a mail's link: for the
// account named, or for the only one that waits.
//
//	@Summary	Confirm an address by the link in a mail
//	@Tags		account
//	@Param		token	query	string	true	"from the mail"
//	@Param		user_id	query	string	false	"whose mail is wanted; default: the only account that has claimed the address"
//	@Success	200		{string}	string	"a page"
//	@Failure	400,404	{object}	Problem
//	@Router		/confirm [post]
func (a *API) Confirm(w http.ResponseWriter, r *http.Request) error {
	r.Body = http.MaxBytesReader(w, r.Body, 16<<10)
	token := r.FormValue("token")
	address, err := a.addressOwner(r.Context(), token)
	if err != nil {
		return err
	}
	uid := event.UserID(r.FormValue("user_id"))
	if uid == "" {
		claims, err := a.Users.Unconfirmed(r.Context(), address)
		if err != nil {
			return err
		}
		if len(claims) != 1 {
			return a.showConfirm(w, r, address, token, false)
		}
		uid = claims[0].UserID
	}
	err = a.Users.ConfirmAddress(r.Context(), uid, address, time.Now())
	if errors.Is(err, user.ErrNoClaim) {
		return problem.New(problem.NotFound, "This account does not want mail sent to the address any more.")
	}
	if err != nil {
		return err
	}
	return a.showConfirm(w, r, address, token, true)
}

// addressOwner is the address that a confirmation mail's token was sent to.
func (a *API) addressOwner(ctx context.Context, token string) (string, error) {
	signer, err := a.Users.Signer(ctx, user.Confirming)
	if err != nil {
		return "", err
	}
	address, ok := signer.Text(token)
	if !ok {
		return "", problem.New(problem.NotFound, "This link is not whole; use the one in the mail.")
	}
	return address, nil
}

func (a *API) showConfirm(w http.ResponseWriter, r *http.Request, address, token string, done bool) error {
	claims, err := a.Users.Unconfirmed(r.Context(), address)
	if err != nil {
		return err
	}
	signer, err := a.Users.Signer(r.Context(), user.Unsubscribing)
	if err != nil {
		return err
	}
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Security-Policy", "default-src 'none'; style-src 'self'; form-action 'self'; frame-ancestors 'none'")
	return confirmPage.Execute(w, struct {
		Address, Token, Unsubscribe string
		Claims                      []user.Claim
		Done                        bool
	}{address, token, "/api/v1/unsubscribe?token=" + signer.Token(address), claims, done})
}

// AskConfirmation has the confirmation mail of the account's address sent again.
//
//	@Summary		Ask for another confirmation mail
//	@Description	To the account's own address, if it is not confirmed. An address gets one in 24 h, then in 48 h, and so on.
//	@Tags			account
//	@Success		202
//	@Failure		400,401,403	{object}	Problem
//	@Security		bearer
//	@Router			/profile/confirmation [post]
func (a *API) AskConfirmation(w http.ResponseWriter, r *http.Request) error {
	acc, err := a.account(r.Context(), Who(r))
	if err != nil {
		return err
	}
	if err := a.Users.AskConfirmation(r.Context(), acc, time.Now()); err != nil {
		return claimProblem(err)
	}
	w.WriteHeader(http.StatusAccepted)
	return nil
}

// claimAddress has the address of an alert confirmed by its owner before it gets mail.
func (a *API) claimAddress(ctx context.Context, uid event.UserID, address string) error {
	if address == "" {
		return nil
	}
	return claimProblem(a.Users.ClaimAddress(ctx, uid, address, time.Now()))
}

// claimProblem is what the store's error says to a client; nil for none.
func claimProblem(err error) error {
	if errors.Is(err, user.ErrUnconfirmed) {
		return &problem.Problem{Code: problem.LimitReached, Detail: "Too many of your addresses wait for their owners to follow the link in a mail.",
			Errors: []event.FieldError{unconfirmed}}
	}
	return err
}

// unconfirmed is what is wrong with one more address.
var unconfirmed = event.FieldError{Field: "email", Rule: "confirmed", Message: "must be an address that is confirmed: too many others wait to be"}
