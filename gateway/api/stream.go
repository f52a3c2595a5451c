package api

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"crier/gateway/hub"
	"crier/gateway/ws"
	"crier/internal/event"
	"crier/internal/inbox"
	"crier/internal/problem"
)

// Stream answers with a stream of server-sent events.
//
//	@Summary		Follow one's notifications (SSE)
//	@Description	Events: ready, notification, message, tick, counts, resumed, gap, bye. Without signing in, ticks only.
//	@Tags			stream
//	@Param			topics			query	string	false	"comma list such as news,room:friends,ticks:BTCUSDT"
//	@Param			since			query	string	false	"a cursor: everything after it comes first"
//	@Param			join			query	string	false	"comma list of rooms to follow and be seen in, such as friends"
//	@Param			rate			query	int		false	"writes of ticks a second, 1 to 10"
//	@Param			ticket			query	string	false	"from POST /stream/ticket"
//	@Param			Last-Event-ID	header	string	false	"as since, which it wins over"
//	@Produce		text/event-stream
//	@Success		200	{string}	string
//	@Failure		400,401,403	{object}	Problem
//	@Security		bearer
//	@Router			/stream [get]
func (a *API) Stream(w http.ResponseWriter, r *http.Request) error {
	// A link of another site brings the cookie along (SameSite=Lax), but cannot set
	// this header, which EventSource always does: no link shows anybody in a room.
	if r.URL.Query().Get("join") != "" && Who(r).Cookie && !strings.Contains(r.Header.Get("Accept"), "text/event-stream") {
		return problem.New(problem.BadOrigin, "A request with the session cookie joins rooms with Accept: text/event-stream only.")
	}
	st, begin, err := a.open(r)
	if err != nil {
		return err
	}
	if r.URL.Query().Get("join") == "" {
		st.Presence = nil // its reader cannot ask for a room later
	}
	return a.SSE.Serve(w, r, st, begin)
}

// Socket answers with a WebSocket of subprotocol crier.v1.
//
//	@Summary		Follow one's notifications (WebSocket)
//	@Description	The same events as JSON text frames; commands subscribe, unsubscribe, read, ping, auth.
//	@Tags			stream
//	@Param			topics	query	string	false	"as for SSE"
//	@Param			since	query	string	false	"as for SSE"
//	@Success		101	{string}	string
//	@Failure		400,401,403,426	{object}	Problem
//	@Security		bearer
//	@Router			/ws [get]
func (a *API) Socket(w http.ResponseWriter, r *http.Request) error {
	if err := ws.CheckHandshake(w, r); err != nil {
		return err
	}
	st, begin, err := a.open(r)
	if err != nil {
		return err
	}
	return a.WS.Serve(w, r, st, begin, ws.CrierV1())
}

// open checks a request for a stream, and makes what resolves its place.
func (a *API) open(r *http.Request) (*hub.Stream, func() (hub.Placing, error), error) {
	who, q := Who(r), r.URL.Query()
	if who.Lacks != nil {
		return nil, nil, who.Lacks
	}
	st := &hub.Stream{UserID: who.UserID, Session: who.Session, Ends: who.Ends, Rate: hub.MaxRate}
	var v event.Invalid
	var err error
	if st.Follows, st.Topics, err = hub.ParseTopics(strings.Split(q.Get("topics"), ",")); err != nil {
		v.Add("topics", "topic", err.Error())
	}
	if s := q.Get("rate"); s != "" {
		n, err := strconv.Atoi(s)
		if err != nil || n < 1 || n > 1000 {
			v.Add("rate", "range", "must be 1 to 1000 writes a second")
		}
		st.Rate = n
	}
	if err := v.Err(); err != nil {
		return nil, nil, err
	}
	if who.UserID == "" {
		if len(st.Follows) == 0 || len(st.Topics) > 0 {
			return nil, nil, problem.New(problem.Unauthorized, "Sign in, or follow ticks only.")
		}
		return st, func() (hub.Placing, error) { return hub.Placing{}, nil }, nil
	}
	present, err := a.present(r, who, q.Get("join"), st)
	if err != nil {
		return nil, nil, err
	}
	st.Presence = present
	cursor := r.Header.Get("Last-Event-ID")
	if cursor == "" {
		cursor = since(r.URL)
	}
	return st, func() (hub.Placing, error) { return a.place(r.Context(), who, cursor, st.Topics) }, nil
}

