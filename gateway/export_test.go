package gateway

import (
	"net/http"

	"crier/gateway/api"
	"crier/gateway/compat"
)

// Routes is the canonical table.
func (g *Gateway) Routes() []api.Route {
	list := routes(g.api)
	for i := range list {
		list[i].Path = base + list[i].Path
	}
	return list
}

// AllRoutes is the canonical table, and the older systems'.
func (g *Gateway) AllRoutes() []api.Route {
	return append(g.Routes(), compat.Routes(g.api, http.NotFoundHandler(), g.open)...)
}

// Guarded is a handler behind what every request passes.
func (g *Gateway) Guarded(h api.Handler) http.Handler {
	return g.outer(g.guard(api.Route{Handler: h, Scope: api.Public}))
}

// GuardedStream is a stream's handler behind what every request passes.
func (g *Gateway) GuardedStream(h api.Handler) http.Handler {
	return g.outer(g.guard(api.Route{Handler: h, Scope: api.Streams}))
}

// Streams is how many there are.
func (g *Gateway) Streams() int64 { return g.hub.Stats().Subscribers }

// Remote is the client's address.
func (g *Gateway) Remote(r *http.Request) string { return g.remote(r) }

// CheckConfig is what New says of a configuration.
func CheckConfig(c Config) error {
	_, err := c.normalise()
	return err
}
