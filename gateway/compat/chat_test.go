package compat_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"crier/internal/criertest"
)

// talker is a chat client that knows nothing of Crier.
type talker struct {
	t      *testing.T
	socket *websocket.Conn
}

// chat opens E's socket; with a header, or the token in the query.
func (s *stranger) chat(path string, inHeader bool) *talker {
	s.t.Helper()
	address := "ws" + strings.TrimPrefix(s.base, "http") + path
	o := &websocket.DialOptions{HTTPHeader: http.Header{}}
	switch {
	case s.token == "":
	case inHeader:
		o.HTTPHeader.Set("Authorization", s.kind+" "+s.token)
	default:
		address += "?token=" + s.token
	}
	ctx, cancel := context.WithTimeout(s.t.Context(), time.Minute)
	defer cancel()
	socket, _, err := websocket.Dial(ctx, address, o)
	if err != nil {
		s.t.Fatalf("the handshake was refused: %v", err)
	}
	s.t.Cleanup(func() { _ = socket.CloseNow() })
	return &talker{s.t, socket}
}

func (c *talker) say(text string) {
	c.t.Helper()
	if err := c.socket.Write(c.t.Context(), websocket.MessageText, []byte(text)); err != nil {
		c.t.Fatal(err)
	}
}

// hear reads one message; its stamp is checked and taken away.
func (c *talker) hear() map[string]any {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), time.Minute)
	defer cancel()
	_, text, err := c.socket.Read(ctx)
	if err != nil {
		c.t.Fatalf("reading: %v", err)
	}
	var m map[string]any
	if err := json.Unmarshal(text, &m); err != nil {
		c.t.Fatalf("%s: %v", text, err)
	}
	if stamp, ok := m["stamp"]; ok {
		if at, err := time.Parse("2006-01-02 15:04:05", fmt.Sprint(stamp)); err != nil || time.Since(at).Abs() > time.Hour {
			c.t.Errorf("stamp %v", stamp)
		}
		delete(m, "stamp")
	}
	return m
}

func (c *talker) want(text string) {
	c.t.Helper()
	var want map[string]any
	if err := json.Unmarshal([]byte(text), &want); err != nil {
		c.t.Fatal(err)
	}
	if got := c.hear(); fmt.Sprint(got) != fmt.Sprint(want) {
		c.t.Errorf("heard %v\nwant %v", got, want)
	}
}

// ended says that the server has closed with 1000.
func (c *talker) ended() {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), time.Minute)
	defer cancel()
	if _, text, err := c.socket.Read(ctx); websocket.CloseStatus(err) != websocket.StatusNormalClosure {
		c.t.Errorf("%s %v, want the end", text, err)
	}
}

func chatter(t *testing.T, p *criertest.Program, name string) *stranger {
	t.Helper()
	s := &stranger{t: t, base: p.Facts().HTTP, kind: "Token"}
	s.want("POST", "/register", members{"username": name, "password": "correct horse", "email": name + "@example.org"}, 201, members{"username": name, "email": name + "@example.org"})
	_, in := s.do("POST", "/login", members{"username": name, "password": "correct horse"})
	s.token = fmt.Sprint(in["token"])
	return s
}

const motd = `"type":"notification","code":"api-motd","content":"Welcome. Send list for the rooms, join to enter one, help for all there is."`

// E: who may come in, and what ends a visit.
func TestChatHandshake(t *testing.T) {
	t.Parallel()
	p := criertest.Start(t)
	bob := chatter(t, p, "bob")
	nobody := &stranger{t: t, base: p.Facts().HTTP, kind: "Token"}
	c := nobody.chat("/ws/chat", false)
	c.want(`{"type":"fatal","code":"not-authenticated"}`)
	c.ended()
	nobody.token = "nonsense"
	for _, inHeader := range []bool{true, false} {
		c = nobody.chat("/ws/chat/", inHeader)
		c.want(`{"type":"fatal","code":"not-authenticated"}`)
		c.ended()
	}
	first := bob.chat("/ws/chat/", true)
	first.want(`{` + motd + `}`)
	second := bob.chat("/ws/chat", false)
	second.want(`{"type":"fatal","code":"already-chatting"}`)
	second.ended()
	first.say(`{"type":"list"}`)
	first.hear()
	// A connection that is gone leaves the way free at once.
	_ = first.socket.CloseNow()
	var again *talker
	criertest.Eventually(t, time.Minute, "bob is back", func() bool {
		again = bob.chat("/ws/chat", false)
		return again.hear()["code"] == "api-motd"
	})
	again.say(`{"type":"join","room_name":"friends"}`)
	again.hear()
	bob.want("GET", "/profile", nil, 200, members{"username": "bob", "email": "bob@example.org"})
	if status, _ := bob.raw("POST", "/logout", nil); status != 204 {
		t.Errorf("logging out: %d", status)
	}
	again.want(`{"type":"notification","code":"logged-out"}`)
	again.ended()
	if status, _ := bob.raw("GET", "/profile", nil); status != 401 {
		t.Errorf("the profile after logging out: %d", status)
	}
}

