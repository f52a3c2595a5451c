package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"crier/internal/alert"
	"crier/internal/event"
	"crier/internal/kafka"
	"crier/internal/problem"
	"crier/internal/user"
)

// AlertRequest is the body of POST and PATCH /alerts.
type AlertRequest struct {
	UserID     event.UserID    `json:"user_id,omitempty"` // a service says whose it is
	Symbol     *string         `json:"symbol" example:"BTCUSDT"`
	Condition  *string         `json:"condition" enums:"above,below,crosses_above,crosses_below,percent_up,percent_down,enters,exits,trailing_stop" example:"above"`
	Target     json.RawMessage `json:"target" swaggertype:"string" example:"70000.50"`
	Percent    json.RawMessage `json:"percent" swaggertype:"string" example:"5"`
	Window     json.RawMessage `json:"window" swaggertype:"string" example:"1h"`
	Low        json.RawMessage `json:"low" swaggertype:"string"`
	High       json.RawMessage `json:"high" swaggertype:"string"`
	Confirm    json.RawMessage `json:"confirm" swaggertype:"string" example:"30s"`
	Hysteresis json.RawMessage `json:"hysteresis" swaggertype:"string"`
	Source     *string         `json:"source"`
	Email      *string         `json:"email"`
	Note       *string         `json:"note"`
	Message    *string         `json:"message" example:"{symbol} is at {price}"`
	Repeat     *string         `json:"repeat" enums:"once,every"`
	Cooldown   json.RawMessage `json:"cooldown" swaggertype:"string" example:"10m"`
	MaxFirings *int            `json:"max_firings"`
	ExpiresAt  json.RawMessage `json:"expires_at" swaggertype:"string" example:"2030-01-01T00:00:00Z"`
	Snoozed    json.RawMessage `json:"snoozed_until" swaggertype:"string"`
	State      *string         `json:"state" enums:"created,paused"` // PATCH only
}

// Longest texts of an alert, in characters.
const (
	MaxNote    = 500
	MaxMessage = 300 // what stands for its places comes to it, and a title has 500
)

