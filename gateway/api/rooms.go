package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"crier/gateway/hub"
	"crier/gateway/presence"
	"crier/internal/event"
	"crier/internal/inbox"
	"crier/internal/kafka"
	"crier/internal/problem"
)

// RoomRequest makes a room.
type RoomRequest struct {
	Name string `json:"name" example:"friends"`
}

// CreateRoom makes a chat room.
//
//	@Summary		Make a room
//	@Description	A service's business. A room that is there already is no fault: 200.
//	@Tags			rooms
//	@Param			body	body		RoomRequest	true	"its name: letters, digits, _ and - between them"
//	@Success		200,201	{object}	RoomRequest
//	@Failure		400,403	{object}	Problem
//	@Security		apikey
//	@Router			/rooms [post]
func (a *API) CreateRoom(w http.ResponseWriter, r *http.Request) error {
	var in RoomRequest
	if err := decode(w, r, &in); err != nil {
		return err
	}
	if Who(r).Service == "" {
		return problem.New(problem.Forbidden, "Rooms are made with an API key.")
	}
	made, err := a.EnsureRoom(r.Context(), in.Name)
	if err != nil {
		return err
	}
	status := http.StatusOK
	if made {
		status = http.StatusCreated
	}
	return encode(w, status, in)
}

// EnsureRoom makes a room if it is not there; made says that it was not.
func (a *API) EnsureRoom(ctx context.Context, name string) (made bool, err error) {
	var v event.Invalid
	if v.CheckRoom("name", name); v.Err() != nil {
		return false, v.Err()
	}
	return a.Rooms.Ensure(ctx, name, time.Now())
}

// DeleteRoom removes a room; everybody in it parts.
//
//	@Summary	Remove a room
//	@Tags		rooms
//	@Param		name	path	string	true	"its name"
//	@Success	202
//	@Failure	403,404	{object}	Problem
//	@Security	apikey
//	@Router		/rooms/{name} [delete]
func (a *API) DeleteRoom(w http.ResponseWriter, r *http.Request) error {
	name := PathVar(r, "name")
	if Who(r).Service == "" {
		return problem.New(problem.Forbidden, "Rooms are removed with an API key.")
	}
	if err := a.requireRoom(r.Context(), name); err != nil {
		return err
	}
	if err := a.askRoom(r.Context(), &event.RoomRequest{Type: event.RoomClose, Room: name}); err != nil {
		return err
	}
	w.WriteHeader(http.StatusAccepted)
	return nil
}

// ListRooms shows the rooms with what is unread in them.
//
//	@Summary		List the rooms
//	@Description	With how many messages one has not read since one opened the room first (100 at most).
//	@Tags			rooms
//	@Success		200	{object}	Page{results=[]room.View}
//	@Failure		401	{object}	Problem
//	@Security		bearer
//	@Router			/rooms [get]
func (a *API) ListRooms(w http.ResponseWriter, r *http.Request) error {
	views, err := a.Rooms.Views(r.Context(), Who(r).UserID)
	if err != nil {
		return err
	}
	return encode(w, http.StatusOK, Page{Count: int64(len(views)), Results: notNil(views)})
}

// RoomMembers shows who is in a room.
//
//	@Summary	Who is in a room
//	@Tags		rooms
//	@Param		name	path		string	true	"its name"
//	@Success	200		{object}	Page{results=[]event.RoomUser}
//	@Failure	401,404	{object}	Problem
//	@Security	bearer
//	@Router		/rooms/{name}/members [get]
func (a *API) RoomMembers(w http.ResponseWriter, r *http.Request) error {
	name := PathVar(r, "name")
	if err := a.requireRoom(r.Context(), name); err != nil {
		return err
	}
	users, err := a.Rooms.Members(r.Context(), name)
	if err != nil {
		return err
	}
	return encode(w, http.StatusOK, Page{Count: int64(len(users)), Results: notNil(users)})
}

