package api

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/gorilla/mux"

	"crier/internal/alert"
	"crier/internal/event"
	"crier/internal/kafka"
	"crier/internal/problem"
	"crier/internal/user"
)

// AlertRequest is the body of POST and PATCH /alerts.
type AlertRequest struct {
	UserID    event.UserID    `json:"user_id,omitempty"` // a service says whose it is
	Symbol    *string         `json:"symbol" example:"BTCUSDT"`
	Condition *string         `json:"condition" enums:"above,below" example:"above"`
	Target    json.RawMessage `json:"target" swaggertype:"string" example:"70000.50"`
	Source    *string         `json:"source"`
	Email     *string         `json:"email"`
	Note      *string         `json:"note"`
	Repeat    *string         `json:"repeat" enums:"once,every"`
	Cooldown  json.RawMessage `json:"cooldown" swaggertype:"string" example:"10m"`
	ExpiresAt json.RawMessage `json:"expires_at" swaggertype:"string" example:"2030-01-01T00:00:00Z"`
	State     *string         `json:"state" enums:"created,paused"` // PATCH only
}

// MaxNote is the longest note of an alert, in characters.
const MaxNote = 500

// change checks the request's members and turns them into a change.
func (in *AlertRequest) change(v *event.Invalid, now time.Time) alert.Change {
	var c alert.Change
	c.Target = v.CheckPrice("target", in.Target, false)
	if in.Condition != nil {
		cond := event.Condition(*in.Condition)
		if cond != event.Above && cond != event.Below {
			v.Add("condition", "enum", "must be above or below")
		}
		c.Condition = &cond
	}
	if c.Source = in.Source; in.Source != nil {
		v.CheckText("source", *in.Source, event.MaxSource)
	}
	if c.Note = in.Note; in.Note != nil {
		v.CheckText("note", *in.Note, MaxNote)
	}
	if c.Email = in.Email; in.Email != nil {
		user.CheckEmail(v, "email", *in.Email)
	}
	if c.Repeat = in.Repeat; in.Repeat != nil && *in.Repeat != alert.Once && *in.Repeat != alert.Every {
		v.Add("repeat", "enum", "must be once or every")
	}
	c.Cooldown = checkCooldown(v, in.Cooldown)
	if len(in.ExpiresAt) > 0 {
		c.ExpiresAt, c.ClearExpiry = checkExpiry(v, in.ExpiresAt, now)
	}
	if in.State != nil {
		s := alert.State(*in.State)
		if s != alert.Created && s != alert.Paused {
			v.Add("state", "enum", "must be created or paused")
		}
		c.State = &s
	}
	return c
}

// checkCooldown reads a duration such as 10m, or a number of seconds.
func checkCooldown(v *event.Invalid, raw json.RawMessage) *time.Duration {
	if len(raw) == 0 || string(raw) == "null" {
		return nil
	}
	var d time.Duration
	var text string
	var seconds float64
	var err error
	switch {
	case json.Unmarshal(raw, &text) == nil:
		d, err = time.ParseDuration(text)
	case json.Unmarshal(raw, &seconds) == nil && seconds >= 0 && seconds < 1e9:
		d = time.Duration(seconds * float64(time.Second))
	default:
		err = errors.New("neither")
	}
	if err != nil || d < alert.MinCooldown || d > 366*24*time.Hour {
		v.Add("cooldown", "duration", "must be a duration from 1s to a year, such as 10m, or a number of seconds")
		return nil
	}
	return &d
}

func checkExpiry(v *event.Invalid, raw json.RawMessage, now time.Time) (at *time.Time, clear bool) {
	if string(raw) == "null" {
		return nil, true
	}
	var t time.Time
	if json.Unmarshal(raw, &t) != nil || t.Year() > 9999 {
		v.Add("expires_at", "time", "must be an RFC 3339 time")
		return nil, false
	}
	if !t.After(now) {
		v.Add("expires_at", "future", "must be in the future")
	}
	t = t.UTC().Truncate(time.Microsecond)
	return &t, false
}

// defaultSymbol is what an alert without a symbol watches.
const defaultSymbol = "BTCUSDT"

