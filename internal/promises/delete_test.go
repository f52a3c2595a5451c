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

// A sender recalls what it has sent, by the event id of the answer; nobody else can.
func TestRecall(t *testing.T) {
	t.Parallel()
	p := criertest.Start(t)
	ann, bob := p.SignUp("ann"), p.SignUp("bob")
	key, err := p.Beside("keys", "add", "shop")
	if err != nil {
		t.Fatal(err)
	}
	shop := &client.Client{Base: ann.Base, APIKey: strings.TrimSpace(key)}
	send := func(c *client.Client) string {
		t.Helper()
		var accepted struct {
			EventID string `json:"event_id"`
		}
		if err := c.Do(t.Context(), "POST", "/notifications", map[string]string{"user_id": ann.ID, "title": "x"}, &accepted); err != nil {
			t.Fatal(err)
		}
		return "/notifications/sent/" + accepted.EventID
	}
	unread := func() int {
		t.Helper()
		var counts event.Counts
		if err := ann.Do(t.Context(), "GET", "/notifications/counts", nil, &counts); err != nil {
			t.Fatal(err)
		}
		return counts.Unread
	}
	of := "?user_id=" + ann.ID
	byShop, byAnn := send(shop), send(ann.Client)
	ann.Follow(t, "0", 2)
	for _, c := range []struct {
		who  *client.Client
		path string
		want int
	}{
		{p.Service(), byShop + of, http.StatusNotFound},
		{shop, byShop, http.StatusBadRequest},
		{shop, byShop + "?user_id=" + bob.ID, http.StatusNotFound},
		{shop, byAnn + of, http.StatusNotFound},
		{bob.Client, byShop + of, http.StatusForbidden},
		{ann.Client, byShop, http.StatusNotFound},
	} {
		if err := c.who.Do(t.Context(), "DELETE", c.path, nil, nil); status(err) != c.want {
			t.Errorf("%s: %v, want %d", c.path, err, c.want)
		}
	}
	if n := unread(); n != 2 {
		t.Errorf("%d unread, want both", n)
	}
	if err := shop.Do(t.Context(), "DELETE", byShop+of, nil, nil); err != nil || unread() != 1 {
		t.Errorf("by its service: %v, %d unread", err, unread())
	}
	if err := ann.Do(t.Context(), "DELETE", byAnn, nil, nil); err != nil || unread() != 0 {
		t.Errorf("by the person: %v, %d unread", err, unread())
	}
	if err := ann.Do(t.Context(), "GET", "/notifications/1", nil, nil); status(err) != http.StatusNotFound {
		t.Errorf("the first one: %v", err)
	}
	// One that is recalled at once may not be stored yet.
	if err := shop.Do(t.Context(), "DELETE", send(shop)+of, nil, nil); err != nil {
		t.Errorf("recalled at once: %v", err)
	}
}
