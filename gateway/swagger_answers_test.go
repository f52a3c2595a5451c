package gateway_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"crier/internal/token"
)

// document is the OpenAPI document as a client gets it.
type document map[string]any

// resolve follows the references of a node.
func (d document) resolve(node any) map[string]any {
	m, _ := node.(map[string]any)
	for m != nil {
		ref, ok := m["$ref"].(string)
		if !ok {
			return m
		}
		at := any(map[string]any(d))
		for _, name := range strings.Split(strings.TrimPrefix(ref, "#/"), "/") {
			step, _ := at.(map[string]any)
			at = step[name]
		}
		m, _ = at.(map[string]any)
	}
	return nil
}

// breaks says where a value is not what its schema allows; "" if it is.
func (d document) breaks(schema map[string]any, value any, at string) string {
	if schema == nil {
		return ""
	}
	if all, ok := schema["allOf"].([]any); ok {
		for _, part := range all {
			if fault := d.breaks(d.resolve(part), value, at); fault != "" {
				return fault
			}
		}
	}
	kind, _ := schema["type"].(string)
	if value == nil {
		if kind != "" && schema["x-nullable"] != true {
			return at + " is null, and not nullable"
		}
		return ""
	}
	ok := true
	switch kind {
	case "object":
		var members map[string]any
		if members, ok = value.(map[string]any); ok {
			properties, _ := schema["properties"].(map[string]any)
			for name, property := range properties {
				if member, given := members[name]; given {
					if fault := d.breaks(d.resolve(property), member, at+"."+name); fault != "" {
						return fault
					}
				}
			}
		}
	case "array":
		var list []any
		if list, ok = value.([]any); ok {
			for i, one := range list {
				if fault := d.breaks(d.resolve(schema["items"]), one, fmt.Sprintf("%s[%d]", at, i)); fault != "" {
					return fault
				}
			}
		}
	case "string":
		_, ok = value.(string)
	case "boolean":
		_, ok = value.(bool)
	case "integer", "number":
		_, ok = value.(float64)
	}
	if !ok {
		return fmt.Sprintf("%s is %v, not of type %s", at, value, kind)
	}
	return ""
}

// operation is one of the document, as the requests to it need it.
type operation struct {
	method, path string
	parameters   []map[string]any
	responses    map[string]any
	produces     []any
}

// bodies are what is tried as an operation's body: its example, and what is not one.
func (d document) bodies(o operation) []string {
	for _, p := range o.parameters {
		if p["in"] != "body" {
			continue
		}
		schema := d.resolve(p["schema"])
		list := []string{"", "{", "[]", "null", "{}", "\xff", `{"zzz":1}`}
		example, _ := schema["example"].(map[string]any)
		properties, _ := schema["properties"].(map[string]any)
		if all, ok := schema["allOf"].([]any); ok {
			properties, _ = d.resolve(all[0])["properties"].(map[string]any)
		}
		if example == nil {
			example = make(map[string]any)
			for name, property := range properties {
				if value, ok := d.resolve(property)["example"]; ok {
					example[name] = value
				}
			}
		}
		whole, _ := json.Marshal(example)
		list = append(list, string(whole))
		for name := range properties {
			for _, wrong := range []any{nil, "", "\x00", -1, 1e300, []any{}, map[string]any{}} {
				changed := maps.Clone(example)
				changed[name] = wrong
				text, _ := json.Marshal(changed)
				list = append(list, string(text))
			}
		}
		return list
	}
	return []string{""}
}

// paths are the addresses that are tried: with ids that are there, or not, or none at
// all, and with each parameter of the query wrong.
func (o operation) paths() []string {
	var list []string
	for _, id := range []string{"1", "0", "%00", "lobby"} {
		path := "/api/v1" + o.path
		for {
			before, rest, found := strings.Cut(path, "{")
			if !found {
				break
			}
			_, after, _ := strings.Cut(rest, "}")
			path = before + id + after
		}
		if list = append(list, path); !strings.Contains(o.path, "{") {
			break
		}
	}
	for _, p := range o.parameters {
		if name, _ := p["name"].(string); p["in"] == "query" {
			for _, wrong := range []string{"", "x", "-1", "1", "\x00", "\xff", strings.Repeat("9", 300)} {
				list = append(list, list[0]+"?"+name+"="+url.QueryEscape(wrong))
			}
		}
	}
	return list
}

