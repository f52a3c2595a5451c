package api

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"time"

	"crier/internal/destination"
	"crier/internal/event"
	"crier/internal/problem"
)

// DestinationRequest is the body of POST and PATCH of destinations.
type DestinationRequest struct {
	URL     *string           `json:"url" example:"https://example.org/hook"`
	Method  *string           `json:"http_method" enums:"GET,POST,PUT,PATCH,DELETE"`
	Headers map[string]string `json:"headers"`
	Ordered *bool             `json:"ordered"`
	Rate    *float64          `json:"rate"`
	Enabled *bool             `json:"enabled"` // PATCH only
	// ID is of an import; 0: the next one.
	ID int64 `json:"-"`
}

// NewDestination is a destination with its signing secret, as it is shown once.
type NewDestination struct {
	destination.Destination
	Secret string `json:"secret" example:"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw8kKwmGkYZL0="`
}

func (a *API) checkDestination(ctx context.Context, in *DestinationRequest, isNew bool) error {
	var v event.Invalid
	if in.Method != nil && *in.Method == "" {
		in.Method = nil
	}
	switch {
	case in.URL == nil && isNew || in.URL != nil && *in.URL == "":
		v.Add("url", "required", "is required")
	case in.URL != nil:
		a.Guard.CheckURL(&v, "url", *in.URL)
	}
	if in.Method != nil {
		destination.CheckMethod(&v, "http_method", *in.Method)
	}
	destination.CheckHeaders(&v, "headers", in.Headers)
	if in.Rate != nil {
		destination.CheckRate(&v, "rate", *in.Rate)
	}
	if isNew && in.Enabled != nil && !*in.Enabled {
		v.Add("enabled", "enum", "a new destination is enabled")
	}
	if in.URL != nil && v.Err() == nil {
		if u, err := url.Parse(*in.URL); err == nil { // it was checked
			a.Guard.CheckHost(ctx, &v, "url", u.Hostname())
		}
	}
	return v.Err()
}

// CreateDestination adds a destination to an account.
//
//	@Summary		Add a destination
//	@Description	The signing secret is shown this once.
//	@Tags			data pusher
//	@Param			id				path		int					true	"the account's id"
//	@Param			X-Account-Token	header		string				false	"its secret token"
//	@Param			body			body		DestinationRequest	true	"url; http_method (default POST), headers, ordered, rate a second"
//	@Success		201				{object}	NewDestination
//	@Failure		400,401,403,404,409	{object}	Problem
//	@Security		bearer
//	@Security		apikey
//	@Router			/accounts/{id}/destinations [post]
func (a *API) CreateDestination(w http.ResponseWriter, r *http.Request) error {
	acc, err := a.reach(r)
	if err != nil {
		return err
	}
	var in DestinationRequest
	if err := decode(w, r, &in); err != nil {
		return err
	}
	made, err := a.MakeDestination(r.Context(), Who(r), acc, in)
	if err != nil {
		return err
	}
	return encode(w, http.StatusCreated, made)
}

// MakeDestination checks what was asked for and makes the destination.
func (a *API) MakeDestination(ctx context.Context, who Principal, account destination.Account, in DestinationRequest) (NewDestination, error) {
	if who.Service == "" {
		if account.Anonymous {
			return NewDestination{}, problem.New(problem.Forbidden, "Nobody is known who made this account: its destinations are added with an API key (X-API-Key). Accounts that a user or an API key has made get destinations by their secret token, too.")
		}
		if err := a.requireNoGuest(ctx, account.Owner); err != nil {
			return NewDestination{}, err
		}
	}
	if err := a.checkDestination(ctx, &in, true); err != nil {
		return NewDestination{}, err
	}
	d := destination.Destination{ID: in.ID, AccountID: account.ID, URL: *in.URL, Method: http.MethodPost, Headers: in.Headers, Ordered: deref(in.Ordered), Rate: deref(in.Rate)}
	if in.Method != nil {
		d.Method = *in.Method
	}
	if d.Headers == nil {
		d.Headers = map[string]string{}
	}
	made, secret, err := a.Destinations.Create(ctx, d, time.Now())
	return NewDestination{made, secret}, AccountProblem(err)
}

