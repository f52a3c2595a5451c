// Package scope is the catalogue of what an API key or a service's token may do. The
// gateway's routes name scopes of it, the command line parses and lists them, and the
// tables in docs/contract.md and the descriptions in Swagger are generated from it.
package scope

import (
	"fmt"
	"slices"
	"strings"

	"crier/internal/event"
)

// Scope is one permission of a service: a resource and what is done with it.
type Scope string

// The scopes.
const (
	SendUsers     Scope = "send:users"
	SendTopics    Scope = "send:topics"
	SendEveryone  Scope = "send:everyone"
	SentRead      Scope = "sent:read"
	SentRecall    Scope = "sent:recall"
	AlertsWrite   Scope = "alerts:write"
	RoomsWrite    Scope = "rooms:write"
	AccountsRead  Scope = "accounts:read"
	AccountsWrite Scope = "accounts:write"
	AccountsPush  Scope = "accounts:push"
	UsersCreate   Scope = "users:create"
	UsersExport   Scope = "users:export"
	UsersErase    Scope = "users:erase"
)

// Entry is one scope and what it allows.
type Entry struct {
	Scope  Scope
	Allows string
}

// Catalogue is every scope, in the order of the documentation.
var Catalogue = []Entry{
	{SendUsers, "send to single users (`user_id`, `user_ids`)"},
	{SendTopics, "send to topics"},
	{SendEveryone, "send to everyone, and count how many that reaches"},
	{SentRead, "see how the service's own scheduled sends stand"},
	{SentRecall, "cancel and recall what the service itself has sent"},
	{AlertsWrite, "set alerts for any user"},
	{RoomsWrite, "make and remove chat rooms"},
	{AccountsRead, "read every account of the data pusher, its destinations and attempts"},
	{AccountsWrite, "make, change and delete any account and destination, replace their secrets, replay and test"},
	{AccountsPush, "push data in for any account without its secret token"},
	{UsersCreate, "make users, whatever `CRIER_SIGNUP` and `CRIER_SIGNUP_LIMIT` say"},
	{UsersExport, "export all that is kept of any user"},
	{UsersErase, "erase any user"},
}

// Names is every scope's name.
func Names() []string {
	names := make([]string, len(Catalogue))
	for i, e := range Catalogue {
		names[i] = string(e.Scope)
	}
	return names
}

// Grant is what one credential of a service may do. The zero Grant may do nothing.
type Grant struct {
	All    bool // every scope, those of later versions included
	Scopes []Scope
	// Kinds of what it may send: names, and prefixes that end in *. nil: any.
	Kinds []string
}

// Has reports whether one of the scopes is granted.
func (g Grant) Has(scopes ...Scope) bool {
	return g.All && len(scopes) > 0 || slices.ContainsFunc(scopes, func(s Scope) bool { return slices.Contains(g.Scopes, s) })
}

// Names is the granted scopes' names, never nil.
func (g Grant) Names() []string {
	if g.All {
		return Names()
	}
	names := make([]string, len(g.Scopes))
	for i, s := range g.Scopes {
		names[i] = string(s)
	}
	return names
}

// AllowsKind reports whether notifications of a kind may be sent. Kinds are ASCII in
// lower case (event.Notification.Validate), so bytes are compared.
func (g Grant) AllowsKind(kind string) bool {
	return g.Kinds == nil || slices.ContainsFunc(g.Kinds, func(k string) bool {
		prefix, open := strings.CutSuffix(k, "*")
		return open && strings.HasPrefix(kind, prefix) || k == kind
	})
}

// MaxKinds is how many kinds one grant may name.
const MaxKinds = 100

// New checks the names of scopes and kinds. No scopes: all of them.
func New(scopes, kinds []string) (Grant, error) {
	var v event.Invalid
	g := Grant{All: len(scopes) == 0}
	for _, name := range scopes {
		switch s := Scope(name); {
		case !slices.Contains(Names(), name):
			v.Add("scope", "scope", fmt.Sprintf("%.50q is not one of %s", name, strings.Join(Names(), ", ")))
		case !slices.Contains(g.Scopes, s):
			g.Scopes = append(g.Scopes, s)
		}
	}
	if len(kinds) > MaxKinds {
		v.Add("kind", "length", fmt.Sprintf("must be at most %d", MaxKinds))
		kinds = nil
	}
	for _, k := range kinds {
		// A prefix is a name that is not finished: with a letter behind it, it is one.
		name, open := strings.CutSuffix(k, "*")
		if open {
			name += "x"
		}
		var bad event.Invalid
		if bad.CheckName("kind", name, event.MaxKind); bad != nil {
			v.Add("kind", "name", fmt.Sprintf("%.60q must be a kind (1 to %d of a-z, 0-9, '.', '_', '-', beginning with a letter or digit), or the beginning of one and a *", k, event.MaxKind))
			continue
		}
		if !slices.Contains(g.Kinds, k) {
			g.Kinds = append(g.Kinds, k)
		}
	}
	if len(kinds) > 0 && !g.Has(SendUsers, SendTopics, SendEveryone, AlertsWrite) {
		v.Add("kind", "scope", "is only of use with a scope that sends")
	}
	return g, v.Err()
}

// TokenPrefix stands before a scope in the claim `scope` of a service's token: an
// identity provider's tokens carry scopes of other applications, too.
const TokenPrefix = "crier:"

// OfClaim reads the claim `scope` of a token, a list separated by spaces (RFC 8693,
// section 4.2). ok: it has scopes of Crier, and so is a service's. Unknown ones of
// those grant nothing.
func OfClaim(claim string) (g Grant, ok bool) {
	for name := range strings.SplitSeq(claim, " ") {
		name, ours := strings.CutPrefix(name, TokenPrefix)
		if !ours {
			continue
		}
		ok = true
		if s := Scope(name); slices.Contains(Names(), name) && !slices.Contains(g.Scopes, s) {
			g.Scopes = append(g.Scopes, s)
		}
	}
	return g, ok
}

// Claim is the claim of a token that grants the scopes.
func Claim(g Grant) string {
	names := g.Names()
	for i := range names {
		names[i] = TokenPrefix + names[i]
	}
	return strings.Join(names, " ")
}
