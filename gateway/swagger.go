package gateway

import (
	"encoding/json"
	"io/fs"
	"net/http"
	"strings"

	swaggerFiles "github.com/swaggo/files/v2"
	httpSwagger "github.com/swaggo/http-swagger/v2"

	"crier/docs"
	"crier/gateway/api"
	"crier/gateway/compat"
	"crier/internal/event"
	"crier/internal/problem"
)

// firstOperation sorts the operations of a section: what most come for, sending,
// first; the others stay in the document's order.
const firstOperation = `(a, b) => {
	const rank = (o) => (o.get("path") === "/notifications" && o.get("method") === "post" ? 0 : 1);
	return rank(a) - rank(b);
}`

func (g *Gateway) swagger() http.Handler {
	config := map[string]string{"operationsSorter": firstOperation}
	if g.cfg.PrefillKey {
		// On the embedded default, which listens on loopback, the key is printed at
		// the start anyway.
		config["onComplete"] = `() => window.ui.preauthorizeApiKey("apikey", ` + jsString(g.cfg.APIKey) + `)`
	}
	ui := httpSwagger.Handler(httpSwagger.URL("/swagger/doc.json"), httpSwagger.PersistAuthorization(false), httpSwagger.UIConfig(config))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Security-Policy", swaggerPolicy)
		w.Header().Set("Cache-Control", "no-store")
		if r.URL.Path == "/swagger/doc.json" {
			if err := g.serveDocument(w); err != nil {
				problem.Write(w, r, g.log, err)
			}
			return
		}
		// The handler parses again what it is asked for, and answers 500 where that
		// fails: it gets the names of files only, and no query.
		info, err := fs.Stat(swaggerFiles.FS, strings.TrimPrefix(r.URL.Path, "/swagger/"))
		if err != nil || !info.Mode().IsRegular() {
			g.notFound(w, r)
			return
		}
		if r.URL.Path != "/swagger/index.html" { // which names the key; the others change with the library only
			w.Header().Set("Cache-Control", "public, max-age=86400")
		}
		r = r.Clone(r.Context())
		r.RequestURI = r.URL.Path
		r.Method = http.MethodGet // the handler takes no other; net/http leaves out the body of HEAD
		ui(w, r)
	})
}

// serveDocument answers with the OpenAPI document, without the empty host that
// its generator writes and its standard forbids: without one, the document's own
// host is meant. Bodies have an example that is accepted as it is; the generator
// would make one of all members at once, most of them "string".
func (g *Gateway) serveDocument(w http.ResponseWriter) error {
	var doc map[string]any
	if err := json.Unmarshal([]byte(docs.SwaggerInfo.ReadDoc()), &doc); err != nil {
		return err
	}
	delete(doc, "host")
	definitions, _ := doc["definitions"].(map[string]any)
	for name, example := range examples(g.api.ExampleUser()) {
		if definition, ok := definitions[name].(map[string]any); ok {
			definition["example"] = example
		}
	}
	// One definition is the body of two operations; a change cannot name another symbol.
	if body := bodyOf(doc, "/alerts/{id}", "patch"); body != nil {
		body["schema"] = map[string]any{"allOf": []any{body["schema"]}, "example": map[string]any{"target": "71000", "note": "sell it all"}}
	}
	documentRefusals(doc, routes(g.api))
	for route, needs := range Needs() {
		method, path, _ := strings.Cut(route, " ")
		if operation := operationOf(doc, strings.TrimPrefix(path, base), strings.ToLower(method)); operation != nil && strings.HasPrefix(path, base) {
			names := make([]string, len(needs))
			for i, s := range needs {
				names[i] = "`" + string(s) + "`"
			}
			text, _ := operation["description"].(string)
			operation["description"] = strings.TrimSpace(text + "\n\nAn API key needs the scope " + strings.Join(names, " or ") + ".")
			operation["x-scopes"] = needs
		}
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	return json.NewEncoder(w).Encode(doc)
}

// Needs is the scopes that routes need of a service, by method and path.
func Needs() map[string]api.Scopes {
	a := new(api.API) // its handlers are not called
	needs := make(map[string]api.Scopes)
	for _, rt := range routes(a) {
		if len(rt.Needs) > 0 {
			needs[rt.Method+" "+base+rt.Path] = rt.Needs
		}
	}
	for _, rt := range compat.Routes(a, http.NotFoundHandler(), nil) {
		if len(rt.Needs) > 0 {
			needs[rt.Method+" "+rt.Path] = rt.Needs
		}
	}
	return needs
}

// operationOf is an operation of the document, nil if it has none such.
func operationOf(doc map[string]any, path, method string) map[string]any {
	paths, _ := doc["paths"].(map[string]any)
	operations, _ := paths[path].(map[string]any)
	operation, _ := operations[method].(map[string]any)
	return operation
}

// bodyOf is the body parameter of an operation, nil if it has none.
func bodyOf(doc map[string]any, path, method string) map[string]any {
	operation := operationOf(doc, path, method)
	parameters, _ := operation["parameters"].([]any)
	for _, p := range parameters {
		if parameter, ok := p.(map[string]any); ok && parameter["in"] == "body" {
			return parameter
		}
	}
	return nil
}

// examples are bodies of requests by the name of their definition; user is one who
// exists, if any is known.
func examples(user event.UserID) map[string]any {
	alert := map[string]any{"symbol": "BTCUSDT", "condition": "above", "target": "70000.50", "note": "sell a third"}
	owned := map[string]any{"user_id": user}
	for name, value := range alert {
		owned[name] = value
	}
	return map[string]any{
		"event.Notification":     map[string]any{"user_id": user, "title": "Hello", "body": "Sent from Swagger."},
		"api.AlertRequest":       owned,
		"api.DryRunRequest":      map[string]any{"symbol": "BTCUSDT", "condition": "above", "target": "70000.50", "over": "1m"},
		"api.BulkRequest":        map[string]any{"ids": []int{1, 2}, "action": "pause"},
		"api.SnoozeRequest":      map[string]any{"for": "1h"},
		"api.ReplayRequest":      map[string]any{"since": "2026-01-02T03:04:05Z"},
		"api.DestinationRequest": map[string]any{"url": "https://example.org/hook", "http_method": "POST"},
		"api.IncomingRequest":    map[string]any{"account_id": 1, "data": map[string]any{"order": 4711, "total": "12.50"}},
		"api.LoginRequest":       map[string]any{"username": "ann", "password": "correct horse"},
		"api.LogoutRequest":      map[string]any{"all": false},
		"api.ReadAllUndo":        api.ReadAllUndo{ReadAt: "2026-01-02T03:04:05.123456Z"},
		"api.ReadRequest":        map[string]any{"id": 1},
		"api.RefreshRequest":     api.RefreshRequest{Refresh: "the refresh token of a login"},
		"api.VerifyRequest":      api.VerifyRequest{Token: "the access token of a login"},
		"api.ConfirmRequest":     map[string]any{"token": "the one in the mail's link", "new_password": "battery staple"},
		"api.ResetRequest":       map[string]any{"email": "ann@example.org"},
		"api.SayRequest":         map[string]any{"body": "Good morning"},
		"api.SignupRequest":      api.SignupRequest{Username: "ann", Password: "correct horse", Email: "ann@example.org"},
	}
}
