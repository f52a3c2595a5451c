package api

import (
	"strings"

	"crier/internal/problem"
	"crier/internal/scope"
)

// Scope is who may use a route.
type Scope uint8

// The scopes.
const (
	Public  Scope = iota // anybody
	Person               // somebody signed in
	Sender               // a service, or somebody signed in
	Holder               // as Sender, or whoever sends an account's secret token; the handler says whether it is that account's
	Streams              // as Public; credentials may stand in the query, origins are checked
	Greeted              // as Streams, but a bad credential is nobody's: the handler says so
	Entry                // as Public, but a bad credential is ignored: older clients sign in and refresh with their old token still in the header
)

// Scopes is what of the catalogue a route needs of a service; one of them is enough.
type Scopes = []scope.Scope

// Route is one line of a table of routes.
type Route struct {
	Method, Path string
	Scope        Scope
	Needs        Scopes // of a service; none: to the handler a service is nobody
	Handler      Handler
	Work         Work         // what bounds how many run at once
	Form         problem.Form // of refusals; nil: problem+json
}

// Narrow is the principal that the route's handler sees: a service without a scope that
// the route needs is nobody, and Lacks says why. So a handler that forgets to ask grants
// a service no more than anybody has.
func (rt Route) Narrow(who Principal) Principal {
	if who.Service == "" || who.Grant.Has(rt.Needs...) {
		return who
	}
	who.Lacks = problem.New(problem.Forbidden, "An API key has no inbox; use a user's token.")
	if len(rt.Needs) > 0 {
		who.Lacks = insufficient(who.Grant, rt.Needs...)
	}
	who.Service, who.Grant = "", scope.Grant{}
	return who
}

// insufficient is the refusal of a service that has none of the scopes needed.
func insufficient(has scope.Grant, needs ...scope.Scope) *problem.Problem {
	p := &problem.Problem{Code: problem.InsufficientScope, GrantedScopes: has.Names()}
	for _, s := range needs {
		p.NeededScopes = append(p.NeededScopes, string(s))
	}
	granted := "none"
	if len(p.GrantedScopes) > 0 {
		granted = strings.Join(p.GrantedScopes, ", ")
	}
	p.Detail = "This needs the scope " + strings.Join(p.NeededScopes, " or ") + "; the credential has " + granted + "."
	return p
}

// requireScope refuses a service that has not the scope.
func (p Principal) requireScope(s scope.Scope) error {
	if p.Service != "" && !p.Grant.Has(s) {
		return insufficient(p.Grant, s)
	}
	return nil
}

// requireKind refuses a service that may not send notifications of the kind.
func (p Principal) requireKind(kind string) error {
	if p.Service == "" || p.Grant.AllowsKind(kind) {
		return nil
	}
	return &problem.Problem{Code: problem.KindNotAllowed, AllowedKinds: p.Grant.Kinds,
		Detail: "The credential may not send the kind " + kind + "; it may send " + strings.Join(p.Grant.Kinds, ", ") + "."}
}

// refusal is what a principal is refused with who is nobody here.
func (p Principal) refusal(otherwise *problem.Problem) *problem.Problem {
	if p.Lacks != nil {
		return p.Lacks
	}
	return otherwise
}
