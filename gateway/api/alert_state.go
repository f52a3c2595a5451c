package api

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"time"

	"crier/internal/alert"
	"crier/internal/event"
	"crier/internal/inbox"
	"crier/internal/kafka"
	"crier/internal/problem"
)

// changeAlert changes an alert of the person's, from the present end of its
// symbol's ticks.
func (a *API) changeAlert(ctx context.Context, uid event.UserID, id int64, c alert.Change) (alert.Alert, error) {
	now := time.Now()
	found, err := a.Alerts.Get(ctx, uid, id, now)
	if err != nil {
		return found, err
	}
	if err := a.claimAddress(ctx, uid, deref(c.Email)); err != nil {
		return found, err
	}
	place, err := a.Kafka.EndOf(ctx, kafka.Ticks, found.Symbol)
	if err != nil {
		return found, problem.Wrap(problem.Unavailable, "Kafka did not say where the ticks end.", err)
	}
	return a.Alerts.Update(ctx, uid, id, c, place, now)
}

func (a *API) changeByPath(w http.ResponseWriter, r *http.Request, c alert.Change) error {
	id, err := pathID(PathVar(r, "id"))
	if err != nil {
		return err
	}
	found, err := a.changeAlert(r.Context(), Who(r).UserID, id, c)
	return a.alert(w, found, err)
}

// PauseAlert stops an alert.
//
//	@Summary	Pause an alert
//	@Tags		alerts
//	@Param		id	path		int	true	"its id"
//	@Success	200	{object}	alert.View
//	@Failure	404,409	{object}	Problem
//	@Security	bearer
//	@Router		/alerts/{id}/pause [post]
func (a *API) PauseAlert(w http.ResponseWriter, r *http.Request) error {
	state := alert.Paused
	return a.changeByPath(w, r, alert.Change{State: &state})
}

// ResumeAlert sets an alert again, from the present end of the ticks.
//
//	@Summary	Resume an alert, or set a triggered one again
//	@Tags		alerts
//	@Param		id	path		int	true	"its id"
//	@Success	200	{object}	alert.View
//	@Failure	404,409	{object}	Problem
//	@Security	bearer
//	@Router		/alerts/{id}/resume [post]
func (a *API) ResumeAlert(w http.ResponseWriter, r *http.Request) error {
	state := alert.Created
	return a.changeByPath(w, r, alert.Change{State: &state, ClearSnooze: true})
}

// SnoozeRequest says for how long.
type SnoozeRequest struct {
	For   json.RawMessage `json:"for" swaggertype:"string" example:"1h"`
	Until json.RawMessage `json:"until" swaggertype:"string"`
}

// maxSnooze bounds a snooze: a year.
const maxSnooze = 366 * 24 * time.Hour

func (in *SnoozeRequest) until(now time.Time) (*time.Time, error) {
	var v event.Invalid
	var at *time.Time
	switch {
	case len(in.Until) > 0 && string(in.Until) != "null" && string(in.Until) != `""`:
		at, _ = checkFuture(&v, "until", in.Until, now)
		if at != nil && at.After(now.Add(maxSnooze)) {
			v.Add("until", "range", "must be within a year")
		}
	case len(in.For) > 0:
		if d := checkDuration(&v, "for", in.For, time.Second, maxSnooze); d != nil {
			t := now.Add(*d).UTC().Truncate(time.Microsecond)
			at = &t
		}
	default:
		v.Add("for", "required", "is required: a duration such as 1h, or until: a time")
	}
	return at, v.Err()
}

// SnoozeAlert silences an alert for a time; one that has fired is set again.
//
//	@Summary	Snooze an alert
//	@Tags		alerts
//	@Param		id		path		int				true	"its id"
//	@Param		body	body		SnoozeRequest	true	"for how long, or until when"
//	@Success	200		{object}	alert.View
//	@Failure	400,404,409	{object}	Problem
//	@Security	bearer
//	@Router		/alerts/{id}/snooze [post]
func (a *API) SnoozeAlert(w http.ResponseWriter, r *http.Request) error {
	var in SnoozeRequest
	if err := decode(w, r, &in); err != nil {
		return err
	}
	until, err := in.until(time.Now())
	if err != nil {
		return err
	}
	return a.changeByPath(w, r, alert.Change{Snoozed: until})
}

// SnoozeNotification snoozes the alert that a notification is of.
//
//	@Summary	Snooze the alert behind a notification
//	@Tags		notifications
//	@Param		id		path		int				true	"the notification's id"
//	@Param		body	body		SnoozeRequest	true	"for how long, or until when"
//	@Success	200		{object}	alert.View
//	@Failure	400,404,409	{object}	Problem
//	@Security	bearer
//	@Router		/notifications/{id}/snooze [post]
func (a *API) SnoozeNotification(w http.ResponseWriter, r *http.Request) error {
	id, err := pathID(PathVar(r, "id"))
	if err != nil {
		return err
	}
	var in SnoozeRequest
	if err := decode(w, r, &in); err != nil {
		return err
	}
	until, err := in.until(time.Now())
	if err != nil {
		return err
	}
	n, err := a.Inbox.Get(r.Context(), Who(r).UserID, id)
	if errors.Is(err, inbox.ErrNotFound) {
		return problem.New(problem.NotFound, "You have no such notification.")
	}
	if err != nil {
		return err
	}
	var trigger struct {
		AlertID int64 `json:"alert_id"`
	}
	if n.Kind != event.KindAlert || json.Unmarshal(n.Payload, &trigger) != nil || trigger.AlertID < 1 {
		return problem.New(problem.Conflict, "Only the notification of an alert can be snoozed.")
	}
	found, err := a.changeAlert(r.Context(), Who(r).UserID, trigger.AlertID, alert.Change{Snoozed: until})
	return a.alert(w, found, err)
}
