package compat_test

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"crier/internal/criertest"
)

// C and D: what the older systems answered without credentials, as their READMEs
// print it, is answered so where the operator has opened it, and nothing else is.
func TestOpenSystems(t *testing.T) {
	t.Parallel()
	p := criertest.Start(t, "CRIER_COMPAT_OPEN=data-pusher,notifications")
	ann, bob := p.SignUp("ann"), p.SignUp("bob")
	criertest.Eventually(t, 30*time.Second, "the start warns", func() bool {
		return strings.Contains(p.Log(), `level=WARN msg="requests of older systems are accepted without credentials"`)
	})
	s := &stranger{t: t, base: p.Facts().HTTP}
	s.want("POST", "/api/notifications/send/", members{"user_id": 1, "payload": members{"additionalProp1": "string"}}, 200, members{"user_id": 1, "payload": nil})
	person := &stranger{t: t, base: s.base, kind: "Bearer", token: ann.Token}
	person.want("POST", "/api/notifications/send", members{"user_id": bob.ID, "payload": 1}, 200, members{"user_id": bob.ID, "payload": 1})
	s.want("POST", "/api/notifications/send", members{"user_id": 999999, "payload": 1}, 404, members{"detail": nil})

	made := s.want("POST", "/account", members{"account_name": "Shop", "email": "shop@example.org"}, 200, members{"status": true, "message": nil, "data": nil})
	data, _ := made["data"].(map[string]any)
	id, secret := data["account_id"], data["secret_token"]
	self := map[string]any{"account_id": id, "account_name": "Shop", "email": "shop@example.org", "website": ""}
	s.want("GET", fmt.Sprintf("/account?account_id=%v", id), nil, 200, members{"status": true, "data": self})
	s.want("GET", "/account", nil, 200, members{"status": true, "data": []any{self}})
	s.want("GET", "/account?account_id=999999", nil, 200, members{"status": false, "message": "Invalid Details"})
	hook := criertest.NewReceiver(t, nil)
	made = s.want("POST", "/destination", members{"account_id": id, "url": hook.URL, "http_method": "POST", "headers": members{"APP_ID": "1"}}, 200, members{"status": true, "message": "Destination Created Successfully", "data": nil})
	data, _ = made["data"].(map[string]any)
	s.want("GET", fmt.Sprintf("/destination?account_id=%v", id), nil, 200, members{"status": true, "data": nil})
	s.want("PATCH", "/destination", members{"destination_id": data["id"], "http_method": "PUT"}, 200, members{"status": true, "message": "Updated Successfully"})
	s.want("DELETE", "/destination", members{"destination_id": data["id"]}, 200, members{"status": true, "message": "Deleted Successfully"})
	s.want("DELETE", "/destination", members{"destination_id": data["id"]}, 200, members{"status": false, "message": "Invalid Details"})

	// The older system asked for the secret here.
	s.want("PATCH", "/account", members{"account_id": id, "account_name": "Y"}, 200, members{"status": false, "message": "Invalid Details"})
	s.want("DELETE", "/account", members{"account_id": id}, 200, members{"status": false, "message": "Invalid Details"})
	s.want("POST", "/server/incoming_data", members{"account_id": id, "data": 1}, 200, members{"status": false, "message": "Un Authenticate"})
	s.want("POST", "/server/incoming_data", members{"account_id": id, "secret_token": secret, "data": 1}, 200, members{"status": true})
	// And Crier's own interface is as it was.
	for _, path := range []string{"/api/v1/notifications", "/api/v1/accounts"} {
		if status, text := s.raw("GET", path, nil); status != 401 {
			t.Errorf("%s without credentials: %d %s", path, status, text)
		}
	}
	if status, text := s.raw("POST", "/api/v1/notifications", members{"user_id": ann.ID, "title": "x"}); status != 401 {
		t.Errorf("sending without credentials: %d %s", status, text)
	}
}

// An opened system is open to the listed networks, but not to pages of other origins
// or through a proxy that is not trusted.
func TestOpenTo(t *testing.T) {
	t.Parallel()
	trusting := criertest.Start(t, "CRIER_COMPAT_OPEN=notifications", "CRIER_COMPAT_NETWORKS=10.1.0.0/16,2001:db8::1", "CRIER_TRUSTED_PROXIES=127.0.0.1")
	proud := criertest.Start(t, "CRIER_COMPAT_OPEN=notifications")
	// Here any name is taken, as on a listener that is not on loopback.
	wide := criertest.Start(t, "CRIER_COMPAT_OPEN=notifications", "CRIER_ALLOWED_HOSTS=*")
	closed := criertest.Start(t)
	for _, p := range []*criertest.Program{trusting, proud, wide, closed} {
		p.SignUp("ann")
	}
	origin := map[string]string{"Origin": "https://evil.example"}
	from := func(address string) map[string]string { return map[string]string{"X-Forwarded-For": address} }
	for _, c := range []struct {
		name   string
		p      *criertest.Program
		header map[string]string
		want   int
	}{
		{"loopback", trusting, nil, 200}, {"a listed network", trusting, from("10.1.2.3"), 200}, {"a listed address", trusting, from("2001:db8::1"), 200},
		{"loopback of a proxy's", trusting, from("127.0.0.1"), 200}, {"another network", trusting, from("10.2.2.3"), 401}, {"another address", trusting, from("2001:db8::2"), 401},
		{"no address", trusting, from("10.1.2.3, unknown"), 401}, {"an empty address", trusting, from(""), 401},
		{"an untrusted proxy", proud, from("127.0.0.1"), 401}, {"an untrusted proxy's new header", proud, map[string]string{"Forwarded": "for=127.0.0.1"}, 401},
		{"a page of another origin", proud, origin, 401}, {"a page of a hidden origin", proud, map[string]string{"Origin": "null"}, 401},
		{"a page of another site", proud, map[string]string{"Sec-Fetch-Site": "cross-site"}, 401}, {"its own page", proud, map[string]string{"Origin": proud.Facts().HTTP}, 200},
		{"a page that has pointed its name here", wide, map[string]string{"Origin": "http://evil.example", "Host": "evil.example"}, 401},
		{"a program that asks by a name", wide, map[string]string{"Host": "crier.example"}, 200},
		{"not opened", closed, nil, 401},
	} {
		req, err := http.NewRequestWithContext(t.Context(), "POST", c.p.Facts().HTTP+"/api/notifications/send", strings.NewReader(`{"user_id":1,"payload":1}`))
		if err != nil {
			t.Fatal(err)
		}
		for name, v := range c.header {
			req.Header.Set(name, v)
		}
		if host := c.header["Host"]; host != "" {
			req.Host = host
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if err != nil || resp.StatusCode != c.want {
			t.Errorf("%s: %d %s %v, want %d", c.name, resp.StatusCode, text, err, c.want)
		}
		if c.want == 401 && (!strings.Contains(string(text), "X-API-Key") || !strings.Contains(string(text), "CRIER_COMPAT_OPEN") || !strings.Contains(string(text), "docs/compatible-notifications.md")) {
			t.Errorf("%s: the refusal %s does not say what is missing, and where that is documented", c.name, text)
		}
	}
}