// E: every message and every code.
func TestChatMessages(t *testing.T) {
	t.Parallel()
	p := criertest.Start(t)
	bob, carol := chatter(t, p, "bob").chat("/ws/chat", true), chatter(t, p, "carol").chat("/ws/chat", true)
	bob.hear()
	carol.hear()
	bob.say(`{"type":"help"}`)
	if m := bob.hear(); m["type"] != "notification" || m["code"] != "help" || m["help"] == "" || len(m) != 3 {
		t.Errorf("help: %v", m)
	}
	rooms := func(joined bool) string {
		return fmt.Sprintf(`{"type":"notification","code":"list","list":[{"name":"family","joined":false},{"name":"friends","joined":%v},{"name":"investments","joined":false}]}`, joined)
	}
	bob.say(`{"type":"list"}`)
	bob.want(rooms(false))
	bob.say(`{"type":"join","room_name":"friends"}`)
	bob.want(`{"type":"room:notification","code":"joined","you":true,"user":"bob","room_name":"friends","status":{"users":[{"name":"bob","you":true}],"messages":[]}}`)
	bob.say(`{"type":"list"}`)
	bob.want(rooms(true))
	bob.say(`{"type":"message","room_name":"friends","body":"  one <b>&amp; äöü 🎈 "}`)
	bob.want(`{"type":"room:notification","code":"message","you":true,"user":"bob","room_name":"friends","body":"one <b>&amp; äöü 🎈"}`)
	for _, custom := range []string{"message", "custom"} {
		bob.say(`{"type":"` + custom + `","room_name":"friends","command":"stock","payload":"aapl.us"}`)
		bob.want(`{"type":"room:notification","code":"custom","you":true,"user":"bob","room_name":"friends","command":"stock","payload":"aapl.us"}`)
	}
	// What was said before a join and its first messages meet without a gap.
	carol.say(`{"type":"join","room_name":"friends"}`)
	joined := carol.hear()
	status, _ := joined["status"].(map[string]any)
	messages, _ := status["messages"].([]any)
	if users := fmt.Sprint(status["users"]); users != "[map[name:bob you:false] map[name:carol you:true]]" || len(messages) != 1 {
		t.Fatalf("joined: %v", joined)
	}
	if m, _ := messages[0].(map[string]any); m["user"] != "bob" || m["you"] != false || m["body"] != "one <b>&amp; äöü 🎈" || m["stamp"] == "" || len(m) != 4 {
		t.Errorf("history: %v", m)
	}
	bob.want(`{"type":"room:notification","code":"joined","you":false,"user":"carol","room_name":"friends","status":null}`)
	carol.say(`{"type":"message","room_name":"friends","body":"two"}`)
	carol.want(`{"type":"room:notification","code":"message","you":true,"user":"carol","room_name":"friends","body":"two"}`)
	bob.want(`{"type":"room:notification","code":"message","you":false,"user":"carol","room_name":"friends","body":"two"}`)

	long := strings.Repeat("ü", 512)
	for _, x := range []struct{ say, want string }{
		{`nope`, `{"type":"error","code":"invalid-format"}`},
		{`[]`, `{"type":"error","code":"invalid-format"}`},
		{`null`, `{"type":"error","code":"invalid-format"}`},
		{`{}`, `{"type":"error","code":"invalid-format"}`},
		{`{"type":7}`, `{"type":"error","code":"invalid-format"}`},
		{`{"type":"join"}`, `{"type":"error","code":"invalid-format"}`},
		{`{"type":"join","room_name":null}`, `{"type":"error","code":"invalid-format"}`},
		{`{"type":"part","room_name":["friends"]}`, `{"type":"error","code":"invalid-format"}`},
		{`{"type":"message","room_name":"friends"}`, `{"type":"error","code":"invalid-format"}`},
		{`{"type":"message","room_name":"friends","body":1}`, `{"type":"error","code":"invalid-format"}`},
		{`{"type":"message","room_name":"friends","body":"a\u0000b"}`, `{"type":"error","code":"invalid-format"}`},
		{`{"type":"custom","room_name":"friends","command":"stock"}`, `{"type":"error","code":"invalid-format"}`},
		{`{"type":"custom","room_name":"friends","payload":"x"}`, `{"type":"error","code":"invalid-format"}`},
		{`{"type":"dance"}`, `{"type":"error","code":"unsupported-command","details":{"type":"dance"}}`},
		{`{"type":"join","room_name":"nowhere"}`, `{"type":"error","code":"room:invalid","details":{"name":"nowhere"}}`},
		{`{"type":"join","room_name":"1 '; drop"}`, `{"type":"error","code":"room:invalid","details":{"name":"1 '; drop"}}`},
		{`{"type":"part","room_name":""}`, `{"type":"error","code":"room:invalid","details":{"name":""}}`},
		{`{"type":"join","room_name":"friends"}`, `{"type":"error","code":"room:already-joined","details":{"name":"friends"}}`},
		{`{"type":"part","room_name":"family"}`, `{"type":"error","code":"room:not-joined","details":{"name":"family"}}`},
		{`{"type":"message","room_name":"family","body":"x"}`, `{"type":"error","code":"room:not-joined","details":{"name":"family"}}`},
		{`{"type":"custom","room_name":"family","command":"x","payload":""}`, `{"type":"error","code":"room:not-joined","details":{"name":"family"}}`},
		{`{"type":"message","room_name":"friends","body":" \n "}`, `{"type":"error","code":"room:empty-message","details":{"name":"friends"}}`},
		{`{"type":"custom","room_name":"friends","command":" ","payload":"x"}`, `{"type":"error","code":"room:empty-custom","details":{"name":"friends"}}`},
		{`{"type":"message","room_name":"friends","body":" ` + long + ` "}`, `{"type":"room:notification","code":"message","you":true,"user":"bob","room_name":"friends","body":"` + long + `"}`},
		// What is too long is cut, as the older server did.
		{`{"type":"message","room_name":"friends","body":" ` + long + `x"}`, `{"type":"room:notification","code":"message","you":true,"user":"bob","room_name":"friends","body":"` + long + `"}`},
		{`{"type":"message","room_name":"friends","body":"` + strings.Repeat("🎈", 600) + `"}`, `{"type":"room:notification","code":"message","you":true,"user":"bob","room_name":"friends","body":"` + strings.Repeat("🎈", 512) + `"}`},
	} {
		bob.say(x.say)
		bob.want(x.want)
	}
	for range 3 {
		carol.hear() // the long ones
	}

	// What is asked in one breath is done in its order.
	bob.say(`{"type":"join","room_name":"family"}`)
	bob.say(`{"type":"message","room_name":"family","body":"quick"}`)
	bob.say(`{"type":"part","room_name":"family"}`)
	bob.say(`{"type":"join","room_name":"family"}`)
	for _, code := range []string{"joined", "message", "parted", "joined"} {
		if m := bob.hear(); m["code"] != code || m["you"] != true || m["room_name"] != "family" {
			t.Errorf("in one breath: %v, want %s", m, code)
		}
	}
	carol.say(`{"type":"part","room_name":"friends"}`)
	carol.want(`{"type":"room:notification","code":"parted","you":true,"user":"carol","room_name":"friends"}`)
	bob.want(`{"type":"room:notification","code":"parted","you":false,"user":"carol","room_name":"friends"}`)
	carol.say(`{"type":"join","room_name":"friends"}`)
	carol.hear()
	bob.hear()
	// A closed connection parts from its rooms.
	_ = bob.socket.CloseNow()
	carol.want(`{"type":"room:notification","code":"parted","you":false,"user":"bob","room_name":"friends"}`)
}

