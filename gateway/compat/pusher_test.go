package compat_test

import (
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"crier/internal/criertest"
)

// required is D's answer where a field is missing.
func required(names ...string) members {
	m := members{}
	for _, n := range names {
		m[n] = []any{"This field is required."}
	}
	return members{"status": false, "message": map[string]any(m)}
}

// needsSecret checks that a request which the older system answered without a secret
// is refused with a message that names the missing credential and its documentation.
func needsSecret(s *stranger, method, path string, body any) {
	s.t.Helper()
	got := s.want(method, path, body, 200, members{"status": false, "message": nil})
	text := fmt.Sprint(got["message"])
	for _, part := range []string{" is missing", "X-API-Key", "docs/compatible-data-pusher.md", "CRIER_COMPAT_OPEN"} {
		if !strings.Contains(text, part) {
			s.t.Errorf("%s %s: %q does not name %s", method, path, text, part)
		}
	}
}

// D: accounts are made by anybody, and used with their secret token: in the
// body, in the query, or as a header.
func TestPusherAccounts(t *testing.T) {
	t.Parallel()
	p := criertest.Start(t)
	s := &stranger{t: t, base: p.Facts().HTTP}
	s.want("POST", "/account", members{}, 200, required("account_name", "email"))
	made := s.want("POST", "/account", members{"account_name": "Shop", "email": "shop@example.org", "website": "https://example.org"}, 200,
		members{"status": true, "message": "Account Created Successfully", "data": nil})
	data, _ := made["data"].(map[string]any)
	secret, _ := data["secret_token"].(string)
	if !regexp.MustCompile(`^[A-Za-z0-9]{32}$`).MatchString(secret) || len(data) != 2 {
		t.Fatalf("the new account is %v", data)
	}
	id := data["account_id"]
	s.want("POST", "/account/", url.Values{"account_name": {"Other"}, "email": {"SHOP@example.org"}}, 200,
		members{"status": false, "message": map[string]any{"email": []any{"account with this email already exists."}}})
	s.want("POST", "/account", members{"account_name": "X", "email": "nonsense"}, 200, members{"status": false, "message": nil})

	self := map[string]any{"account_id": id, "account_name": "Shop", "email": "shop@example.org", "website": "https://example.org"}
	s.want("GET", fmt.Sprintf("/account?account_id=%v&secret_token=%s", id, secret), nil, 200, members{"status": true, "data": self})
	needsSecret(s, "GET", fmt.Sprintf("/account?account_id=%v", id), nil)
	s.want("GET", fmt.Sprintf("/account?account_id=%v&secret_token=wrong", id), nil, 200, members{"status": false, "message": "Invalid Details"})
	s.want("GET", "/account?account_id=999999&secret_token="+secret, nil, 200, members{"status": false, "message": "Invalid Details"})
	needsSecret(s, "GET", "/account", nil)
	browser, err := http.NewRequestWithContext(t.Context(), "GET", s.base+"/account", nil)
	if err != nil {
		t.Fatal(err)
	}
	browser.Header.Set("Accept", "text/html,*/*;q=0.8")
	resp, err := http.DefaultClient.Do(browser)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if kind := resp.Header.Get("Content-Type"); !strings.HasPrefix(kind, "text/html") {
		t.Errorf("a browser that goes to the page's view gets %s", kind)
	}
	service := &stranger{t: t, base: s.base, key: p.Facts().APIKey}
	service.want("GET", "/account", nil, 200, members{"status": true, "data": []any{self}})
	service.want("GET", fmt.Sprintf("/account?account_id=%v", id), nil, 200, members{"status": true, "data": self})

	s.want("PATCH", "/account", members{"account_id": id, "secret_token": "wrong", "account_name": "Y"}, 200, members{"status": false, "message": "Invalid Details"})
	s.want("PATCH", "/account", members{"account_id": id, "secret_token": secret, "email": "nonsense"}, 200, members{"status": false, "message": nil})
	s.want("PATCH", "/account/", members{"account_id": id, "secret_token": secret, "account_name": "New shop"}, 200, members{"status": true, "message": "Updated Successfully"})
	// The README's own request: a website without a scheme is kept as it is given.
	s.want("PATCH", "/account", members{"account_id": id, "secret_token": secret, "website": "hello.com"}, 200, members{"status": true, "message": "Updated Successfully"})
	s.want("PATCH", "/account", members{"account_id": id, "secret_token": secret, "website": strings.Repeat("x", 2049)}, 200, members{"status": false, "message": map[string]any{"website": []any{"must be at most 2048 characters"}}})
	s.want("POST", "/account", members{"account_name": "X", "email": "x@example.org", "website": "www.hello.com"}, 200, members{"status": true, "message": nil, "data": nil})
	self["account_name"], self["website"] = "New shop", "hello.com"
	s.want("GET", fmt.Sprintf("/account?account_id=%v&secret_token=%s", id, secret), nil, 200, members{"status": true, "data": self})
	s.want("DELETE", "/account", members{"account_id": id, "secret_token": "wrong"}, 200, members{"status": false, "message": "Invalid Details"})
	s.want("DELETE", "/account", members{"account_id": id, "secret_token": secret}, 200, members{"status": true, "message": "Deleted Successfully"})
	s.want("GET", fmt.Sprintf("/account?account_id=%v&secret_token=%s", id, secret), nil, 200, members{"status": false, "message": "Invalid Details"})
}

