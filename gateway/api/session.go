package api

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"crier/gateway/hub"
	"crier/internal/event"
	"crier/internal/inbox"
	"crier/internal/problem"
	"crier/internal/token"
	"crier/internal/user"
)

// SignupRequest is the body of POST /signup.
type SignupRequest struct {
	Username string `json:"username" validate:"required" example:"ann"`
	Password string `json:"password" validate:"required" minLength:"8" example:"correct horse"`
	Email    string `json:"email,omitempty" example:"ann@example.org"`
	// Invite is the code of an invitation, where signing up needs one.
	Invite string `json:"invite,omitempty"`
}

// check notes all rules that are broken.
func (in SignupRequest) check() error {
	var v event.Invalid
	user.CheckUsername(&v, "username", in.Username)
	user.CheckPassword(&v, "password", in.Password)
	user.CheckEmail(&v, "email", in.Email)
	return v.Err()
}

// UserView is a person as the API shows one.
type UserView struct {
	ID       event.UserID `json:"id" example:"7"`
	Username string       `json:"username" example:"ann"`
	Email    string       `json:"email,omitempty" example:"ann@example.org"`
	// EmailConfirmed: the address' owner has followed the link in the mail to it.
	EmailConfirmed bool `json:"email_confirmed,omitempty" example:"true"`
	// Guest is true of an account whose owner has no password: see POST /guest/keep.
	Guest bool `json:"guest,omitempty" example:"false"`
}

// Signup makes an account.
//
//	@Summary	Sign up
//	@Tags		account
//	@Param		body	body		SignupRequest	true	"name, password and perhaps an email address"
//	@Success	201		{object}	UserView
//	@Failure	400,403,409,429	{object}	Problem
//	@Router		/signup [post]
func (a *API) Signup(w http.ResponseWriter, r *http.Request) error {
	var in SignupRequest
	if err := decode(w, r, &in); err != nil {
		return err
	}
	acc, err := a.SignUp(r.Context(), in)
	if err != nil {
		return err
	}
	return encode(w, http.StatusCreated, view(acc))
}

// SignUp checks what was given and makes an account.
func (a *API) SignUp(ctx context.Context, in SignupRequest) (user.Account, error) {
	if err := in.check(); err != nil {
		return user.Account{}, err
	}
	if err := a.maySignUp(ctx, in.Invite); err != nil {
		return user.Account{}, err
	}
	return a.createAccount(ctx, in, false)
}

func view(acc user.Account) UserView {
	return UserView{acc.UserID(), acc.Username, acc.Email, acc.EmailConfirmed, acc.Guest}
}

// createAccount makes an account and its inbox, in one transaction.
func (a *API) createAccount(ctx context.Context, in SignupRequest, guest bool) (user.Account, error) {
	if a.ExternalUsers {
		return user.Account{}, problem.New(problem.Forbidden, "People sign up with the identity provider here.")
	}
	hash, err := a.hash(ctx, in.Password)
	if err != nil {
		return user.Account{}, err
	}
	var acc user.Account
	err = a.DB.Tx(ctx, func(tx pgx.Tx) error {
		if in.Invite != "" {
			if err := user.UseInvite(ctx, tx, in.Invite, time.Now()); err != nil {
				return err
			}
		}
		acc, err = user.Create(ctx, tx, user.Account{Username: in.Username, Email: in.Email, PasswordHash: hash, Guest: guest}, time.Now())
		if err != nil {
			return err
		}
		return inbox.OpenInboxes(ctx, tx, acc.UserID())
	})
	return acc, taken(err)
}

// taken turns the error of a name that another account has into the field's.
func taken(err error) error {
	if errors.Is(err, user.ErrInvite) {
		return event.Invalid{{Field: "invite", Rule: "invite", Message: "is no invitation, or it was used or has expired"}}
	}
	if errors.Is(err, user.ErrUsernameTaken) {
		return &problem.Problem{Code: problem.UsernameTaken, Detail: "Choose another username.",
			Errors: []event.FieldError{{Field: "username", Rule: "unique", Message: "is taken"}}}
	}
	return err
}

