package compat

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"golang.org/x/time/rate"

	"crier/gateway/api"
	"crier/gateway/hub"
	"crier/gateway/presence"
	"crier/gateway/ws"
	"crier/internal/event"
	"crier/internal/problem"
)

// What one person may say in a chat: bursts, and then so many a second. What is
// more waits in the socket.
const (
	chatBurst = 100
	chatRate  = 20
)

// chatMOTD greets who comes in.
const chatMOTD = "Welcome. Send list for the rooms, join to enter one, help for all there is."

// chatHelp is the answer to help.
const chatHelp = `Commands: help; list; join room_name; part room_name; message room_name body (at most 512 characters); custom room_name command payload.`

// chatStamp is how the chat's clients read times, in UTC.
const chatStamp = "2006-01-02 15:04:05"

// chat is E's socket. The handshake is always accepted; who may not come in is
// told so on it.
func (c *clients) chat(w http.ResponseWriter, r *http.Request) error {
	if err := ws.CheckHandshake(w, r); err != nil {
		return err
	}
	who := api.Who(r)
	if text := r.URL.Query().Get("token"); text != "" {
		var err error
		if who, err = c.ByToken(r.Context(), text); err != nil {
			if problem.Of(err).Code == problem.Unavailable {
				return err
			}
			who = api.Principal{}
		}
	}
	if who.UserID == "" {
		c.WS.Refuse(w, r, []byte(`{"type":"fatal","code":"not-authenticated"}`))
		return nil
	}
	me := &chatter{clients: c, user: who.UserID, limit: rate.NewLimiter(chatRate, chatBurst)}
	name, err := c.Name(r.Context(), who)
	if err != nil {
		return err
	}
	me.presence, err = c.Presence.Connect(r.Context(), who.UserID, name, true, me)
	if errors.Is(err, presence.ErrChatting) {
		c.WS.Refuse(w, r, []byte(`{"type":"fatal","code":"already-chatting"}`))
		return nil
	}
	if err != nil {
		return problem.Wrap(problem.Unavailable, "The chat cannot be entered now.", err)
	}
	opened := false
	d := &ws.Dialect{
		Slot: hub.Chat, EncodeFunc: func(e *hub.Event) []byte { return chatEvent(e, false) }, PersonalFunc: me.own, CommandFunc: me.command,
		OpenedFunc: func(s ws.Session) { opened = true; me.open(s) }, EndedFunc: func() { me.presence.Leave(false) },
	}
	st := &hub.Stream{UserID: who.UserID, Session: who.Session, Ends: who.Ends}
	err = c.WS.Serve(w, r, st, func() (hub.Placing, error) { return c.PlaceNow(r.Context(), who) }, d)
	if !opened {
		me.presence.Leave(false)
	}
	return err
}

// chatter is one connection to the chat.
type chatter struct {
	*clients
	user     event.UserID
	presence *presence.Conn
	limit    *rate.Limiter

	mu      sync.Mutex // guards the rest until open has returned
	session ws.Session
	lost    bool
}

func (c *chatter) open(s ws.Session) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.session = s
	if c.lost {
		s.Close(hub.PresenceLost)
		return
	}
	c.say(map[string]any{"type": "notification", "code": "api-motd", "content": chatMOTD})
}

func (c *chatter) say(message map[string]any) {
	b, err := json.Marshal(message)
	if err == nil { // texts encode
		c.session.Reply(b)
	}
}

func (c *chatter) complain(code string, details map[string]any) {
	m := map[string]any{"type": "error", "code": code}
	if details != nil {
		m["details"] = details
	}
	c.say(m)
}

// Welcome is part of presence.Handler: who has joined is shown the room as it
// stood then, and from there on what happens in it.
func (c *chatter) Welcome(d event.Directed) {
	users := make([]map[string]any, len(d.Users))
	for i, u := range d.Users {
		users[i] = map[string]any{"name": u.Username, "you": u.UserID == c.user}
	}
	messages := make([]map[string]any, len(d.Messages))
	for i, m := range d.Messages {
		messages[i] = map[string]any{"stamp": m.CreatedAt.UTC().Format(chatStamp), "user": m.Username, "you": m.UserID == c.user, "body": m.Body}
	}
	c.say(map[string]any{"type": "room:notification", "code": "joined", "you": true, "user": c.presence.Username(), "room_name": d.Room,
		"stamp": d.At.UTC().Format(chatStamp), "status": map[string]any{"users": users, "messages": messages}})
	c.session.Follow(event.RoomPrefix+d.Room, d.Place)
}

// Left is part of presence.Handler.
func (c *chatter) Left(d event.Directed) {
	c.session.Unfollow(event.RoomPrefix + d.Room)
	c.say(map[string]any{"type": "room:notification", "code": "parted", "you": true, "user": c.presence.Username(), "room_name": d.Room,
		"stamp": d.At.UTC().Format(chatStamp)})
}

// Refused is part of presence.Handler.
func (c *chatter) Refused(d event.Directed) {
	c.complain("room:"+d.Code, map[string]any{"name": d.Room})
}

// Lost is part of presence.Handler.
func (c *chatter) Lost() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.lost = true; c.session != nil {
		c.session.Close(hub.PresenceLost)
	}
}

// own is an event of this person's as they see it. That they have parted is
// said by Left, on this connection.
func (c *chatter) own(e *hub.Event) ([]byte, bool) {
	if e.Type != hub.Message || e.Author != string(c.user) {
		return nil, false
	}
	if e.Kind == event.KindParted && c.presence.Parting(strings.TrimPrefix(e.Topic, event.RoomPrefix)) {
		return nil, true
	}
	return chatEvent(e, true), true
}

