package promises

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"crier/internal/client"
	"crier/internal/criertest"
)

// stream is everything that one user's stream brought.
type stream struct {
	mu     sync.Mutex
	events []client.Event
	stop   context.CancelFunc
	wait   sync.WaitGroup
}

func openStream(t *testing.T, u *criertest.User, o client.StreamOptions) *stream {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	s := &stream{stop: cancel}
	s.wait.Go(func() {
		_ = u.Stream(ctx, o, func(e client.Event) {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.events = append(s.events, e)
		}) // it ends with the test, by its context
	})
	t.Cleanup(s.end)
	criertest.Eventually(t, time.Minute, "the stream is ready", func() bool { return len(s.of("ready")) > 0 })
	return s
}

func (s *stream) end() { s.stop(); s.wait.Wait() }

func (s *stream) of(kind string) []client.Event {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []client.Event
	for _, e := range s.events {
		if e.Type == kind {
			out = append(out, e)
		}
	}
	return out
}

// ids are the places in the events of one type.
func (s *stream) ids(t *testing.T, kind string) []int64 {
	t.Helper()
	var out []int64
	for _, e := range s.of(kind) {
		var n struct{ ID int64 }
		if err := json.Unmarshal(e.Data, &n); err != nil {
			t.Fatal(err)
		}
		out = append(out, n.ID)
	}
	return out
}

func mustSend(t *testing.T, c *client.Client, body any) (accepted struct {
	EventID string `json:"event_id"`
	To      string
}) {
	t.Helper()
	if err := c.Do(t.Context(), "POST", "/notifications", body, &accepted); err != nil {
		t.Fatal(err)
	}
	return accepted
}

func requireCode(t *testing.T, err error, status int, code string) {
	t.Helper()
	var refusal *client.Error
	if !errors.As(err, &refusal) || refusal.Status != status || refusal.Code != code {
		t.Errorf("%v, want %d %s", err, status, code)
	}
}

// What a service sends to a topic reaches all who follow it, once and in one
// order, from where each has come to; a person may read it and not write it.
func TestSendToTopic(t *testing.T) {
	t.Parallel()
	p := criertest.Start(t)
	ann, bob := p.SignUp("ann"), p.SignUp("bob")
	first := openStream(t, ann, client.StreamOptions{Topics: []string{"news"}})
	said := mustSend(t, p.Service(), map[string]any{"topic": "news", "title": "one", "payload": map[string]int{"n": 1}})
	if said.To != "news" || said.EventID == "" {
		t.Errorf("accepted %+v", said)
	}
	mustSend(t, p.Service(), map[string]any{"user_id": ann.ID, "title": "to ann"})
	criertest.Eventually(t, time.Minute, "a message and a notification", func() bool { return len(first.of("message")) == 1 && len(first.of("notification")) == 1 })
	var m struct {
		ID            int64
		Topic, Title  string
		EventID       string `json:"event_id"`
		Unread        *int
		UserID, Other *string
	}
	if err := json.Unmarshal(first.of("message")[0].Data, &m); err != nil || m.ID != 1 || m.Topic != "news" || m.Title != "one" || m.EventID != said.EventID || m.Unread != nil {
		t.Errorf("the message is %s (%v)", first.of("message")[0].Data, err)
	}
	var cursor string
	for _, e := range first.events {
		if e.ID != "" {
			cursor = e.ID
		}
	}
	first.end()
	for i := range 3 {
		mustSend(t, p.Service(), map[string]any{"topic": "news", "title": fmt.Sprint(i)})
	}
	again := openStream(t, ann, client.StreamOptions{Topics: []string{"news"}, Since: cursor})
	// A cursor that somebody has put into the address as it is.
	raw, err := http.NewRequestWithContext(t.Context(), http.MethodGet, ann.Base+"/api/v1/stream?since="+cursor+"&topics=news", nil)
	if err != nil {
		t.Fatal(err)
	}
	raw.Header.Set("Authorization", "Bearer "+ann.Token)
	resp, err := http.DefaultClient.Do(raw)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	head := make([]byte, 400)
	if n, err := io.ReadAtLeast(resp.Body, head, 300); err != nil || !strings.Contains(string(head[:n]), "id: "+cursor+"\n") {
		t.Errorf("since=%s: %v %s", cursor, err, head[:n])
	}
	all := openStream(t, bob, client.StreamOptions{Topics: []string{"news"}, Since: "0"})
	criertest.Eventually(t, time.Minute, "what was missed", func() bool { return len(again.of("message")) == 3 && len(all.of("message")) == 4 })
	if got := again.ids(t, "message"); !slices.Equal(got, []int64{2, 3, 4}) || len(again.of("notification")) != 0 {
		t.Errorf("after %s: %v and %d notifications", cursor, got, len(again.of("notification")))
	}
	if got := all.ids(t, "message"); !slices.Equal(got, []int64{1, 2, 3, 4}) {
		t.Errorf("from the beginning: %v", got)
	}
	requireCode(t, ann.Do(t.Context(), "POST", "/notifications", map[string]any{"topic": "news", "title": "me too"}, nil), 403, "forbidden")
	requireCode(t, ann.Do(t.Context(), "POST", "/notifications", map[string]any{"everyone": true, "title": "me too"}, nil), 403, "forbidden")
}

