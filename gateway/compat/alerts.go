package compat

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"crier/gateway/api"
	"crier/internal/alert"
	"crier/internal/decimal"
	"crier/internal/event"
)

// states are those that these clients know.
var states = []alert.State{alert.Created, alert.Triggered, alert.Deleted}

// perPage is B's.
const perPage = 10

// createAlert is A's {target_price, trigger_condition, email} and B's {price}.
func (c *clients) createAlert(w http.ResponseWriter, r *http.Request) error {
	f, err := read(w, r)
	if err != nil {
		return err
	}
	who := api.Who(r)
	in := api.AlertRequest{Target: f["target_price"]}
	said := "success"
	if f.has("price") && !f.has("target_price") {
		above := string(event.Above)
		in.Target, in.Condition, said = f["price"], &above, "message"
		if who.Email != "" {
			in.Email = &who.Email
		}
	} else {
		if !f.has("target_price", "trigger_condition", "email") {
			return refuse(w, http.StatusBadRequest, "error", nil, textMissing)
		}
		condition, email := f.text("trigger_condition"), f.text("email")
		in.Condition, in.Email = &condition, &email
	}
	made, err := c.SetAlert(r.Context(), who.UserID, in)
	if err != nil {
		if p, ok := isInput(err); ok && slices.ContainsFunc(p.Errors, func(e event.FieldError) bool { return e.Field == "target" }) {
			return refuse(w, http.StatusBadRequest, "error", nil, "Invalid target price")
		}
		return refuse(w, http.StatusBadRequest, "error", err, "")
	}
	return answer(w, http.StatusCreated, map[string]any{said: "Alert created", "alert_id": made.ID})
}

// deleteAlert is A's.
func (c *clients) deleteAlert(w http.ResponseWriter, r *http.Request) error {
	f, err := read(w, r)
	if err != nil {
		return err
	}
	id, err := f.integer("alert_id")
	if err != nil {
		return refuse(w, http.StatusBadRequest, "error", nil, "Missing alert_id")
	}
	return c.remove(w, r, id, "error", http.StatusBadRequest, "success")
}

// deleteAlertByPath is B's.
func (c *clients) deleteAlertByPath(w http.ResponseWriter, r *http.Request) error {
	id, err := strconv.ParseInt(api.PathVar(r, "id"), 10, 64)
	if err != nil {
		id = 0 // no alert has it
	}
	return c.remove(w, r, id, "error", http.StatusNotFound, "message")
}

func (c *clients) remove(w http.ResponseWriter, r *http.Request, id int64, member string, missing int, said string) error {
	err := c.Alerts.Delete(r.Context(), api.Who(r).UserID, id)
	if errors.Is(err, alert.ErrNotFound) {
		return refuse(w, missing, member, nil, "No such alert")
	}
	if err != nil {
		return err
	}
	return answer(w, http.StatusOK, map[string]string{said: "Alert deleted"})
}

// alertA is an alert as A's clients see one.
type alertA struct {
	ID        int64       `json:"id"`
	Target    string      `json:"target_price"`
	Condition string      `json:"trigger_condition"`
	Email     string      `json:"email"`
	State     alert.State `json:"state"`
}

// alertB is an alert as B's clients see one.
type alertB struct {
	ID     int64       `json:"id"`
	Email  string      `json:"email"`
	Price  string      `json:"price"`
	Status alert.State `json:"status"`
}

// price keeps two decimals at least.
func price(d decimal.Decimal) string {
	s := d.String()
	point := strings.IndexByte(s, '.')
	if point < 0 {
		return s + ".00"
	}
	if len(s)-point < 3 {
		return s + "0"
	}
	return s
}

func formA(list []alert.Alert) []alertA {
	out := make([]alertA, len(list))
	for i, a := range list {
		out[i] = alertA{a.ID, price(a.Target), string(a.Condition), a.Email, a.State}
	}
	return out
}

// maxListed bounds A's list, which has no pages.
const maxListed = 10_000

// fetchAlerts is A's.
func (c *clients) fetchAlerts(w http.ResponseWriter, r *http.Request) error {
	state, ok := stateOf(r.URL.Query().Get("state"))
	if !ok {
		return refuse(w, http.StatusBadRequest, "error", nil, "Invalid state")
	}
	list, _, _, err := c.Alerts.List(r.Context(), api.Who(r).UserID, alert.Filter{State: state, Limit: maxListed}, time.Now())
	if err != nil {
		return err
	}
	return cached(w, r, map[string]any{"alerts": formA(list)})
}

func stateOf(s string) (alert.State, bool) {
	return alert.State(s), s == "" || slices.Contains(states, alert.State(s))
}

// listAlerts is B's page beside A's list.
func (c *clients) listAlerts(w http.ResponseWriter, r *http.Request) error {
	asked := api.PathVar(r, "status")
	if asked == "" {
		asked = r.URL.Query().Get("state")
	}
	state, ok := stateOf(asked)
	if !ok {
		return refuse(w, http.StatusBadRequest, "error", nil, "Invalid state")
	}
	page := 1
	if s := r.URL.Query().Get("page"); s != "" {
		n, err := strconv.Atoi(s)
		if err != nil || n < 1 || n > maxListed {
			return refuse(w, http.StatusNotFound, "error", nil, "Invalid page")
		}
		page = n
	}
	uid, now := api.Who(r).UserID, time.Now()
	all, _, _, err := c.Alerts.List(r.Context(), uid, alert.Filter{State: state, Limit: maxListed}, now)
	if err != nil {
		return err
	}
	list, count, more, err := c.Alerts.List(r.Context(), uid, alert.Filter{State: state, Limit: perPage, Offset: (page - 1) * perPage}, now)
	if err != nil {
		return err
	}
	if len(list) == 0 && page > 1 {
		return refuse(w, http.StatusNotFound, "error", nil, "Invalid page")
	}
	results := make([]alertB, len(list))
	for i, a := range list {
		results[i] = alertB{a.ID, a.Email, price(a.Target), a.State}
	}
	return cached(w, r, map[string]any{"alerts": formA(all), "count": count, "results": results,
		"next": pageURL(r, page+1, more), "previous": pageURL(r, page-1, page > 1)})
}

// pageURL is the address of another page, nil where there is none.
func pageURL(r *http.Request, page int, there bool) *string {
	if !there {
		return nil
	}
	q := r.URL.Query()
	q.Set("page", strconv.Itoa(page))
	u := url.URL{Scheme: "http", Host: r.Host, Path: r.URL.Path, RawQuery: q.Encode()}
	if r.TLS != nil {
		u.Scheme = "https"
	}
	s := u.String()
	return &s
}

// cached answers with a validator (RFC 9110 section 8.8): a client may keep the
// answer and ask whether it still holds, and so never shows a stale one.
func cached(w http.ResponseWriter, r *http.Request, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	sum := sha256.Sum256(b)
	tag := `"` + hex.EncodeToString(sum[:12]) + `"`
	h := w.Header()
	h.Set("ETag", tag)
	h.Set("Cache-Control", "private, no-cache")
	h.Set("Vary", "Authorization, Cookie")
	for _, known := range strings.Split(r.Header.Get("If-None-Match"), ",") {
		if strings.TrimPrefix(strings.TrimSpace(known), "W/") == tag {
			w.WriteHeader(http.StatusNotModified)
			return nil
		}
	}
	return answer(w, http.StatusOK, json.RawMessage(b))
}
