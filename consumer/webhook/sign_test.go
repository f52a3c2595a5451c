package webhook_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"crier/consumer/webhook"
	"crier/internal/criertest"
	"crier/internal/destination"
)

// delivery is a request as it came, for whoever verifies it.
type delivery struct {
	Name    string            `json:"name"`
	Secret  string            `json:"secret"`
	Headers map[string]string `json:"headers"`
	Body    string            `json:"body"`
	Good    bool              `json:"good"`
}

// deliveries are requests that a receiver got before, within and after a change
// of secrets, and some that were tampered with.
func deliveries(t *testing.T) []delivery {
	t.Helper()
	w := newWorld(t)
	hook := criertest.NewReceiver(t, nil)
	d, first := w.destination(hook.URL, ordered)
	w.start(webhook.Config{})
	w.push(`{"price":"1.50","who":"Zoë","lines":[1,2]}`)
	before := hook.Await(t, 1)[0]
	second, _, err := w.store.RotateSecret(t.Context(), d.ID)
	if err != nil {
		t.Fatal(err)
	}
	w.settled(d)
	w.push(`{"n":2}`)
	within := hook.Await(t, 2)[1]
	w.settled(d)
	w.exec(`update destinations set old_secret_ends = now() where id = $1`, d.ID)
	w.push(`{"n":3}`)
	after := hook.Await(t, 3)[2]
	if n := len(strings.Fields(within.Header.Get("Webhook-Signature"))); n != 2 || strings.Contains(after.Header.Get("Webhook-Signature"), " ") {
		t.Errorf("%d signatures while both secrets hold, then %q", n, after.Header.Get("Webhook-Signature"))
	}
	make := func(name, secret string, h criertest.Hook, good bool) delivery {
		headers := map[string]string{}
		for _, n := range []string{"webhook-id", "webhook-timestamp", "webhook-signature"} {
			headers[n] = h.Header.Get(n)
		}
		return delivery{name, secret, headers, h.Body, good}
	}
	tampered := make("another body", second, within, false)
	tampered.Body = `{"n":20}`
	other := make("another id", second, within, false)
	other.Headers["webhook-id"] = "evt-1"
	return []delivery{
		make("before the change", first, before, true), make("the new secret, before", second, before, false),
		make("the old secret, within", first, within, true), make("the new secret, within", second, within, true),
		make("the old secret, after", first, after, false), make("the new secret, after", second, after, true), tampered, other,
	}
}

// The published Go library verifies what was delivered, with the secrets that
// hold and no others.
func TestSignaturesInGo(t *testing.T) {
	t.Parallel()
	for _, d := range deliveries(t) {
		wh, err := standardwebhooks.NewWebhook(d.Secret)
		if err != nil {
			t.Fatal(err)
		}
		headers := http.Header{}
		for n, v := range d.Headers {
			headers.Set(n, v)
		}
		if err := wh.Verify([]byte(d.Body), headers); (err == nil) != d.Good {
			t.Errorf("%s: %v", d.Name, err)
		}
	}
}

// So do the published Python and JavaScript libraries, where they are installed:
// CRIER_TEST_WEBHOOKS names a folder with a Python environment `venv` and with
// `node_modules`; .ci/run makes it.
func TestSignaturesInOtherLanguages(t *testing.T) {
	t.Parallel()
	dir := os.Getenv("CRIER_TEST_WEBHOOKS")
	if dir == "" {
		if slices.Contains(strings.Split(os.Getenv("CRIER_TEST_REQUIRE"), ","), "webhooks") {
			t.Fatal("CRIER_TEST_REQUIRE demands webhooks: CRIER_TEST_WEBHOOKS names no folder")
		}
		t.Skip("without CRIER_TEST_WEBHOOKS: no folder with the published libraries")
	}
	list := deliveries(t)
	input, err := json.Marshal(list)
	if err != nil {
		t.Fatal(err)
	}
	python, err := filepath.Abs("testdata/verify.py")
	if err != nil {
		t.Fatal(err)
	}
	script, err := os.ReadFile("testdata/verify.mjs")
	if err != nil {
		t.Fatal(err)
	}
	// Modules are looked for beside the script.
	node := filepath.Join(t.TempDir(), "verify.mjs")
	if err := os.WriteFile(node, script, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(filepath.Join(dir, "node_modules"), filepath.Join(filepath.Dir(node), "node_modules")); err != nil {
		t.Fatal(err)
	}
	for _, argv := range [][]string{{filepath.Join(dir, "venv/bin/python"), python}, {"node", node}} {
		cmd := exec.CommandContext(t.Context(), argv[0], argv[1:]...)
		cmd.Stdin = strings.NewReader(string(input))
		out, err := cmd.CombinedOutput()
		var got []bool
		if err != nil || json.Unmarshal(out, &got) != nil || len(got) != len(list) {
			t.Errorf("%s: %v: %s", argv[0], err, out)
			continue
		}
		for i, d := range list {
			if got[i] != d.Good {
				t.Errorf("%s, %s: verified is %t", filepath.Base(argv[0]), d.Name, got[i])
			}
		}
	}
}

// A GET destination is signed over an empty body.
func TestSignatureOfAGet(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	hook := criertest.NewReceiver(t, nil)
	_, secret := w.destination(hook.URL, func(d *destination.Destination) { d.Method = http.MethodGet })
	w.start(webhook.Config{})
	w.push(`{"a":"b"}`, `[1]`)
	wh, err := standardwebhooks.NewWebhook(secret)
	if err != nil {
		t.Fatal(err)
	}
	var queries []string
	for _, h := range hook.Await(t, 2) {
		queries = append(queries, fmt.Sprint(h.Query))
		if err := wh.Verify(nil, h.Header); err != nil || h.Body != "" {
			t.Errorf("%v, body %q", err, h.Body)
		}
	}
	slices.Sort(queries)
	if want := []string{"map[a:[b]]", "map[data:[[1]]]"}; !slices.Equal(queries, want) {
		t.Errorf("the queries are %q, want %q", queries, want)
	}
}
