package scope_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"crier/internal/event"
	"crier/internal/scope"
)

func TestNew(t *testing.T) {
	t.Parallel()
	many := make([]string, scope.MaxKinds+1)
	for i := range many {
		many[i] = fmt.Sprintf("k%d", i)
	}
	for name, c := range map[string]struct {
		scopes, kinds []string
		want          scope.Grant
		field, rule   string
	}{
		"nothing named":         {want: scope.Grant{All: true}},
		"one scope":             {scopes: []string{"send:users"}, want: scope.Grant{Scopes: []scope.Scope{scope.SendUsers}}},
		"one scope twice":       {scopes: []string{"send:users", "send:users"}, want: scope.Grant{Scopes: []scope.Scope{scope.SendUsers}}},
		"kinds and prefixes":    {kinds: []string{"order", "invoice.*", "order"}, want: scope.Grant{All: true, Kinds: []string{"order", "invoice.*"}}},
		"any kind":              {kinds: []string{"*"}, want: scope.Grant{All: true, Kinds: []string{"*"}}},
		"another case":          {scopes: []string{"Send:Users"}, field: "scope", rule: "scope"},
		"a wildcard":            {scopes: []string{"send:*"}, field: "scope", rule: "scope"},
		"an empty scope":        {scopes: []string{""}, field: "scope", rule: "scope"},
		"a kind in capitals":    {kinds: []string{"Order"}, field: "kind", rule: "name"},
		"a kind in Cyrillic":    {kinds: []string{"оrder"}, field: "kind", rule: "name"},
		"an empty kind":         {kinds: []string{""}, field: "kind", rule: "name"},
		"a star inside":         {kinds: []string{"or*der"}, field: "kind", rule: "name"},
		"two stars":             {kinds: []string{"order**"}, field: "kind", rule: "name"},
		"too many kinds":        {kinds: many, field: "kind", rule: "length"},
		"kinds without sending": {scopes: []string{"rooms:write"}, kinds: []string{"order"}, field: "kind", rule: "scope"},
	} {
		got, err := scope.New(c.scopes, c.kinds)
		if c.field != "" {
			v, _ := err.(event.Invalid)
			if len(v) != 1 || v[0].Field != c.field || v[0].Rule != c.rule {
				t.Errorf("%s: %v, want the field %s and the rule %s", name, err, c.field, c.rule)
			}
			continue
		}
		if err != nil || got.All != c.want.All || !slices.Equal(got.Scopes, c.want.Scopes) || !slices.Equal(got.Kinds, c.want.Kinds) {
			t.Errorf("%s: %+v, %v, want %+v", name, got, err, c.want)
		}
	}
}

func TestGrantHas(t *testing.T) {
	t.Parallel()
	narrow, all := scope.Grant{Scopes: []scope.Scope{scope.SendUsers}}, scope.Grant{All: true}
	for _, c := range []struct {
		g    scope.Grant
		ask  []scope.Scope
		want bool
	}{
		{narrow, []scope.Scope{scope.SendUsers}, true},
		{narrow, []scope.Scope{scope.SendTopics, scope.SendUsers}, true},
		{narrow, []scope.Scope{scope.SendTopics}, false},
		{narrow, nil, false},
		{all, []scope.Scope{scope.UsersErase}, true},
		{all, nil, false},
		{scope.Grant{}, []scope.Scope{scope.SendUsers}, false},
	} {
		if got := c.g.Has(c.ask...); got != c.want {
			t.Errorf("%+v has %v: %v, want %v", c.g, c.ask, got, c.want)
		}
	}
	if got := (scope.Grant{}).Names(); got == nil || len(got) != 0 {
		t.Errorf("the names of nothing are %#v, want an empty list", got)
	}
	if got := all.Names(); len(got) != len(scope.Catalogue) {
		t.Errorf("all scopes are %v", got)
	}
}

func TestAllowsKind(t *testing.T) {
	t.Parallel()
	g := scope.Grant{Kinds: []string{"order", "invoice.*"}}
	for kind, want := range map[string]bool{
		"order": true, "order.paid": false, "orders": false, "Order": false, "invoice.paid": true, "invoice.": true, "invoice": false, "invoices": false, "message": false, "": false, "*": false, "оrder": false,
	} {
		if got := g.AllowsKind(kind); got != want {
			t.Errorf("%q: %v, want %v", kind, got, want)
		}
	}
	if !(scope.Grant{}).AllowsKind("anything") || !(scope.Grant{Kinds: []string{"*"}}).AllowsKind("anything") {
		t.Error("a grant without kinds, or with *, refuses one")
	}
	if (scope.Grant{Kinds: []string{}}).AllowsKind("anything") {
		t.Error("a grant with no kind at all allows one")
	}
}

func TestOfClaim(t *testing.T) {
	t.Parallel()
	for claim, want := range map[string]string{
		"":               "a user",
		"openid profile": "a user",
		"send:users":     "a user", // another application's
		"crier":          "a user",
		"openid crier:send:users crier:sent:read":  "send:users sent:read",
		"crier:send:users crier:send:users":        "send:users",
		"crier:unknown":                            "",
		"crier:":                                   "",
		"crier:SEND:USERS":                         "",
		"Crier:send:users":                         "a user",
		"crier:send:users\tcrier:send:everyone":    "",
		"  crier:rooms:write   crier:users:erase ": "rooms:write users:erase",
	} {
		g, ok := scope.OfClaim(claim)
		got := "a user"
		if ok {
			got = strings.Join(g.Names(), " ")
		}
		if got != want || g.All {
			t.Errorf("%q is %q, want %q", claim, got, want)
		}
	}
}