// change checks the request's members and turns them into a change.
func (in *AlertRequest) change(v *event.Invalid, now time.Time) alert.Change {
	var c alert.Change
	for _, text := range []**string{&in.Condition, &in.Repeat, &in.State} {
		if *text != nil && **text == "" {
			*text = nil // as the other members without a value
		}
	}
	c.Target = v.CheckPrice("target", in.Target, false)
	c.Percent = v.CheckPrice("percent", in.Percent, false)
	c.Low, c.High = v.CheckPrice("low", in.Low, false), v.CheckPrice("high", in.High, false)
	c.Hysteresis = v.CheckPrice("hysteresis", in.Hysteresis, false)
	c.Window = checkDuration(v, "window", in.Window, event.MinWindow, event.MaxWindow)
	c.Confirm = checkConfirm(v, in.Confirm)
	if in.Condition != nil {
		cond := event.Condition(*in.Condition)
		c.Condition = &cond
	}
	if c.Source = in.Source; in.Source != nil {
		v.CheckText("source", *in.Source, event.MaxSource)
	}
	if c.Note = in.Note; in.Note != nil {
		v.CheckText("note", *in.Note, MaxNote)
	}
	if c.Message = in.Message; in.Message != nil {
		v.CheckText("message", *in.Message, MaxMessage)
		checkTemplate(v, *in.Message)
	}
	if c.Email = in.Email; in.Email != nil {
		user.CheckEmail(v, "email", *in.Email)
	}
	if c.Repeat = in.Repeat; in.Repeat != nil && *in.Repeat != alert.Once && *in.Repeat != alert.Every {
		v.Add("repeat", "enum", "must be once or every")
	}
	if c.MaxFirings = in.MaxFirings; in.MaxFirings != nil && (*in.MaxFirings < 0 || *in.MaxFirings > 1_000_000) {
		v.Add("max_firings", "range", "must be 1 to 1000000, or 0 for no limit")
	}
	c.Cooldown = checkDuration(v, "cooldown", in.Cooldown, alert.MinCooldown, 366*24*time.Hour)
	if len(in.ExpiresAt) > 0 {
		c.ExpiresAt, c.ClearExpiry = checkFuture(v, "expires_at", in.ExpiresAt, now)
	}
	if len(in.Snoozed) > 0 {
		c.Snoozed, c.ClearSnooze = checkFuture(v, "snoozed_until", in.Snoozed, now)
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

// checkDuration reads a duration such as 10m, or a number of seconds.
func checkDuration(v *event.Invalid, field string, raw json.RawMessage, least, most time.Duration) *time.Duration {
	if event.Absent(raw) {
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
	if err != nil || d < least || d > most {
		v.Add(field, "duration", fmt.Sprintf("must be a duration from %v to %v, such as 10m, or a number of seconds", least, most))
		return nil
	}
	return &d
}

// checkConfirm reads how long a condition must hold: 30s, a number of seconds, or
// a number of ticks, as "3 ticks". "" and null are none.
func checkConfirm(v *event.Invalid, raw json.RawMessage) *event.Confirm {
	if len(raw) == 0 {
		return nil
	}
	var text string
	if string(raw) == "null" || json.Unmarshal(raw, &text) == nil && text == "" {
		return new(event.Confirm)
	}
	if n, found := strings.CutSuffix(text, " ticks"); found {
		ticks, err := strconv.Atoi(n)
		if err != nil || ticks < 2 || ticks > event.MaxConfirmTicks {
			v.Add("confirm", "range", fmt.Sprintf("must be 2 to %d ticks", event.MaxConfirmTicks))
			return nil
		}
		return &event.Confirm{Ticks: ticks}
	}
	d := checkDuration(v, "confirm", raw, time.Second, event.MaxConfirm)
	if d == nil {
		return nil
	}
	return &event.Confirm{For: *d}
}

// checkTemplate notes places in a message that stand for nothing.
func checkTemplate(v *event.Invalid, message string) {
	rest := strings.NewReplacer("{symbol}", "", "{price}", "", "{target}", "", "{time}", "", "{change}", "").Replace(message)
	if strings.ContainsAny(rest, "{}") {
		v.Add("message", "template", "may hold {symbol}, {price}, {target}, {time} and {change}, and no other braces")
	}
}

// checkFuture reads a time that must lie ahead; null and "" clear it.
func checkFuture(v *event.Invalid, field string, raw json.RawMessage, now time.Time) (at *time.Time, clear bool) {
	faults := len(*v)
	t := v.CheckTime(field, raw)
	switch {
	case len(*v) > faults:
		return nil, false
	case t.IsZero():
		return nil, true
	case !t.After(now):
		v.Add(field, "future", "must be in the future")
	}
	t = t.Truncate(time.Microsecond)
	return &t, false
}

// defaultSymbol is what an alert without a symbol watches.
const defaultSymbol = "BTCUSDT"

// CreateAlert sets an alert, which holds from the present end of its symbol's
// partition of `ticks`.
//
//	@Summary	Set an alert
//	@Tags		alerts
//	@Param		body	body		AlertRequest	true	"a condition and what it needs: target; percent and window; low and high. symbol defaults to BTCUSDT"
//	@Success	201		{object}	alert.View
//	@Failure	400,401,403,404,409,503	{object}	Problem
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
	if err := who.requireKind(event.KindAlert); err != nil {
		return "", err // what it sends when it fires
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
	made, err := in.alert(uid, now)
	if err != nil {
		return made, err
	}
	if err := a.claimAddress(ctx, uid, made.Email); err != nil {
		return made, err
	}
	if made.Place, err = a.Kafka.EndOf(ctx, kafka.Ticks, made.Symbol); err != nil {
		return made, problem.Wrap(problem.Unavailable, "Kafka did not say where the ticks end.", err)
	}
	made, err = a.Alerts.Create(ctx, made, now)
	if errors.Is(err, alert.ErrLimit) {
		return made, tooManyAlerts()
	}
	return made, err
}

func tooManyAlerts() error {
	return problem.New(problem.LimitReached, "You have too many active alerts.")
}

// alert is the new alert that the request asks for, without its place.
func (in *AlertRequest) alert(uid event.UserID, now time.Time) (alert.Alert, error) {
	var v event.Invalid
	c := in.change(&v, now)
	if in.Symbol == nil {
		s := defaultSymbol
		in.Symbol = &s
	}
	v.CheckSymbol("symbol", *in.Symbol)
	made := alert.Alert{UserID: uid, Symbol: *in.Symbol, Source: deref(c.Source), Email: deref(c.Email), Note: deref(c.Note), Message: deref(c.Message),
		Repeat: alert.Once, ExpiresAt: c.ExpiresAt, Snoozed: c.Snoozed}
	if in.Condition == nil {
		v.Add("condition", "required", "is required: "+event.ConditionNames)
		if event.Absent(in.Target) {
			v.Add("target", "required", "is required")
		}
	} else {
		checkRule(&v, &c, &made, in)
	}
	if in.State != nil && *in.State != string(alert.Created) {
		v.Add("state", "enum", "a new alert is created")
	}
	if c.Repeat != nil {
		made.Repeat = *c.Repeat
	}
	if made.Repeat == alert.Every && event.Absent(in.Cooldown) {
		v.Add("cooldown", "required", "is required where repeat is every")
	}
	if c.Cooldown != nil {
		made.Cooldown = *c.Cooldown
	}
	if c.MaxFirings != nil {
		made.MaxFirings = *c.MaxFirings
	}
	return made, v.Err()
}

// checkRule puts the rule's members into the alert and checks them together. A
// member that could not be read was noted already.
func checkRule(v *event.Invalid, c *alert.Change, made *alert.Alert, in *AlertRequest) {
	given := map[string]json.RawMessage{"target": in.Target, "percent": in.Percent, "window": in.Window, "low": in.Low, "high": in.High}
	has := func(field string) bool { return !event.Absent(given[field]) }
	faults := len(*v)
	made.Condition = *c.Condition
	switch {
	case made.Condition.Band():
		made.Target = deref(c.Low)
	case made.Condition.Percent():
		made.Target = deref(c.Percent)
	default:
		made.Target = deref(c.Target)
	}
	made.High, made.Hysteresis = deref(c.High), deref(c.Hysteresis)
	if c.Window != nil {
		made.Window = *c.Window
	}
	if c.Confirm != nil {
		made.Confirm = *c.Confirm
	}
	rule := made.Rule()
	var found event.Invalid
	found.CheckRule(&rule, has)
	noted := make(map[string]bool)
	for _, f := range (*v)[:faults] {
		noted[f.Field] = true
	}
	for _, f := range found {
		if !noted[f.Field] {
			v.Add(f.Field, f.Rule, f.Message)
		}
	}
}

func deref[T any](p *T) (out T) {
	if p != nil {
		out = *p
	}
	return out
}