// RoomHistory shows what was said in a room.
//
//	@Summary	A room's messages, newest first
//	@Tags		rooms
//	@Param		name	path		string	true	"its name"
//	@Param		limit	query		int		false	"1 to 200, default 50"	minimum(1)	maximum(200)
//	@Param		cursor	query		string	false	"from a page's next"
//	@Success	200		{object}	Page{results=[]event.RoomMessage}
//	@Failure	401,404	{object}	Problem
//	@Security	bearer
//	@Router		/rooms/{name}/messages [get]
func (a *API) RoomHistory(w http.ResponseWriter, r *http.Request) error {
	name := PathVar(r, "name")
	limit, before, err := paging(r)
	if err != nil {
		return err
	}
	if err := a.requireRoom(r.Context(), name); err != nil {
		return err
	}
	list, err := a.Inbox.Said(r.Context(), event.RoomPrefix+name, event.KindSaid, before, limit+1)
	if err != nil {
		return err
	}
	more := len(list) > limit
	if more {
		list = list[:limit]
	}
	messages := make([]event.RoomMessage, len(list))
	for i := range list {
		messages[i] = event.RoomMessageOf(&list[i])
	}
	page := Page{Count: int64(len(messages)), Results: messages}
	if more {
		page.Next = next(r, more, list[limit-1].ID)
	}
	return encode(w, http.StatusOK, page)
}

// SayRequest says something in a room. With command instead of body it is a
// custom: everybody gets it, and no history keeps it.
type SayRequest struct {
	Body    string `json:"body,omitempty"`
	Command string `json:"command,omitempty"`
	Payload string `json:"payload,omitempty"`
	EventID string `json:"event_id,omitempty" example:"5b1f4a52-5f2f-4d3e-9d3b-3a1f0f5c8f10"` // of the client's choice, to know its own message by
}

// Said says where Kafka keeps what was said.
type Said struct {
	EventID string `json:"event_id"`
}

// SayInRoom says something in a room.
//
//	@Summary		Say something in a room
//	@Description	202 once Kafka has acknowledged it; the message comes to all who follow room:NAME, with its place and the event_id.
//	@Tags			rooms
//	@Param			name	path		string		true	"its name"
//	@Param			body	body		SayRequest	true	"at most 512 characters"
//	@Success		202		{object}	Said
//	@Failure		400,401,404,429	{object}	Problem
//	@Security		bearer
//	@Router			/rooms/{name}/messages [post]
func (a *API) SayInRoom(w http.ResponseWriter, r *http.Request) error {
	var in SayRequest
	if err := decode(w, r, &in); err != nil {
		return err
	}
	q := event.RoomRequest{Type: event.RoomSay, Body: in.Body, EventID: in.EventID}
	if in.Command != "" {
		q.Type, q.Command, q.Payload = event.RoomCustom, in.Command, in.Payload
	}
	if q.EventID == "" {
		q.EventID = event.NewID()
	}
	return a.say(w, r, &q)
}

// EditMessage changes one's own message.
//
//	@Summary	Change a message of one's own
//	@Tags		rooms
//	@Param		name	path		string		true	"the room"
//	@Param		id		path		int			true	"the message"
//	@Param		body	body		SayRequest	true	"the new body"
//	@Success	202		{object}	Said
//	@Failure	400,401,403,404	{object}	Problem
//	@Security	bearer
//	@Router		/rooms/{name}/messages/{id} [patch]
func (a *API) EditMessage(w http.ResponseWriter, r *http.Request) error {
	var in SayRequest
	if err := decode(w, r, &in); err != nil {
		return err
	}
	return a.amend(w, r, &event.RoomRequest{Type: event.RoomEdit, Body: in.Body})
}

// DeleteMessage takes one's own message back.
//
//	@Summary	Delete a message of one's own
//	@Tags		rooms
//	@Param		name	path		string	true	"the room"
//	@Param		id		path		int		true	"the message"
//	@Success	202		{object}	Said
//	@Failure	401,403,404	{object}	Problem
//	@Security	bearer
//	@Router		/rooms/{name}/messages/{id} [delete]
func (a *API) DeleteMessage(w http.ResponseWriter, r *http.Request) error {
	return a.amend(w, r, &event.RoomRequest{Type: event.RoomDelete})
}

func (a *API) amend(w http.ResponseWriter, r *http.Request, q *event.RoomRequest) error {
	id, err := pathID(PathVar(r, "id"))
	if err != nil {
		return err
	}
	if err := a.requireRoom(r.Context(), PathVar(r, "name")); err != nil {
		return err
	}
	m, err := a.Inbox.Get(r.Context(), event.TopicOwner(event.RoomPrefix+PathVar(r, "name")), id)
	if errors.Is(err, inbox.ErrNotFound) || err == nil && m.Kind != event.KindSaid {
		return problem.New(problem.NotFound, "No such message in this room.")
	}
	if err != nil {
		return err
	}
	if m.Author != string(Who(r).UserID) {
		return problem.New(problem.Forbidden, "Only its author can change a message.")
	}
	q.MessageID, q.EventID = id, event.NewID()
	return a.say(w, r, q)
}