// A send to everyone reaches each inbox once, through a process that dies
// between any two of its steps.
func TestSendToEveryone(t *testing.T) {
	t.Parallel()
	for _, point := range []string{"consumer.due-before-store:1", "consumer.due-after-store:1"} {
		t.Run(point, func(t *testing.T) {
			t.Parallel()
			p := criertest.NewProgram(t)
			p.Start("CRIER_TEST_FAIL_AT=" + point)
			ann, bob := p.SignUp("ann"), p.SignUp("bob")
			// The process may die before it has answered; the same key is sent again below.
			if err := p.Service().Do(t.Context(), "POST", "/notifications", map[string]any{"everyone": true, "title": "hello, all", "idempotency_key": "k"}, nil); err != nil {
				t.Log(err)
			}
			p.Died()
			p.Start()
			ann.Base, bob.Base = p.Facts().HTTP, p.Facts().HTTP
			for _, u := range []*criertest.User{ann, bob} {
				if n := u.Follow(t, "0", 1)[0]; n.Title != "hello, all" {
					t.Errorf("%+v", n)
				}
			}
			mustSend(t, p.Service(), map[string]any{"everyone": true, "title": "hello, all", "idempotency_key": "k"})
			mustSend(t, p.Service(), map[string]any{"user_ids": []string{ann.ID, bob.ID}, "title": "after"})
			for _, u := range []*criertest.User{ann, bob} {
				if got := u.Follow(t, "0", 2); got[1].Title != "after" {
					t.Errorf("%+v", got)
				}
			}
		})
	}
}

// What is to be delivered later comes then, with the next place of then; until
// then its sender, and nobody else, can cancel it.
func TestScheduledSend(t *testing.T) {
	t.Parallel()
	p := criertest.Start(t)
	ann := p.SignUp("ann")
	service := p.Service()
	due := time.Now().Add(6 * time.Second)
	later := mustSend(t, service, map[string]any{"user_id": ann.ID, "title": "later", "deliver_at": due})
	never := mustSend(t, service, map[string]any{"user_id": ann.ID, "title": "never", "deliver_at": due})
	own := mustSend(t, ann.Client, map[string]any{"user_id": ann.ID, "title": "own", "deliver_at": due.Add(time.Hour)})
	mustSend(t, service, map[string]any{"user_id": ann.ID, "title": "now"})
	var state struct{ State string }
	for range 2 {
		if err := service.Do(t.Context(), "DELETE", "/notifications/scheduled/"+never.EventID, nil, &state); err != nil || state.State != "cancelled" {
			t.Errorf("cancelling: %+v %v", state, err)
		}
	}
	requireCode(t, ann.Do(t.Context(), "DELETE", "/notifications/scheduled/"+later.EventID, nil, nil), 404, "not_found")
	if err := ann.Do(t.Context(), "DELETE", "/notifications/scheduled/"+own.EventID, nil, nil); err != nil {
		t.Error(err)
	}
	if err := service.Do(t.Context(), "GET", "/notifications/scheduled/"+later.EventID, nil, &state); err != nil || state.State != "scheduled" {
		t.Errorf("%+v %v", state, err)
	}
	got := ann.Follow(t, "0", 2)
	if took := time.Now(); took.Before(due) {
		t.Errorf("it came %v early", due.Sub(took))
	}
	if got[0].Title != "now" || got[1].Title != "later" {
		t.Errorf("%+v", got)
	}
	criertest.Eventually(t, time.Minute, "it counts as delivered", func() bool {
		return service.Do(t.Context(), "GET", "/notifications/scheduled/"+later.EventID, nil, &state) == nil && state.State == "delivered"
	})
	requireCode(t, service.Do(t.Context(), "DELETE", "/notifications/scheduled/"+later.EventID, nil, nil), 409, "conflict")
	requireCode(t, service.Do(t.Context(), "DELETE", "/notifications/scheduled/x", nil, nil), 404, "not_found")
}

