// Package problem is the one catalogue of what Crier answers when it says no:
// for each code its HTTP status, its title, whether trying again helps, and
// the form in which it is written (RFC 9457 problem+json). docs/errors.md lists
// the same codes; a test compares the two.
//
// Everything that is not a *Problem or an event.Invalid is answered as
// `internal`, and its cause goes to the log only.
package problem

import (
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"time"

	"crier/internal/event"
)

// Code is a stable word that programs may match.
type Code string

// The catalogue.
const (
	InvalidInput        Code = "invalid_input"
	InvalidJSON         Code = "invalid_json"
	TooLarge            Code = "too_large"
	UnsupportedEncoding Code = "unsupported_encoding"
	Unauthorized        Code = "unauthorized"
	TokenExpired        Code = "token_expired"
	KeyExpired          Code = "key_expired"
	InvalidLogin        Code = "invalid_login"
	RefreshReused       Code = "refresh_reused"
	Forbidden           Code = "forbidden"
	InsufficientScope   Code = "insufficient_scope"
	KindNotAllowed      Code = "kind_not_allowed"
	UnknownHost         Code = "unknown_host"
	BadOrigin           Code = "bad_origin"
	NotFound            Code = "not_found"
	UserNotFound        Code = "user_not_found"
	MethodNotAllowed    Code = "method_not_allowed"
	UsernameTaken       Code = "username_taken"
	EmailTaken          Code = "email_taken"
	Conflict            Code = "conflict"
	UpgradeRequired     Code = "upgrade_required"
	WrongUser           Code = "wrong_user"
	KeyReused           Code = "idempotency_key_reused"
	TooMany             Code = "too_many_requests"
	LimitReached        Code = "limit_reached"
	Unavailable         Code = "unavailable"
	Draining            Code = "draining"
	Internal            Code = "internal"
)

// ContentType is that of refusals (RFC 9457).
const ContentType = "application/problem+json"

// Entry describes one code.
type Entry struct {
	Status int
	Title  string
	Retry  string // what the client should do
}

// Catalogue is every code with its meaning.
var Catalogue = map[Code]Entry{
	InvalidInput:        {http.StatusBadRequest, "Some fields break a rule", "correct the fields named in errors"},
	InvalidJSON:         {http.StatusBadRequest, "The body cannot be read", "send one JSON object"},
	TooLarge:            {http.StatusRequestEntityTooLarge, "The body is too large", "send less"},
	UnsupportedEncoding: {http.StatusUnsupportedMediaType, "Unsupported content encoding", "send the body as it is, or compressed with gzip"},
	Unauthorized:        {http.StatusUnauthorized, "Sign in first", "send a token, a session cookie or an API key"},
	TokenExpired:        {http.StatusUnauthorized, "The token has expired", "refresh it"},
	KeyExpired:          {http.StatusUnauthorized, "The API key has expired", "use its successor; the operator can make one (crier keys rotate)"},
	InvalidLogin:        {http.StatusUnauthorized, "Wrong name or password", "correct them"},
	RefreshReused:       {http.StatusUnauthorized, "This refresh token was used before", "sign in again: its session was ended"},
	Forbidden:           {http.StatusForbidden, "Not allowed", "use an account or key that may do this"},
	InsufficientScope:   {http.StatusForbidden, "The credential lacks a scope", "use a key or token with one of needed_scopes"},
	UpgradeRequired:     {http.StatusUpgradeRequired, "Another version of WebSocket", "use version 13 (RFC 6455)"},
	KindNotAllowed:      {http.StatusForbidden, "The credential may not send this kind", "send one of allowed_kinds, or use another key"},
	UnknownHost:         {http.StatusMisdirectedRequest, "Unknown host", "the operator can set CRIER_PUBLIC_URL or CRIER_ALLOWED_HOSTS"},
	BadOrigin:           {http.StatusForbidden, "This page's origin is not allowed", "the operator can add it to CRIER_ALLOWED_ORIGINS"},
	NotFound:            {http.StatusNotFound, "No such thing", "check the address"},
	UserNotFound:        {http.StatusNotFound, "No such user", "check the user id"},
	MethodNotAllowed:    {http.StatusMethodNotAllowed, "Not with this method", "see the Allow header"},
	UsernameTaken:       {http.StatusConflict, "This username is taken", "choose another"},
	EmailTaken:          {http.StatusConflict, "This email address is taken", "choose another, or sign in"},
	Conflict:            {http.StatusConflict, "Not in the present state", "read it again first"},
	WrongUser:           {http.StatusConflict, "Somebody else is signed in", "ask who is signed in (GET /profile); nothing was changed"},
	KeyReused:           {http.StatusUnprocessableEntity, "This Idempotency-Key was used for something else", "use a new key"},
	TooMany:             {http.StatusTooManyRequests, "Too many tries", "wait for Retry-After seconds"},
	LimitReached:        {http.StatusConflict, "A limit of this account is reached", "delete some first"},
	Unavailable:         {http.StatusServiceUnavailable, "A part that this needs is away", "try again; nothing was accepted"},
	Draining:            {http.StatusServiceUnavailable, "This gateway is going away", "try again: another one answers"},
	Internal:            {http.StatusInternalServerError, "Something went wrong here", "try again; tell the operator the time"},
}