func (a *API) say(w http.ResponseWriter, r *http.Request, q *event.RoomRequest) error {
	ctx, who := r.Context(), Who(r)
	q.Room, q.UserID = PathVar(r, "name"), who.UserID
	var err error
	if q.Username, err = a.Name(ctx, who); err != nil {
		return err
	}
	if err := q.Validate(); err != nil {
		return err
	}
	if err := a.requireRoom(ctx, q.Room); err != nil {
		return err
	}
	if wait := a.talk.wait(who.UserID, time.Now()); wait > 0 {
		return &problem.Problem{Code: problem.TooMany, Detail: "So many messages in a moment are more than people read.", RetryAfter: wait}
	}
	if err := a.askRoom(ctx, q); err != nil {
		return err
	}
	return encode(w, http.StatusAccepted, Said{EventID: q.EventID})
}

func (a *API) askRoom(ctx context.Context, q *event.RoomRequest) error {
	ctx, cancel := context.WithTimeoutCause(context.WithoutCancel(ctx), sendTimeout, fmt.Errorf("Kafka did not acknowledge within %v", sendTimeout))
	defer cancel()
	if err := a.Kafka.Produce(ctx, kafka.RoomRecord(q)); err != nil {
		return problem.Wrap(problem.Unavailable, "Kafka did not acknowledge it; try again.", err)
	}
	return nil
}

// ReadRequest says how far one has read.
type ReadRequest struct {
	ID *int64 `json:"id" validate:"required"`
}