// destination is the one in a request's address, if who asks may use it.
func (a *API) destination(r *http.Request) (destination.Destination, error) {
	acc, err := a.reach(r)
	if err != nil {
		return destination.Destination{}, err
	}
	id, err := pathID(PathVar(r, "did"))
	if err != nil {
		return destination.Destination{}, err
	}
	d, err := a.Destinations.ByID(r.Context(), id)
	if err == nil && d.AccountID != acc.ID {
		err = destination.ErrNotFound
	}
	return d, AccountProblem(err)
}

// ListDestinations shows an account's destinations.
//
//	@Summary	List destinations
//	@Tags		data pusher
//	@Param		id				path		int		true	"the account's id"
//	@Param		X-Account-Token	header		string	false	"its secret token"
//	@Success	200				{object}	Page{results=[]destination.Destination}
//	@Failure	401,404			{object}	Problem
//	@Security	bearer
//	@Security	apikey
//	@Router		/accounts/{id}/destinations [get]
func (a *API) ListDestinations(w http.ResponseWriter, r *http.Request) error {
	acc, err := a.reach(r)
	if err != nil {
		return err
	}
	list, err := a.Destinations.List(r.Context(), acc.ID)
	if err != nil {
		return err
	}
	return encode(w, http.StatusOK, Page{Count: int64(len(list)), Results: notNil(list)})
}

// GetDestination shows a destination.
//
//	@Summary	Show a destination
//	@Tags		data pusher
//	@Param		id				path		int		true	"the account's id"
//	@Param		did				path		int		true	"the destination's id"
//	@Param		X-Account-Token	header		string	false	"its secret token"
//	@Success	200				{object}	destination.Destination
//	@Failure	401,404			{object}	Problem
//	@Security	bearer
//	@Security	apikey
//	@Router		/accounts/{id}/destinations/{did} [get]
func (a *API) GetDestination(w http.ResponseWriter, r *http.Request) error {
	d, err := a.destination(r)
	if err != nil {
		return err
	}
	return encode(w, http.StatusOK, d)
}

// UpdateDestination changes a destination.
//
//	@Summary		Change a destination
//	@Description	While it is disabled, what comes for it waits; enabled again, it goes on where it stopped.
//	@Tags			data pusher
//	@Param			id				path		int					true	"the account's id"
//	@Param			did				path		int					true	"the destination's id"
//	@Param			X-Account-Token	header		string				false	"its secret token"
//	@Param			body			body		DestinationRequest	true	"what is to be different"
//	@Success		200				{object}	destination.Destination
//	@Failure		400,401,404		{object}	Problem
//	@Security		bearer
//	@Security		apikey
//	@Router			/accounts/{id}/destinations/{did} [patch]
func (a *API) UpdateDestination(w http.ResponseWriter, r *http.Request) error {
	d, err := a.destination(r)
	if err != nil {
		return err
	}
	var in DestinationRequest
	if err := decode(w, r, &in); err != nil {
		return err
	}
	if d, err = a.ChangeDestination(r.Context(), d.ID, in); err != nil {
		return err
	}
	return encode(w, http.StatusOK, d)
}

// ChangeDestination checks a change and makes it.
func (a *API) ChangeDestination(ctx context.Context, id int64, in DestinationRequest) (destination.Destination, error) {
	if err := a.checkDestination(ctx, &in, false); err != nil {
		return destination.Destination{}, err
	}
	d, err := a.Destinations.Update(ctx, id, destination.Change{URL: in.URL, Method: in.Method, Headers: in.Headers, Ordered: in.Ordered, Rate: in.Rate, Enabled: in.Enabled})
	return d, AccountProblem(err)
}

