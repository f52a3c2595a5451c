package command_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"crier/internal/command"
	"crier/internal/criertest"
	"crier/internal/scope"
	"crier/internal/token"
)

// run runs one command in this process.
func run(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errOut bytes.Buffer
	code = command.Main(t.Context(), command.Program{Args: args, Stdin: strings.NewReader(""), Stdout: &out, Stderr: &errOut})
	return code, out.String(), errOut.String()
}

// keyRow is a key as the commands print it with --json.
type keyRow struct {
	ID         int64      `json:"id"`
	Owner      string     `json:"owner"`
	State      string     `json:"state"`
	AllScopes  bool       `json:"all_scopes"`
	Scopes     []string   `json:"scopes"`
	Kinds      []string   `json:"kinds"`
	CreatedAt  time.Time  `json:"created_at"`
	ExpiresAt  *time.Time `json:"expires_at"`
	ReplacedAt *time.Time `json:"replaced_at"`
}

// The life of a key on the command line: made with scopes, kinds and an end, listed,
// rotated, and ended alone.
func TestKeysCommand(t *testing.T) {
	t.Parallel()
	database := "--database-url=" + criertest.Postgres(t)
	if code, _, stderr := run(t, "keys", "list", database); code != 1 || !strings.Contains(stderr, "crier migrate") {
		t.Errorf("before the schema is there: %d %s", code, stderr)
	}
	if code, _, stderr := run(t, "migrate", database); code != 0 {
		t.Fatal(stderr)
	}
	must := func(args ...string) string {
		t.Helper()
		code, out, stderr := run(t, append(args, database)...)
		if code != 0 || stderr != "" {
			t.Fatalf("%v: %d %s", args, code, stderr)
		}
		return out
	}
	list := func() (rows []keyRow) {
		t.Helper()
		for _, line := range criertest.Lines(must("keys", "list", "--json")) {
			var r keyRow
			if err := json.Unmarshal([]byte(line), &r); err != nil {
				t.Fatal(line, err)
			}
			rows = append(rows, r)
		}
		return rows
	}
	if out := must("keys", "add", "old"); !strings.HasPrefix(out, "crier_") || strings.Count(out, "\n") != 1 {
		t.Errorf("printed %q", out)
	}
	must("keys", "add", "shop", "--scope", "send:users,sent:recall", "--scope", "send:topics", "--kinds", "order,invoice.*", "--expires", "90d")
	rows := list()
	if len(rows) != 2 || !rows[0].AllScopes || len(rows[0].Scopes) != len(scope.Catalogue) || rows[0].ExpiresAt != nil || rows[0].State != "live" {
		t.Fatalf("%+v", rows)
	}
	if r := rows[1]; r.AllScopes || !slices.Equal(r.Scopes, []string{"send:users", "sent:recall", "send:topics"}) || !slices.Equal(r.Kinds, []string{"order", "invoice.*"}) || r.ExpiresAt.Sub(r.CreatedAt) != 90*24*time.Hour {
		t.Errorf("%+v", r)
	}
	if text := must("keys", "list"); !strings.Contains(text, "all scopes") || !strings.Contains(text, "live until") || !strings.Contains(text, "kinds order,invoice.*") || !strings.Contains(text, "not used") {
		t.Errorf("listed %s", text)
	}
	var made struct {
		Key string `json:"key"`
		keyRow
		Old keyRow `json:"old"`
	}
	out := must("keys", "rotate", "shop", "--overlap", "2d", "--json")
	if err := json.Unmarshal([]byte(out), &made); err != nil || !strings.HasPrefix(made.Key, "crier_") || made.ID == made.Old.ID || made.Old.ReplacedAt == nil || made.Old.ExpiresAt.Sub(*made.Old.ReplacedAt) != 48*time.Hour || !slices.Equal(made.Scopes, rows[1].Scopes) {
		t.Errorf("%s %v", out, err)
	}
	must("keys", "revoke", "shop", "--id", fmt.Sprint(made.Old.ID))
	var states []string
	for _, r := range list() {
		states = append(states, r.Owner+" "+r.State)
	}
	if got := strings.Join(states, ", "); got != "old live, shop revoked, shop live" {
		t.Errorf("states %s", got)
	}
	// Once more for what was read from Kafka since; a key that never was is a mistake.
	if out := must("keys", "revoke", "shop", "--id", fmt.Sprint(made.Old.ID), "--cancel-sends"); out != "0\n" {
		t.Errorf("cancelled %q", out)
	}
	for _, args := range [][]string{{"shop", "--id", "99"}, {"old", "--id", fmt.Sprint(made.ID)}, {"shup"}} {
		if code, out, stderr := run(t, append([]string{"keys", "revoke", "--cancel-sends", database}, args...)...); code != 1 || out != "" || !strings.Contains(stderr, "no such key") {
			t.Errorf("%v: %d %s %s", args, code, out, stderr)
		}
	}
	must("keys", "add", "shop")
	if code, _, stderr := run(t, "keys", "rotate", "shop", database); code != 1 || !strings.Contains(stderr, "--id") || !strings.Contains(stderr, fmt.Sprint(made.ID)) {
		t.Errorf("rotating one of two without its id: %d %s", code, stderr)
	}
	must("keys", "rotate", "shop", "--id", fmt.Sprint(made.ID), "--overlap", "0s", "--expires", "never")
	if r := list(); r[2].State != "expired" || r[len(r)-1].ExpiresAt != nil {
		t.Errorf("after a rotation without overlap: %+v", r)
	}
}

