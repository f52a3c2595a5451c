package api

import (
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"

	"crier/internal/alert"
	"crier/internal/event"
	"crier/internal/problem"
)

// ListAlerts shows a page of one's own alerts, newest first.
//
//	@Summary	List one's alerts
//	@Tags		alerts
//	@Param		state	query		string	false	"created, triggered, paused, expired or deleted; default: all but deleted"	Enums(created, triggered, paused, expired, deleted)
//	@Param		symbol	query		string	false	"only of this symbol"
//	@Param		limit	query		int		false	"1 to 200, default 50"	minimum(1)	maximum(200)
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
	id, err := pathID(PathVar(r, "id"))
	if err != nil {
		return err
	}
	found, err := a.Alerts.Get(r.Context(), Who(r).UserID, id, time.Now())
	return a.alert(w, found, err)
}

func (a *API) alert(w http.ResponseWriter, found alert.Alert, err error) error {
	if err != nil {
		return alertProblem(err)
	}
	return encode(w, http.StatusOK, found)
}

// alertProblem is what the store's error says to a client; nil for none.
func alertProblem(err error) error {
	switch {
	case errors.Is(err, alert.ErrNotFound):
		return problem.New(problem.NotFound, "You have no such alert.")
	case errors.Is(err, alert.ErrLimit):
		return tooManyAlerts()
	case errors.Is(err, alert.ErrState):
		return problem.New(problem.Conflict, "A triggered alert cannot be paused: set it again, or leave it.")
	case errors.Is(err, alert.ErrNeedsCooldown):
		return event.Invalid{{Field: "cooldown", Rule: "required", Message: "is required where repeat is every"}}
	}
	return err
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
	id, err := pathID(PathVar(r, "id"))
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
	found, err := a.changeAlert(r.Context(), Who(r).UserID, id, c)
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
	id, err := pathID(PathVar(r, "id"))
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
	id, err := pathID(PathVar(r, "id"))
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
	ids := make([]int64, len(list))
	for i := range list {
		ids[i] = list[i].NotificationID
	}
	fates, err := a.Inbox.DeliveriesOf(r.Context(), Who(r).UserID, ids)
	if err != nil {
		return err
	}
	for i := range list {
		if f := fates[list[i].NotificationID]; len(f) > 0 {
			list[i].Deliveries = f
		}
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
