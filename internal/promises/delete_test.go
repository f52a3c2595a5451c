package promises

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"crier/internal/client"
	"crier/internal/criertest"
	"crier/internal/event"
)

// A deleted notification is gone from list and stream, the numbers go on behind
// it, and the user's other devices get the counts.
func TestDeletedNotification(t *testing.T) {
	t.Parallel()
	p := criertest.Start(t)
	ann, bob := p.SignUp("ann"), p.SignUp("bob")
	for _, title := range []string{"first", "second", "third"} {
		if err := p.Service().Do(t.Context(), "POST", "/notifications", map[string]string{"user_id": ann.ID, "title": title}, nil); err != nil {
			t.Fatal(err)
		}
	}
	ann.Follow(t, "0", 3)
	told, ready := make(chan struct{}), make(chan struct{})
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	g := criertest.Go(t, func() {
		_ = ann.Stream(ctx, client.StreamOptions{}, func(e client.Event) {
			var counts event.Counts
			switch {
			case e.Type == "ready":
				close(ready)
			case e.Type == "counts" && json.Unmarshal(e.Data, &counts) == nil && counts.Unread == 2:
				cancel() // ends the stream
				close(told)
			}
		})
	})
	t.Cleanup(func() { cancel(); g.Wait() })
	<-ready
	if err := bob.Do(t.Context(), "DELETE", "/notifications/3", nil, nil); status(err) != http.StatusNotFound {
		t.Errorf("by somebody else: %v", err)
	}
	if err := ann.Do(t.Context(), "DELETE", "/notifications/3", nil, nil); err != nil {
		t.Fatal(err)
	}
	select {
	case <-told:
	case <-time.After(time.Minute):
		t.Fatal("another device did not get the counts")
	}
	if err := ann.Do(t.Context(), "GET", "/notifications/3", nil, nil); status(err) != http.StatusNotFound {
		t.Errorf("it can be read: %v", err)
	}
	if err := p.Service().Do(t.Context(), "POST", "/notifications", map[string]string{"user_id": ann.ID, "title": "fourth"}, nil); err != nil {
		t.Fatal(err)
	}
	if got := ann.Follow(t, "0", 2); got[1].Title != "second" {
		t.Errorf("the stream from the beginning: %+v", got)
	}
	if got := ann.Follow(t, "2", 1); got[0].ID != 4 || got[0].Title != "fourth" {
		t.Errorf("the stream after the second: %+v", got)
	}
}

// An operator exports and erases a user by commands.
func TestUsersCommands(t *testing.T) {
	t.Parallel()
	p := criertest.Start(t)
	ann, bob := p.SignUp("ann"), p.SignUp("bob")
	for _, id := range []string{ann.ID, bob.ID} {
		if err := p.Service().Do(t.Context(), "POST", "/notifications", map[string]string{"user_id": id, "title": "hello"}, nil); err != nil {
			t.Fatal(err)
		}
	}
	ann.Follow(t, "0", 1)
	out, err := p.Beside("users", "export", ann.ID)
	if err != nil || !strings.Contains(out, `"username":"ann"`) || !strings.Contains(out, `"hello"`) {
		t.Errorf("export: %v\n%s", err, out)
	}
	if out, err := p.Beside("users", "erase", ann.ID); err != nil {
		t.Fatalf("erase: %v\n%s", err, out)
	}
	if _, err := p.Beside("users", "export", ann.ID); err == nil {
		t.Error("an erased user was exported")
	}
	if err := ann.Do(t.Context(), "GET", "/profile", nil, nil); status(err) != http.StatusUnauthorized {
		t.Errorf("the erased user: %v", err)
	}
	if got := bob.Follow(t, "0", 1); got[0].Title != "hello" {
		t.Errorf("somebody else: %+v", got)
	}
}
