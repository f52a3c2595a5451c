package api

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"crier/internal/event"
	"crier/internal/inbox"
	"crier/internal/kafka"
	"crier/internal/lifecycle"
	"crier/internal/problem"
	"crier/internal/schedule"
	"crier/internal/scope"
)

// Accepted says where Kafka keeps what was sent.
type Accepted struct {
	EventID   string       `json:"event_id"`
	UserID    event.UserID `json:"user_id,omitempty"`
	To        string       `json:"to,omitempty"` // the topic, or everyone
	Topic     string       `json:"topic" example:"notifications"`
	Partition int32        `json:"partition"`
	Offset    int64        `json:"offset"`
}

// AcceptedMany is the answer to a send to user_ids.
type AcceptedMany struct {
	Events []Accepted `json:"events"`
}

// sendTimeout bounds the wait for Kafka's acknowledgement.
const sendTimeout = 10 * time.Second

// Send puts a notification on its way: 202 means that Kafka has acknowledged it.
//
//	@Summary		Send a notification
//	@Description	To user_id, user_ids (up to 10,000), a topic, or everyone; at deliver_at, until expires_at; with a collapse_key it replaces an unread one. Needs a service's API key; a signed-in person may send to themself. Answered once Kafka has acknowledged it: from then on it is not lost.
//	@Tags			notifications
//	@Param			body			body		event.Notification	true	"what to say, and to whom"
//	@Param			Idempotency-Key	header		string				false	"the same key and content within 24 h gives the first answer again"
//	@Success		202				{object}	Accepted			"with user_ids: {events: […]}"
//	@Failure		400,401,403,404,422,503	{object}	Problem
//	@Security		apikey
//	@Security		bearer
//	@Router			/notifications [post]
func (a *API) Send(w http.ResponseWriter, r *http.Request) error {
	var n event.Notification
	if err := decode(w, r, &n); err != nil {
		return err
	}
	if key := r.Header.Get("Idempotency-Key"); key != "" {
		n.IdempotencyKey = key
	}
	answer, err := a.Accept(r.Context(), Who(r), &n)
	if err != nil {
		return err
	}
	return encode(w, http.StatusAccepted, answer)
}

// Accept checks a notification and its sender's right, and returns what to
// answer once Kafka has acknowledged it: an Accepted, or an AcceptedMany.
func (a *API) Accept(ctx context.Context, who Principal, n *event.Notification) (any, error) {
	if err := n.Validate(); err != nil {
		return nil, err
	}
	if err := n.CheckTimes(time.Now()); err != nil {
		return nil, err
	}
	if who.Service == "" && (n.Everyone || n.Topic != "" || slices.ContainsFunc(n.Recipients(), func(u event.UserID) bool { return u != who.UserID })) {
		return nil, who.refusal(problem.New(problem.Forbidden, "Without an API key you can send to yourself only."))
	}
	if err := maySend(who, n); err != nil {
		return nil, err
	}
	if err := a.rates.send(who, max(1, len(n.Recipients())), time.Now()); err != nil {
		return nil, err
	}
	if n.Topic == "" {
		if err := a.requireUsers(ctx, n.Recipients()); err != nil {
			return nil, err
		}
	}
	if n.IdempotencyKey == "" {
		return a.produce(ctx, n, who.Sender())
	}
	return a.sendOnce(ctx, n, who.Sender())
}

// maySend refuses a service whose credential does not allow this recipient or kind.
func maySend(who Principal, n *event.Notification) error {
	needs := scope.SendUsers
	switch {
	case n.Everyone:
		needs = scope.SendEveryone
	case n.Topic != "":
		needs = scope.SendTopics
	}
	if err := who.requireScope(needs); err != nil {
		return err
	}
	return who.requireKind(n.Kind)
}

// Everyone says how many a send to everyone reaches, so that it can be shown
// before it is sent.
//
//	@Summary		How many a send to everyone reaches
//	@Description	Users with an inbox, and those of them whom an email reaches: they have an address and have not unsubscribed. Needs a service's API key.
//	@Tags			notifications
//	@Success		200	{object}	inbox.Audience
//	@Failure		401,403	{object}	Problem
//	@Security		apikey
//	@Router			/notifications/everyone [get]
func (a *API) Everyone(w http.ResponseWriter, r *http.Request) error {
	if Who(r).Service == "" {
		return problem.New(problem.Forbidden, "Only a service can send to everyone: send an API key.")
	}
	found, err := a.Inbox.Everyone(r.Context())
	if err != nil {
		return err
	}
	return encode(w, http.StatusOK, found)
}

