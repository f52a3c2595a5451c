package api

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"

	"crier/gateway/hub"
	"crier/internal/alert"
	"crier/internal/destination"
	"crier/internal/event"
	"crier/internal/inbox"
	"crier/internal/problem"
	"crier/internal/room"
	"crier/internal/schedule"
	"crier/internal/user"
)

// PasswordRequest is the body of POST /password.
type PasswordRequest struct {
	Password    string `json:"password" validate:"required" example:"correct horse"`
	NewPassword string `json:"new_password" validate:"required" minLength:"8" example:"battery staple"`
}

// ChangePassword replaces the person's password, and ends all other sessions and
// the links of mails that set a password.
//
//	@Summary	Change one's password
//	@Tags		account
//	@Param		body	body	PasswordRequest	true	"the present and the new password"
//	@Success	204
//	@Failure	400,401,429	{object}	Problem
//	@Security	bearer
//	@Router		/password [post]
func (a *API) ChangePassword(w http.ResponseWriter, r *http.Request) error {
	var in PasswordRequest
	if err := decode(w, r, &in); err != nil {
		return err
	}
	var v event.Invalid
	if in.Password == "" {
		v.Add("password", "required", "is required: the present one")
	}
	user.CheckPassword(&v, "new_password", in.NewPassword)
	if err := v.Err(); err != nil {
		return err
	}
	who := Who(r)
	acc, err := a.account(r.Context(), who)
	if err != nil {
		return err
	}
	// Only this account's hash counts: somebody else's email address may read as
	// this username does, and their password is no proof of being this person.
	if _, err := a.checkPassword(r, acc.Username, in.Password, "", []user.Account{acc}); err != nil {
		return err
	}
	hash, err := a.hash(r.Context(), in.NewPassword)
	if err != nil {
		return err
	}
	ended, err := a.Users.SetPassword(r.Context(), acc.ID, hash, who.Session, time.Now())
	if err != nil {
		return err
	}
	for _, session := range ended {
		a.sessionEnded(r.Context(), who.UserID, session)
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// account is the account of who asks, where people sign up here.
func (a *API) account(ctx context.Context, who Principal) (user.Account, error) {
	if a.ExternalUsers {
		return user.Account{}, problem.New(problem.Forbidden, "Accounts are the identity provider's here.")
	}
	acc, err := a.Users.ByID(ctx, who.UserID)
	if errors.Is(err, user.ErrNotFound) {
		return acc, problem.New(problem.Unauthorized, "The account is gone.")
	}
	return acc, err
}

// Leave removes the person with everything that is theirs: alerts, inbox,
// sessions, account. It cannot be undone.
//
//	@Summary	Leave, with all one's data
//	@Tags		account
//	@Success	204
//	@Failure	401	{object}	Problem
//	@Security	bearer
//	@Router		/profile [delete]
func (a *API) Leave(w http.ResponseWriter, r *http.Request) error {
	who := Who(r)
	if _, err := a.account(r.Context(), who); err != nil {
		return err
	}
	if err := a.erase(r.Context(), who.UserID); err != nil {
		return err
	}
	a.setCookie(w, r, "", -time.Second)
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// EraseUser removes a user with everything that is theirs, wherever users sign up.
//
//	@Summary	Erase a user, with all their data
//	@Tags		account
//	@Param		id	path	string	true	"the user"
//	@Success	204
//	@Failure	400,401,403,404	{object}	Problem
//	@Security	apikey
//	@Router		/users/{id} [delete]
func (a *API) EraseUser(w http.ResponseWriter, r *http.Request) error {
	uid, err := a.namedUser(r)
	if err != nil {
		return err
	}
	if err := a.erase(r.Context(), uid); err != nil {
		return err
	}
	a.Log.Info("user erased", "user", uid, "service", Who(r).Service)
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// namedUser is the user whom a service names in the path.
func (a *API) namedUser(r *http.Request) (event.UserID, error) {
	if Who(r).Service == "" {
		return "", problem.New(problem.Forbidden, "Other users' data is exported and erased with an API key.")
	}
	uid := event.UserID(PathVar(r, "id"))
	var v event.Invalid
	if v.CheckUserID("id", uid); v.Err() != nil {
		return "", v.Err()
	}
	return uid, a.requireUsers(r.Context(), []event.UserID{uid})
}

// erase removes everything of a user in one transaction and ends their streams on
// every gateway.
func (a *API) erase(ctx context.Context, uid event.UserID) error {
	err := a.DB.Tx(ctx, func(tx pgx.Tx) error {
		// Alerts first, then the inbox: the order in which the consumer locks them.
		for _, forget := range []func(context.Context, pgx.Tx, event.UserID) error{
			alert.Forget, inbox.Forget, schedule.Forget, room.Forget, destination.Forget, user.Forget,
		} {
			if err := forget(ctx, tx, uid); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	a.ForgetUser(uid)
	a.Hub.EndSession(uid, "", hub.LoggedOut)
	a.signal(ctx, event.Signal{Type: event.SignalSessionEnded, UserID: uid})
	return nil
}

// ForgetUser drops what is remembered of a user whose account was closed, here or
// at another gateway.
func (a *API) ForgetUser(u event.UserID) { a.known.forget(u) }

// ExportView is everything that is kept of a person.
type ExportView struct {
	User          UserView                 `json:"user"`
	Sessions      []user.Session           `json:"sessions"`
	Alerts        []alert.Alert            `json:"alerts" swaggertype:"array,object"`
	Firings       map[int64][]alert.Firing `json:"firings" swaggertype:"object"`
	Notifications []event.Stored           `json:"notifications" swaggertype:"array,object"`
	Said          []event.Stored           `json:"said" swaggertype:"array,object"` // in rooms
	Accounts      []destination.Export     `json:"accounts"`
	Addresses     []user.Claim             `json:"addresses"` // that mail was asked for
}

// exportPage is how much is read at once: notifications may be 100 KiB each.
const exportPage = 100

// exportFirings is how many firings of an alert are exported, the newest.
const exportFirings = 1000

// Export shows everything that is kept of the person.
//
//	@Summary	Take one's data along
//	@Tags		account
//	@Success	200	{object}	ExportView
//	@Failure	401,429	{object}	Problem
//	@Security	bearer
//	@Router		/export [get]
func (a *API) Export(w http.ResponseWriter, r *http.Request) error {
	who := Who(r)
	me := UserView{ID: who.UserID, Username: who.Username, Email: who.Email}
	if acc, err := a.account(r.Context(), who); err == nil {
		me = view(acc)
	} else if !a.ExternalUsers {
		return err
	}
	return a.export(w, r, me)
}

// ExportUser shows everything that is kept of a user.
//
//	@Summary	Export a user's data
//	@Tags		account
//	@Param		id	path		string	true	"the user"
//	@Success	200	{object}	ExportView
//	@Failure	400,401,403,404,429	{object}	Problem
//	@Security	apikey
//	@Router		/users/{id}/export [get]
func (a *API) ExportUser(w http.ResponseWriter, r *http.Request) error {
	uid, err := a.namedUser(r)
	if err != nil {
		return err
	}
	me := UserView{ID: uid}
	if !a.ExternalUsers {
		acc, err := a.Users.ByID(r.Context(), uid)
		if errors.Is(err, user.ErrNotFound) {
			return problem.New(problem.NotFound, "No such user.")
		}
		if err != nil {
			return err
		}
		me = view(acc)
	}
	return a.export(w, r, me)
}

func (a *API) export(w http.ResponseWriter, r *http.Request, me UserView) error {
	ctx, uid, now := r.Context(), me.ID, time.Now()
	sessions, err := a.Users.Sessions(ctx, uid, now)
	if err != nil {
		return err
	}
	addresses, err := a.Users.Claims(ctx, uid)
	if err != nil {
		return err
	}
	accounts, err := a.Destinations.ExportOf(ctx, uid)
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Disposition", `attachment; filename="crier-export.json"`)
	out := &exportWriter{w: w}
	out.member("user", me)
	out.member("sessions", notNil(sessions))
	out.member("accounts", accounts)
	out.member("addresses", notNil(addresses))
	err = a.exportAlerts(ctx, out, uid, now)
	if err == nil {
		err = a.exportNotifications(ctx, out, uid)
	}
	if err == nil {
		err = a.exportSaid(ctx, out, uid)
	}
	if out.err = errors.Join(out.err, err); out.err != nil {
		// The answer has begun: its reader must see that it is not whole.
		a.Log.Warn("an export was broken off", "user", uid, "error", out.err)
		panic(http.ErrAbortHandler)
	}
	_, _ = w.Write([]byte("}\n"))
	return nil
}

// exportAlerts writes the alerts, then their firings, by alert.
func (a *API) exportAlerts(ctx context.Context, out *exportWriter, uid event.UserID, now time.Time) error {
	var fired []int64
	out.begin("alerts", "[")
	for before, more := int64(0), true; more && out.err == nil; {
		var page []alert.Alert
		var err error
		if page, _, more, err = a.Alerts.List(ctx, uid, alert.Filter{Before: before, Limit: exportPage}, now); err != nil {
			return err
		}
		for _, al := range page {
			out.entry(al)
			if before = al.ID; al.Firings > 0 {
				fired = append(fired, al.ID)
			}
		}
	}
	out.end("]")
	out.begin("firings", "{")
	for _, id := range fired {
		list, _, _, err := a.Alerts.Firings(ctx, uid, id, 0, exportFirings)
		if err != nil {
			return err
		}
		out.keyed(strconv.FormatInt(id, 10), list)
	}
	out.end("}")
	return nil
}

func (a *API) exportNotifications(ctx context.Context, out *exportWriter, uid event.UserID) error {
	out.begin("notifications", "[")
	for after, more := int64(0), true; more && out.err == nil; {
		page, err := a.Inbox.After(ctx, uid, after, exportPage)
		if err != nil {
			return err
		}
		for i := range page {
			out.entry(&page[i])
			after = page[i].ID
		}
		more = len(page) == exportPage
	}
	out.end("]")
	return nil
}

func (a *API) exportSaid(ctx context.Context, out *exportWriter, uid event.UserID) error {
	out.begin("said", "[")
	owner, after := event.UserID(""), int64(0)
	for more := true; more && out.err == nil; {
		page, err := a.Inbox.SaidBy(ctx, uid, owner, after, exportPage)
		if err != nil {
			return err
		}
		for i := range page {
			out.entry(&page[i])
			owner, after = page[i].UserID, page[i].ID
		}
		more = len(page) == exportPage
	}
	out.end("]")
	return nil
}

// exportWriter writes one JSON object, member by member, and keeps the first error.
type exportWriter struct {
	w       http.ResponseWriter
	members int
	entries int // of the array or object that is open
	err     error
}

func (e *exportWriter) write(b []byte) {
	if e.err == nil {
		_, e.err = e.w.Write(b)
	}
}

func (e *exportWriter) name(name string) {
	sep := `,"`
	if e.members++; e.members == 1 {
		sep = `{"`
	}
	e.write([]byte(sep + name + `":`))
}

func (e *exportWriter) member(name string, v any) {
	b, err := json.Marshal(v)
	e.err = errors.Join(e.err, err)
	e.name(name)
	e.write(b)
}

func (e *exportWriter) begin(name, bracket string) {
	e.name(name)
	e.write([]byte(bracket))
	e.entries = 0
}

func (e *exportWriter) entry(v any) { e.put("", v) }

func (e *exportWriter) keyed(key string, v any) { e.put(`"`+key+`":`, v) }

func (e *exportWriter) put(prefix string, v any) {
	b, err := json.Marshal(v)
	e.err = errors.Join(e.err, err)
	if e.entries++; e.entries > 1 {
		prefix = "," + prefix
	}
	e.write(append([]byte(prefix), b...))
}

func (e *exportWriter) end(bracket string) { e.write([]byte(bracket)) }
