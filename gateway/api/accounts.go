package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"crier/internal/destination"
	"crier/internal/event"
	"crier/internal/problem"
	"crier/internal/user"
)

// AccountRequest is the body of POST and PATCH /accounts.
type AccountRequest struct {
	Name    *string `json:"account_name" example:"Shop"`
	Email   *string `json:"email" example:"ops@example.org"`
	Website *string `json:"website" example:"https://example.org"` // a note of the account's: nothing is fetched from it
}

// NewAccount is an account with its secret token, as it is shown once.
type NewAccount struct {
	destination.Account
	SecretToken string `json:"secret_token" example:"q3f9LrV0t2cXzW81mYb7KdPn5sAaHe46"`
}

func (in *AccountRequest) check(v *event.Invalid, isNew bool) {
	for _, f := range []struct {
		name  string
		value *string
	}{{"account_name", in.Name}, {"email", in.Email}} {
		if f.value == nil && isNew || f.value != nil && *f.value == "" {
			v.Add(f.name, "required", "is required")
		}
	}
	if in.Name != nil {
		v.CheckText("account_name", *in.Name, destination.MaxName)
	}
	if in.Email != nil && *in.Email != "" {
		user.CheckEmail(v, "email", *in.Email)
	}
	if in.Website != nil {
		v.CheckText("website", *in.Website, destination.MaxWebsite)
	}
}

// CreateAccount makes an account of the data pusher; a signed-in person's is
// theirs.
//
//	@Summary		Make an account that data can be pushed in for
//	@Description	The secret token is shown this once; a signed-in person's account is theirs, and needs none. A guest has none.
//	@Tags			data pusher
//	@Param			body	body		AccountRequest	true	"account_name and email; website if you like"
//	@Success		201		{object}	NewAccount
//	@Failure		400,401,403,409	{object}	Problem
//	@Security		bearer
//	@Security		apikey
//	@Router			/accounts [post]
func (a *API) CreateAccount(w http.ResponseWriter, r *http.Request) error {
	var in AccountRequest
	if err := decode(w, r, &in); err != nil {
		return err
	}
	made, err := a.MakeAccount(r.Context(), Who(r), in)
	if err != nil {
		return err
	}
	return encode(w, http.StatusCreated, made)
}

// MakeAccount checks what was asked for and makes the account.
func (a *API) MakeAccount(ctx context.Context, who Principal, in AccountRequest) (NewAccount, error) {
	var v event.Invalid
	in.check(&v, true)
	if err := v.Err(); err != nil {
		return NewAccount{}, err
	}
	if err := a.requireNoGuest(ctx, who.UserID); err != nil {
		return NewAccount{}, err
	}
	if who.Lacks != nil {
		return NewAccount{}, who.Lacks
	}
	anonymous := who.UserID == "" && who.Service == ""
	if anonymous {
		if err := a.rates.signUp(who, time.Now()); err != nil {
			return NewAccount{}, err
		}
	}
	acc, secret, err := a.Destinations.CreateAccount(ctx, destination.Account{Owner: who.UserID, Anonymous: anonymous, Name: *in.Name, Email: *in.Email, Website: deref(in.Website)}, time.Now())
	return NewAccount{acc, secret}, AccountProblem(err)
}

// requireNoGuest refuses a guest: an account that sends data elsewhere needs an owner
// who can be identified.
func (a *API) requireNoGuest(ctx context.Context, uid event.UserID) error {
	if uid == "" || a.ExternalUsers {
		return nil
	}
	acc, err := a.Users.ByID(ctx, uid)
	if errors.Is(err, user.ErrNotFound) {
		return problem.New(problem.Unauthorized, "The account is gone.")
	}
	if err == nil && acc.Guest {
		err = problem.New(problem.Forbidden, "A guest has no destinations: choose a name and a password first (POST /guest/keep).")
	}
	return err
}

// AccountProblem is what a refusal of the domain means to a client.
func AccountProblem(err error) error {
	switch {
	case errors.Is(err, destination.ErrEmailTaken):
		return &problem.Problem{Code: problem.EmailTaken, Detail: "Another account has this email address.",
			Errors: []event.FieldError{{Field: "email", Rule: "unique", Message: "is another account's"}}}
	case errors.Is(err, destination.ErrNotFound):
		return problem.New(problem.NotFound, "No such account or destination.")
	case errors.Is(err, destination.ErrAccountLimit):
		return problem.New(problem.LimitReached, fmt.Sprintf("You have %d accounts, as many as one may have.", destination.MaxAccounts))
	case errors.Is(err, destination.ErrLimit):
		return problem.New(problem.LimitReached, fmt.Sprintf("An account has at most %d destinations.", destination.MaxDestinations))
	case errors.Is(err, destination.ErrDisabled):
		return problem.New(problem.Conflict, "The destination is disabled; enable it first.")
	}
	return err
}

// AccountToken is the header that an account's secret token may stand in.
const AccountToken = "X-Account-Token"

// Reach is the account with this id, if who asks may use it: with its secret
// token, as its owner, or with an API key. What belongs to others is not told
// from what does not exist.
func (a *API) Reach(ctx context.Context, who Principal, token string, id event.AccountID) (destination.Account, error) {
	if err := mayReach(who, token); err != nil {
		return destination.Account{}, err
	}
	acc, err := a.Destinations.Account(ctx, id)
	if err != nil {
		return acc, AccountProblem(err)
	}
	if acc.IsSecret(token) || who.Service != "" || who.UserID != "" && who.UserID == acc.Owner {
		return acc, nil
	}
	return destination.Account{}, AccountProblem(destination.ErrNotFound)
}

