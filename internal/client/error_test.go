package client_test

import (
	"testing"

	"crier/internal/client"
)

func TestErrorText(t *testing.T) {
	t.Parallel()
	for want, e := range map[string]client.Error{
		"404 not_found: No such thing: There is nothing here.": {Status: 404, Code: "not_found", Title: "No such thing", Detail: "There is nothing here."},
		"404 not_found: No such thing":                         {Status: 404, Code: "not_found", Title: "No such thing"},
	} {
		if got := e.Error(); got != want {
			t.Errorf("%q, not %q", got, want)
		}
	}
}
