package gateway

import (
	"net/http"
	"regexp"
	"strconv"
	"strings"

	"github.com/gorilla/mux"

	"crier/docs"
	"crier/gateway/api"
	"crier/gateway/compat"
	"crier/internal/inbox"
	"crier/internal/problem"
	"crier/internal/scope"
	"crier/static"
)

// base is where the canonical interface lives.
const base = "/api/v1"

// routes is the canonical interface.
func routes(a *api.API) []api.Route {
	return []api.Route{
		{Method: "GET", Path: "/status", Scope: api.Public, Handler: a.Status},
		{Method: "GET", Path: "/symbols", Scope: api.Public, Handler: a.SymbolList},
		{Method: "GET", Path: "/prices", Scope: api.Public, Handler: a.Pricing},
		{Method: "GET", Path: "/prices/{symbol}/candles", Work: api.Heavy, Scope: api.Public, Handler: a.Candles},

		{Method: "POST", Path: "/signup", Scope: api.Public, Needs: api.Scopes{scope.UsersCreate}, Handler: a.Signup},
		{Method: "POST", Path: "/login", Scope: api.Public, Handler: a.Login},
		{Method: "POST", Path: "/guest", Scope: api.Public, Needs: api.Scopes{scope.UsersCreate}, Handler: a.Guest},
		{Method: "POST", Path: "/guest/keep", Scope: api.Person, Handler: a.KeepGuest},
		{Method: "POST", Path: "/token/refresh", Scope: api.Public, Handler: a.Refresh},
		{Method: "POST", Path: "/token/verify", Scope: api.Public, Handler: a.Verify},
		{Method: "POST", Path: "/logout", Scope: api.Person, Handler: a.Logout},
		{Method: "GET", Path: "/profile", Scope: api.Person, Handler: a.Profile},
		{Method: "DELETE", Path: "/profile", Work: api.Locked, Scope: api.Person, Handler: a.Leave},
		{Method: "POST", Path: "/password", Scope: api.Person, Handler: a.ChangePassword},
		{Method: "POST", Path: "/password/reset", Scope: api.Public, Handler: a.ResetPassword},
		{Method: "POST", Path: "/password/reset/confirm", Scope: api.Public, Handler: a.ConfirmReset},
		{Method: "POST", Path: "/profile/confirmation", Scope: api.Person, Handler: a.AskConfirmation},
		{Method: "GET", Path: "/confirm", Scope: api.Public, Handler: a.ConfirmPage},
		{Method: "POST", Path: "/confirm", Scope: api.Public, Handler: a.Confirm},
		{Method: "GET", Path: "/export", Work: api.Transfer, Scope: api.Person, Handler: a.Export},
		{Method: "GET", Path: "/users/{id}/export", Work: api.Transfer, Scope: api.Sender, Needs: api.Scopes{scope.UsersExport}, Handler: a.ExportUser},
		{Method: "DELETE", Path: "/users/{id}", Scope: api.Sender, Needs: api.Scopes{scope.UsersErase}, Handler: a.EraseUser},
		{Method: "GET", Path: "/sessions", Scope: api.Person, Handler: a.Sessions},
		{Method: "DELETE", Path: "/sessions/{id}", Scope: api.Person, Handler: a.EndSession},

		{Method: "POST", Path: "/notifications", Scope: api.Sender, Needs: api.Scopes{scope.SendUsers, scope.SendTopics, scope.SendEveryone}, Handler: a.Send},
		{Method: "GET", Path: "/notifications", Work: api.Heavy, Scope: api.Person, Handler: a.List},
		{Method: "GET", Path: "/notifications/counts", Scope: api.Person, Handler: a.Counts},
		{Method: "GET", Path: "/notifications/everyone", Work: api.Heavy, Scope: api.Sender, Needs: api.Scopes{scope.SendEveryone}, Handler: a.Everyone},
		{Method: "POST", Path: "/notifications/read-all", Work: api.Locked, Scope: api.Person, Handler: a.ReadAll},
		{Method: "POST", Path: "/notifications/read-all/undo", Work: api.Locked, Scope: api.Person, Handler: a.UndoReadAll},
		{Method: "POST", Path: "/notifications/seen", Work: api.Locked, Scope: api.Person, Handler: a.Seen},
		{Method: "GET", Path: "/notifications/scheduled/{event_id}", Scope: api.Sender, Needs: api.Scopes{scope.SentRead}, Handler: a.ScheduledSend},
		{Method: "DELETE", Path: "/notifications/scheduled/{event_id}", Scope: api.Sender, Needs: api.Scopes{scope.SentRecall}, Handler: a.CancelSend},
		{Method: "GET", Path: "/notifications/{id}", Scope: api.Person, Handler: a.Get},
		{Method: "DELETE", Path: "/notifications/sent/{event_id}", Scope: api.Sender, Needs: api.Scopes{scope.SentRecall}, Handler: a.RecallNotification},
		{Method: "DELETE", Path: "/notifications/{id}", Scope: api.Person, Handler: a.DeleteNotification},
		{Method: "GET", Path: "/notifications/{id}/deliveries", Scope: api.Person, Handler: a.Deliveries},
		{Method: "GET", Path: "/unsubscribe", Scope: api.Public, Handler: a.UnsubscribePage},
		{Method: "POST", Path: "/unsubscribe", Scope: api.Public, Handler: a.Unsubscribe},
		{Method: "POST", Path: "/notifications/{id}/read", Work: api.Locked, Scope: api.Person, Handler: a.Mark(inbox.Read)},
		{Method: "POST", Path: "/notifications/{id}/unread", Work: api.Locked, Scope: api.Person, Handler: a.Mark(inbox.Unread)},
		{Method: "POST", Path: "/notifications/{id}/snooze", Work: api.Locked, Scope: api.Person, Handler: a.SnoozeNotification},
		{Method: "POST", Path: "/notifications/{id}/archive", Work: api.Locked, Scope: api.Person, Handler: a.Mark(inbox.Archive)},
		{Method: "POST", Path: "/notifications/{id}/unarchive", Work: api.Locked, Scope: api.Person, Handler: a.Mark(inbox.Unarchive)},

		{Method: "GET", Path: "/stream", Scope: api.Streams, Handler: a.Stream},
		{Method: "GET", Path: "/ws", Scope: api.Streams, Handler: a.Socket},
		{Method: "POST", Path: "/stream/ticket", Scope: api.Person, Handler: a.Ticket},

		{Method: "POST", Path: "/rooms", Scope: api.Sender, Needs: api.Scopes{scope.RoomsWrite}, Handler: a.CreateRoom},
		{Method: "GET", Path: "/rooms", Work: api.Heavy, Scope: api.Person, Handler: a.ListRooms},
		{Method: "DELETE", Path: "/rooms/{name}", Scope: api.Sender, Needs: api.Scopes{scope.RoomsWrite}, Handler: a.DeleteRoom},
		{Method: "GET", Path: "/rooms/{name}/members", Scope: api.Person, Handler: a.RoomMembers},
		{Method: "POST", Path: "/rooms/{name}/read", Scope: api.Person, Handler: a.ReadRoom},
		{Method: "GET", Path: "/rooms/{name}/messages", Work: api.Heavy, Scope: api.Person, Handler: a.RoomHistory},
		{Method: "POST", Path: "/rooms/{name}/messages", Scope: api.Person, Handler: a.SayInRoom},
		{Method: "PATCH", Path: "/rooms/{name}/messages/{id}", Scope: api.Person, Handler: a.EditMessage},
		{Method: "DELETE", Path: "/rooms/{name}/messages/{id}", Scope: api.Person, Handler: a.DeleteMessage},

		{Method: "POST", Path: "/alerts", Scope: api.Sender, Needs: api.Scopes{scope.AlertsWrite}, Handler: a.CreateAlert},
		{Method: "GET", Path: "/alerts", Work: api.Heavy, Scope: api.Person, Handler: a.ListAlerts},
		{Method: "GET", Path: "/alerts/references", Work: api.Heavy, Scope: api.Person, Handler: a.References},
		{Method: "POST", Path: "/alerts/import", Work: api.Heavy, Scope: api.Person, Handler: a.ImportAlerts},
		{Method: "GET", Path: "/alerts/export", Work: api.Transfer, Scope: api.Person, Handler: a.ExportAlerts},
		{Method: "POST", Path: "/alerts/bulk", Work: api.Heavy, Scope: api.Person, Handler: a.BulkAlerts},
		{Method: "POST", Path: "/alerts/dry-run", Work: api.Trial, Scope: api.Person, Handler: a.DryRun},
		{Method: "POST", Path: "/alerts/{id}/pause", Work: api.Locked, Scope: api.Person, Handler: a.PauseAlert},
		{Method: "POST", Path: "/alerts/{id}/resume", Work: api.Locked, Scope: api.Person, Handler: a.ResumeAlert},
		{Method: "POST", Path: "/alerts/{id}/snooze", Work: api.Locked, Scope: api.Person, Handler: a.SnoozeAlert},
		{Method: "GET", Path: "/alerts/{id}", Scope: api.Person, Handler: a.GetAlert},
		{Method: "PATCH", Path: "/alerts/{id}", Work: api.Locked, Scope: api.Person, Handler: a.UpdateAlert},
		{Method: "DELETE", Path: "/alerts/{id}", Work: api.Locked, Scope: api.Person, Handler: a.DeleteAlert},
		{Method: "GET", Path: "/alerts/{id}/firings", Work: api.Heavy, Scope: api.Person, Handler: a.Firings},

		{Method: "POST", Path: "/accounts", Scope: api.Sender, Needs: api.Scopes{scope.AccountsWrite}, Handler: a.CreateAccount},
		{Method: "GET", Path: "/accounts", Work: api.Heavy, Scope: api.Sender, Needs: api.Scopes{scope.AccountsRead}, Handler: a.ListAccounts},
		{Method: "GET", Path: "/accounts/{id}", Scope: api.Holder, Needs: api.Scopes{scope.AccountsRead}, Handler: a.GetAccount},
		{Method: "PATCH", Path: "/accounts/{id}", Scope: api.Holder, Needs: api.Scopes{scope.AccountsWrite}, Handler: a.UpdateAccount},
		{Method: "DELETE", Path: "/accounts/{id}", Scope: api.Holder, Needs: api.Scopes{scope.AccountsWrite}, Handler: a.DeleteAccount},
		{Method: "POST", Path: "/accounts/{id}/secret", Scope: api.Holder, Needs: api.Scopes{scope.AccountsWrite}, Handler: a.RotateAccountSecret},
		{Method: "POST", Path: "/accounts/{id}/destinations", Scope: api.Holder, Needs: api.Scopes{scope.AccountsWrite}, Handler: a.CreateDestination},
		{Method: "GET", Path: "/accounts/{id}/destinations", Work: api.Heavy, Scope: api.Holder, Needs: api.Scopes{scope.AccountsRead}, Handler: a.ListDestinations},
		{Method: "GET", Path: "/accounts/{id}/destinations/{did}", Scope: api.Holder, Needs: api.Scopes{scope.AccountsRead}, Handler: a.GetDestination},
		{Method: "PATCH", Path: "/accounts/{id}/destinations/{did}", Scope: api.Holder, Needs: api.Scopes{scope.AccountsWrite}, Handler: a.UpdateDestination},
		{Method: "DELETE", Path: "/accounts/{id}/destinations/{did}", Scope: api.Holder, Needs: api.Scopes{scope.AccountsWrite}, Handler: a.DeleteDestination},
		{Method: "POST", Path: "/accounts/{id}/destinations/{did}/secret", Scope: api.Holder, Needs: api.Scopes{scope.AccountsWrite}, Handler: a.RotateSecret},
		{Method: "POST", Path: "/accounts/{id}/destinations/{did}/test", Scope: api.Holder, Needs: api.Scopes{scope.AccountsWrite}, Handler: a.TestDestination},
		{Method: "GET", Path: "/accounts/{id}/destinations/{did}/attempts", Work: api.Heavy, Scope: api.Holder, Needs: api.Scopes{scope.AccountsRead}, Handler: a.Attempts},
		{Method: "POST", Path: "/accounts/{id}/destinations/{did}/attempts/{n}/replay", Scope: api.Holder, Needs: api.Scopes{scope.AccountsWrite}, Handler: a.ReplayAttempt},
		{Method: "POST", Path: "/accounts/{id}/destinations/{did}/replay", Work: api.Heavy, Scope: api.Holder, Needs: api.Scopes{scope.AccountsWrite}, Handler: a.ReplayFailed},
		{Method: "POST", Path: "/incoming", Scope: api.Public, Needs: api.Scopes{scope.AccountsPush}, Handler: a.Incoming},
	}
}