// Rooms are an operator's: made, listed and removed; who is in a room that is
// removed parts.
func TestChatRooms(t *testing.T) {
	t.Parallel()
	p := criertest.Start(t)
	service := &stranger{t: t, base: p.Facts().HTTP, key: p.Facts().APIKey}
	bob := chatter(t, p, "bob")
	service.want("POST", "/api/v1/rooms", members{"name": "Den-2_x"}, 201, members{"name": "Den-2_x"})
	service.want("POST", "/api/v1/rooms", members{"name": "Den-2_x"}, 200, members{"name": "Den-2_x"})
	for _, bad := range []string{"", "2x", "a b", "a-", "-a", "a--b", strings.Repeat("a", 51)} {
		if status, out := service.do("POST", "/api/v1/rooms", members{"name": bad}); status != 400 {
			t.Errorf("%q: %d %v", bad, status, out)
		}
	}
	if status, _ := bob.do("POST", "/api/v1/rooms", members{"name": "mine"}); status != 403 {
		t.Errorf("bob made a room: %d", status)
	}
	if out, stderr, err := p.Run(t.Context(), "", "rooms", "add", "attic"); err != nil {
		t.Fatalf("%v %s %s", err, out, stderr)
	}
	c := bob.chat("/ws/chat", true)
	c.hear()
	for _, room := range []string{"attic", "Den-2_x"} {
		c.say(`{"type":"join","room_name":"` + room + `"}`)
		c.hear()
	}
	if out, stderr, err := p.Run(t.Context(), "", "rooms", "remove", "attic"); err != nil {
		t.Fatalf("%v %s %s", err, out, stderr)
	}
	c.want(`{"type":"room:notification","code":"parted","you":true,"user":"bob","room_name":"attic"}`)
	if status, _ := service.raw("DELETE", "/api/v1/rooms/Den-2_x", nil); status != 202 {
		t.Errorf("removing a room: %d", status)
	}
	c.want(`{"type":"room:notification","code":"parted","you":true,"user":"bob","room_name":"Den-2_x"}`)
	c.say(`{"type":"join","room_name":"attic"}`)
	c.want(`{"type":"error","code":"room:invalid","details":{"name":"attic"}}`)
	if status, _ := service.raw("DELETE", "/api/v1/rooms/attic", nil); status != 404 {
		t.Errorf("removing it again: %d", status)
	}
}