// EnsureUser makes an account unless there is one of that name; the embedded
// default's demo user comes from here.
func (a *API) EnsureUser(ctx context.Context, name, password string) error {
	found, err := a.Users.ByLogin(ctx, name)
	if err != nil {
		return err
	}
	var acc user.Account
	if len(found) > 0 && strings.EqualFold(found[0].Username, name) {
		acc = found[0]
	} else if acc, err = a.createAccount(ctx, SignupRequest{Username: name, Password: password}, false); err != nil {
		return err
	}
	id := acc.UserID()
	a.demo.Store(&id)
	return nil
}

// ExampleUser is the user that examples name: the demo user where there is one.
func (a *API) ExampleUser() event.UserID { return cmp.Or(a.demoUser(), "7") }

func (a *API) demoUser() event.UserID {
	if id := a.demo.Load(); id != nil {
		return *id
	}
	return ""
}

// LoginRequest is the body of POST /login: username or email, and password.
type LoginRequest struct {
	Username string `json:"username,omitempty" example:"ann"`
	Email    string `json:"email,omitempty"`
	Password string `json:"password" validate:"required" example:"correct horse"`
	// Refresh is a refresh token of an earlier sign-in, if there is one: others'
	// failed logins do not lock out a device that was here before.
	Refresh string `json:"refresh,omitempty"`
	// Kind is of the session that begins; an older system's clients get a lasting one.
	Kind user.Kind `json:"-"`
}

// LoginAnswer is what a sign-in brings.
type LoginAnswer struct {
	Access    string   `json:"access"`
	Refresh   string   `json:"refresh"`
	Token     string   `json:"token"` // the same as access
	ExpiresIn int      `json:"expires_in" example:"1800"`
	User      UserView `json:"user"`
	// Lasting is a token that is good as long as its session, of a lasting session.
	Lasting string `json:"-"`
}

// Login signs in, and sets the session cookie.
//
//	@Summary	Sign in
//	@Tags		account
//	@Param		body		body		LoginRequest	true	"username or email, and password"
//	@Success	200			{object}	LoginAnswer
//	@Failure	400,401,403,429	{object}	Problem
//	@Router		/login [post]
func (a *API) Login(w http.ResponseWriter, r *http.Request) error {
	var in LoginRequest
	if err := decode(w, r, &in); err != nil {
		return err
	}
	answer, err := a.LogIn(w, r, in)
	if err != nil {
		return err
	}
	return encode(w, http.StatusOK, answer)
}

// LogIn checks name and password, begins a session and sets its cookie.
func (a *API) LogIn(w http.ResponseWriter, r *http.Request, in LoginRequest) (LoginAnswer, error) {
	if err := a.mayGetCookie(r); err != nil {
		return LoginAnswer{}, err
	}
	field, name := "username", in.Username
	if name == "" && in.Email != "" {
		field, name = "email", in.Email
	}
	var v event.Invalid
	if name == "" {
		v.Add("username", "required", "is required, or email")
	}
	v.CheckText(field, name, user.MaxEmail)
	if in.Password == "" {
		v.Add("password", "required", "is required")
	}
	if err := v.Err(); err != nil {
		return LoginAnswer{}, err
	}
	found, err := a.Users.ByLogin(r.Context(), name)
	if err != nil {
		return LoginAnswer{}, err
	}
	acc, err := a.checkPassword(r, user.CanonicalName(name), in.Password, in.Refresh, candidates(name, found))
	if err != nil {
		return LoginAnswer{}, err
	}
	a.renewHash(r.Context(), acc, in.Password)
	return a.signIn(w, r, acc, in.Kind)
}

// candidates are the accounts whose passwords are checked for a login by name: as many
// whether there are such accounts or not, so that the answer takes as long. A name
// that reads as an address may be one account's username and another's address.
func candidates(name string, found []user.Account) []user.Account {
	most := 1
	if strings.Contains(name, "@") {
		most = 2
	}
	for len(found) < most {
		found = append(found, user.Account{}) // whose check takes as long, and fails
	}
	return found
}