// pagePaths are the demo page's own addresses; each shows the same document.
var pagePaths = []string{"/", "/inbox", "/inbox/{id}", "/prices", "/alerts", "/alerts/{id}", "/rooms", "/rooms/{name}", "/account", "/reset", "/destinations", "/destinations/{id}", "/send", "/login", "/signup"}

// Policies of what documents may load. Swagger's own page starts itself by an
// inline script and styles itself inline.
const (
	pagePolicy    = "default-src 'self'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; frame-ancestors 'none'; base-uri 'none'; form-action 'self'"
	swaggerPolicy = "default-src 'self'; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; frame-ancestors 'none'; base-uri 'none'"
)

// router puts routes, page and documents together. Paths work with and without
// a slash at the end.
func (g *Gateway) router() (http.Handler, error) {
	assets, err := newAssets(static.Files, g.notFound)
	if err != nil {
		return nil, err
	}
	compressed, err := newCompressor()
	if err != nil {
		return nil, err
	}
	page := compressed(http.HandlerFunc(assets.servePage))
	// A path that is not clean has no route: a redirect to the clean one, which is
	// mux' way, turns a client's POST into a GET.
	m := mux.NewRouter().SkipClean(true).UseEncodedPath()
	for _, rt := range routes(g.api) {
		rt.Path = base + rt.Path
		g.handle(m, rt, compressed)
	}
	forms := make(map[string]problem.Form) // of refusals, by path
	for _, rt := range compat.Routes(g.api, http.HandlerFunc(assets.servePage), g.open) {
		g.handle(m, rt, compressed)
		forms[rt.Path] = rt.Form
	}
	for _, p := range pagePaths {
		m.Handle(p, page).Methods("GET", "HEAD")
	}
	m.PathPrefix("/static/").Handler(http.StripPrefix("/static/", compressed(assets))).Methods("GET", "HEAD")
	m.Handle("/docs/errors", compressed(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/markdown; charset=utf-8")
		_, _ = w.Write(docs.Errors)
	}))).Methods("GET", "HEAD")
	m.Handle("/swagger", http.RedirectHandler("/swagger/index.html", http.StatusFound)).Methods("GET", "HEAD")
	m.Handle("/swagger/", http.RedirectHandler("/swagger/index.html", http.StatusFound)).Methods("GET", "HEAD")
	m.PathPrefix("/swagger/").Handler(compressed(g.swagger())).Methods("GET", "HEAD")
	m.NotFoundHandler = http.HandlerFunc(g.notFound)
	m.MethodNotAllowedHandler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		methods, path := allowed(m, r)
		w.Header().Set("Allow", methods)
		problem.WriteAs(w, r, g.log, problem.New(problem.MethodNotAllowed, "This address does not take "+r.Method+"."), forms[path])
	})
	return decodedPaths(m), nil
}

