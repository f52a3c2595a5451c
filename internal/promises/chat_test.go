package promises

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"

	"crier/internal/client"
	"crier/internal/criertest"
	"crier/internal/event"
	"crier/internal/token"
)

// chatLoad is how much TestChatThroughKill does; CRIER_TEST_CHAT changes it, such
// as 200x5x50x60: clients, rooms, messages a second, seconds.
func chatLoad(t *testing.T) (clients, rooms, rate, seconds int) {
	t.Helper()
	text := os.Getenv("CRIER_TEST_CHAT")
	if text == "" {
		text = "24x3x30x8"
	}
	if n, err := fmt.Sscanf(text, "%dx%dx%dx%d", &clients, &rooms, &rate, &seconds); n != 4 || err != nil {
		t.Fatalf("CRIER_TEST_CHAT=%s: %v", text, err)
	}
	return clients, rooms, rate, seconds
}

// person is a chat client that comes back whenever its connection ends, as a
// page does, and keeps what it has seen of each room: in one order, from its
// first join on.
type person struct {
	name, token string
	bases       []string // of the gateways; it goes on to the next when one fails
	room        string

	mu      sync.Mutex
	socket  *websocket.Conn
	seen    []string // bodies, in the order of the room
	faults  []string
	back    time.Time // when it was last welcomed
	visits  int
	refused int // already-chatting
}

// live keeps the person in its room until ctx ends.
func (p *person) live(ctx context.Context) {
	for i := 0; ctx.Err() == nil; i++ {
		p.visit(ctx, p.bases[i%len(p.bases)])
		select {
		case <-ctx.Done():
		case <-time.After(100 * time.Millisecond):
		}
	}
}

type chatMessage struct {
	Type, Code, Body string
	You              bool
	Status           *struct {
		Messages []struct{ Body string }
	}
}

func (p *person) visit(ctx context.Context, base string) {
	dial, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	c, _, err := websocket.Dial(dial, "ws"+strings.TrimPrefix(base, "http")+"/ws/chat?token="+p.token, nil)
	if err != nil {
		return
	}
	defer func() { _ = c.CloseNow() }()
	c.SetReadLimit(1 << 20)
	for {
		_, text, err := c.Read(ctx)
		if err != nil {
			p.mu.Lock()
			p.socket = nil
			p.mu.Unlock()
			return
		}
		var m chatMessage
		if err := json.Unmarshal(text, &m); err != nil {
			p.fault("unreadable: %s", text)
		}
		switch m.Code {
		case "already-chatting":
			p.mu.Lock()
			p.refused++
			p.mu.Unlock()
		case "api-motd":
			if err := c.Write(ctx, websocket.MessageText, []byte(`{"type":"join","room_name":"`+p.room+`"}`)); err != nil {
				return
			}
		case "joined":
			if m.You {
				p.welcome(c, &m)
			}
		case "message":
			p.mu.Lock()
			p.seen = append(p.seen, m.Body)
			p.mu.Unlock()
		case "parted":
		default:
			p.fault("unexpected: %s", text)
		}
	}
}

func (p *person) fault(format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.faults = append(p.faults, fmt.Sprintf(format, args...))
}

// welcome adds what the history has that was missed.
func (p *person) welcome(c *websocket.Conn, m *chatMessage) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.socket, p.back = c, time.Now()
	p.visits++
	var history []string
	for _, h := range slices.Backward(m.Status.Messages) { // newest first
		history = append(history, h.Body)
	}
	if len(p.seen) > 0 {
		at := slices.Index(history, p.seen[len(p.seen)-1])
		if at < 0 && len(history) == event.MaxHistory {
			p.seen = nil // more was missed than a join shows: it begins anew
		} else if at < 0 {
			p.faults = append(p.faults, "what it saw last is not in the history")
		}
		history = history[at+1:]
	}
	p.seen = append(p.seen, history...)
}

func (p *person) say(ctx context.Context, body string) bool {
	p.mu.Lock()
	c := p.socket
	p.mu.Unlock()
	return c != nil && c.Write(ctx, websocket.MessageText, []byte(`{"type":"message","room_name":"`+p.room+`","body":"`+body+`"}`)) == nil
}

func (p *person) state() (seen []string, faults []string, visits int, back time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.seen), slices.Clone(p.faults), p.visits, p.back
}

