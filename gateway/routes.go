package gateway

import (
	"net/http"

	"github.com/gorilla/mux"
	httpSwagger "github.com/swaggo/http-swagger/v2"

	"crier/docs"
	"crier/gateway/api"
	"crier/internal/inbox"
	"crier/internal/problem"
	"crier/static"
)

// scope is who may use a route.
type scope uint8

const (
	public  scope = iota // anybody
	person               // somebody signed in
	sender               // a service, or somebody signed in
	streams              // as public, and credentials may stand in the query
)

// route is one line of the table.
type route struct {
	method, path string
	scope        scope
	handler      api.Handler
}

// base is where the canonical interface lives.
const base = "/api/v1"

// routes is the canonical interface.
func routes(a *api.API) []route {
	return []route{
		{"GET", "/status", public, a.Status},
		{"GET", "/symbols", public, a.SymbolList},
		{"GET", "/prices", public, a.Pricing},

		{"POST", "/signup", public, a.Signup},
		{"POST", "/login", public, a.Login},
		{"POST", "/guest", public, a.Guest},
		{"POST", "/token/refresh", public, a.Refresh},
		{"POST", "/token/verify", public, a.Verify},
		{"POST", "/logout", person, a.Logout},
		{"GET", "/profile", person, a.Profile},
		{"GET", "/sessions", person, a.Sessions},
		{"DELETE", "/sessions/{id}", person, a.EndSession},

		{"POST", "/notifications", sender, a.Send},
		{"GET", "/notifications", person, a.List},
		{"GET", "/notifications/counts", person, a.Counts},
		{"POST", "/notifications/read-all", person, a.ReadAll},
		{"POST", "/notifications/seen", person, a.Seen},
		{"GET", "/notifications/{id}", person, a.Get},
		{"POST", "/notifications/{id}/read", person, a.Mark(inbox.Read)},
		{"POST", "/notifications/{id}/unread", person, a.Mark(inbox.Unread)},
		{"POST", "/notifications/{id}/archive", person, a.Mark(inbox.Archive)},
		{"POST", "/notifications/{id}/unarchive", person, a.Mark(inbox.Unarchive)},

		{"GET", "/stream", streams, a.Stream},
		{"GET", "/ws", streams, a.Socket},
		{"POST", "/stream/ticket", person, a.Ticket},

		{"POST", "/alerts", person, a.CreateAlert},
		{"GET", "/alerts", person, a.ListAlerts},
		{"GET", "/alerts/{id}", person, a.GetAlert},
		{"PATCH", "/alerts/{id}", person, a.UpdateAlert},
		{"DELETE", "/alerts/{id}", person, a.DeleteAlert},
		{"GET", "/alerts/{id}/firings", person, a.Firings},
	}
}

// pagePaths are the demo page's own addresses; each shows the same document.
var pagePaths = []string{"/", "/inbox", "/inbox/{id}", "/prices", "/alerts", "/alerts/{id}", "/send", "/login", "/signup"}

// Policies of what documents may load. Swagger's own page starts itself by an
// inline script and styles itself inline.
const (
	pagePolicy    = "default-src 'self'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; frame-ancestors 'none'; base-uri 'none'; form-action 'self'"
	swaggerPolicy = "default-src 'self'; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; frame-ancestors 'none'; base-uri 'none'"
)

// router puts routes, page and documents together. Paths work with and without
// a slash at the end.
func (g *Gateway) router() http.Handler {
	m := mux.NewRouter()
	for _, rt := range routes(g.api) {
		h := g.metrics.count(rt.method+" "+rt.path, g.guard(rt))
		m.Handle(base+rt.path, h).Methods(rt.method)
		m.Handle(base+rt.path+"/", h).Methods(rt.method)
	}
	for _, p := range pagePaths {
		m.HandleFunc(p, servePage).Methods("GET", "HEAD")
	}
	m.PathPrefix("/static/").Handler(http.StripPrefix("/static/", g.assets())).Methods("GET", "HEAD")
	m.HandleFunc("/docs/errors", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/markdown; charset=utf-8")
		_, _ = w.Write(docs.Errors)
	}).Methods("GET")
	m.Handle("/swagger", http.RedirectHandler("/swagger/index.html", http.StatusFound)).Methods("GET")
	m.Handle("/swagger/", http.RedirectHandler("/swagger/index.html", http.StatusFound)).Methods("GET")
	m.PathPrefix("/swagger/").Handler(g.swagger()).Methods("GET")
	m.NotFoundHandler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		problem.Write(w, r, g.log, problem.New(problem.NotFound, "There is nothing at this address; see /swagger/."))
	})
	m.MethodNotAllowedHandler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Allow", allowed(m, r))
		problem.Write(w, r, g.log, problem.New(problem.MethodNotAllowed, "This address does not take "+r.Method+"."))
	})
	return m
}

// allowed lists the methods that an address takes, for the Allow header.
func allowed(m *mux.Router, r *http.Request) string {
	list := ""
	for _, method := range []string{"GET", "POST", "PUT", "PATCH", "DELETE"} {
		probe := r.Clone(r.Context())
		probe.Method = method
		var match mux.RouteMatch
		if m.Match(probe, &match) && match.MatchErr == nil {
			if list != "" {
				list += ", "
			}
			list += method
		}
	}
	return list
}

func servePage(w http.ResponseWriter, r *http.Request) {
	page, err := static.Files.ReadFile("index.html")
	if err != nil {
		http.Error(w, "the page is missing from this build", http.StatusInternalServerError)
		return
	}
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Security-Policy", pagePolicy)
	h.Set("Cache-Control", "no-cache")
	_, _ = w.Write(page)
}

// assets serves the embedded files; they change with the binary only.
func (g *Gateway) assets() http.Handler {
	files := http.FileServerFS(static.Files)
	etag := `"` + g.cfg.Version + "-" + g.started.UTC().Format("20060102T150405") + `"`
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Security-Policy", pagePolicy)
		w.Header().Set("Cache-Control", "no-cache")
		w.Header().Set("ETag", etag)
		files.ServeHTTP(w, r)
	})
}

func (g *Gateway) swagger() http.Handler {
	opts := []func(*httpSwagger.Config){httpSwagger.URL("/swagger/doc.json"), httpSwagger.PersistAuthorization(false)}
	if g.cfg.PrefillKey {
		// On the embedded default, which listens on loopback, the key is printed at
		// the start anyway.
		opts = append(opts, httpSwagger.UIConfig(map[string]string{
			"onComplete": `() => window.ui.preauthorizeApiKey("apikey", ` + jsString(g.cfg.APIKey) + `)`}))
	}
	ui := httpSwagger.Handler(opts...)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Security-Policy", swaggerPolicy)
		w.Header().Set("Cache-Control", "no-store")
		ui(w, r)
	})
}