// CreateAlert sets an alert, which holds from the present end of its symbol's
// partition of `ticks`.
//
//	@Summary	Set an alert
//	@Tags		alerts
//	@Param		body	body		AlertRequest	true	"condition and target; symbol defaults to BTCUSDT"
//	@Success	201		{object}	alert.View
//	@Failure	400,401,409,503	{object}	Problem
//	@Security	bearer
//	@Security	apikey
//	@Router		/alerts [post]
func (a *API) CreateAlert(w http.ResponseWriter, r *http.Request) error {
	var in AlertRequest
	if err := decode(w, r, &in); err != nil {
		return err
	}
	uid, err := a.alertOwner(r.Context(), Who(r), in.UserID)
	if err != nil {
		return err
	}
	made, err := a.SetAlert(r.Context(), uid, in)
	if err != nil {
		return err
	}
	return encode(w, http.StatusCreated, made)
}

// alertOwner is whose alert is set: a person's own, or whomever a service names.
func (a *API) alertOwner(ctx context.Context, who Principal, named event.UserID) (event.UserID, error) {
	if who.Service == "" {
		if named != "" && named != who.UserID {
			return "", problem.New(problem.Forbidden, "Without an API key you can set alerts for yourself only.")
		}
		return who.UserID, nil
	}
	var v event.Invalid
	if v.CheckUserID("user_id", named); v.Err() != nil {
		return "", v.Err()
	}
	return named, a.requireUsers(ctx, []event.UserID{named})
}

// SetAlert checks what was asked for and makes the alert.
func (a *API) SetAlert(ctx context.Context, uid event.UserID, in AlertRequest) (alert.Alert, error) {
	now := time.Now()
	var v event.Invalid
	c := in.change(&v, now)
	if in.Symbol == nil {
		s := defaultSymbol
		in.Symbol = &s
	}
	v.CheckSymbol("symbol", *in.Symbol)
	if in.Condition == nil {
		v.Add("condition", "required", "is required: above or below")
	}
	if len(in.Target) == 0 || string(in.Target) == "null" {
		v.Add("target", "required", "is required")
	}
	if in.State != nil && *in.State != string(alert.Created) {
		v.Add("state", "enum", "a new alert is created")
	}
	if in.Repeat != nil && *in.Repeat == alert.Every && c.Cooldown == nil {
		v.Add("cooldown", "required", "is required where repeat is every")
	}
	if err := v.Err(); err != nil {
		return alert.Alert{}, err
	}
	made := alert.Alert{UserID: uid, Symbol: *in.Symbol, Condition: *c.Condition, Target: *c.Target, Source: deref(c.Source), Email: deref(c.Email),
		Note: deref(c.Note), Repeat: alert.Once, ExpiresAt: c.ExpiresAt}
	if c.Repeat != nil {
		made.Repeat = *c.Repeat
	}
	if c.Cooldown != nil {
		made.Cooldown = *c.Cooldown
	}
	var err error
	if made.Place, err = a.Kafka.EndOf(ctx, kafka.Ticks, made.Symbol); err != nil {
		return made, problem.Wrap(problem.Unavailable, "Kafka did not say where the ticks end.", err)
	}
	made, err = a.Alerts.Create(ctx, made, now)
	if errors.Is(err, alert.ErrLimit) {
		return made, problem.New(problem.LimitReached, "You have too many active alerts.")
	}
	return made, err
}

func deref[T any](p *T) T {
	if p == nil {
		var zero T
		return zero
	}
	return *p
}

// ListAlerts shows a page of one's own alerts, newest first.
//
//	@Summary	List one's alerts
//	@Tags		alerts
//	@Param		state	query		string	false	"created, triggered, paused, expired or deleted; default: all but deleted"
//	@Param		symbol	query		string	false	"only of this symbol"
//	@Param		limit	query		int		false	"1 to 200, default 50"
//	@Param		cursor	query		string	false	"from a page's next"
//	@Success	200		{object}	Page{results=[]alert.View}
//	@Security	bearer
//	@Router		/alerts [get]
func (a *API) ListAlerts(w http.ResponseWriter, r *http.Request) error {
	limit, before, err := paging(r)
	if err != nil {
		return err
	}
	var v event.Invalid
	f := alert.Filter{Limit: limit, Before: before, State: alert.State(r.URL.Query().Get("state")), Symbol: queryText(&v, r, "symbol", event.MaxSymbol)}
	if f.State != "" && !slices.Contains(alert.States, f.State) {
		v.Add("state", "enum", "must be created, triggered, paused, expired or deleted")
	}
	if err := v.Err(); err != nil {
		return err
	}
	list, count, more, err := a.Alerts.List(r.Context(), Who(r).UserID, f, time.Now())
	if err != nil {
		return err
	}
	page := Page{Count: count, Results: notNil(list)}
	if more {
		page.Next = next(r, more, list[len(list)-1].ID)
	}
	return encode(w, http.StatusOK, page)
}

