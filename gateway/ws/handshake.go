package ws

import (
	"encoding/base64"
	"net/http"
	"slices"
	"strings"

	"crier/internal/problem"
)

// CheckHandshake refuses a request that cannot be upgraded (RFC 6455, section 4.2.1).
// It comes before all that an open socket brings with it; the upgrader would refuse,
// too, and in words of its own.
func CheckHandshake(w http.ResponseWriter, r *http.Request) error {
	names := func(header, token string) bool {
		return slices.ContainsFunc(strings.Split(strings.Join(r.Header.Values(header), ","), ","), func(s string) bool {
			return strings.EqualFold(strings.TrimSpace(s), token)
		})
	}
	key, err := base64.StdEncoding.DecodeString(r.Header.Get("Sec-WebSocket-Key"))
	switch {
	case r.ProtoMajor != 1:
		return problem.New(problem.InvalidInput, "WebSocket needs HTTP/1.1 here.")
	case !strings.EqualFold(r.Header.Get("Upgrade"), "websocket") || !names("Connection", "upgrade"):
		return problem.New(problem.InvalidInput, "This address speaks WebSocket: the headers Upgrade: websocket and Connection: Upgrade are missing.")
	case r.Header.Get("Sec-WebSocket-Version") != "13":
		w.Header().Set("Sec-WebSocket-Version", "13")
		return problem.New(problem.UpgradeRequired, "The version of WebSocket that is spoken here is 13.")
	case err != nil || len(key) != 16:
		return problem.New(problem.InvalidInput, "Sec-WebSocket-Key must be 16 bytes in base64.")
	}
	return nil
}
