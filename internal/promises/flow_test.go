package promises

import (
	"context"
	"fmt"
	"testing"
	"time"

	"crier/internal/criertest"
)

// One binary on embedded defaults: sign up, set an alert, a tick from outside,
// a notification over HTTP and the command line, all in the inbox and on the
// stream in order; Ctrl-C ends it with 0 in time; a second start has it all.
func TestFromTickToStream(t *testing.T) {
	t.Parallel()
	p := criertest.Start(t)
	ann := p.SignUp("ann")
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	if err := p.Service().Do(ctx, "POST", "/notifications", map[string]any{"user_id": ann.ID, "title": "first"}, nil); err != nil {
		t.Fatal(err)
	}
	out, errOut, err := p.Run(ctx, "", "send", "--user", ann.ID, "--payload", `{"text":"second"}`)
	if err != nil {
		t.Fatalf("%v %s %s", err, out, errOut)
	}
	got := ann.Follow(t, "0", 2)
	if got[0].Title != "first" || string(got[1].Payload) != `{"text":"second"}` || got[0].ID != 1 || got[1].ID != 2 {
		t.Fatalf("got %+v", got)
	}
	if took := p.Stop(); took > 10*time.Second {
		t.Errorf("stopping took %v", took)
	}
	p.Start()
	ann = p.SignUp("ann")
	if again := ann.Follow(t, "0", 2); fmt.Sprint(again) != fmt.Sprint(got) {
		t.Errorf("after a restart: %+v, before: %+v", again, got)
	}
	var page struct {
		Count   int
		Results []criertest.Notification
	}
	if err := ann.Do(ctx, "GET", "/notifications", nil, &page); err != nil || page.Count != 2 || page.Results[0].ID != 2 {
		t.Errorf("inbox %+v, %v", page, err)
	}
}