// ReadRoom notes how far one has read a room.
//
//	@Summary	Mark a room read up to a message
//	@Tags		rooms
//	@Param		name	path	string		true	"the room"
//	@Param		body	body	ReadRequest	true	"the message's id"
//	@Success	204
//	@Failure	400,401,404	{object}	Problem
//	@Security	bearer
//	@Router		/rooms/{name}/read [post]
func (a *API) ReadRoom(w http.ResponseWriter, r *http.Request) error {
	var in ReadRequest
	if err := decode(w, r, &in); err != nil {
		return err
	}
	if in.ID == nil {
		return event.Invalid{{Field: "id", Rule: "required", Message: "is required"}}
	}
	if *in.ID < 0 {
		return event.Invalid{{Field: "id", Rule: "range", Message: "must not be negative"}}
	}
	name := PathVar(r, "name")
	if err := a.requireRoom(r.Context(), name); err != nil {
		return err
	}
	if err := a.Rooms.MarkRead(r.Context(), Who(r).UserID, name, *in.ID); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

func noRoom(field, name string) error {
	p := problem.New(problem.NotFound, fmt.Sprintf("There is no room %.60q.", name))
	p.Errors = []event.FieldError{{Field: field, Rule: "exists", Message: "no such room"}}
	return p
}

func (a *API) requireRoom(ctx context.Context, name string) error {
	var v event.Invalid
	if v.CheckRoom("name", name); v.Err() != nil {
		return noRoom("name", name)
	}
	there, err := a.Rooms.Exists(ctx, name)
	if err != nil {
		return err
	}
	if !there {
		return noRoom("name", name)
	}
	return nil
}

// Name is by what name somebody is known in rooms: their username, or their id
// where another identity provider tells no name.
func (a *API) Name(ctx context.Context, who Principal) (string, error) {
	if who.Username != "" {
		return who.Username, nil
	}
	if !a.ExternalUsers {
		acc, err := a.Users.ByID(ctx, who.UserID)
		if err != nil {
			return "", problem.Wrap(problem.Unauthorized, "The account is gone.", err)
		}
		return acc.Username, nil
	}
	return string(who.UserID), nil
}

// present is a stream's part in rooms; the rooms in join are followed, too.
func (a *API) present(r *http.Request, who Principal, join string, st *hub.Stream) (*present, error) {
	p := &present{api: a, who: who}
	for _, name := range strings.Split(join, ",") {
		if name == "" {
			continue
		}
		var v event.Invalid
		if v.CheckRoom("join", name); v.Err() != nil {
			return nil, v.Err()
		}
		p.asked = append(p.asked, name)
		st.Topics = append(st.Topics, event.RoomPrefix+name)
	}
	var err error
	if _, st.Topics, err = hub.ParseTopics(st.Topics); err != nil {
		return nil, event.Invalid{{Field: "join", Rule: "topic", Message: err.Error()}}
	}
	return p, nil
}

// present is one stream's part in rooms: a hub.Presence and a presence.Handler.
type present struct {
	api   *API
	who   Principal
	asked []string // rooms that the request named

	mu    sync.Mutex // guards the rest
	conn  *presence.Conn
	ended bool
	bye   func(reason string)
}

// Begin is part of hub.Presence.
func (p *present) Begin(ctx context.Context, bye func(string)) {
	p.mu.Lock()
	p.bye = bye
	p.mu.Unlock()
	for _, name := range p.asked {
		if err := p.Join(ctx, name); err != nil {
			p.api.Log.Warn("a stream's reader was not shown in a room", "room", name, "error", err)
		}
	}
}

// connection is made with the first room.
func (p *present) connection(ctx context.Context) (*presence.Conn, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.conn != nil || p.ended {
		return p.conn, nil
	}
	name, err := p.api.Name(ctx, p.who)
	if err != nil {
		return nil, err
	}
	p.conn, err = p.api.Presence.Connect(ctx, p.who.UserID, name, false, p)
	return p.conn, err
}

// Join is part of hub.Presence. Joining again changes nothing.
func (p *present) Join(ctx context.Context, name string) error {
	if err := p.api.requireRoom(ctx, name); err != nil {
		return err
	}
	conn, err := p.connection(ctx)
	if err != nil {
		return problem.Wrap(problem.Unavailable, "The room cannot be joined now.", err)
	}
	if conn == nil {
		return nil // the stream has ended meanwhile
	}
	if err := conn.Join(ctx, name); err != nil && !errors.Is(err, presence.ErrJoined) {
		return problem.Wrap(problem.Unavailable, "The room cannot be joined now.", err)
	}
	return nil
}

// Part is part of hub.Presence.
func (p *present) Part(ctx context.Context, name string) error {
	conn, err := p.connection(ctx)
	if err != nil || conn == nil {
		return err
	}
	if err := conn.Part(ctx, name); err != nil && !errors.Is(err, presence.ErrNotJoined) {
		return problem.Wrap(problem.Unavailable, "The room cannot be left now.", err)
	}
	return nil
}

// End is part of hub.Presence. Readers come back: they count as there for a
// moment.
func (p *present) End() {
	p.mu.Lock()
	conn := p.conn
	p.ended = true
	p.mu.Unlock()
	if conn != nil {
		conn.Leave(true)
	}
}

// Welcome, Left and Refused are part of presence.Handler: what a stream is to
// know of its rooms it gets by following them.
func (p *present) Welcome(event.Directed) {}

// Left is part of presence.Handler.
func (p *present) Left(event.Directed) {}

// Refused is part of presence.Handler.
func (p *present) Refused(event.Directed) {}

// Lost is part of presence.Handler: the reader comes back, and is seen again.
func (p *present) Lost() {
	p.mu.Lock()
	bye := p.bye
	p.mu.Unlock()
	if bye != nil {
		bye(hub.PresenceLost)
	}
}

// What one person may say over HTTP: bursts, and then so many a second.
const (
	talkBurst  = 100
	talkRate   = 20
	maxTalkers = 100_000 // whose rates are remembered; beyond it all begin anew
)

// talkers bounds what each person says.
type talkers struct {
	rate  rate.Limit
	burst int

	mu     sync.Mutex // guards limits
	limits map[event.UserID]*rate.Limiter
}

func newTalkers(r rate.Limit, burst int) *talkers {
	return &talkers{rate: r, burst: burst, limits: make(map[event.UserID]*rate.Limiter)}
}

// wait is how long a person must wait, 0 if they need not.
func (t *talkers) wait(user event.UserID, now time.Time) time.Duration {
	return t.waitFor(user, 1, now)
}

// waitFor is wait for n at once; more than a burst count as one.
func (t *talkers) waitFor(user event.UserID, n int, now time.Time) time.Duration {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.limits) >= maxTalkers {
		clear(t.limits)
	}
	l := t.limits[user]
	if l == nil {
		l = rate.NewLimiter(t.rate, t.burst)
		t.limits[user] = l
	}
	r := l.ReserveN(now, min(n, t.burst))
	if d := r.DelayFrom(now); d > 0 {
		r.CancelAt(now)
		return d
	}
	return 0
}