// since is the cursor in a stream's address. One of several topics holds
// semicolons, which net/url takes for a fault where they are not escaped, as
// clients that build addresses by hand do not.
func since(u *url.URL) string {
	for pair := range strings.SplitSeq(u.RawQuery, "&") {
		if name, value, _ := strings.Cut(pair, "="); name == "since" {
			if plain, err := url.QueryUnescape(value); err == nil {
				return plain
			}
			return value
		}
	}
	return ""
}

// PlaceNow begins a stream with what comes from now on.
func (a *API) PlaceNow(ctx context.Context, who Principal) (hub.Placing, error) {
	return a.place(ctx, who, "", nil)
}

// place reads where the inbox and the topics stand. It is called after the hub
// has begun to note what arrives, so nothing falls between.
func (a *API) place(ctx context.Context, who Principal, cursor string, topics []string) (hub.Placing, error) {
	head, found, err := a.heads.get(ctx, who.UserID)
	switch {
	case err != nil:
		return hub.Placing{}, problem.Wrap(problem.Unavailable, "The inbox could not be read.", err)
	case !found && !a.ExternalUsers:
		return hub.Placing{}, problem.New(problem.Unauthorized, "The account is gone.")
	}
	p := hub.Place(cursor, hub.Head{Last: head.LastID, Counts: head.Counts}, head.PrunedTo)
	if p.Reconnect {
		p.CutReason = a.cuts.take(who.UserID, who.Session)
	}
	return p, a.placeTopics(ctx, &p, cursor, topics)
}

// placeTopics adds to p where topics begin. One that nobody has written to yet
// stands at 0.
func (a *API) placeTopics(ctx context.Context, p *hub.Placing, cursor string, topics []string) error {
	for _, topic := range topics {
		head, found, err := a.heads.get(ctx, event.TopicOwner(topic))
		if err != nil {
			return problem.Wrap(problem.Unavailable, "A topic could not be read.", err)
		}
		if name, ok := event.TopicOwner(topic).Room(); ok && !found {
			return noRoom("topics", name)
		}
		p.PlaceTopic(topic, cursor, head.LastID, head.PrunedTo)
	}
	return nil
}

// commands does what clients ask for on a socket.
type commands struct{ a *API }

// Read is part of ws.Commands.
func (c commands) Read(ctx context.Context, uid event.UserID, ids []int64) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	counts, err := c.a.Inbox.Mark(ctx, uid, inbox.Read, ids, time.Now())
	if errors.Is(err, inbox.ErrNotFound) || errors.Is(err, inbox.ErrNoInbox) {
		return nil // nothing to mark
	}
	if err != nil {
		return err
	}
	c.a.announce(ctx, uid, counts)
	return nil
}

// errOtherUser is a token of somebody else.
var errOtherUser = errors.New("the token is another user's")

// Renew is part of ws.Commands.
func (c commands) Renew(ctx context.Context, uid event.UserID, text string) (time.Time, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	p, err := c.a.ByToken(ctx, text)
	if err == nil && p.UserID != uid {
		err = errOtherUser
	}
	return p.Ends, err
}

// PlaceTopics is part of ws.Commands.
func (c commands) PlaceTopics(ctx context.Context, cursor string, topics []string) (hub.Placing, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	var p hub.Placing
	return p, c.a.placeTopics(ctx, &p, cursor, topics)
}

// Problem is the form of every refusal, for Swagger.
type Problem struct {
	Type   string             `json:"type"`
	Title  string             `json:"title"`
	Status int                `json:"status"`
	Code   string             `json:"code"`
	Detail string             `json:"detail"`
	Errors []event.FieldError `json:"errors"`

	NeededScopes  []string `json:"needed_scopes"`  // insufficient_scope: one of them
	GrantedScopes []string `json:"granted_scopes"` // insufficient_scope
	AllowedKinds  []string `json:"allowed_kinds"`  // kind_not_allowed
}

// StoredView is a notification, for Swagger; event.Stored writes it.
type StoredView struct {
	ID         int64     `json:"id"`
	EventID    string    `json:"event_id"`
	UserID     string    `json:"user_id"`
	Kind       string    `json:"kind"`
	Title      string    `json:"title"`
	Body       string    `json:"body"`
	URL        string    `json:"url,omitempty"`
	Payload    any       `json:"payload,omitempty"`
	Priority   string    `json:"priority"`
	Unread     int       `json:"unread"`
	CreatedAt  time.Time `json:"created_at"`
	ReadAt     time.Time `json:"read_at,omitempty"`
	ArchivedAt time.Time `json:"archived_at,omitempty"`
}
