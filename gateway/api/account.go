package api

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/jackc/pgx/v5"

	"crier/gateway/hub"
	"crier/internal/alert"
	"crier/internal/destination"
	"crier/internal/event"
	"crier/internal/inbox"
	"crier/internal/problem"
	"crier/internal/room"
	"crier/internal/user"
)

// PasswordRequest is the body of POST /password.
type PasswordRequest struct {
	Password    string `json:"password" example:"correct horse"`
	NewPassword string `json:"new_password" example:"battery staple"`
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
	// Alerts first, then the inbox: the order in which the consumer locks them.
	err := a.DB.Tx(r.Context(), func(tx pgx.Tx) error {
		if err := alert.Forget(r.Context(), tx, who.UserID); err != nil {
			return err
		}
		if err := inbox.Forget(r.Context(), tx, who.UserID); err != nil {
			return err
		}
		if err := room.Forget(r.Context(), tx, who.UserID); err != nil {
			return err
		}
		if err := destination.Forget(r.Context(), tx, who.UserID); err != nil {
			return err
		}
		return user.Forget(r.Context(), tx, who.UserID)
	})
	if err != nil {
		return err
	}
	a.ForgetUser(who.UserID)
	a.Hub.EndSession(who.UserID, "", hub.LoggedOut)
	a.signal(r.Context(), event.Signal{Type: event.SignalSessionEnded, UserID: who.UserID})
	a.setCookie(w, r, "", -time.Second)
	w.WriteHeader(http.StatusNoContent)
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

// exportPage is how much is read at once.
const exportPage = 1000

// Export shows everything that is kept of the person.
//
//	@Summary	Take one's data along
//	@Tags		account
//	@Success	200	{object}	ExportView
//	@Failure	401	{object}	Problem
//	@Security	bearer
//	@Router		/export [get]
func (a *API) Export(w http.ResponseWriter, r *http.Request) error {
	who, now, ctx := Who(r), time.Now(), r.Context()
	out := ExportView{User: UserView{ID: who.UserID, Username: who.Username, Email: who.Email}, Firings: make(map[int64][]alert.Firing), Alerts: []alert.Alert{}, Notifications: []event.Stored{}}
	if acc, err := a.account(ctx, who); err == nil {
		out.User = view(acc)
	} else if !a.ExternalUsers {
		return err
	}
	var err error
	if out.Sessions, err = a.Users.Sessions(ctx, who.UserID, now); err != nil {
		return err
	}
	if out.Addresses, err = a.Users.Claims(ctx, who.UserID); err != nil {
		return err
	}
	if out.Accounts, err = a.Destinations.ExportOf(ctx, who.UserID); err != nil {
		return err
	}
	for after, more := int64(0), true; more; {
		page, err := a.Inbox.After(ctx, who.UserID, after, exportPage)
		if err != nil {
			return err
		}
		out.Notifications = append(out.Notifications, page...)
		if more = len(page) == exportPage; more {
			after = page[len(page)-1].ID
		}
	}
	if out.Said, err = a.Inbox.SaidBy(ctx, who.UserID); err != nil {
		return err
	}
	for before, more := int64(0), true; more; {
		var page []alert.Alert
		page, _, more, err = a.Alerts.List(ctx, who.UserID, alert.Filter{Before: before, Limit: exportPage}, now)
		if err != nil {
			return err
		}
		for _, al := range page {
			before = al.ID
			if al.Firings == 0 {
				continue
			}
			if out.Firings[al.ID], _, _, err = a.Alerts.Firings(ctx, who.UserID, al.ID, 0, exportPage); err != nil {
				return err
			}
		}
		out.Alerts = append(out.Alerts, page...)
	}
	w.Header().Set("Content-Disposition", `attachment; filename="crier-export.json"`)
	return encode(w, http.StatusOK, out)
}