// Whatever a client asks, with whatever credential, the answer is one that the
// document names for the operation, of the form that it gives, and no 5xx.
func TestSwaggerNamesEveryAnswer(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	w.signUp("ann")
	// Of no session, so that none of the requests can end it.
	access, err := w.tokens.Mint(token.Identity{UserID: "1", Expires: time.Now().Add(time.Hour)}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct{ path, body string }{
		{"/api/v1/rooms", `{"name":"lobby"}`},
		{"/api/v1/alerts", `{"user_id":"1","symbol":"BTCUSDT","condition":"above","target":"1"}`},
		{"/api/v1/accounts", `{"account_name":"Shop","email":"shop@example.org"}`},
	} {
		if status, _, text := w.ask("POST", step.path, step.body, withKey(apiKey)); status != 201 {
			t.Fatalf("%s: %d %s", step.path, status, text)
		}
	}
	_, _, text := w.ask("GET", "/swagger/doc.json", "")
	var doc document
	if err := json.Unmarshal([]byte(text), &doc); err != nil {
		t.Fatal(err)
	}
	var operations []operation
	paths, _ := doc["paths"].(map[string]any)
	for path, methods := range paths {
		for method, node := range doc.resolve(methods) {
			one := doc.resolve(node)
			o := operation{method: strings.ToUpper(method), path: path, responses: doc.resolve(one["responses"])}
			o.produces, _ = one["produces"].([]any)
			list, _ := one["parameters"].([]any)
			for _, p := range list {
				o.parameters = append(o.parameters, doc.resolve(p))
			}
			operations = append(operations, o)
		}
	}
	slices.SortFunc(operations, func(a, b operation) int { return strings.Compare(a.path+a.method, b.path+b.method) })
	if len(operations) < 80 {
		t.Fatalf("%d operations", len(operations))
	}
	set := func(name, value string) credential { return func(r *http.Request) { r.Header.Set(name, value) } }
	credentials := map[string][]credential{
		"nobody": nil, "a user": {bearer(access)}, "a service": {withKey(apiKey)}, "a bad token": {bearer("x")},
		"another user than meant": {bearer(access), set("X-Crier-User", "2")},
		"a page elsewhere":        {bearer(access), set("Origin", "https://evil.example")},
		"an odd encoding":         {bearer(access), set("Content-Encoding", "br")},
	}
	for _, o := range operations {
		seen := make(map[string]bool)
		try := func(who, path, body string) {
			if who != "nobody" && who != "a bad token" && (o.path == "/stream" || o.path == "/ws" || o.method == "DELETE" && (o.path == "/profile" || o.path == "/users/{id}")) {
				return // they would go on, or take the account from the others
			}
			status, h, text := w.ask(o.method, path, body, credentials[who]...)
			answer := doc.resolve(o.responses[fmt.Sprint(status)])
			fault := ""
			switch {
			case status >= 500:
				fault = "a fault of the gateway's own: " + text
			case answer == nil:
				fault = "an answer that is not documented: " + text
			case text != "" && o.produces != nil && !slices.ContainsFunc(o.produces, func(p any) bool { return strings.HasPrefix(h.Get("Content-Type"), p.(string)) }):
				fault = "a form that is not documented: " + h.Get("Content-Type")
			case strings.Contains(h.Get("Content-Type"), "json") && text != "":
				var value any
				if err := json.Unmarshal([]byte(text), &value); err != nil {
					fault = err.Error()
				} else {
					fault = doc.breaks(doc.resolve(answer["schema"]), value, "the answer")
				}
			}
			if key := fmt.Sprint(status, fault); fault != "" && !seen[key] {
				seen[key] = true
				t.Errorf("%s %.80s by %s with %.80q: %d, %.200s", o.method, path, who, body, status, fault)
			}
		}
		bodies := doc.bodies(o)
		for who := range credentials {
			try(who, o.paths()[0], bodies[len(bodies)/2])
		}
		for _, who := range []string{"a user", "a service"} {
			for _, path := range o.paths() {
				try(who, path, bodies[len(bodies)-1])
			}
			for _, body := range bodies {
				try(who, o.paths()[0], body)
			}
		}
	}
}
