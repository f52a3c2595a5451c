package token_test

import (
	"bytes"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"crier/internal/token"
)

// An address of keys may hold a password or a key: no error of reading it shows them.
func TestKeySetErrorsHideCredentials(t *testing.T) {
	t.Parallel()
	gone := httptest.NewServer(http.NotFoundHandler())
	gone.Close()
	refuses := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(refuses.Close)
	redirects := httptest.NewServer(http.RedirectHandler(strings.Replace(gone.URL, "://", "://u:hunter2@", 1)+"/other?key=hunter2", http.StatusFound))
	t.Cleanup(redirects.Close)
	for _, server := range []*httptest.Server{gone, refuses, redirects} {
		var out bytes.Buffer
		a, err := token.New(token.Config{JWKSURL: strings.Replace(server.URL, "://", "://u:hunter2@", 1) + "/keys?key=hunter2#hunter2", Log: slog.New(slog.NewTextHandler(&out, nil))})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := a.Check(t.Context(), "eyJhbGciOiJSUzI1NiJ9.e30.AA"); err == nil {
			t.Error("a token is accepted")
		}
		if text := out.String(); !strings.Contains(text, "CRIER_JWKS_URL") || strings.Contains(text, "hunter2") {
			t.Errorf("logged: %s", text)
		}
	}
}
