package docs_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"crier/gateway"
	"crier/internal/scope"
)

// The table of scopes in contract.md is the catalogue, with the routes that need each.
func TestScopes(t *testing.T) {
	// The canonical routes first, then by address.
	names := slices.SortedFunc(maps.Keys(gateway.Needs()), func(x, y string) int {
		order := func(name string) string {
			method, path, _ := strings.Cut(name, " ")
			return fmt.Sprint(!strings.HasPrefix(path, "/api/v1/"), path, " ", method)
		}
		return strings.Compare(order(x), order(y))
	})
	routes := make(map[scope.Scope][]string)
	for _, name := range names {
		for _, s := range gateway.Needs()[name] {
			routes[s] = append(routes[s], "`"+name+"`")
		}
	}
	var b strings.Builder
	b.WriteString("| scope | allows to | routes |\n|---|---|---|\n")
	for _, e := range scope.Catalogue {
		fmt.Fprintf(&b, "| `%s` | %s | %s |\n", e.Scope, e.Allows, strings.Join(routes[e.Scope], ", "))
	}
	made(t, "contract.md", "scopes", "Scopes", b.String())
}
