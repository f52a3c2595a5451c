package api

import "crier/internal/problem"

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

// Route is one line of a table of routes.
type Route struct {
	Method, Path string
	Scope        Scope
	Handler      Handler
	Work         Work         // what bounds how many run at once
	Form         problem.Form // of refusals; nil: problem+json
}
