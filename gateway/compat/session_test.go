package compat_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"crier/internal/criertest"
)

// A and C: their clients keep the refresh token of the login and use it again and
// again; it is good until they log out. Crier's own tokens rotate as ever.
func TestRefreshTokenIsKept(t *testing.T) {
	t.Parallel()
	p := criertest.Start(t)
	ann := p.SignUp("ann")
	base := p.Facts().HTTP
	for _, c := range []struct{ login, refresh, fault string }{
		{"/login", "/login/refresh", "error"}, {"/api/login", "/login/refresh", "error"}, {"/api/users/token", "/api/users/token/refresh", "detail"},
	} {
		s := &stranger{t: t, base: base, kind: "Bearer"}
		_, in := s.do("POST", c.login, members{"username": "ann", "password": criertest.Password})
		kept := in["refresh"]
		for range 3 {
			if status, out := s.do("POST", c.refresh, members{"refresh": kept}); status != 200 || out["refresh"] != kept {
				t.Fatalf("%s: %d %v, want the same refresh token %v", c.refresh, status, out, kept)
			} else {
				s.token = fmt.Sprint(out["access"])
			}
			if status, _ := s.raw("GET", "/api/users/is-authenticated", nil); status != 200 {
				t.Errorf("the access token of %s: %d", c.refresh, status)
			}
		}
		if status, _ := s.raw("POST", "/logout", nil); status != 204 {
			t.Errorf("logging out: %d", status)
		}
		s.want("POST", c.refresh, members{"refresh": kept}, 401, members{c.fault: nil})
		if status, _ := s.raw("GET", "/profile", nil); status != 401 {
			t.Errorf("the access token after logging out: %d", status)
		}
	}
	// A token of Crier's own login rotates, on the older paths as well.
	var own struct{ Refresh string }
	if err := ann.Do(t.Context(), "POST", "/login", map[string]string{"username": "ann", "password": criertest.Password}, &own); err != nil {
		t.Fatal(err)
	}
	s := &stranger{t: t, base: base}
	if status, out := s.do("POST", "/login/refresh", members{"refresh": own.Refresh}); status != 200 || out["refresh"] == own.Refresh {
		t.Errorf("a rotating token: %d %v", status, out)
	}
	s.want("POST", "/login/refresh", members{"refresh": own.Refresh}, 401, members{"error": nil})
}

// C: a page that stays open renews its tokens with the refresh token it began with,
// and its socket goes on; logging out closes it.
func TestSocketOfAKeptRefreshToken(t *testing.T) {
	t.Parallel()
	p := criertest.Start(t)
	ann := p.SignUp("ann")
	s := &stranger{t: t, base: p.Facts().HTTP, kind: "Bearer", key: ""}
	_, in := s.do("POST", "/api/users/token", members{"username": "ann", "password": criertest.Password})
	c := socket{t, dial(t, "ws"+strings.TrimPrefix(s.base, "http")+"/ws/notifications/"+ann.ID+"/?token="+fmt.Sprint(in["access"]))}
	for range 3 {
		_, out := s.do("POST", "/api/users/token/refresh", members{"refresh": in["refresh"]})
		s.token = fmt.Sprint(out["access"])
	}
	c.say(`{"type":"command","key":"ping"}`)
	c.want(`{"key":"ping","type":"command_processing_result","value":"pong"}`)
	if status, _ := s.raw("POST", "/logout", nil); status != 204 {
		t.Errorf("logging out: %d", status)
	}
	if _, _, err := c.conn.Read(t.Context()); err == nil {
		t.Error("the socket goes on after logging out")
	}
}

// E, and B: the token of the login outlives access tokens: on requests, on a socket that is
// open, and on one that is opened then. Logging out ends it.
func TestChatTokenLasts(t *testing.T) {
	t.Parallel()
	p := criertest.Start(t, "CRIER_ACCESS_TTL=1s")
	s := &stranger{t: t, base: p.Facts().HTTP, kind: "Token"}
	s.want("POST", "/register", members{"username": "bob", "password": "correct horse", "email": "bob@example.org"}, 201, members{"username": nil, "email": nil})
	_, in := s.do("POST", "/login", members{"username": "bob", "password": "correct horse"})
	s.token = fmt.Sprint(in["token"])
	_, alerts := s.do("POST", "/api/login", members{"username": "bob", "password": "correct horse"})
	first := s.chat("/ws/chat/", false)
	first.want(`{` + motd + `}`)
	short := &stranger{t: t, base: s.base, kind: "Bearer", token: fmt.Sprint(in["access"])}
	criertest.Eventually(t, 30*time.Second, "the access token has ended", func() bool {
		status, _ := short.raw("GET", "/profile", nil)
		return status == 401
	})
	s.want("GET", "/profile", nil, 200, members{"username": "bob", "email": nil})
	b := &stranger{t: t, base: s.base, kind: "Bearer", token: fmt.Sprint(alerts["JWT token"])}
	if status, text := b.raw("GET", "/api/alerts", nil); status != 200 {
		t.Errorf("B's token: %d %s", status, text)
	}
	first.say(`{"type":"join","room_name":"friends"}`)
	if m := first.hear(); m["code"] != "joined" {
		t.Errorf("the open socket: %v", m)
	}
	_ = first.socket.CloseNow()
	var again *talker
	criertest.Eventually(t, 30*time.Second, "bob is back", func() bool {
		again = s.chat("/ws/chat/", true)
		return again.hear()["code"] == "api-motd"
	})
	if status, _ := s.raw("POST", "/logout", nil); status != 204 {
		t.Errorf("logging out: %d", status)
	}
	again.want(`{"type":"notification","code":"logged-out"}`)
	again.ended()
	if status, _ := s.raw("GET", "/profile", nil); status != 401 {
		t.Errorf("after logging out: %d", status)
	}
}