// sendOnce answers a key that was seen before as the first time.
func (a *API) sendOnce(ctx context.Context, n *event.Notification, sender string) (any, error) {
	h := sha256.New()
	h.Write(n.ContentHash())
	for _, u := range n.Recipients() {
		fmt.Fprintf(h, "%d:%s", len(u), u)
	}
	if n.Everyone {
		fmt.Fprint(h, "everyone")
	}
	return a.once(ctx, sender, n.IdempotencyKey, h.Sum(nil), func() (any, error) { return a.produce(ctx, n, sender) })
}

// requireUsers refuses users that do not exist, where people sign up here.
func (a *API) requireUsers(ctx context.Context, users []event.UserID) error {
	if a.ExternalUsers {
		return nil
	}
	missing, err := a.known.missing(ctx, users, time.Now())
	if err != nil {
		return problem.Wrap(problem.Unavailable, "The users could not be looked up.", err)
	}
	if len(missing) == 0 {
		return nil
	}
	field := "user_id"
	if len(users) > 1 {
		field = "user_ids"
	}
	p := problem.New(problem.UserNotFound, fmt.Sprintf("There is no user %q.", missing[0]))
	for _, u := range missing[:min(len(missing), 100)] {
		p.Errors = append(p.Errors, event.FieldError{Field: field, Rule: "exists", Message: fmt.Sprintf("no such user: %s", u)})
	}
	return p
}

// sendsAtOnce is how many records wait for Kafka together; each holds a copy of
// what is said.
const sendsAtOnce = 500

// produce writes one record a recipient and waits for Kafka.
func (a *API) produce(ctx context.Context, n *event.Notification, sender string) (any, error) {
	users := n.Recipients()
	if n.Everyone {
		users = []event.UserID{everyone}
	}
	// Once begun, the produce is not undone by a client that goes away.
	ctx, cancel := context.WithTimeoutCause(context.WithoutCancel(ctx), sendTimeout, fmt.Errorf("Kafka did not acknowledge within %v", sendTimeout))
	defer cancel()
	events := make([]Accepted, 0, len(users))
	for chunk := range slices.Chunk(users, sendsAtOnce) {
		recs := make([]kafka.Record, len(chunk))
		for i, u := range chunk {
			rec, accepted, err := sendRecord(n, u, sender)
			if err != nil {
				return nil, err
			}
			recs[i], events = rec, append(events, accepted)
		}
		if err := a.Kafka.Produce(ctx, recs...); err != nil {
			return nil, problem.Wrap(problem.Unavailable, "Kafka did not acknowledge it; send it again with the same Idempotency-Key.", err)
		}
		a.sent.Add(float64(len(recs)))
		for i, e := 0, events[len(events)-len(recs):]; i < len(recs); i++ {
			e[i].Topic, e[i].Partition, e[i].Offset = recs[i].Topic, recs[i].Partition, recs[i].Offset
		}
	}
	if len(n.UserIDs) == 0 {
		return events[0], nil
	}
	return AcceptedMany{events}, nil
}

// everyone is the key of a send to all.
const everyone = "everyone"

// sendRecord is the record of a send to one of its recipients.
func sendRecord(n *event.Notification, to event.UserID, sender string) (kafka.Record, Accepted, error) {
	one := *n
	one.UserIDs = nil
	accepted := Accepted{EventID: event.NewID()}
	key := string(to)
	switch {
	case n.Everyone:
		accepted.To = everyone
	case n.Topic != "":
		key, accepted.To = n.Topic, n.Topic
	default:
		one.UserID, accepted.UserID = to, to
	}
	if n.IdempotencyKey != "" {
		accepted.EventID = event.EventIDOf(sender, n.IdempotencyKey, to)
	}
	value, err := event.Marshal(one)
	if err != nil {
		return kafka.Record{}, accepted, err
	}
	return kafka.Record{Topic: kafka.Notifications, Key: []byte(key), Value: value, Headers: []kafka.Header{
		{Key: "sender", Value: []byte(sender)}, {Key: "event_id", Value: []byte(accepted.EventID)}}}, accepted, nil
}

// cancelWait is how long a cancel waits for its send, which may have been
// accepted and not yet been read from Kafka.
const cancelWait = 3 * time.Second