// GetAlert shows one alert.
//
//	@Summary	Show an alert
//	@Tags		alerts
//	@Param		id	path		int	true	"its id"
//	@Success	200	{object}	alert.View
//	@Failure	404	{object}	Problem
//	@Security	bearer
//	@Router		/alerts/{id} [get]
func (a *API) GetAlert(w http.ResponseWriter, r *http.Request) error {
	id, err := pathID(mux.Vars(r)["id"])
	if err != nil {
		return err
	}
	found, err := a.Alerts.Get(r.Context(), Who(r).UserID, id, time.Now())
	return a.alert(w, found, err)
}

func (a *API) alert(w http.ResponseWriter, found alert.Alert, err error) error {
	switch {
	case errors.Is(err, alert.ErrNotFound):
		return problem.New(problem.NotFound, "You have no such alert.")
	case errors.Is(err, alert.ErrNeedsCooldown):
		return event.Invalid{{Field: "cooldown", Rule: "required", Message: "is required where repeat is every"}}
	case err != nil:
		return err
	}
	return encode(w, http.StatusOK, found)
}

// UpdateAlert changes an alert. What changes when it fires sets it anew, from
// the present end of the ticks.
//
//	@Summary	Change an alert
//	@Tags		alerts
//	@Param		id		path		int				true	"its id"
//	@Param		body	body		AlertRequest	true	"the members to change; state created sets it again, paused stops it"
//	@Success	200		{object}	alert.View
//	@Failure	400,404	{object}	Problem
//	@Security	bearer
//	@Router		/alerts/{id} [patch]
func (a *API) UpdateAlert(w http.ResponseWriter, r *http.Request) error {
	id, err := pathID(mux.Vars(r)["id"])
	if err != nil {
		return err
	}
	var in AlertRequest
	if err := decode(w, r, &in); err != nil {
		return err
	}
	now := time.Now()
	var v event.Invalid
	c := in.change(&v, now)
	if in.Symbol != nil {
		v.Add("symbol", "immutable", "cannot be changed; make a new alert")
	}
	if err := v.Err(); err != nil {
		return err
	}
	found, err := a.Alerts.Get(r.Context(), Who(r).UserID, id, now)
	if err != nil {
		return a.alert(w, found, err)
	}
	place, err := a.Kafka.EndOf(r.Context(), kafka.Ticks, found.Symbol)
	if err != nil {
		return problem.Wrap(problem.Unavailable, "Kafka did not say where the ticks end.", err)
	}
	found, err = a.Alerts.Update(r.Context(), Who(r).UserID, id, c, place, now)
	return a.alert(w, found, err)
}

// DeleteAlert deletes an alert; its firings stay.
//
//	@Summary	Delete an alert
//	@Tags		alerts
//	@Param		id	path	int	true	"its id"
//	@Success	204
//	@Failure	404	{object}	Problem
//	@Security	bearer
//	@Router		/alerts/{id} [delete]
func (a *API) DeleteAlert(w http.ResponseWriter, r *http.Request) error {
	id, err := pathID(mux.Vars(r)["id"])
	if err != nil {
		return err
	}
	if err := a.Alerts.Delete(r.Context(), Who(r).UserID, id); err != nil {
		return a.alert(w, alert.Alert{}, err)
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// Firings shows when an alert fired, and on which tick.
//
//	@Summary	List an alert's firings
//	@Tags		alerts
//	@Param		id	path		int	true	"the alert's id"
//	@Success	200	{object}	Page{results=[]alert.Firing}
//	@Failure	404	{object}	Problem
//	@Security	bearer
//	@Router		/alerts/{id}/firings [get]
func (a *API) Firings(w http.ResponseWriter, r *http.Request) error {
	id, err := pathID(mux.Vars(r)["id"])
	if err != nil {
		return err
	}
	limit, before, err := paging(r)
	if err != nil {
		return err
	}
	list, count, more, err := a.Alerts.Firings(r.Context(), Who(r).UserID, id, int(before), limit)
	if err != nil {
		return a.alert(w, alert.Alert{}, err)
	}
	page := Page{Count: count, Results: notNil(list)}
	if more {
		page.Next = next(r, more, int64(list[len(list)-1].Firing))
	}
	return encode(w, http.StatusOK, page)
}

func isLoopback(address string) bool {
	return strings.HasPrefix(address, "127.") || address == "::1"
}
