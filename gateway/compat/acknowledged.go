package compat

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"strconv"

	"crier/gateway/api"
	"crier/gateway/hub"
	"crier/gateway/ws"
	"crier/internal/event"
	"crier/internal/inbox"
	"crier/internal/problem"
)

// wholeNumber is how an integer may be written, as the clients' framework reads
// one: as a number or a text, with spaces around it and decimals that are zero.
var wholeNumber = regexp.MustCompile(`^\s*([+-]?[0-9]+)(?:\.0*)?\s*$`)

// integer is a member that is an integer.
func (f fields) integer(name string) (int64, error) {
	m := wholeNumber.FindStringSubmatch(f.text(name))
	if m == nil {
		return 0, strconv.ErrSyntax
	}
	return strconv.ParseInt(m[1], 10, 64)
}

// send is C's: {user_id: integer, payload: any JSON}. A form's payload is JSON where
// it can be read so, else a text.
func (c *clients) send(w http.ResponseWriter, r *http.Request) error {
	who := c.opened(r, Notifications)
	switch {
	case who.Lacks != nil:
		return who.Lacks
	case who.UserID == "" && who.Service == "":
		return problem.New(problem.Unauthorized, "This needs an API key (X-API-Key) or the user's own token. The older system asked for neither: see docs/compatible-notifications.md and CRIER_COMPAT_OPEN.")
	}
	f, form, err := readBody(w, r)
	if err != nil {
		return err
	}
	if text := f.text("payload"); form && json.Valid([]byte(text)) {
		f["payload"] = json.RawMessage(text)
	}
	faults := make(map[string][]string)
	id, err := f.integer("user_id")
	switch {
	case !f.has("user_id"):
		faults["user_id"] = []string{"This field is required."}
	case err != nil:
		faults["user_id"] = []string{"A valid integer is required."}
	}
	if len(f["payload"]) == 0 || string(f["payload"]) == "null" {
		faults["payload"] = []string{"This field is required."}
	}
	if len(faults) > 0 {
		return answer(w, http.StatusBadRequest, faults)
	}
	n := event.Notification{UserID: event.UserID(strconv.FormatInt(id, 10)), Payload: f["payload"]}
	if _, err := c.Accept(r.Context(), who, &n); err != nil {
		p := problem.Of(err)
		switch {
		case p.Code == problem.UserNotFound:
			return refuse(w, http.StatusNotFound, "detail", nil, p.Detail)
		case p.Code == problem.InvalidInput:
			return answer(w, http.StatusBadRequest, byField(p))
		}
		return refuse(w, problem.Catalogue[p.Code].Status, "detail", err, "")
	}
	return answer(w, http.StatusOK, map[string]any{"user_id": id, "payload": f["payload"]})
}

// socket is C's: whoever may not use it is refused with 403 at the handshake.
func (c *clients) socket(w http.ResponseWriter, r *http.Request) error {
	if err := ws.CheckHandshake(w, r); err != nil {
		return err
	}
	text := r.URL.Query().Get("token")
	who := api.Who(r)
	if text != "" {
		var err error
		if who, err = c.ByToken(r.Context(), text); err != nil {
			if problem.Of(err).Code == problem.Unavailable {
				return err
			}
			who = api.Principal{}
		}
	}
	if who.UserID == "" || string(who.UserID) != api.PathVar(r, "user_id") {
		return problem.New(problem.Forbidden, "This socket needs a token of the user in its address.")
	}
	st := &hub.Stream{UserID: who.UserID, Session: who.Session, Ends: who.Ends}
	begin := func() (hub.Placing, error) { return c.unread(r.Context(), who.UserID) }
	return c.WS.Serve(w, r, st, begin, acknowledged())
}

// unread begins before the first unread notification: what was not
// acknowledged is sent again at each connect, what was is passed over.
func (c *clients) unread(ctx context.Context, uid event.UserID) (hub.Placing, error) {
	head, err := c.Inbox.Head(ctx, uid)
	if err != nil && !errors.Is(err, inbox.ErrNoInbox) {
		return hub.Placing{}, problem.Wrap(problem.Unavailable, "The inbox could not be read.", err)
	}
	first, err := c.Inbox.FirstUnread(ctx, uid)
	if err != nil {
		return hub.Placing{}, problem.Wrap(problem.Unavailable, "The inbox could not be read.", err)
	}
	p := hub.Placing{Head: hub.Head{Last: head.LastID, Counts: head.Counts}, From: head.LastID}
	if first > 0 {
		p.From = first - 1
	}
	return p, nil
}

// acknowledged is the dialect: a notification's key is its id, and to
// acknowledge it is to read it.
func acknowledged() *ws.Dialect {
	return &ws.Dialect{Slot: hub.Acknowledged, EncodeFunc: serverNotification, CommandFunc: command}
}

// serverNotification is a notification that was not read, as C has it.
func serverNotification(e *hub.Event) []byte {
	if e.Type != hub.Notification {
		return nil
	}
	var n struct {
		Title   string          `json:"title"`
		Body    string          `json:"body"`
		URL     string          `json:"url"`
		Payload json.RawMessage `json:"payload"`
		ReadAt  *string         `json:"read_at"`
	}
	if err := event.Unmarshal(e.Data, &n); err != nil || n.ReadAt != nil {
		return nil
	}
	value := n.Payload
	if len(value) == 0 {
		b, err := json.Marshal(map[string]string{"title": n.Title, "body": n.Body, "url": n.URL})
		if err != nil {
			return nil
		}
		value = b
	}
	b := []byte(`{"type":"server_notification","key":"`)
	b = strconv.AppendInt(b, e.ID, 10)
	b = append(b, `","value":`...)
	b = append(b, value...)
	return append(b, '}')
}

// command answers one message of C's clients.
func command(ctx context.Context, s ws.Session, text []byte) {
	var m struct {
		Type string          `json:"type"`
		Key  json.RawMessage `json:"key"`
	}
	if err := event.Unmarshal(text, &m); err != nil {
		complain(s, "The message is not a JSON object.")
		return
	}
	key := fields{"key": m.Key}.text("key")
	switch m.Type {
	case "message_ack":
		id, err := strconv.ParseInt(key, 10, 64)
		if err != nil {
			complain(s, fmt.Sprintf("There is no message with the key %.50q.", key))
			return
		}
		if err := s.Read(ctx, []int64{id}); err != nil {
			complain(s, "The message could not be acknowledged; try again.")
		}
	case "command":
		if key != "ping" {
			complain(s, fmt.Sprintf("Unknown command: %.50s", key))
			return
		}
		s.Reply([]byte(`{"type":"command_processing_result","key":"ping","value":"pong"}`))
	default:
		complain(s, fmt.Sprintf("Unknown message type: %.50s", m.Type))
	}
}

func complain(s ws.Session, text string) {
	b, err := json.Marshal(map[string]string{"type": "message_processing_error", "value": text})
	if err == nil { // strings encode
		s.Reply(b)
	}
}
