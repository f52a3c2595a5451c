package compat

import (
	"net/http"
	"slices"

	"crier/gateway/api"
	"crier/internal/problem"
	"crier/internal/scope"
)

// Systems that left requests open, which an operator may choose to leave open, too.
const (
	DataPusher    = "data-pusher"
	Notifications = "notifications"
)

// Systems lists them.
var Systems = []string{DataPusher, Notifications}

// Routes is the table of aliases; page is the demo page's document, and open says
// whether a request needs none of the credentials that a system did not ask for. The
// letters are the systems' in docs/compatible-clients.md.
func Routes(a *api.API, page http.Handler, open func(r *http.Request, system string) bool) []api.Route {
	c := &clients{a, open}
	return slices.Concat(
		inForm(errorForm, c.alertRoutes()),
		inForm(detailForm, c.notificationRoutes(page)),
		inForm(statusForm, c.pusherRoutes(page)),
		c.chatRoutes(),
	)
}

// inForm gives the routes of one system the form of its refusals.
func inForm(form problem.Form, routes []api.Route) []api.Route {
	for i := range routes {
		routes[i].Form = form
	}
	return routes
}

// alertRoutes are A's, alerts by username, and B's, alerts by email address.
func (c *clients) alertRoutes() []api.Route {
	return []api.Route{
		{Method: "POST", Path: "/signup", Scope: api.Entry, Needs: api.Scopes{scope.UsersCreate}, Handler: c.signup},
		{Method: "POST", Path: "/api/signup", Scope: api.Entry, Needs: api.Scopes{scope.UsersCreate}, Handler: c.signup},
		{Method: "POST", Path: "/api/login", Scope: api.Entry, Handler: c.loginB}, // and B
		{Method: "POST", Path: "/login/refresh", Scope: api.Entry, Handler: c.refresh},
		{Method: "POST", Path: "/create_alert", Scope: api.Person, Handler: c.createAlert},
		{Method: "POST", Path: "/delete_alert", Scope: api.Person, Handler: c.deleteAlert},
		{Method: "GET", Path: "/fetch_alerts", Work: api.Heavy, Scope: api.Person, Handler: c.fetchAlerts},
		{Method: "POST", Path: "/api/alerts/create", Scope: api.Person, Handler: c.createAlert}, // and B
		{Method: "POST", Path: "/api/alerts/delete", Scope: api.Person, Handler: c.deleteAlert},

		{Method: "POST", Path: "/api/register", Scope: api.Entry, Needs: api.Scopes{scope.UsersCreate}, Handler: c.registerEmail},
		{Method: "POST", Path: "/api/alerts/delete/{id}", Scope: api.Person, Handler: c.deleteAlertByPath},
		{Method: "POST", Path: "/api/delete/{id}", Scope: api.Person, Handler: c.deleteAlertByPath},
		{Method: "GET", Path: "/api/alerts", Work: api.Heavy, Scope: api.Person, Handler: c.listAlerts}, // and A
		{Method: "GET", Path: "/api/alerts/{status}", Work: api.Heavy, Scope: api.Person, Handler: c.listAlerts},
	}
}

// notificationRoutes are C's.
func (c *clients) notificationRoutes(page http.Handler) []api.Route {
	return []api.Route{
		{Method: "POST", Path: "/api/users/token", Scope: api.Entry, Handler: c.identity},
		{Method: "POST", Path: "/api/users/token/refresh", Scope: api.Entry, Handler: c.identityRefresh},
		{Method: "POST", Path: "/api/users/token/verify", Scope: api.Entry, Handler: c.identityVerify},
		{Method: "GET", Path: "/api/users/is-authenticated", Scope: api.Person, Handler: c.isAuthenticated},
		{Method: "POST", Path: "/api/notifications/send", Scope: api.Public, Needs: api.Scopes{scope.SendUsers}, Handler: c.send},
		{Method: "GET", Path: "/api/notifications", Scope: api.Public, Handler: plain(page)},
		{Method: "GET", Path: "/api/docs", Scope: api.Public, Handler: plain(http.RedirectHandler("/swagger/index.html", http.StatusFound))},
		{Method: "GET", Path: "/api/schema", Scope: api.Public, Handler: plain(http.RedirectHandler("/swagger/doc.json", http.StatusFound))},
		{Method: "GET", Path: "/ws/notifications/{user_id}", Scope: api.Streams, Handler: c.socket},
	}
}

// pusherRoutes are D's.
func (c *clients) pusherRoutes(page http.Handler) []api.Route {
	return []api.Route{
		{Method: "POST", Path: "/account", Scope: api.Public, Needs: api.Scopes{scope.AccountsWrite}, Handler: c.createAccount},
		{Method: "GET", Path: "/account", Work: api.Heavy, Scope: api.Public, Needs: api.Scopes{scope.AccountsRead}, Handler: c.showAccount(page)},
		{Method: "PATCH", Path: "/account", Scope: api.Public, Needs: api.Scopes{scope.AccountsWrite}, Handler: c.changeAccount},
		{Method: "DELETE", Path: "/account", Scope: api.Public, Needs: api.Scopes{scope.AccountsWrite}, Handler: c.deleteAccount},
		{Method: "POST", Path: "/destination", Scope: api.Public, Needs: api.Scopes{scope.AccountsWrite}, Handler: c.createDestination},
		{Method: "GET", Path: "/destination", Work: api.Heavy, Scope: api.Public, Needs: api.Scopes{scope.AccountsRead}, Handler: c.listDestinations},
		{Method: "PATCH", Path: "/destination", Scope: api.Public, Needs: api.Scopes{scope.AccountsWrite}, Handler: c.changeDestination},
		{Method: "DELETE", Path: "/destination", Scope: api.Public, Needs: api.Scopes{scope.AccountsWrite}, Handler: c.deleteDestination},
		{Method: "POST", Path: "/server/incoming_data", Scope: api.Public, Needs: api.Scopes{scope.AccountsPush}, Handler: c.incomingData},
		{Method: "GET", Path: "/server/incoming_data", Scope: api.Public, Needs: api.Scopes{scope.AccountsPush}, Handler: c.incomingData},
	}
}

// chatRoutes are E's. Its login is at A's address.
func (c *clients) chatRoutes() []api.Route {
	return []api.Route{
		{Method: "GET", Path: "/ws/chat", Scope: api.Greeted, Handler: c.chat},
		{Method: "POST", Path: "/login", Scope: api.Entry, Handler: c.login, Form: loginForm},
		{Method: "POST", Path: "/register", Scope: api.Entry, Needs: api.Scopes{scope.UsersCreate}, Handler: c.register, Form: fieldForm},
		{Method: "POST", Path: "/logout", Scope: api.Person, Handler: c.logout, Form: detailForm},
		{Method: "GET", Path: "/profile", Scope: api.Person, Handler: c.profile, Form: detailForm},
	}
}

func plain(h http.Handler) api.Handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		h.ServeHTTP(w, r)
		return nil
	}
}
