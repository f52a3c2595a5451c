package command

import (
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"reflect"
	"strings"
	"testing"

	"github.com/alecthomas/kong"

	"crier/internal/telemetry"
)

// Secrets that were given as flags are in no list of arguments that others see.
func TestCommandLineHidesSecrets(t *testing.T) {
	t.Parallel()
	parser, err := kong.New(&cli{})
	if err != nil {
		t.Fatal(err)
	}
	set := newSettings(parser)
	args := []string{"gateway", "--api-key=hunter2", "--jwt-secret", "hunter2", "--database-url=postgres://u:hunter2@h/d", "--smtp-url", "smtp://u:hunter2@h",
		"--jwks-url=https://u:hunter2@id/keys", "--binance-ws-url", "wss://u:hunter2@h", "--kafka-password", "--hunter2", "--http-addr=:80"}
	want := []string{"gateway", "--api-key=redacted", "--jwt-secret", "redacted", "--database-url=redacted", "--smtp-url", "redacted",
		"--jwks-url=https://redacted@id/keys", "--binance-ws-url", "wss://redacted@h", "--kafka-password", "redacted", "--http-addr=:80"}
	got := set.mask(args)
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	// Each secret of every command, whatever it is called.
	for name, f := range set.names {
		if isSecret(f) {
			if shown := fmt.Sprint(set.mask([]string{"--" + f.Name + "=hunter2", "--" + f.Name, "hunter2"})); strings.Contains(shown, "hunter2") {
				t.Errorf("%s: %s", name, shown)
			}
		}
	}

	admin := telemetry.NewAdmin("127.0.0.1:0", telemetry.NewRegistry(Version), slog.New(slog.DiscardHandler))
	admin.CommandLine = got
	if err := admin.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := admin.Stop(t.Context()); err != nil {
			t.Error(err)
		}
	}()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, admin.URL()+"/debug/pprof/cmdline", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil || string(body) != strings.Join(want, "\x00") {
		t.Errorf("cmdline: %q %v", body, err)
	}
}

// The banner shows secrets on a terminal only, and never a key that the operator has set.
func TestBannerHidesSecrets(t *testing.T) {
	t.Parallel()
	e, keys := &env{dataDir: "data"}, secrets{APIKey: "made-key", DemoPassword: "made-password"}
	for _, tt := range []struct {
		name, key     string
		terminal      bool
		shows, hidden []string
	}{
		{"terminal", "made-key", true, []string{"made-key", "demo / made-password", "u:database@"}, nil},
		{"a log", "made-key", false, []string{"api_key in data/secrets.json", "demo_password in data/secrets.json", "postgres://redacted@h"}, []string{"made-key", "made-password", "database"}},
		{"the operator's key", "own-key", true, []string{"as set by CRIER_API_KEY", "made-password"}, []string{"own-key"}},
		{"the operator's key in a log", "own-key", false, []string{"as set by CRIER_API_KEY"}, []string{"own-key", "made-key"}},
	} {
		rows := fmt.Sprint(new(runCmd).bannerRows(e, runFacts{APIKey: tt.key, Postgres: "postgres://u:database@h/d"}, keys, tt.terminal))
		for _, text := range tt.shows {
			if !strings.Contains(rows, text) {
				t.Errorf("%s: %q is not in %s", tt.name, text, rows)
			}
		}
		for _, text := range tt.hidden {
			if strings.Contains(rows, text) {
				t.Errorf("%s: %q is in %s", tt.name, text, rows)
			}
		}
	}
}