// renewHash gives an account whose hash is of an older form, as imported ones have,
// one of this program's own. The login does not depend on it: the next one tries again.
func (a *API) renewHash(ctx context.Context, acc user.Account, password string) {
	if !user.Outdated(acc.PasswordHash) {
		return
	}
	hash, err := a.hasher.Hash(ctx, password)
	if err == nil {
		err = a.Users.RenewHash(ctx, acc.ID, acc.PasswordHash, hash)
	}
	if err != nil {
		a.Log.Warn("renewing a password's hash failed", "user", acc.UserID(), "error", err)
	}
}

// mayGetCookie refuses a page of another origin: its form would sign the visitor
// in to an account of its author's (login CSRF), and whatever they then write
// would be the author's.
func (a *API) mayGetCookie(r *http.Request) error {
	if !a.SameOriginFunc(r) {
		return problem.New(problem.BadOrigin, "A page of another origin may not sign in here.")
	}
	return nil
}

// checkPassword returns the account of found that has this password. Failures are
// counted, see countersOf; refresh may be a token of an earlier sign-in.
func (a *API) checkPassword(r *http.Request, name, password, refresh string, found []user.Account) (user.Account, error) {
	address := a.RemoteFunc(r)
	device, err := a.knownDevice(r, refresh, found)
	if err != nil {
		return user.Account{}, err
	}
	var counters []counter
	if !a.Embedded || !isLoopback(address) {
		counters = countersOf(strings.ToLower(name), address, device)
	}
	if wait := a.logins.begin(counters, time.Now()); wait > 0 {
		return user.Account{}, &problem.Problem{Code: problem.TooMany, Detail: "Too many failed logins.", RetryAfter: wait}
	}
	for _, acc := range found {
		ok, err := a.hasher.Verify(r.Context(), password, acc.PasswordHash)
		if err != nil || ok {
			a.logins.succeeded(counters) // or was not looked at
			return acc, busy(err)
		}
	}
	return user.Account{}, problem.New(problem.InvalidLogin, "The name or the password is wrong.")
}

// knownDevice is the session by which one of the accounts knows the device that
// asks, "" if none does: the session's own token or cookie, or a refresh token.
// The session may have ended.
func (a *API) knownDevice(r *http.Request, refresh string, found []user.Account) (string, error) {
	known := func(uid event.UserID) bool {
		return slices.ContainsFunc(found, func(acc user.Account) bool { return acc.UserID() == uid })
	}
	if who := Who(r); who.Session != "" && known(who.UserID) {
		return who.Session, nil
	}
	if c, err := r.Cookie(Cookie); err == nil {
		if id, err := a.Tokens.Check(r.Context(), c.Value); err == nil && id.Session != "" && known(id.UserID) {
			return id.Session, nil
		}
	}
	if refresh == "" {
		return "", nil
	}
	uid, session, err := a.Users.SessionOf(r.Context(), refresh)
	if errors.Is(err, user.ErrRefresh) || err == nil && !known(uid) {
		return "", nil
	}
	return session, err
}

// hash is a new password's hash.
func (a *API) hash(ctx context.Context, password string) (string, error) {
	hash, err := a.hasher.Hash(ctx, password)
	return hash, busy(err)
}

// busy makes user.ErrBusy the problem that it is for a client.
func busy(err error) error {
	if errors.Is(err, user.ErrBusy) {
		return &problem.Problem{Code: problem.TooMany, Detail: "Too many people sign in at the moment.", RetryAfter: 2 * time.Second}
	}
	return err
}

// signIn begins a session, sets its cookie and returns its tokens.
func (a *API) signIn(w http.ResponseWriter, r *http.Request, acc user.Account, kind user.Kind) (LoginAnswer, error) {
	now := time.Now()
	session, refresh, ended, err := a.Users.StartSession(r.Context(), acc.UserID(), kind, r.UserAgent(), now, a.RefreshTTL)
	if err != nil {
		return LoginAnswer{}, err
	}
	for _, id := range ended {
		a.sessionEnded(r.Context(), acc.UserID(), id)
	}
	id := token.Identity{UserID: acc.UserID(), Session: session, Username: acc.Username, Email: acc.Email, Expires: now.Add(a.AccessTTL)}
	access, err := a.Tokens.Mint(id, now)
	if err != nil {
		return LoginAnswer{}, err
	}
	// The cookie lives as long as the session: it cannot be read by scripts, and
	// the session is looked up at every use.
	id.Expires = now.Add(a.RefreshTTL)
	cookie, err := a.Tokens.Mint(id, now)
	if err != nil {
		return LoginAnswer{}, err
	}
	a.setCookie(w, r, cookie, a.RefreshTTL)
	answer := LoginAnswer{Access: access, Refresh: refresh, Token: access, ExpiresIn: int(a.AccessTTL.Seconds()), User: view(acc)}
	if kind == user.Lasting {
		id.Expires = time.Time{}
		if answer.Lasting, err = a.Tokens.Mint(id, now); err != nil {
			return LoginAnswer{}, err
		}
	}
	return answer, nil
}