// chatEvent is an event as E's clients know it; nil: they do not.
func chatEvent(e *hub.Event, you bool) []byte {
	if e.Type == hub.Bye {
		return chatBye(e)
	}
	if e.Type != hub.Message {
		return nil
	}
	var n struct {
		Body      string     `json:"body"`
		Title     string     `json:"title"`
		Payload   event.Said `json:"payload"`
		CreatedAt time.Time  `json:"created_at"`
	}
	if event.Unmarshal(e.Data, &n) != nil {
		return nil
	}
	if n.Payload.Username == "" {
		n.Payload.Username = "service"
	}
	m := map[string]any{"type": "room:notification", "code": e.Kind, "you": you, "user": n.Payload.Username,
		"room_name": strings.TrimPrefix(e.Topic, event.RoomPrefix), "stamp": n.CreatedAt.UTC().Format(chatStamp)}
	switch e.Kind {
	case event.KindJoined:
		m["status"] = nil
	case event.KindParted:
	case event.KindSaid:
		if m["body"] = n.Body; n.Body == "" {
			m["body"] = n.Title
		}
	case event.KindCustom:
		m["command"], m["payload"] = n.Payload.Command, n.Payload.Payload
	default:
		return nil
	}
	b, err := json.Marshal(m)
	if err != nil {
		return nil
	}
	return b
}

func chatBye(e *hub.Event) []byte {
	var bye struct {
		Reason string `json:"reason"`
	}
	_ = event.Unmarshal(e.Data, &bye) // we wrote it
	switch bye.Reason {
	case hub.LoggedOut:
		return []byte(`{"type":"notification","code":"logged-out"}`)
	case hub.TokenExpired:
		return []byte(`{"type":"fatal","code":"not-authenticated"}`)
	}
	return nil
}

// command answers one message of E's clients.
func (c *chatter) command(ctx context.Context, _ ws.Session, text []byte) {
	if c.limit.Wait(ctx) != nil {
		return
	}
	var f fields
	if !utf8.Valid(text) || event.Unmarshal(text, &f) != nil || f == nil || !f.isText("type") {
		c.complain("invalid-format", nil)
		return
	}
	kind := f.text("type")
	switch kind {
	case "help":
		c.say(map[string]any{"type": "notification", "code": "help", "help": chatHelp})
		return
	case "list":
		c.list(ctx)
		return
	case "join", "part", "message", "custom":
	default:
		c.complain("unsupported-command", map[string]any{"type": kind})
		return
	}
	custom := kind == "custom" || kind == "message" && len(f["command"]) > 0
	switch {
	case !f.isText("room_name"),
		custom && (!f.isText("command") || !f.isText("payload")),
		kind == "message" && !custom && !f.isText("body"):
		c.complain("invalid-format", nil)
		return
	}
	room := f.text("room_name")
	if !c.requireRoom(ctx, room) {
		return
	}
	var err error
	switch {
	case kind == "join":
		err = c.presence.Join(ctx, room)
	case kind == "part":
		err = c.presence.Part(ctx, room)
	default:
		err = c.speak(ctx, room, f, custom)
	}
	c.answer(err, room)
}

// list shows the rooms.
func (c *chatter) list(ctx context.Context) {
	names, err := c.Rooms.Names(ctx)
	if err != nil {
		c.answer(err, "")
		return
	}
	list := make([]map[string]any, len(names))
	for i, n := range names {
		list[i] = map[string]any{"name": n, "joined": c.presence.InRoom(n)}
	}
	c.say(map[string]any{"type": "notification", "code": "list", "list": list})
}

func (c *chatter) requireRoom(ctx context.Context, name string) bool {
	if c.presence.InRoom(name) {
		return true // it is there as long as its people are
	}
	var v event.Invalid
	v.CheckRoom("room_name", name)
	there := v.Err() == nil
	if there {
		var err error
		if there, err = c.Rooms.Exists(ctx, name); err != nil {
			c.answer(err, name)
			return false
		}
	}
	if !there {
		c.complain("room:invalid", map[string]any{"name": name})
	}
	return there
}

// cut is the first n characters of a text: the older chat cut what was too long,
// and its clients have no message for a refusal.
func cut(text string, n int) string {
	for i := range text {
		if n == 0 {
			return text[:i]
		}
		n--
	}
	return text
}

// speak says something in a room.
func (c *chatter) speak(ctx context.Context, room string, f fields, custom bool) error {
	name := map[string]any{"name": room}
	if !c.presence.InRoom(room) {
		return presence.ErrNotJoined
	}
	r := event.RoomRequest{Type: event.RoomSay, Room: room, UserID: c.user}
	if custom {
		r.Type, r.Command, r.Payload = event.RoomCustom, strings.TrimSpace(f.text("command")), f.text("payload")
		if r.Command == "" {
			c.complain("room:empty-custom", name)
			return nil
		}
	} else if r.Body = cut(strings.TrimSpace(f.text("body")), event.MaxRoomMessage); r.Body == "" {
		c.complain("room:empty-message", name)
		return nil
	}
	if r.Validate() != nil {
		c.complain("invalid-format", nil)
		return nil
	}
	return c.presence.Say(ctx, r)
}

// answer says what a request came to, if it came to nothing.
func (c *chatter) answer(err error, room string) {
	switch {
	case err == nil:
	case errors.Is(err, presence.ErrJoined):
		c.complain("room:already-joined", map[string]any{"name": room})
	case errors.Is(err, presence.ErrNotJoined):
		c.complain("room:not-joined", map[string]any{"name": room})
	default:
		c.Log.Error("a chat's request failed", "error", err)
		c.complain("unavailable", nil)
	}
}