// CancelSend ends a scheduled send before it is due.
//
//	@Summary		Cancel a scheduled send
//	@Description	Its sender can, until it is due. Cancelling again answers the same.
//	@Tags			notifications
//	@Param			event_id	path		string	true	"of the send"
//	@Success		200			{object}	schedule.State
//	@Failure		401,404,409	{object}	Problem
//	@Security		apikey
//	@Security		bearer
//	@Router			/notifications/scheduled/{event_id} [delete]
func (a *API) CancelSend(w http.ResponseWriter, r *http.Request) error {
	sender, id := Who(r).Sender(), PathVar(r, "event_id")
	if !event.IsUUID(id) {
		return problem.New(problem.NotFound, "No such scheduled send of yours.")
	}
	ctx, cancel := context.WithTimeout(r.Context(), cancelWait)
	defer cancel()
	var wait lifecycle.Backoff
	wait.Min, wait.Max = 20*time.Millisecond, 200*time.Millisecond
	for {
		st, err := a.Schedule.Cancel(r.Context(), sender, id, time.Now())
		switch {
		case err == nil:
			return encode(w, http.StatusOK, st)
		case errors.Is(err, schedule.ErrTooLate):
			return problem.New(problem.Conflict, "It is being delivered, or was.")
		case !errors.Is(err, schedule.ErrUnknown):
			return err
		}
		if wait.Wait(ctx) != nil {
			return problem.New(problem.NotFound, "No such scheduled send of yours.")
		}
	}
}

// RecallNotification deletes a notification from its recipient's inbox.
//
//	@Summary		Recall a notification
//	@Description	Its sender can: the same API key's owner, or the person who sent it to themself.
//	@Tags			notifications
//	@Param			event_id	path	string	true	"of the send's answer"
//	@Param			user_id		query	string	false	"its recipient; required with an API key"
//	@Success		204
//	@Failure		400,401,403,404	{object}	Problem
//	@Security		apikey
//	@Security		bearer
//	@Router			/notifications/sent/{event_id} [delete]
func (a *API) RecallNotification(w http.ResponseWriter, r *http.Request) error {
	who, eventID, uid := Who(r), PathVar(r, "event_id"), event.UserID(r.URL.Query().Get("user_id"))
	if who.Service == "" && uid == "" {
		uid = who.UserID
	}
	var v event.Invalid
	if v.CheckUserID("user_id", uid); v.Err() != nil {
		return v.Err()
	}
	if who.Service == "" && uid != who.UserID {
		return problem.New(problem.Forbidden, "Without an API key you can send to yourself only.")
	}
	unknown := problem.New(problem.NotFound, "This user has no such notification of yours.")
	if !event.IsUUID(eventID) {
		return unknown
	}
	ctx, cancel := context.WithTimeout(r.Context(), cancelWait)
	defer cancel()
	var wait lifecycle.Backoff
	wait.Min, wait.Max = 100*time.Millisecond, time.Second
	for {
		counts, err := a.Inbox.Recall(r.Context(), uid, who.Sender(), eventID, time.Now())
		if err == nil {
			a.announce(r.Context(), uid, counts)
			w.WriteHeader(http.StatusNoContent)
			return nil
		}
		if !errors.Is(err, inbox.ErrNotFound) && !errors.Is(err, inbox.ErrNoInbox) {
			return err
		}
		if wait.Wait(ctx) != nil { // it may not have been read from Kafka until now
			return unknown
		}
	}
}

// ScheduledSend shows how a scheduled send stands.
//
//	@Summary	How a scheduled send stands
//	@Tags		notifications
//	@Param		event_id	path		string	true	"of the send"
//	@Success	200			{object}	schedule.State
//	@Failure	401,404		{object}	Problem
//	@Security	apikey
//	@Security	bearer
//	@Router		/notifications/scheduled/{event_id} [get]
func (a *API) ScheduledSend(w http.ResponseWriter, r *http.Request) error {
	id := PathVar(r, "event_id")
	if !event.IsUUID(id) {
		return problem.New(problem.NotFound, "No such scheduled send of yours.")
	}
	st, err := a.Schedule.Get(r.Context(), Who(r).Sender(), id)
	if errors.Is(err, schedule.ErrUnknown) {
		return problem.New(problem.NotFound, "No such scheduled send of yours.")
	}
	if err != nil {
		return err
	}
	return encode(w, http.StatusOK, st)
}