// Two gateways, one killed: who was at the other sees each room's messages once,
// in one order; who was at the dead one is back within 10 s and has what was
// missed.
func TestChatThroughKill(t *testing.T) {
	t.Parallel()
	clients, rooms, rate, seconds := chatLoad(t)
	p := criertest.NewParts(t, criertest.Broker(t), "3", "CRIER_USERS=external")
	gateways := []*criertest.Program{p.Start("gateway"), p.Start("gateway")}
	p.Start("consumer")
	bases := []string{p.Service(gateways[0]).Base, p.Service(gateways[1]).Base}
	mint, err := token.New(token.Config{Secret: criertest.JWTSecret})
	if err != nil {
		t.Fatal(err)
	}
	for i := range rooms {
		if err := p.Service(gateways[0]).Do(t.Context(), "POST", "/rooms", map[string]string{"name": "room" + strconv.Itoa(i)}, nil); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	var living sync.WaitGroup
	defer living.Wait()
	defer cancel()
	people := make([]*person, clients)
	for i := range people {
		name := "p" + strconv.Itoa(i)
		text, err := mint.Mint(token.Identity{UserID: event.UserID(name), Username: name, Expires: time.Now().Add(time.Hour)}, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		people[i] = &person{name: name, token: text, room: "room" + strconv.Itoa(i%rooms), bases: []string{bases[i/rooms%2], bases[1-i/rooms%2]}}
		living.Go(func() { people[i].live(ctx) })
	}
	criertest.Eventually(t, 60*time.Second, "everybody is in", func() bool {
		return !slices.ContainsFunc(people, func(x *person) bool { _, _, visits, _ := x.state(); return visits == 0 })
	})
	clock := time.NewTicker(time.Second / time.Duration(rate))
	defer clock.Stop()
	var killed time.Time
	said := make(map[string][]string) // by room, what survivors said
	for i := range rate * seconds {
		<-clock.C
		if i == rate*seconds/2 {
			killed = time.Now()
			gateways[1].Kill()
		}
		x := people[i%clients]
		body := fmt.Sprintf("%s says %d", x.name, i)
		if x.say(ctx, body) && x.bases[0] == bases[0] {
			said[x.room] = append(said[x.room], body)
		}
	}
	criertest.Eventually(t, time.Minute, "everybody is back", func() bool {
		return !slices.ContainsFunc(people, func(x *person) bool { _, _, visits, _ := x.state(); return x.bases[0] == bases[1] && visits < 2 })
	})
	for i := range rooms {
		name := "room" + strconv.Itoa(i)
		var order []string
		criertest.Eventually(t, time.Minute, "everybody in "+name+" has seen the same", func() bool {
			order = nil
			for _, x := range people {
				seen, _, _, _ := x.state()
				if x.room != name || x.bases[0] != bases[0] {
					continue
				}
				if order == nil {
					order = seen
				}
				if !slices.Equal(seen, order) {
					return false
				}
			}
			for _, body := range said[name] {
				if !slices.Contains(order, body) {
					return false
				}
			}
			for _, x := range people {
				if seen, _, _, _ := x.state(); x.room == name && (len(seen) == 0 || !slices.Equal(seen, order[len(order)-len(seen):])) {
					return false
				}
			}
			return true
		})
		once := make(map[string]bool, len(order))
		for _, body := range order {
			if once[body] {
				t.Errorf("%s: %q came twice", name, body)
			}
			once[body] = true
		}
	}
	for _, x := range people {
		_, faults, visits, back := x.state()
		if len(faults) > 0 {
			t.Errorf("%s: %v", x.name, faults)
		}
		switch moved := x.bases[0] == bases[1]; {
		case moved && back.Sub(killed) > time.Minute:
			t.Errorf("%s was back after %v", x.name, back.Sub(killed))
		case !moved && visits != 1:
			t.Errorf("%s, at the other gateway, came %d times", x.name, visits)
		}
	}
}

// Rooms over the canonical interface: followed as topics, with who is there,
// history by pages, edits and deletions, what is unread, and mentions.
func TestRooms(t *testing.T) {
	t.Parallel()
	p := criertest.Start(t)
	ann, bob := p.SignUp("ann"), p.SignUp("bob")
	do := func(u *criertest.User, method, path string, body, out any) {
		t.Helper()
		if err := u.Do(t.Context(), method, path, body, out); err != nil {
			t.Fatal(err)
		}
	}
	var members struct{ Results []event.RoomUser }
	if err := ann.Do(t.Context(), "GET", "/stream?topics=room:nowhere", nil, nil); err == nil {
		t.Error("a room that is not there is followed")
	}
	s := openStream(t, ann, client.StreamOptions{Topics: []string{"room:friends"}})
	there := openStream(t, bob, client.StreamOptions{Join: []string{"friends"}})
	criertest.Eventually(t, time.Minute, "bob is there", func() bool {
		do(ann, "GET", "/rooms/friends/members", nil, &members)
		return len(members.Results) == 1 && members.Results[0].Username == "bob"
	})
	do(ann, "POST", "/rooms/friends/read", map[string]int{"id": 0}, nil)
	var said struct {
		EventID string `json:"event_id"`
	}
	mine := "5b1f4a52-5f2f-4d3e-9d3b-3a1f0f5c8f10"
	do(bob, "POST", "/rooms/friends/messages", map[string]string{"body": "hello @ann and @bob and @nobody", "event_id": mine}, &said)
	if said.EventID != mine {
		t.Errorf("said %+v", said)
	}
	for i := range 4 {
		do(bob, "POST", "/rooms/friends/messages", map[string]string{"body": fmt.Sprint("m", i)}, nil)
	}
	do(bob, "POST", "/rooms/friends/messages", map[string]string{"command": "stock", "payload": "x"}, nil)
	type happened struct {
		ID         int64
		Kind, Body string
		EventID    string `json:"event_id"`
		UserID     string `json:"user_id"`
		Payload    event.Said
		Topic      string
	}
	events := func(s *stream) (out []happened) {
		for _, e := range s.of("message") {
			var h happened
			if err := json.Unmarshal(e.Data, &h); err != nil {
				t.Fatal(err)
			}
			out = append(out, h)
		}
		return out
	}
	criertest.Eventually(t, time.Minute, "ann has followed it", func() bool { return len(events(s)) == 7 })
	got := events(s)
	if got[0].Kind != "joined" || got[0].UserID != bob.ID || got[1].EventID != mine || got[1].UserID != bob.ID || got[1].Payload.Username != "bob" ||
		got[1].Topic != "room:friends" || got[6].Kind != "custom" || got[6].Payload.Command != "stock" {
		t.Errorf("%+v", got)
	}
	if got := ann.Follow(t, "0", 1); got[0].Kind != "mention" || got[0].Title != "bob mentioned you in friends" {
		t.Errorf("the mention is %+v", got[0])
	}
	var rooms struct {
		Results []struct {
			Name            string
			Unread, Members int
		}
	}
	do(ann, "GET", "/rooms", nil, &rooms)
	if r := rooms.Results[1]; len(rooms.Results) != 3 || r.Name != "friends" || r.Unread != 5 || r.Members != 1 {
		t.Errorf("rooms %+v", rooms)
	}
	do(ann, "POST", "/rooms/friends/read", map[string]int64{"id": got[3].ID}, nil)
	do(ann, "POST", "/rooms/friends/read", map[string]int64{"id": 1}, nil) // it never goes back
	if do(ann, "GET", "/rooms", nil, &rooms); rooms.Results[1].Unread != 2 {
		t.Errorf("after reading %+v", rooms)
	}
	requireCode(t, ann.Do(t.Context(), "PATCH", fmt.Sprint("/rooms/friends/messages/", got[1].ID), map[string]string{"body": "mine"}, nil), 403, "forbidden")
	requireCode(t, ann.Do(t.Context(), "DELETE", fmt.Sprint("/rooms/friends/messages/", got[1].ID), nil, nil), 403, "forbidden")
	requireCode(t, ann.Do(t.Context(), "DELETE", fmt.Sprint("/rooms/friends/messages/", got[0].ID), nil, nil), 404, "not_found")
	do(bob, "PATCH", fmt.Sprint("/rooms/friends/messages/", got[1].ID), map[string]string{"body": "hello again"}, nil)
	do(bob, "DELETE", fmt.Sprint("/rooms/friends/messages/", got[2].ID), nil, nil)
	criertest.Eventually(t, time.Minute, "ann hears of both", func() bool { return len(events(s)) == 9 })
	if e := events(s)[7:]; e[0].Kind != "edited" || e[0].Body != "hello again" || e[0].Payload.MessageID != got[1].ID || e[1].Kind != "deleted" || e[1].Payload.MessageID != got[2].ID {
		t.Errorf("%+v", e)
	}
	type page struct {
		Next    *string
		Results []event.RoomMessage
	}
	var first, second page
	do(ann, "GET", "/rooms/friends/messages?limit=3", nil, &first)
	if first.Next == nil || len(first.Results) != 3 || first.Results[0].Body != "m3" {
		t.Fatalf("%+v", first)
	}
	do(ann, "GET", strings.TrimPrefix(*first.Next, "/api/v1"), nil, &second)
	if second.Next != nil || len(second.Results) != 1 || second.Results[0].Body != "hello again" || second.Results[0].EditedAt == nil || second.Results[0].Username != "bob" {
		t.Errorf("%+v", second)
	}
	// Who goes counts as there for a moment, and then no longer.
	there.end()
	criertest.Eventually(t, time.Minute, "bob is seen to go", func() bool {
		e := events(s)
		return e[len(e)-1].Kind == "parted" && e[len(e)-1].UserID == bob.ID
	})
	for _, x := range []struct {
		method, path string
		body         any
		status       int
		code         string
	}{
		{"POST", "/rooms/nowhere/messages", map[string]string{"body": "x"}, 404, "not_found"},
		{"POST", "/rooms/friends/messages", map[string]string{"body": " "}, 400, "invalid_input"},
		{"POST", "/rooms/friends/messages", map[string]string{"body": strings.Repeat("x", 513)}, 400, "invalid_input"},
		{"POST", "/rooms/friends/messages", map[string]string{"body": "x", "event_id": "mine"}, 400, "invalid_input"},
		{"GET", "/rooms/no%20room/members", nil, 404, "not_found"},
		{"POST", "/rooms/friends/read", map[string]int{"id": -1}, 400, "invalid_input"},
		{"DELETE", "/rooms/friends", nil, 403, "forbidden"},
	} {
		requireCode(t, ann.Do(t.Context(), x.method, x.path, x.body, nil), x.status, x.code)
	}
}