// Whatever is wrong with a flag is said with the flag and the rule, and no key is made:
// least of all one with all scopes where a variable of a script is empty.
func TestKeysCommandRefuses(t *testing.T) {
	t.Parallel()
	// Nothing listens there: what passes the checks fails at the database.
	database := "--database-url=postgres://u@" + criertest.FreeAddr(t) + "/db"
	for _, c := range []struct {
		args, want string
	}{
		{"add|shop|--scope=", "scope: names nothing"},
		{"add|shop|--scope|", "scope: names nothing"},
		{"add|shop|--kind=", "kind: names nothing"},
		{"add|shop|--scope=send:users,", `scope: "" is not one of send:users, `},
		{"add|shop|--scope=send:*", `scope: "send:*" is not one of`},
		{"add|shop|--scope=SEND:USERS", "is not one of"},
		{"add|shop|--kind=Order", `kind: "Order" must be a kind`},
		{"add|shop|--scope=rooms:write|--kind=order", "kind: is only of use with a scope that sends"},
		{"add|Shop", "owner: must be"},
		{"add|shop|--expires=2020-01-01", "expires: must be at least a minute from now"},
		{"add|shop|--expires=1ns", "expires: must be at least a minute from now"},
		{"add|shop|--expires=0s", "--expires: must be a duration such as"},
		{"add|shop|--expires=-1h", "--expires: must be a duration such as"},
		{"add|shop|--expires=tomorrow", "--expires: must be a duration such as"},
		{"add|shop|--expires=2030-02-30", "--expires: must be a duration such as"},
		{"add|shop|--expires=", "--expires: must be a duration such as"},
		{"add|shop|--expires=99999999d", "--expires: must be a duration such as"},
		{"rotate|shop|--overlap=-1h", "--overlap: must be a duration from 0s on"},
		{"rotate|shop|--overlap=1w", "--overlap: must be a duration from 0s on"},
		{"rotate|shop|--expires=2020-01-01T00:00:00Z", "expires: must be at least a minute from now"},
		{"add|shop|--expires=2999-01-01|--scope=send:users|--kind=order", "reaching Postgres"},
		{"add|shop|--expires=12h|--overlap=1h", "unknown flag --overlap"},
	} {
		code, out, stderr := run(t, append(append([]string{"keys"}, strings.Split(c.args, "|")...), database)...)
		if code == 0 || out != "" || !strings.Contains(stderr, c.want) {
			t.Errorf("%s: %d %q %q, want %q", c.args, code, out, stderr, c.want)
		}
	}
}

// The help names every scope of the catalogue.
func TestKeysHelp(t *testing.T) {
	t.Parallel()
	_, out, _ := run(t, "keys", "add", "--help")
	text := strings.Join(strings.Fields(out), " ")
	for _, name := range scope.Names() {
		if !strings.Contains(text, name) {
			t.Errorf("the help does not name %s: %s", name, text)
		}
	}
}

// crier token --scope makes a token of a service, in the claim's form.
func TestServiceTokenCommand(t *testing.T) {
	t.Parallel()
	secret := strings.Repeat("s", 32)
	tokens, err := token.New(token.Config{Secret: secret})
	if err != nil {
		t.Fatal(err)
	}
	for flags, want := range map[string]string{"": "a user", "--scope=send:users,sent:recall": "send:users sent:recall"} {
		args := []string{"token", "--user", "shop", "--jwt-secret", secret}
		if flags != "" {
			args = append(args, flags)
		}
		code, out, stderr := run(t, args...)
		if code != 0 {
			t.Fatal(stderr)
		}
		id, err := tokens.Check(t.Context(), strings.TrimSpace(out))
		got := "a user"
		if id.Service {
			got = strings.Join(id.Grant.Names(), " ")
		}
		if err != nil || got != want || id.UserID != "shop" {
			t.Errorf("%s: %+v, %v, want %s", flags, id, err, want)
		}
	}
	for _, flag := range []string{"--scope=", "--scope=crier:send:users", "--scope=all"} {
		if code, out, stderr := run(t, "token", "--user", "shop", "--jwt-secret", secret, flag); code != 1 || out != "" || !strings.Contains(stderr, "scope: ") {
			t.Errorf("%s: %d %s %s", flag, code, out, stderr)
		}
	}
}