// mayReach refuses who can reach no account at all, before anything is looked up.
func mayReach(who Principal, token string) error {
	if who.Service == "" && who.UserID == "" && token == "" {
		return who.refusal(problem.New(problem.Unauthorized, "This needs the account's secret token ("+AccountToken+"), its owner's session, or an API key."))
	}
	return nil
}

// reach is Reach with what stands in a request's address and headers.
func (a *API) reach(r *http.Request) (destination.Account, error) {
	id, err := pathID(PathVar(r, "id"))
	if err != nil {
		return destination.Account{}, err
	}
	return a.Reach(r.Context(), Who(r), r.Header.Get(AccountToken), event.AccountID(id))
}

// ListAccounts shows one's own accounts; with an API key, all.
//
//	@Summary	List accounts
//	@Tags		data pusher
//	@Param		limit	query		int		false	"1 to 200, default 50"	minimum(1)	maximum(200)
//	@Param		cursor	query		string	false	"from a page's next"
//	@Success	200		{object}	Page{results=[]destination.Account}
//	@Failure	401		{object}	Problem
//	@Security	bearer
//	@Security	apikey
//	@Router		/accounts [get]
func (a *API) ListAccounts(w http.ResponseWriter, r *http.Request) error {
	limit, before, err := paging(r)
	if err != nil {
		return err
	}
	// A service has no user id, and sees all.
	list, count, more, err := a.Destinations.Accounts(r.Context(), Who(r).UserID, before, limit)
	if err != nil {
		return err
	}
	page := Page{Count: count, Results: notNil(list)}
	if more {
		page.Next = next(r, more, int64(list[len(list)-1].ID))
	}
	return encode(w, http.StatusOK, page)
}

// GetAccount shows an account.
//
//	@Summary	Show an account
//	@Tags		data pusher
//	@Param		id				path		int		true	"its id"
//	@Param		X-Account-Token	header		string	false	"its secret token"
//	@Success	200				{object}	destination.Account
//	@Failure	401,404			{object}	Problem
//	@Security	bearer
//	@Security	apikey
//	@Router		/accounts/{id} [get]
func (a *API) GetAccount(w http.ResponseWriter, r *http.Request) error {
	acc, err := a.reach(r)
	if err != nil {
		return err
	}
	return encode(w, http.StatusOK, acc)
}

// UpdateAccount changes an account.
//
//	@Summary	Change an account
//	@Tags		data pusher
//	@Param		id				path		int				true	"its id"
//	@Param		X-Account-Token	header		string			false	"its secret token"
//	@Param		body			body		AccountRequest	true	"what is to be different"
//	@Success	200				{object}	destination.Account
//	@Failure	400,401,404,409	{object}	Problem
//	@Security	bearer
//	@Security	apikey
//	@Router		/accounts/{id} [patch]
func (a *API) UpdateAccount(w http.ResponseWriter, r *http.Request) error {
	acc, err := a.reach(r)
	if err != nil {
		return err
	}
	var in AccountRequest
	if err := decode(w, r, &in); err != nil {
		return err
	}
	if acc, err = a.ChangeAccount(r.Context(), acc.ID, in); err != nil {
		return err
	}
	return encode(w, http.StatusOK, acc)
}

// ChangeAccount checks a change and makes it.
func (a *API) ChangeAccount(ctx context.Context, id event.AccountID, in AccountRequest) (destination.Account, error) {
	var v event.Invalid
	in.check(&v, false)
	if err := v.Err(); err != nil {
		return destination.Account{}, err
	}
	acc, err := a.Destinations.UpdateAccount(ctx, id, destination.AccountChange{Name: in.Name, Email: in.Email, Website: in.Website})
	return acc, AccountProblem(err)
}

// DeleteAccount removes an account with its destinations.
//
//	@Summary	Delete an account, with its destinations
//	@Tags		data pusher
//	@Param		id				path	int		true	"its id"
//	@Param		X-Account-Token	header	string	false	"its secret token"
//	@Success	204
//	@Failure	401,404	{object}	Problem
//	@Security	bearer
//	@Security	apikey
//	@Router		/accounts/{id} [delete]
func (a *API) DeleteAccount(w http.ResponseWriter, r *http.Request) error {
	acc, err := a.reach(r)
	if err != nil {
		return err
	}
	if err := a.Destinations.DeleteAccount(r.Context(), acc.ID); err != nil {
		return AccountProblem(err)
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// SecretToken is an account's new secret token.
type SecretToken struct {
	SecretToken string `json:"secret_token"`
}

// RotateAccountSecret gives an account a new secret token.
//
//	@Summary	Give an account a new secret token; the old one ends at once
//	@Tags		data pusher
//	@Param		id				path		int		true	"its id"
//	@Param		X-Account-Token	header		string	false	"its secret token"
//	@Success	200				{object}	SecretToken
//	@Failure	401,404			{object}	Problem
//	@Security	bearer
//	@Security	apikey
//	@Router		/accounts/{id}/secret [post]
func (a *API) RotateAccountSecret(w http.ResponseWriter, r *http.Request) error {
	acc, err := a.reach(r)
	if err != nil {
		return err
	}
	secret, err := a.Destinations.RotateAccountSecret(r.Context(), acc.ID)
	if err != nil {
		return AccountProblem(err)
	}
	return encode(w, http.StatusOK, SecretToken{secret})
}

// senderOf is who sends what comes in for an account, for its idempotency keys.
func senderOf(id event.AccountID) string { return "account:" + strconv.FormatInt(int64(id), 10) }