func (a *API) setCookie(w http.ResponseWriter, r *http.Request, value string, ttl time.Duration) {
	http.SetCookie(w, &http.Cookie{Name: Cookie, Value: value, Path: "/", MaxAge: int(ttl.Seconds()), HttpOnly: true, Secure: a.HTTPSFunc(r), SameSite: http.SameSiteLaxMode})
}

// RefreshRequest is the body of POST /token/refresh.
type RefreshRequest struct {
	Refresh string `json:"refresh" validate:"required"`
}

// Refresh exchanges a refresh token for new tokens.
//
//	@Summary	Refresh tokens
//	@Tags		account
//	@Param		body	body		RefreshRequest	true	"the refresh token; it is good once"
//	@Success	200		{object}	LoginAnswer
//	@Failure	400,401	{object}	Problem
//	@Router		/token/refresh [post]
func (a *API) Refresh(w http.ResponseWriter, r *http.Request) error {
	var in RefreshRequest
	if err := decode(w, r, &in); err != nil {
		return err
	}
	answer, err := a.Rotate(r.Context(), in.Refresh)
	if err != nil {
		return err
	}
	return encode(w, http.StatusOK, answer)
}

// Rotate exchanges a refresh token for the next tokens of its session.
func (a *API) Rotate(ctx context.Context, old string) (LoginAnswer, error) {
	if old == "" {
		return LoginAnswer{}, event.Invalid{{Field: "refresh", Rule: "required", Message: "is required"}}
	}
	now := time.Now()
	uid, session, refresh, err := a.Users.Refresh(ctx, old, now, a.RefreshTTL)
	if errors.Is(err, user.ErrRefreshReused) {
		a.sessionEnded(ctx, uid, session)
		return LoginAnswer{}, problem.New(problem.RefreshReused, "The session was ended.")
	}
	if errors.Is(err, user.ErrRefresh) {
		return LoginAnswer{}, problem.New(problem.Unauthorized, "The refresh token is not valid.")
	}
	if err != nil {
		return LoginAnswer{}, err
	}
	acc, err := a.Users.ByID(ctx, uid)
	if errors.Is(err, user.ErrNotFound) {
		return LoginAnswer{}, problem.New(problem.Unauthorized, "The account is gone.")
	}
	if err != nil {
		return LoginAnswer{}, err
	}
	access, err := a.Tokens.Mint(token.Identity{UserID: uid, Session: session, Username: acc.Username, Email: acc.Email, Expires: now.Add(a.AccessTTL)}, now)
	if err != nil {
		return LoginAnswer{}, err
	}
	return LoginAnswer{Access: access, Refresh: refresh, Token: access, ExpiresIn: int(a.AccessTTL.Seconds()), User: view(acc)}, nil
}

// VerifyRequest is the body of POST /token/verify.
type VerifyRequest struct {
	Token string `json:"token"`
}

// Verify says whether a token is good.
//
//	@Summary	Check a token
//	@Tags		account
//	@Param		body	body		VerifyRequest	true	"the token"
//	@Success	200		{object}	object			"nothing"
//	@Failure	400,401	{object}	Problem
//	@Router		/token/verify [post]
func (a *API) Verify(w http.ResponseWriter, r *http.Request) error {
	var in VerifyRequest
	if err := decode(w, r, &in); err != nil {
		return err
	}
	if in.Token == "" {
		return event.Invalid{{Field: "token", Rule: "required", Message: "is required"}}
	}
	if _, err := a.ByToken(r.Context(), in.Token); err != nil {
		return err
	}
	return encode(w, http.StatusOK, struct{}{})
}