// List shows a page of one's own inbox, newest first.
//
//	@Summary	List one's inbox
//	@Tags		notifications
//	@Param		unread		query		bool	false	"only unread ones"
//	@Param		archived	query		bool	false	"the archived ones"
//	@Param		kind		query		string	false	"only of this kind"
//	@Param		q			query		string	false	"a text in title or body"
//	@Param		limit		query		int		false	"1 to 200, default 50"	minimum(1)	maximum(200)
//	@Param		cursor		query		string	false	"from a page's next"
//	@Success	200			{object}	Page{results=[]StoredView}
//	@Failure	400,401		{object}	Problem
//	@Security	bearer
//	@Router		/notifications [get]
func (a *API) List(w http.ResponseWriter, r *http.Request) error {
	limit, before, err := paging(r)
	if err != nil {
		return err
	}
	var v event.Invalid
	f := inbox.Filter{Limit: limit, Before: before, Unread: boolean(&v, r, "unread"), Archived: boolean(&v, r, "archived"),
		Kind: queryText(&v, r, "kind", event.MaxKind), Query: queryText(&v, r, "q", 200)}
	if err := v.Err(); err != nil {
		return err
	}
	list, count, more, err := a.Inbox.Page(r.Context(), Who(r).UserID, f)
	if err != nil {
		return err
	}
	page := Page{Count: count, Results: notNil(list)}
	if more {
		page.Next = next(r, more, list[len(list)-1].ID)
	}
	return encode(w, http.StatusOK, page)
}

// Get shows one notification.
//
//	@Summary	Show a notification
//	@Tags		notifications
//	@Param		id	path		int	true	"its id"
//	@Success	200	{object}	StoredView
//	@Failure	404	{object}	Problem
//	@Security	bearer
//	@Router		/notifications/{id} [get]
func (a *API) Get(w http.ResponseWriter, r *http.Request) error {
	id, err := pathID(PathVar(r, "id"))
	if err != nil {
		return err
	}
	n, err := a.Inbox.Get(r.Context(), Who(r).UserID, id)
	if errors.Is(err, inbox.ErrNotFound) {
		return problem.New(problem.NotFound, "No such notification in your inbox.")
	}
	if err != nil {
		return err
	}
	return encode(w, http.StatusOK, n)
}

// DeliveryPage is where else a notification went.
type DeliveryPage struct {
	Page
	// Connections is how many streams of the user are open at this gateway now.
	Connections int `json:"connections" example:"2"`
}

// Deliveries shows where else a notification went, and how that went.
//
//	@Summary	A notification's deliveries by email and webhook
//	@Tags		notifications
//	@Param		id	path		int	true	"its id"
//	@Success	200	{object}	DeliveryPage{results=[]inbox.Delivery}
//	@Failure	404	{object}	Problem
//	@Security	bearer
//	@Router		/notifications/{id}/deliveries [get]
func (a *API) Deliveries(w http.ResponseWriter, r *http.Request) error {
	id, err := pathID(PathVar(r, "id"))
	if err != nil {
		return err
	}
	list, err := a.Inbox.Deliveries(r.Context(), Who(r).UserID, id)
	if errors.Is(err, inbox.ErrNotFound) {
		return problem.New(problem.NotFound, "No such notification in your inbox.")
	}
	if err != nil {
		return err
	}
	n, err := a.Inbox.Get(r.Context(), Who(r).UserID, id)
	if err != nil {
		return err
	}
	fates, err := a.Destinations.Standings(r.Context(), Who(r).UserID, n.EventID)
	if err != nil {
		return err
	}
	for _, f := range fates {
		list = append(list, inbox.Delivery{Channel: inbox.ByWebhook, Address: f.Request, State: f.State, Attempts: f.Attempts, Error: f.Error, CreatedAt: f.CreatedAt, UpdatedAt: f.UpdatedAt})
	}
	return encode(w, http.StatusOK, DeliveryPage{Page{Count: int64(len(list)), Results: notNil(list)}, a.Hub.Connections(Who(r).UserID)})
}

// Mark makes the handler of one change of state.
//
//	@Summary	Mark a notification read (unread, archive, unarchive likewise)
//	@Tags		notifications
//	@Param		id	path		int				true	"its id"
//	@Success	200	{object}	event.Counts	"the counts after it"
//	@Failure	404	{object}	Problem
//	@Security	bearer
//	@Router		/notifications/{id}/read [post]
//	@Router		/notifications/{id}/unread [post]
//	@Router		/notifications/{id}/archive [post]
//	@Router		/notifications/{id}/unarchive [post]
func (a *API) Mark(mark inbox.Mark) Handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		id, err := pathID(PathVar(r, "id"))
		if err != nil {
			return err
		}
		counts, err := a.Inbox.Mark(r.Context(), Who(r).UserID, mark, []int64{id}, time.Now())
		return a.marked(w, r, counts, err)
	}
}