// A notification with a collapse key replaces the unread one before it; one that
// expires leaves inbox and counts at its time, and one that is over never comes.
func TestCollapseAndExpiry(t *testing.T) {
	t.Parallel()
	p := criertest.Start(t)
	ann := p.SignUp("ann")
	service := p.Service()
	type page struct {
		Count   int
		Results []struct {
			ID, Replaces int64
			Title        string
		}
	}
	inbox := func() (pg page) {
		t.Helper()
		if err := ann.Do(t.Context(), "GET", "/notifications", nil, &pg); err != nil {
			t.Fatal(err)
		}
		return pg
	}
	unread := func() int {
		var c struct{ Unread int }
		if err := ann.Do(t.Context(), "GET", "/notifications/counts", nil, &c); err != nil {
			t.Fatal(err)
		}
		return c.Unread
	}
	s := openStream(t, ann, client.StreamOptions{Since: "0"})
	for _, title := range []string{"a1", "a2"} {
		mustSend(t, service, map[string]any{"user_id": ann.ID, "title": title, "collapse_key": "a"})
	}
	criertest.Eventually(t, time.Minute, "two came", func() bool { return len(s.of("notification")) == 2 })
	if pg := inbox(); pg.Count != 1 || pg.Results[0].Title != "a2" || pg.Results[0].Replaces != 1 || unread() != 1 {
		t.Errorf("collapsed: %+v, %d unread", pg, unread())
	}
	if err := ann.Do(t.Context(), "POST", "/notifications/2/read", nil, nil); err != nil {
		t.Fatal(err)
	}
	mustSend(t, service, map[string]any{"user_id": ann.ID, "title": "a3", "collapse_key": "a"})
	criertest.Eventually(t, time.Minute, "a third came", func() bool { return len(s.of("notification")) == 3 })
	if pg := inbox(); pg.Count != 2 || pg.Results[0].Replaces != 0 {
		t.Errorf("what was read is kept: %+v", pg)
	}
	mustSend(t, service, map[string]any{"user_id": ann.ID, "title": "short", "expires_at": time.Now().Add(2 * time.Second)})
	criertest.Eventually(t, time.Minute, "a fourth came", func() bool { return len(s.of("notification")) == 4 })
	if n := unread(); n != 2 {
		t.Errorf("%d unread, want 2", n)
	}
	criertest.Eventually(t, time.Minute, "it has gone, and the counts with it", func() bool {
		if inbox().Count != 2 || unread() != 1 {
			return false
		}
		for _, e := range s.of("counts") {
			var c struct{ Unread int }
			if json.Unmarshal(e.Data, &c) == nil && c.Unread == 1 {
				return true
			}
		}
		return false
	})
	again := openStream(t, ann, client.StreamOptions{Since: "0"})
	mustSend(t, service, map[string]any{"user_id": ann.ID, "title": "last"})
	criertest.Eventually(t, time.Minute, "the rest", func() bool { return slices.Equal(again.ids(t, "notification"), []int64{2, 3, 5}) })
}