// LogoutRequest is the body of POST /logout; it may be left out.
type LogoutRequest struct {
	All bool `json:"all"`
}

// Logout ends this session, or all of the person's, everywhere. A token of an identity
// provider is of no session here (409).
//
//	@Summary	Sign out
//	@Tags		account
//	@Param		body	body	LogoutRequest	false	"{\"all\": true} ends all sessions"
//	@Success	204
//	@Failure	401	{object}	Problem
//	@Failure	409	{object}	Problem
//	@Security	bearer
//	@Router		/logout [post]
func (a *API) Logout(w http.ResponseWriter, r *http.Request) error {
	var in LogoutRequest
	if r.ContentLength != 0 {
		if err := decode(w, r, &in); err != nil {
			return err
		}
	}
	return a.LogOut(w, r, in.All)
}

// LogOut ends the session of a request, or all of its user's, and removes the cookie. A
// token of no session here cannot be ended, and to say that it was would be a lie.
func (a *API) LogOut(w http.ResponseWriter, r *http.Request, all bool) error {
	who := Who(r)
	session := who.Session
	if session == "" && (!all || a.ExternalUsers) {
		return problem.New(problem.Conflict, "This token belongs to no session here and is valid until "+who.Ends.UTC().Format(time.RFC3339)+": sign out where it was issued.")
	}
	if all {
		session = ""
	}
	if err := a.endSessions(r.Context(), who.UserID, session); err != nil {
		return err
	}
	a.setCookie(w, r, "", -time.Second)
	w.WriteHeader(http.StatusNoContent)
	return nil
}

func (a *API) endSessions(ctx context.Context, uid event.UserID, session string) error {
	if err := a.Users.End(ctx, uid, session, time.Now()); err != nil {
		if errors.Is(err, user.ErrNoSession) {
			return problem.New(problem.NotFound, "No such session.")
		}
		return err
	}
	a.sessionEnded(ctx, uid, session)
	return nil
}

// sessionEnded closes the streams of a session that was ended, "": of all of the
// user's, here and at the other gateways.
func (a *API) sessionEnded(ctx context.Context, uid event.UserID, session string) {
	a.Hub.EndSession(uid, session, hub.LoggedOut)
	a.signal(ctx, event.Signal{Type: event.SignalSessionEnded, UserID: uid, Session: session})
}

// Profile shows the person who asks.
//
//	@Summary	Who am I
//	@Tags		account
//	@Success	200	{object}	UserView
//	@Failure	401	{object}	Problem
//	@Security	bearer
//	@Router		/profile [get]
func (a *API) Profile(w http.ResponseWriter, r *http.Request) error {
	who := Who(r)
	if a.ExternalUsers {
		return encode(w, http.StatusOK, UserView{ID: who.UserID, Username: who.Username, Email: who.Email})
	}
	acc, err := a.Users.ByID(r.Context(), who.UserID)
	if errors.Is(err, user.ErrNotFound) {
		return problem.New(problem.Unauthorized, "The account is gone.")
	}
	if err != nil {
		return err
	}
	return encode(w, http.StatusOK, view(acc))
}

// Sessions lists where the person is signed in.
//
//	@Summary	List sessions
//	@Tags		account
//	@Success	200	{object}	Page{results=[]user.Session}
//	@Security	bearer
//	@Router		/sessions [get]
func (a *API) Sessions(w http.ResponseWriter, r *http.Request) error {
	who := Who(r)
	list, err := a.Users.Sessions(r.Context(), who.UserID, time.Now())
	if err != nil {
		return err
	}
	for i := range list {
		list[i].Current = list[i].ID == who.Session
	}
	return encode(w, http.StatusOK, Page{Count: int64(len(list)), Results: notNil(list)})
}

// EndSession ends one session of the person's.
//
//	@Summary	End a session
//	@Tags		account
//	@Param		id	path	string	true	"the session's id"
//	@Success	204
//	@Failure	404	{object}	Problem
//	@Security	bearer
//	@Router		/sessions/{id} [delete]
func (a *API) EndSession(w http.ResponseWriter, r *http.Request) error {
	if err := a.endSessions(r.Context(), Who(r).UserID, PathVar(r, "id")); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// notNil shows an empty list as [] and not as null.
func notNil[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}
