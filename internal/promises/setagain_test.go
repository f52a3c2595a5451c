package promises

import (
	"fmt"
	"testing"
	"time"

	"crier/internal/criertest"
)

// An alert that is set again holds anew: where the last tick still meets it, it
// fires at once, on the very tick that it fired on before; where that does not,
// on the first one that does. Each firing has a number of its own.
func TestSetAgain(t *testing.T) {
	t.Parallel()
	p := criertest.Start(t)
	u := p.SignUp("ann")
	id := mustAlertBody(t, u, map[string]string{"symbol": "GOLD", "condition": "above", "target": "5"})
	again := func() {
		t.Helper()
		if err := u.Do(t.Context(), "PATCH", fmt.Sprintf("/alerts/%d", id), map[string]string{"state": "created"}, nil); err != nil {
			t.Fatal(err)
		}
	}
	tick(t, p, "GOLD", "6")
	requireOffsets(t, u, id, []int64{0})
	again()
	requireOffsets(t, u, id, []int64{0, 0})
	tick(t, p, "GOLD", "4")
	again()
	criertest.Eventually(t, time.Minute, "the matcher has it", func() bool { return p.GroupAt(t, "crier-matcher", "ticks") == 2 })
	requireOffsets(t, u, id, []int64{0, 0})
	tick(t, p, "GOLD", "7")
	requireOffsets(t, u, id, []int64{0, 0, 2})
	p.Kill()
	p.Start()
	requireOffsets(t, u, id, []int64{0, 0, 2})
	if got := u.Follow(t, "0", 3); got[2].ID != 3 {
		t.Errorf("notifications %+v", got)
	}
}