// D: destinations, and the data that goes to each of them by its own method,
// with its own headers.
func TestPusherDestinations(t *testing.T) {
	t.Parallel()
	p := criertest.Start(t)
	s := &stranger{t: t, base: p.Facts().HTTP}
	account := func(name string) (id any, secret string) {
		s.key = p.Facts().APIKey // whoever makes an account that is to have destinations is known
		defer func() { s.key = "" }()
		made := s.want("POST", "/account", members{"account_name": name, "email": name + "@example.org"}, 200, members{"status": true, "message": nil, "data": nil})
		data, _ := made["data"].(map[string]any)
		secret, _ = data["secret_token"].(string)
		return data["account_id"], secret
	}
	id, secret := account("shop")
	_, other := account("other")
	hook := criertest.NewReceiver(t, nil)

	s.want("POST", "/destination", members{"account_id": id, "secret_token": secret}, 200, required("url", "http_method"))
	s.want("POST", "/destination", members{"account_id": id, "secret_token": other, "url": hook.URL, "http_method": "POST"}, 200, members{"status": false, "message": "Invalid Details"})
	refused := func(field string, body members) {
		t.Helper()
		body["account_id"], body["secret_token"] = id, secret
		got := s.want("POST", "/destination", body, 200, members{"status": false, "message": nil})
		if m, _ := got["message"].(map[string]any); len(m) != 1 || m[field] == nil {
			t.Errorf("%v is refused with %v, want the field %s", body, got["message"], field)
		}
	}
	refused("http_method", members{"url": hook.URL, "http_method": "TRACE"})
	refused("url", members{"url": "ftp://example.org", "http_method": "POST"})
	refused("url", members{"url": "http://169.254.169.254/latest", "http_method": "POST"})
	refused("url", members{"url": "http://10.1.2.3/", "http_method": "POST"})
	refused("headers.Host", members{"url": hook.URL, "http_method": "POST", "headers": members{"Host": "x"}})
	refused("headers.webhook-id", members{"url": hook.URL, "http_method": "POST", "headers": members{"webhook-id": "x"}})

	ids := make(map[string]any)
	for _, method := range []string{"GET", "POST", "PUT", "PATCH", "DELETE"} {
		made := s.want("POST", "/destination", members{"account_id": id, "secret_token": secret, "url": hook.URL + "/" + method + "?own=1", "http_method": method,
			"headers": members{"X-Mine": method, "Authorization": "Basic eA=="}}, 200, members{"status": true, "message": "Destination Created Successfully", "data": nil})
		data, _ := made["data"].(map[string]any)
		ids[method] = data["id"]
	}
	list := s.want("GET", fmt.Sprintf("/destination?account_id=%v&secret_token=%s", id, secret), nil, 200, members{"status": true, "data": nil})
	all, _ := list["data"].([]any)
	first, _ := all[0].(map[string]any)
	if len(all) != 5 || len(first) != 5 || first["id"] != ids["GET"] || first["account"] != id || first["url"] != hook.URL+"/GET?own=1" || first["http_method"] != "GET" {
		t.Errorf("the destinations are %v", all)
	}
	needsSecret(s, "GET", fmt.Sprintf("/destination?account_id=%v", id), nil)
	needsSecret(s, "GET", "/destination?account_id=999999", nil)
	needsSecret(s, "POST", "/destination", members{"account_id": id, "url": hook.URL, "http_method": "POST"})
	needsSecret(s, "PATCH", "/destination", members{"destination_id": ids["POST"], "http_method": "PUT"})
	needsSecret(s, "DELETE", "/destination", members{"destination_id": ids["POST"]})
	needsSecret(s, "DELETE", "/destination", members{"destination_id": 999999})

	s.want("POST", "/server/incoming_data", members{"secret_token": secret, "data": members{}}, 200, members{"status": false, "message": "Invalid Data"})
	s.want("POST", "/server/incoming_data", members{"account_id": id, "secret_token": secret}, 200, members{"status": false, "message": "Invalid Data"})
	s.want("POST", "/server/incoming_data", members{"account_id": 999999, "secret_token": secret, "data": 1}, 200, members{"status": false, "message": "Invalid Data"})
	s.want("POST", "/server/incoming_data", members{"account_id": id, "data": 1}, 200, members{"status": false, "message": "Un Authenticate"})
	s.want("POST", "/server/incoming_data", members{"account_id": id, "secret_token": other, "data": 1}, 200, members{"status": false, "message": "Un Authenticate"})
	s.want("POST", "/server/incoming_data", `{"account_id":`+fmt.Sprint(id)+`,"secret_token":"`+secret+`","data":{"a":1,"b":"two","c":[1,2],"d":{"e":null},"f":null}}`, 200, members{"status": true})
	for _, h := range hook.Await(t, 5) {
		method := h.Path[1:]
		if h.Method != method || h.Header.Get("X-Mine") != method || h.Header.Get("Authorization") != "Basic eA==" || h.Query["own"][0] != "1" {
			t.Errorf("%s came as %+v", method, h)
		}
		switch {
		case method == "GET":
			if want := (map[string][]string{"own": {"1"}, "a": {"1"}, "b": {"two"}, "c": {"1", "2"}, "d": {`{"e":null}`}}); h.Body != "" || fmt.Sprint(h.Query) != fmt.Sprint(want) {
				t.Errorf("GET has the query %v and the body %q, want %v", h.Query, h.Body, want)
			}
		case h.Body != `{"a":1,"b":"two","c":[1,2],"d":{"e":null},"f":null}` || h.Header.Get("Content-Type") != "application/json":
			t.Errorf("%s has the body %s", method, h.Body)
		}
	}

	for _, method := range []string{"GET", "PUT", "PATCH", "DELETE"} {
		s.want("DELETE", "/destination", members{"destination_id": ids[method], "secret_token": other}, 200, members{"status": false, "message": "Invalid Details"})
		s.want("DELETE", "/destination", members{"destination_id": ids[method], "secret_token": secret}, 200, members{"status": true, "message": "Deleted Successfully"})
	}
	s.want("PATCH", "/destination", members{"destination_id": ids["POST"], "secret_token": other, "http_method": "PUT"}, 200, members{"status": false, "message": "Invalid Details"})
	s.want("PATCH", "/destination", members{"destination_id": ids["POST"], "secret_token": secret, "http_method": "put", "headers": members{"X-Mine": "changed"}}, 200, members{"status": true, "message": "Updated Successfully"})
	s.want("GET", "/server/incoming_data?data="+url.QueryEscape(`{"by":"query"}`)+fmt.Sprintf("&account_id=%v&secret_token=%s", id, secret), nil, 200, members{"status": true})
	(&stranger{t: t, base: s.base, account: secret}).want("POST", "/server/incoming_data", members{"account_id": id, "data": members{"by": "header"}}, 200, members{"status": true})
	came := make(map[string]int)
	for _, h := range hook.Await(t, 8)[5:] {
		came[h.Method+" "+h.Header.Get("X-Mine")+" "+h.Body]++
	}
	if came[`PUT changed {"by":"query"}`] != 2 || came[`PUT changed {"by":"header"}`] != 1 { // with a slash and without
		t.Errorf("after the change came %v", came)
	}
}