// DeleteDestination removes a destination, with what waits for it.
//
//	@Summary	Delete a destination
//	@Tags		data pusher
//	@Param		id				path	int		true	"the account's id"
//	@Param		did				path	int		true	"the destination's id"
//	@Param		X-Account-Token	header	string	false	"its secret token"
//	@Success	204
//	@Failure	401,404	{object}	Problem
//	@Security	bearer
//	@Security	apikey
//	@Router		/accounts/{id}/destinations/{did} [delete]
func (a *API) DeleteDestination(w http.ResponseWriter, r *http.Request) error {
	d, err := a.destination(r)
	if err != nil {
		return err
	}
	if err := a.Destinations.Delete(r.Context(), d.ID); err != nil {
		return AccountProblem(err)
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// RotatedSecret is a destination's new signing secret, and until when the old one
// signs, too.
type RotatedSecret struct {
	Secret        string    `json:"secret"`
	OldSecretEnds time.Time `json:"old_secret_ends"`
}

// RotateSecret gives a destination a new signing secret.
//
//	@Summary	Give a destination a new signing secret; the old one signs beside it for 24 h
//	@Tags		data pusher
//	@Param		id				path		int		true	"the account's id"
//	@Param		did				path		int		true	"the destination's id"
//	@Param		X-Account-Token	header		string	false	"its secret token"
//	@Success	200				{object}	RotatedSecret
//	@Failure	401,404			{object}	Problem
//	@Security	bearer
//	@Security	apikey
//	@Router		/accounts/{id}/destinations/{did}/secret [post]
func (a *API) RotateSecret(w http.ResponseWriter, r *http.Request) error {
	d, err := a.destination(r)
	if err != nil {
		return err
	}
	secret, ends, err := a.Destinations.RotateSecret(r.Context(), d.ID)
	if err != nil {
		return AccountProblem(err)
	}
	return encode(w, http.StatusOK, RotatedSecret{secret, ends})
}

// TestFired names what was sent to try a destination.
type TestFired struct {
	EventID string `json:"event_id"`
}

// TestDestination has an example delivered to one destination, once.
//
//	@Summary	Try a destination; the attempt shows under its attempts
//	@Tags		data pusher
//	@Param		id				path		int		true	"the account's id"
//	@Param		did				path		int		true	"the destination's id"
//	@Param		X-Account-Token	header		string	false	"its secret token"
//	@Success	202				{object}	TestFired
//	@Failure	401,404,409		{object}	Problem
//	@Security	bearer
//	@Security	apikey
//	@Router		/accounts/{id}/destinations/{did}/test [post]
func (a *API) TestDestination(w http.ResponseWriter, r *http.Request) error {
	d, err := a.destination(r)
	if err != nil {
		return err
	}
	now, id := time.Now(), event.NewID()
	data, err := json.Marshal(map[string]any{"test": true, "sent_at": now.UTC(), "account_id": d.AccountID, "destination_id": d.ID})
	if err != nil {
		return err
	}
	if _, err := a.Destinations.Test(r.Context(), d, id, data, now); err != nil {
		return AccountProblem(err)
	}
	return encode(w, http.StatusAccepted, TestFired{id})
}

// AttemptPage is a page of attempts, newest first.
type AttemptPage struct {
	Next    *string               `json:"next" extensions:"x-nullable"`
	Results []destination.Attempt `json:"results"`
}

// Attempts shows what was tried at a destination.
//
//	@Summary	List a destination's attempts
//	@Tags		data pusher
//	@Param		id				path		int		true	"the account's id"
//	@Param		did				path		int		true	"the destination's id"
//	@Param		X-Account-Token	header		string	false	"its secret token"
//	@Param		failed			query		bool	false	"only those that did not go well"
//	@Param		limit			query		int		false	"1 to 200, default 50"	minimum(1)	maximum(200)
//	@Param		cursor			query		string	false	"from a page's next"
//	@Success	200				{object}	AttemptPage
//	@Failure	401,404			{object}	Problem
//	@Security	bearer
//	@Security	apikey
//	@Router		/accounts/{id}/destinations/{did}/attempts [get]
func (a *API) Attempts(w http.ResponseWriter, r *http.Request) error {
	d, err := a.destination(r)
	if err != nil {
		return err
	}
	limit, before, err := paging(r)
	if err != nil {
		return err
	}
	var v event.Invalid
	failed := boolean(&v, r, "failed")
	if err := v.Err(); err != nil {
		return err
	}
	list, more, err := a.Destinations.Attempts(r.Context(), d.ID, before, failed, limit)
	if err != nil {
		return err
	}
	page := AttemptPage{Results: list}
	if page.Results == nil {
		page.Results = []destination.Attempt{}
	}
	if more {
		page.Next = next(r, more, list[len(list)-1].ID)
	}
	return encode(w, http.StatusOK, page)
}

// Replayed says how many deliveries were put into the queue again.
type Replayed struct {
	Queued int64 `json:"queued"`
}

// ReplayAttempt has one attempt's item delivered again.
//
//	@Summary	Deliver an attempt's item again
//	@Tags		data pusher
//	@Param		id				path		int		true	"the account's id"
//	@Param		did				path		int		true	"the destination's id"
//	@Param		n				path		int		true	"the attempt's id"
//	@Param		X-Account-Token	header		string	false	"the account's secret token"
//	@Success	202				{object}	Replayed
//	@Failure	401,404,409		{object}	Problem
//	@Security	bearer
//	@Security	apikey
//	@Router		/accounts/{id}/destinations/{did}/attempts/{n}/replay [post]
func (a *API) ReplayAttempt(w http.ResponseWriter, r *http.Request) error {
	d, err := a.destination(r)
	if err != nil {
		return err
	}
	n, err := pathID(PathVar(r, "n"))
	if err != nil {
		return err
	}
	if err := a.Destinations.Replay(r.Context(), d, n); err != nil {
		return AccountProblem(err)
	}
	return encode(w, http.StatusAccepted, Replayed{1})
}

// ReplayRequest is the body of a replay of all that failed.
type ReplayRequest struct {
	Since *time.Time `json:"since" example:"2030-01-01T00:00:00Z"`
}

// ReplayFailed has everything delivered again that was given up since a time.
//
//	@Summary	Deliver again all that failed since a time
//	@Tags		data pusher
//	@Param		id				path		int				true	"the account's id"
//	@Param		did				path		int				true	"the destination's id"
//	@Param		X-Account-Token	header		string			false	"its secret token"
//	@Param		body			body		ReplayRequest	true	"since"
//	@Success	202				{object}	Replayed
//	@Failure	400,401,404,409	{object}	Problem
//	@Security	bearer
//	@Security	apikey
//	@Router		/accounts/{id}/destinations/{did}/replay [post]
func (a *API) ReplayFailed(w http.ResponseWriter, r *http.Request) error {
	d, err := a.destination(r)
	if err != nil {
		return err
	}
	var in struct {
		Since json.RawMessage `json:"since"`
	}
	if err := decode(w, r, &in); err != nil {
		return err
	}
	var v event.Invalid
	since := v.CheckTime("since", in.Since)
	if len(v) == 0 && since.IsZero() {
		v.Add("since", "required", "is required")
	}
	if err := v.Err(); err != nil {
		return err
	}
	n, err := a.Destinations.ReplayFailed(r.Context(), d, since)
	if err != nil {
		return AccountProblem(err)
	}
	return encode(w, http.StatusAccepted, Replayed{n})
}

// GivenDestination is the destination with this id, if who asks may use its
// account: for older clients, who name no account.
func (a *API) GivenDestination(ctx context.Context, who Principal, token string, id int64) (destination.Destination, error) {
	if err := mayReach(who, token); err != nil {
		return destination.Destination{}, err
	}
	d, err := a.Destinations.ByID(ctx, id)
	if err != nil {
		return d, AccountProblem(err)
	}
	if _, err := a.Reach(ctx, who, token, d.AccountID); err != nil {
		return destination.Destination{}, err
	}
	return d, nil
}