// E: the bot of the older system, an aiohttp program, logs in, waits for the
// greeting, lists, joins and answers.
func TestChatBotInPython(t *testing.T) {
	t.Parallel()
	python := criertest.Python(t, "aiohttp")
	p := criertest.Start(t)
	chatter(t, p, "finbot")
	bob := chatter(t, p, "bob")
	c := bob.chat("/ws/chat", true)
	c.hear()
	c.say(`{"type":"join","room_name":"friends"}`)
	c.hear()
	cmd := exec.CommandContext(t.Context(), python, "testdata/finbot.py")
	cmd.Env = append(os.Environ(), "FINBOT_HOST="+strings.TrimPrefix(p.Facts().HTTP, "http://"), "FINBOT_USERNAME=finbot", "FINBOT_PASSWORD=correct horse", "FINBOT_ROOMS=friends:investments")
	var out strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	c.want(`{"type":"room:notification","code":"joined","you":false,"user":"finbot","room_name":"friends","status":null}`)
	c.say(`{"type":"message","room_name":"friends","command":"stock","payload":"aapl.us"}`)
	c.want(`{"type":"room:notification","code":"custom","you":true,"user":"bob","room_name":"friends","command":"stock","payload":"aapl.us"}`)
	c.want(`{"type":"room:notification","code":"message","you":false,"user":"finbot","room_name":"friends","body":"AAPL.US quote is $93.42 per share"}`)
	_, in := (&stranger{t: t, base: p.Facts().HTTP}).do("POST", "/login", members{"username": "finbot", "password": "correct horse"})
	finbot := &stranger{t: t, base: p.Facts().HTTP, kind: "Token", token: fmt.Sprint(in["token"])}
	// Logging out of this session leaves the bot's alone; out of all ends it.
	if status, text := finbot.raw("POST", "/api/v1/logout", members{"all": true}); status != 204 {
		t.Errorf("logging out: %d %s", status, text)
	}
	if err := cmd.Wait(); err != nil || out.String() != "greeted\njoined friends 2\njoined investments 1\nlogged out\n" {
		t.Errorf("the bot: %v\n%s", err, out.String())
	}
}
