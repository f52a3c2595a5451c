package api

import (
	"testing"

	"crier/internal/user"
)

// As many passwords are checked for a name whether it has accounts or not.
func TestCandidates(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]int{"ann": 1, "ann@example.org": 2} {
		for have := 0; have <= want; have++ {
			if got := candidates(name, make([]user.Account, have)); len(got) != want {
				t.Errorf("%s with %d accounts: %d passwords are checked, want %d", name, have, len(got), want)
			}
		}
	}
}
