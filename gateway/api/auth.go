package api

import (
	"context"
	"crypto/subtle"
	"errors"
	"net/http"
	"strings"
	"time"

	"crier/internal/event"
	"crier/internal/problem"
	"crier/internal/scope"
	"crier/internal/token"
	"crier/internal/user"
)

// Principal is who makes a request.
type Principal struct {
	UserID   event.UserID // "" for a service, or for nobody
	Session  string
	Username string
	Email    string
	Ends     time.Time        // when the token ends; zero: with its session
	Service  string           // the API key's owner, or whom a service's token names; "" for a person
	ByToken  bool             // a service's, known by a token of the identity provider
	Grant    scope.Grant      // what the service may do
	Lacks    *problem.Problem // why a service is nobody to this route, see Route.Narrow
	Cookie   bool             // known by the session cookie
	Address  string           // the client's
}

// Sender is by what name what this one sends is known.
func (p Principal) Sender() string {
	switch {
	case p.ByToken:
		return "service:" + p.Service // the provider's names are not those of keys
	case p.Service != "":
		return user.KeySender(p.Service)
	}
	return "user:" + string(p.UserID)
}

// Cookie is the name of the session cookie.
const Cookie = "crier_session"

// ForUser is the header in which a client names the user that a request is made for.
// A page shows one user's things while the cookie, which all tabs share, may by now
// be another's.
const ForUser = "X-Crier-User"

type principalKey struct{}

// WithPrincipal puts who makes a request into its context.
func WithPrincipal(ctx context.Context, p Principal) context.Context {
	return context.WithValue(ctx, principalKey{}, p)
}

// Who is who makes a request; the zero Principal for nobody.
func Who(r *http.Request) Principal {
	p, _ := r.Context().Value(principalKey{}).(Principal)
	return p
}

// Authenticate finds out who makes a request: an API key, a bearer token, on
// streams a ticket or a token in the query, else the session cookie. Nobody is
// no error; a bad credential is.
func (a *API) Authenticate(r *http.Request, stream bool) (Principal, error) {
	if key := r.Header.Get("X-API-Key"); key != "" {
		return a.byKey(r, key)
	}
	if text, ok := bearer(r); ok {
		return a.byBearer(r.Context(), text)
	}
	if stream {
		q := r.URL.Query()
		if t := q.Get("ticket"); t != "" {
			return a.byTicket(r, t)
		}
		if t := q.Get("access_token"); t != "" {
			return a.ByToken(r.Context(), t)
		}
	}
	c, err := r.Cookie(Cookie)
	if err != nil || c.Value == "" {
		return Principal{}, nil
	}
	p, err := a.ByToken(r.Context(), c.Value)
	if problem.Of(err).Code == problem.Unauthorized || problem.Of(err).Code == problem.TokenExpired {
		// A cookie left over from an ended session is nobody's fault.
		return Principal{}, nil
	}
	p.Cookie = true
	return p, err
}

// bearer is the token of `Authorization: Bearer …` or `Token …` (RFC 6750; the
// second is chat clients').
func bearer(r *http.Request) (string, bool) {
	scheme, text, ok := strings.Cut(r.Header.Get("Authorization"), " ")
	if !ok || !strings.EqualFold(scheme, "Bearer") && !strings.EqualFold(scheme, "Token") {
		return "", false
	}
	return strings.TrimSpace(text), true
}

func (a *API) byKey(r *http.Request, key string) (Principal, error) {
	if a.APIKey != "" && subtle.ConstantTimeCompare([]byte(key), []byte(a.APIKey)) == 1 {
		return Principal{Service: "bootstrap", Grant: scope.Grant{All: true}}, nil
	}
	k, found, err := a.keys.get(r.Context(), key)
	if err != nil {
		return Principal{}, problem.Wrap(problem.Unavailable, "The key could not be looked up.", err)
	}
	if !found {
		return Principal{}, problem.New(problem.Unauthorized, "This API key is not known.")
	}
	if k.Expired(time.Now()) {
		return Principal{}, expiredKey(k)
	}
	return Principal{Service: k.Owner, Grant: k.Grant}, nil
}

// ByToken is the user that a token speaks for, if its session lives. A service's token
// is no user's.
func (a *API) ByToken(ctx context.Context, text string) (Principal, error) {
	p, err := a.byBearer(ctx, text)
	if err == nil && p.Service != "" {
		return Principal{}, problem.New(problem.Unauthorized, "The token is a service's; this needs a user's.")
	}
	return p, err
}

// byBearer is the user or the service that a token speaks for.
func (a *API) byBearer(ctx context.Context, text string) (Principal, error) {
	id, err := a.Tokens.Check(ctx, text)
	if errors.Is(err, token.ErrExpired) {
		return Principal{}, problem.New(problem.TokenExpired, "The token has expired.")
	}
	if errors.Is(err, token.ErrUnavailable) {
		return Principal{}, problem.Wrap(problem.Unavailable, "The identity provider's keys cannot be read at present.", err)
	}
	if err != nil {
		return Principal{}, problem.New(problem.Unauthorized, "The token is not valid.")
	}
	if id.Service {
		return Principal{Service: string(id.UserID), ByToken: true, Grant: id.Grant, Ends: id.Expires}, nil
	}
	p := Principal{UserID: id.UserID, Session: id.Session, Username: id.Username, Email: id.Email, Ends: id.Expires}
	return p, a.requireLive(ctx, p.Session)
}

func (a *API) requireLive(ctx context.Context, session string) error {
	if session == "" || a.ExternalUsers && !a.Tokens.CanMint() {
		return nil // not a session of ours
	}
	live, found, err := a.live.get(ctx, session)
	if err != nil {
		return problem.Wrap(problem.Unavailable, "The session could not be looked up.", err)
	}
	if !found {
		return problem.New(problem.Unauthorized, "The session has ended.")
	}
	if now := time.Now(); live.Due(now, a.RefreshTTL) {
		if err := a.Users.Prolong(ctx, []string{session}, now, a.RefreshTTL); err != nil {
			a.Log.Warn("prolonging a session in use failed", "error", err) // the next use does it
		}
	}
	return nil
}

func (a *API) byTicket(r *http.Request, text string) (Principal, error) {
	t, err := a.Users.UseTicket(r.Context(), text, time.Now())
	if errors.Is(err, user.ErrTicket) {
		return Principal{}, problem.New(problem.Unauthorized, "The ticket was used before, or has expired.")
	}
	if err != nil {
		return Principal{}, problem.Wrap(problem.Unavailable, "The ticket could not be looked up.", err)
	}
	return Principal{UserID: t.UserID, Session: t.Session, Ends: t.TokenEnds}, a.requireLive(r.Context(), t.Session)
}