// DeleteNotification removes a notification from the inbox.
//
//	@Summary	Delete a notification
//	@Tags		notifications
//	@Param		id	path		int				true	"its id"
//	@Success	200	{object}	event.Counts	"the counts after it"
//	@Failure	404	{object}	Problem
//	@Security	bearer
//	@Router		/notifications/{id} [delete]
func (a *API) DeleteNotification(w http.ResponseWriter, r *http.Request) error {
	return a.Mark(inbox.Delete)(w, r)
}

// ReadAllAnswer is what marking everything read answers with.
type ReadAllAnswer struct {
	event.Counts
	// What undoes exactly this: see /notifications/read-all/undo.
	ReadAt time.Time `json:"read_at"`
}

// ReadAll marks everything read.
//
//	@Summary	Mark all notifications read
//	@Tags		notifications
//	@Success	200	{object}	ReadAllAnswer
//	@Security	bearer
//	@Router		/notifications/read-all [post]
func (a *API) ReadAll(w http.ResponseWriter, r *http.Request) error {
	at := time.Now().UTC().Truncate(time.Microsecond) // as Postgres keeps it
	counts, err := a.Inbox.Mark(r.Context(), Who(r).UserID, inbox.Read, nil, at)
	if err != nil && !errors.Is(err, inbox.ErrNoInbox) {
		return err
	}
	if err == nil {
		a.announce(r.Context(), Who(r).UserID, counts)
	}
	return encode(w, http.StatusOK, ReadAllAnswer{counts, at})
}

// ReadAllUndo says which marking of everything is to be undone.
type ReadAllUndo struct {
	ReadAt string `json:"read_at" validate:"required" example:"2026-01-02T03:04:05.123456Z"`
}

// UndoReadAll makes unread what a marking of everything has marked.
//
//	@Summary	Undo marking all notifications read
//	@Tags		notifications
//	@Param		body	body		ReadAllUndo		true	"read_at of the answer that is undone"
//	@Success	200		{object}	event.Counts	"the counts after it"
//	@Failure	400		{object}	Problem
//	@Security	bearer
//	@Router		/notifications/read-all/undo [post]
func (a *API) UndoReadAll(w http.ResponseWriter, r *http.Request) error {
	var body ReadAllUndo
	if err := decode(w, r, &body); err != nil {
		return err
	}
	var v event.Invalid
	at := v.CheckTimeText("read_at", body.ReadAt)
	if body.ReadAt == "" {
		v.Add("read_at", "required", "is required")
	}
	if len(v) > 0 {
		return v
	}
	counts, err := a.Inbox.Mark(r.Context(), Who(r).UserID, inbox.UndoRead, nil, at)
	return a.marked(w, r, counts, err)
}

// Seen says that the person has looked at the list.
//
//	@Summary	Mark all notifications seen
//	@Tags		notifications
//	@Success	200	{object}	event.Counts
//	@Security	bearer
//	@Router		/notifications/seen [post]
func (a *API) Seen(w http.ResponseWriter, r *http.Request) error {
	counts, err := a.Inbox.Seen(r.Context(), Who(r).UserID)
	return a.marked(w, r, counts, err)
}

func (a *API) marked(w http.ResponseWriter, r *http.Request, counts event.Counts, err error) error {
	switch {
	case errors.Is(err, inbox.ErrNotFound):
		return problem.New(problem.NotFound, "No such notification in your inbox.")
	case errors.Is(err, inbox.ErrNoInbox):
		return encode(w, http.StatusOK, event.Counts{}) // an inbox begins with its first notification
	case err != nil:
		return err
	}
	a.announce(r.Context(), Who(r).UserID, counts)
	return encode(w, http.StatusOK, counts)
}

// announce shows new counts on all of the person's devices: on this gateway at
// once, on the others by a signal.
func (a *API) announce(ctx context.Context, uid event.UserID, counts event.Counts) {
	a.Hub.Counts(uid, counts)
	a.signal(ctx, event.Signal{Type: event.SignalCounts, UserID: uid, Counts: &counts})
}

// Counts shows how many are unread and unseen.
//
//	@Summary	Count notifications
//	@Tags		notifications
//	@Success	200	{object}	event.Counts
//	@Security	bearer
//	@Router		/notifications/counts [get]
func (a *API) Counts(w http.ResponseWriter, r *http.Request) error {
	head, err := a.Inbox.Head(r.Context(), Who(r).UserID)
	if err != nil && !errors.Is(err, inbox.ErrNoInbox) {
		return err
	}
	return encode(w, http.StatusOK, head.Counts)
}