// Problem is one answer that says no. It is an error; handlers return it and
// Write puts it on the wire.
type Problem struct {
	Code       Code
	Detail     string
	Errors     []event.FieldError
	RetryAfter time.Duration // 0: no Retry-After header
	Cause      error         // for the log only

	NeededScopes  []string // of InsufficientScope: one of them is needed
	GrantedScopes []string // and those that the credential has
	AllowedKinds  []string // of KindNotAllowed
}

// New makes a problem with a sentence for people.
func New(code Code, detail string) *Problem { return &Problem{Code: code, Detail: detail} }

// Wrap makes a problem whose cause goes to the log and not to the client.
func Wrap(code Code, detail string, cause error) *Problem {
	return &Problem{Code: code, Detail: detail, Cause: cause}
}

func (p *Problem) Error() string {
	s := string(p.Code) + ": " + p.Detail
	if p.Cause != nil {
		s += ": " + p.Cause.Error()
	}
	return s
}

func (p *Problem) Unwrap() error { return p.Cause }

// Of is the problem that an error stands for.
func Of(err error) *Problem {
	var p *Problem
	if errors.As(err, &p) {
		return p
	}
	var inv event.Invalid
	if errors.As(err, &inv) {
		code := InvalidInput
		for _, f := range inv {
			if f.Rule == "json" || f.Rule == "utf8" && f.Field == "" {
				code = InvalidJSON
			}
		}
		return &Problem{Code: code, Detail: inv.Error(), Errors: inv}
	}
	return &Problem{Code: Internal, Detail: "The cause is in the log.", Cause: err}
}

// body is the wire form, RFC 9457 section 3.
type body struct {
	Type   string             `json:"type"`
	Title  string             `json:"title"`
	Status int                `json:"status"`
	Code   Code               `json:"code"`
	Detail string             `json:"detail,omitempty"`
	Errors []event.FieldError `json:"errors,omitempty"`

	NeededScopes  []string `json:"needed_scopes,omitzero"`
	GrantedScopes []string `json:"granted_scopes,omitzero"`
	AllowedKinds  []string `json:"allowed_kinds,omitzero"`
}

// Log logs what is the server's own fault, with its cause.
func Log(r *http.Request, log *slog.Logger, err error) {
	if p := Of(err); Catalogue[p.Code].Status >= 500 && r.Context().Err() == nil {
		log.Error("request failed", "method", r.Method, "path", r.URL.Path, "code", p.Code, "error", p.Error())
	}
}

// Write answers with the problem an error stands for; what is the server's own
// fault is logged with its cause.
func Write(w http.ResponseWriter, r *http.Request, log *slog.Logger, err error) {
	WriteAs(w, r, log, err, nil)
}

// Form is the body of a refusal as JSON, for clients that do not know problem+json.
type Form func(*http.Request, *Problem) any

// WriteAs is Write with a body of another form; nil: problem+json.
func WriteAs(w http.ResponseWriter, r *http.Request, log *slog.Logger, err error, form Form) {
	Log(r, log, err)
	p := Of(err)
	entry := Catalogue[p.Code]
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Cache-Control", "no-store")
	if p.RetryAfter == 0 && p.Code == Unavailable {
		p = &Problem{Code: p.Code, Detail: p.Detail, Errors: p.Errors, RetryAfter: time.Second, Cause: p.Cause}
	}
	if p.RetryAfter > 0 {
		h.Set("Retry-After", strconv.Itoa(int((p.RetryAfter+time.Second-1)/time.Second)))
	}
	if entry.Status == http.StatusUnauthorized {
		h.Set("WWW-Authenticate", `Bearer realm="crier"`) // RFC 9110 section 11.6.1
	}
	if p.Code == InsufficientScope { // RFC 6750 section 3.1
		h.Set("WWW-Authenticate", `Bearer realm="crier", error="insufficient_scope", scope="`+strings.Join(p.NeededScopes, " ")+`"`)
	}
	var content any
	if form != nil {
		content = form(r, p)
	} else {
		h.Set("Content-Type", ContentType)
		content = body{
			Type: "/docs/errors#" + string(p.Code), Title: entry.Title, Status: entry.Status,
			Code: p.Code, Detail: p.Detail, Errors: p.Errors,
			NeededScopes: p.NeededScopes, GrantedScopes: p.GrantedScopes, AllowedKinds: p.AllowedKinds,
		}
	}
	w.WriteHeader(entry.Status)
	_ = json.NewEncoder(w).Encode(content)
}
