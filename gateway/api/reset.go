package api

import (
	"errors"
	"net/http"
	"time"

	"golang.org/x/time/rate"

	"crier/internal/event"
	"crier/internal/problem"
	"crier/internal/user"
)

// Requests for new passwords from one address: so many at once, then one in six
// seconds.
const (
	resetRate  = rate.Limit(1.0 / 6)
	resetBurst = 20
)

// ResetRequest asks for a mail with a link to a new password.
type ResetRequest struct {
	Username string `json:"username,omitempty"`
	Email    string `json:"email,omitempty" example:"ann@example.org"`
}

// ResetPassword mails a link to a new password. Whether there is such an
// account, and whether it has an address, is not said.
//
//	@Summary		Ask for a new password by mail
//	@Description	Always 202: nobody learns who has an account. At most 3 mails an hour go to an account; the link is good for an hour, once.
//	@Tags			account
//	@Param			body	body	ResetRequest	true	"username or email"
//	@Success		202
//	@Failure		400,403,429	{object}	Problem
//	@Router			/password/reset [post]
func (a *API) ResetPassword(w http.ResponseWriter, r *http.Request) error {
	var in ResetRequest
	if err := decode(w, r, &in); err != nil {
		return err
	}
	if a.ExternalUsers {
		return problem.New(problem.Forbidden, "Accounts are the identity provider's here.")
	}
	field, login := "email", in.Email
	if login == "" && in.Username != "" {
		field, login = "username", in.Username
	}
	var v event.Invalid
	if login == "" {
		v.Add("email", "required", "is required, or username")
	}
	v.CheckText(field, login, user.MaxEmail)
	if err := v.Err(); err != nil {
		return err
	}
	if wait := a.resets.wait(event.UserID(a.RemoteFunc(r)), time.Now()); wait > 0 && !(a.Embedded && isLoopback(a.RemoteFunc(r))) {
		return &problem.Problem{Code: problem.TooMany, Detail: "Too many requests for new passwords from here.", RetryAfter: wait}
	}
	if err := a.Users.AskReset(r.Context(), login, time.Now()); err != nil {
		return err
	}
	w.WriteHeader(http.StatusAccepted)
	return nil
}

// ConfirmRequest sets a new password by the link of a mail.
type ConfirmRequest struct {
	Token       string `json:"token"`
	NewPassword string `json:"new_password" example:"battery staple"`
}

// ConfirmReset sets the password that the link in a mail was asked for, and ends
// all the account's sessions.
//
//	@Summary	Set a new password by the link in a mail
//	@Tags		account
//	@Param		body	body	ConfirmRequest	true	"the link's token, and the new password"
//	@Success	204
//	@Failure	400,404,429	{object}	Problem
//	@Router		/password/reset/confirm [post]
func (a *API) ConfirmReset(w http.ResponseWriter, r *http.Request) error {
	var in ConfirmRequest
	if err := decode(w, r, &in); err != nil {
		return err
	}
	var v event.Invalid
	if in.Token == "" {
		v.Add("token", "required", "is required: it stands in the mail's link")
	}
	user.CheckPassword(&v, "new_password", in.NewPassword)
	if err := v.Err(); err != nil {
		return err
	}
	over := problem.New(problem.NotFound, "This link was used, is older than an hour, or is not whole. Ask for another one.")
	signer, err := a.Users.Signer(r.Context(), user.Resetting)
	if err != nil {
		return err
	}
	id, ok := signer.Text(in.Token)
	if !ok {
		return over
	}
	if _, err := a.Users.Reset(r.Context(), id, time.Now()); errors.Is(err, user.ErrNoReset) {
		return over
	} else if err != nil {
		return err
	}
	hash, err := a.hash(r.Context(), in.NewPassword)
	if err != nil {
		return err
	}
	uid, err := a.Users.UseReset(r.Context(), id, hash, time.Now())
	if errors.Is(err, user.ErrNoReset) {
		return over
	}
	if err != nil {
		return err
	}
	a.sessionEnded(r.Context(), uid, "")
	w.WriteHeader(http.StatusNoContent)
	return nil
}