func (g *Gateway) notFound(w http.ResponseWriter, r *http.Request) {
	problem.Write(w, r, g.log, problem.New(problem.NotFound, "There is nothing at this address; see /swagger/."))
}

// decodedPaths decodes the unreserved characters of a path that a client has
// needlessly encoded, which are the same path (RFC 3986, section 6.2.2.2); the
// router matches the encoded path, so that a slash can be part of a symbol.
func decodedPaths(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.RawPath != "" {
			u := *r.URL
			u.RawPath = decodeUnreserved(u.RawPath)
			r = r.Clone(r.Context())
			r.URL = &u
		}
		next.ServeHTTP(w, r)
	})
}

var encoded = regexp.MustCompile(`%[0-9A-Fa-f]{2}`)

func decodeUnreserved(path string) string {
	return encoded.ReplaceAllStringFunc(path, func(s string) string {
		c, err := strconv.ParseUint(s[1:], 16, 8)
		if err == nil && (c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.ContainsRune("-._~", rune(c))) {
			return string(rune(c))
		}
		return s
	})
}

// handle adds a route, with and without a slash at its end.
func (g *Gateway) handle(m *mux.Router, rt api.Route, compressed func(http.Handler) http.Handler) {
	h := http.Handler(g.metrics.count(rt.Method+" "+rt.Path, g.guard(rt)))
	methods := []string{rt.Method}
	if rt.Method == http.MethodGet && !streams(rt) {
		methods = append(methods, http.MethodHead) // net/http leaves the body out
		h = compressed(h)
	}
	path := rt.Path
	for _, numbered := range []string{base + "/notifications/{id}", base + "/alerts/{id}"} {
		// These stand beside names, such as counts, which are no ids: with a method that
		// they do not take, the answer is 405.
		if rest, ok := strings.CutPrefix(path, numbered); ok {
			path = strings.TrimSuffix(numbered, "}") + ":[0-9]+}" + rest
		}
	}
	m.Handle(path, h).Methods(methods...)
	m.Handle(path+"/", h).Methods(methods...)
}

// allowed lists the methods that an address takes, for the Allow header, and names its
// path as the table of routes has it.
func allowed(m *mux.Router, r *http.Request) (list, path string) {
	for _, method := range []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"} {
		probe := r.Clone(r.Context())
		probe.Method = method
		var match mux.RouteMatch
		if m.Match(probe, &match) && match.MatchErr == nil {
			if list != "" {
				list += ", "
			}
			list += method
			if path == "" {
				template, _ := match.Route.GetPathTemplate() // each has one
				path = strings.TrimSuffix(template, "/")
			}
		}
	}
	return list, path
}
