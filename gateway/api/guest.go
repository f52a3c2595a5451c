package api

import (
	"crypto/rand"
	"errors"
	"net/http"
	"strings"
	"time"

	"crier/internal/problem"
	"crier/internal/user"
)

// Guest makes an account for somebody who only wants to look, and signs them in;
// on the embedded default only.
//
//	@Summary	Make a guest account (embedded default only)
//	@Tags		account
//	@Success	201	{object}	LoginAnswer
//	@Failure	403,404,429	{object}	Problem
//	@Router		/guest [post]
func (a *API) Guest(w http.ResponseWriter, r *http.Request) error {
	if !a.Embedded || a.ExternalUsers {
		return problem.New(problem.NotFound, "Guests are for the embedded default only.")
	}
	if err := a.mayGetCookie(r); err != nil {
		return err
	}
	if err := a.maySignUp(r.Context(), ""); err != nil {
		return err
	}
	acc, err := a.createAccount(r.Context(), SignupRequest{Username: "guest-" + strings.ToLower(rand.Text()[:8]), Password: rand.Text()}, true)
	if err != nil {
		return err
	}
	answer, err := a.signIn(w, r, acc, user.Rotating)
	if err != nil {
		return err
	}
	return encode(w, http.StatusCreated, answer)
}

// KeepGuest gives a guest's account a name and a password of its owner's.
//
//	@Summary		Keep a guest's account
//	@Description	The guest chooses a username, a password and perhaps an email address; inbox, alerts and sessions stay. No password is asked for, since a guest has none.
//	@Tags			account
//	@Param			body	body		SignupRequest	true	"name, password and perhaps an email address"
//	@Success		200		{object}	UserView
//	@Failure		400,401,409,429	{object}	Problem
//	@Security		bearer
//	@Router			/guest/keep [post]
func (a *API) KeepGuest(w http.ResponseWriter, r *http.Request) error {
	var in SignupRequest
	if err := decode(w, r, &in); err != nil {
		return err
	}
	if err := in.check(); err != nil {
		return err
	}
	acc, err := a.account(r.Context(), Who(r))
	if err != nil {
		return err
	}
	notGuest := problem.New(problem.Conflict, "This account has a name and a password already; POST /password changes the password.")
	if !acc.Guest {
		return notGuest
	}
	hash, err := a.hash(r.Context(), in.Password)
	if err != nil {
		return err
	}
	kept, err := a.Users.Keep(r.Context(), user.Account{ID: acc.ID, Username: in.Username, Email: in.Email, PasswordHash: hash}, time.Now())
	if errors.Is(err, user.ErrNotGuest) {
		return notGuest
	}
	if err != nil {
		return claimProblem(taken(err))
	}
	return encode(w, http.StatusOK, view(kept))
}
