package layout

import (
	"go/ast"
	"go/token"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "crier/"

// The layers, from the ground up. A package imports what stands beneath it.
var (
	values = []string{"internal/decimal", "internal/event", "internal/scope"}
	base   = []string{"internal/kafka", "internal/lifecycle", "internal/postgres", "internal/problem", "internal/telemetry", "internal/token"}
	domain = []string{"internal/alert", "internal/candle", "internal/destination", "internal/inbox", "internal/price", "internal/room", "internal/schedule", "internal/user"}
	parts  = []string{"consumer", "gateway", "monitor"}
)

func all(lists ...[]string) []string { return slices.Concat(lists...) }

func only(names ...string) []string { return names }

// may is every package and what of this module its code may import; its tests
// may import more. A new package stands here before it stands anywhere.
var may = map[string][]string{
	".":      only("internal/command"),
	"docs":   nil,
	"static": nil,

	"internal/command": all(parts, domain, values, base, only("internal/bench", "internal/bot", "internal/client", "internal/embedded", "internal/hostname")),

	// The three parts never import each other: they meet in Kafka's topics, in
	// Postgres and in the domain packages.
	"consumer":          all(domain, base, values, only("consumer/delivery", "consumer/mail", "consumer/webhook")),
	"consumer/delivery": only("consumer/mail", "internal/lifecycle", "internal/postgres"),
	"consumer/mail":     all(values, only("internal/inbox", "internal/user")),
	"consumer/webhook":  all(values, only("internal/destination", "internal/lifecycle")),
	"gateway":           all(domain, base, values, only("docs", "static", "internal/hostname", "gateway/api", "gateway/compat", "gateway/hub", "gateway/presence", "gateway/sse", "gateway/wire", "gateway/ws")),
	"gateway/api":       all(domain, base, values, only("gateway/hub", "gateway/presence", "gateway/sse", "gateway/ws")),
	"gateway/sse":       all(values, only("gateway/hub", "gateway/wire")),
	"gateway/ws":        all(values, only("gateway/hub", "gateway/wire", "internal/problem")),
	"gateway/compat":    all(domain, base, values, only("gateway/api", "gateway/hub", "gateway/presence", "gateway/ws")),
	"gateway/presence":  all(values, only("internal/kafka", "internal/lifecycle", "internal/room")),
	"gateway/hub":       only("internal/event"),
	"gateway/wire":      only("internal/lifecycle"),
	"monitor":           all(domain, base, values, only("monitor/candle", "monitor/feed", "monitor/match")),
	"monitor/candle":    all(values, only("internal/candle")),
	"monitor/feed":      all(values, only("internal/lifecycle")),
	"monitor/match":     values,

	// Domain packages never import each other: a transaction over two of them is
	// written in the part that needs it.
	"internal/alert":       all(values, only("internal/postgres")),
	"internal/candle":      all(values, only("internal/postgres")),
	"internal/inbox":       all(values, only("internal/postgres")),
	"internal/price":       all(values, only("internal/postgres")),
	"internal/room":        all(values, only("internal/postgres")),
	"internal/schedule":    all(values, only("internal/kafka", "internal/postgres")),
	"internal/user":        all(values, only("internal/postgres")),
	"internal/destination": all(values, only("internal/postgres")),

	"internal/kafka":     all(values, only("internal/lifecycle")),
	"internal/lifecycle": nil,
	"internal/postgres":  only("internal/lifecycle"),
	"internal/problem":   only("internal/event"),
	"internal/telemetry": only("internal/hostname", "internal/lifecycle"),
	"internal/hostname":  nil,
	"internal/token":     only("internal/event", "internal/lifecycle", "internal/scope"),
	"internal/event":     only("internal/decimal"),
	"internal/scope":     only("internal/event"),
	"internal/decimal":   nil,

	"internal/embedded": only("internal/hostname", "internal/lifecycle"),
	// Programs outside of the server: they see what any stranger sees.
	"internal/client": all(values, only("internal/lifecycle")),
	"internal/bot":    all(values, only("internal/client", "internal/lifecycle")),
	"internal/bench":  all(values, only("internal/client", "internal/kafka", "internal/lifecycle")),

	"internal/criertest": all(parts, domain, base, values, only("internal/client", "internal/command", "internal/embedded")),
	"internal/layout":    nil,
	"internal/promises":  nil,
}

// homes says where alone a package from outside, or a part of the standard
// library, is used by code that is no test. So a change of one touches one place.
var homes = map[string][]string{
	"github.com/twmb/franz-go":            only("internal/kafka", "internal/embedded", "internal/bench", "internal/criertest"),
	"github.com/gorilla/mux":              only("gateway", "gateway/api", "gateway/compat"),
	"github.com/swaggo":                   only("gateway", "docs"),
	"github.com/gobwas/ws":                only("gateway/ws"),
	"github.com/go-json-experiment/json":  only("internal/event"),
	"github.com/r3labs/sse":               only("internal/client"),
	"github.com/golang-jwt/jwt":           only("internal/token"),
	"github.com/alecthomas/kong":          only("internal/command"),
	"github.com/pressly/goose":            only("internal/postgres"),
	"github.com/riverqueue/river":         only("consumer/delivery", "consumer/mail", "internal/postgres"),
	"github.com/wneessen/go-mail":         only("consumer/mail"),
	"github.com/emersion":                 only("internal/criertest", "internal/embedded"),
	"github.com/coder/websocket":          only("monitor/feed", "internal/bench", "internal/client"),
	"github.com/jackc/pgx":                all(domain, only("internal/postgres", "internal/embedded", "internal/criertest", "consumer", "consumer/delivery", "gateway/api", "monitor")),
	"golang.org/x/text":                   only("internal/user"),
	"github.com/chromedp":                 nil,
	"github.com/fergusstrange":            nil,
	"go.uber.org/goleak":                  only("internal/criertest"),
	"github.com/prometheus/client_golang": all(parts, only("consumer/mail", "consumer/webhook", "gateway/api", "internal/command", "internal/telemetry")),
	// Besides the gateway: probes, clients, and what the embedded run offers and
	// downloads.
	"net/http": only("consumer/webhook", "gateway", "gateway/api", "gateway/compat", "gateway/sse", "gateway/ws", "internal/bench", "internal/bot", "internal/client", "internal/command",
		"internal/criertest", "internal/embedded", "internal/hostname", "internal/problem", "internal/telemetry", "internal/token", "monitor/feed"),
}

// banned are packages that no code uses.
var banned = map[string]string{
	"log":    "logs are structured: log/slog",
	"unsafe": "nothing here is worth it",
}

// txOnly are parts that pass one transaction over two domain packages: of pgx
// they may name the type of it and nothing else.
var txOnly = only("consumer", "consumer/delivery", "gateway/api", "monitor")

// pure packages have no way to the outside at all, which is what makes them
// fast to test and to measure.
var pure = only("gateway/hub", "internal/decimal", "internal/event", "internal/scope", "monitor/match")

// harmless are packages from elsewhere that have no way to the outside either.
var harmless = only("github.com/go-json-experiment/json", "github.com/go-json-experiment/json/jsontext", "github.com/go-json-experiment/json/v1")

// outside are the ways that a pure package must not have.
var outside = only("database/sql", "embed", "io/fs", "net", "net/http", "os", "os/exec", "os/signal", "path/filepath", "syscall")

// goStatements are the places besides internal/lifecycle where a bare go
// statement may stand, with the reason.
var goStatements = map[string]string{}

// Limits of what one reader takes in at once. Twice what the style asks for.
const (
	maxFileLines     = 600
	maxFunctionLines = 120
)

// Every import points downwards: the table above is the plan, and what is not
// in it is a mistake or a new line in it.
func TestImports(t *testing.T) {
	t.Parallel()
	seen := make(map[string]bool)
	for _, s := range sources(t) {
		seen[s.pkg] = true
		allowed, known := may[s.pkg]
		if !known {
			t.Errorf("%s: the package %s is not in the table", s.path, s.pkg)
			continue
		}
		for _, path := range s.imports() {
			own, ours := strings.CutPrefix(path, module)
			switch {
			case s.test:
				// Tests may look down on anything; only harness and test stay apart.
			case ours && own == "internal/criertest":
				t.Errorf("%s imports the test harness", s.path)
			case ours && !slices.Contains(allowed, own):
				t.Errorf("%s: %s must not import %s", s.path, s.pkg, own)
			case !ours:
				checkHome(t, s, path)
			}
		}
	}
	for _, pkg := range slices.Sorted(maps.Keys(may)) {
		if !seen[pkg] {
			t.Errorf("the table names %s, which has no Go file", pkg)
		}
	}
}

func checkHome(t *testing.T, s *source, path string) {
	t.Helper()
	for prefix, packages := range homes {
		if (path == prefix || strings.HasPrefix(path, prefix+"/")) && !slices.Contains(packages, s.pkg) {
			t.Errorf("%s imports %s, whose home is %v", s.path, path, packages)
		}
	}
	if why, ok := banned[path]; ok {
		t.Errorf("%s imports %s: %s", s.path, path, why)
	}
	if slices.Contains(pure, s.pkg) && (slices.Contains(outside, path) || !slices.Contains(harmless, path) && strings.Contains(strings.Split(path, "/")[0], ".")) {
		t.Errorf("%s imports %s: %s has no way to the outside", s.path, path, s.pkg)
	}
}

// statement is how a text begins that is SQL.
var statement = regexp.MustCompile(`(?i)^\s*(select\s|insert\s+into\s|update\s+\w+\s+set\s|delete\s+from\s|with\s+\w+\s+as\s*\(|create\s+(table|index|role|database)\s)`)

// SQL stands in the domain packages and beneath them; parts that span a
// transaction over two of them know of it the type only.
func TestSQLHasItsPlaces(t *testing.T) {
	t.Parallel()
	places := all(domain, only("internal/postgres", "internal/embedded", "internal/criertest"))
	for _, s := range sources(t) {
		if s.test {
			continue
		}
		ast.Inspect(s.file, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.BasicLit:
				text, err := strconv.Unquote(n.Value)
				if n.Kind == token.STRING && err == nil && statement.MatchString(text) && !slices.Contains(places, s.pkg) {
					t.Errorf("%s: SQL in %s", s.at(n), s.pkg)
				}
			case *ast.SelectorExpr:
				if x, ok := n.X.(*ast.Ident); ok && x.Name == "pgx" && slices.Contains(txOnly, s.pkg) && n.Sel.Name != "Tx" {
					t.Errorf("%s: %s uses pgx.%s; it may only pass a pgx.Tx on", s.at(n), s.pkg, n.Sel.Name)
				}
			}
			return true
		})
	}
}

// Every goroutine has an owner: a bare go statement stands in the package that
// waits for them, and nowhere else. Tests are asked at their end whether one is
// left (criertest.Main).
func TestGoStatements(t *testing.T) {
	t.Parallel()
	for _, s := range sources(t) {
		if s.test {
			continue
		}
		ast.Inspect(s.file, func(n ast.Node) bool {
			if g, ok := n.(*ast.GoStmt); ok && s.pkg != "internal/lifecycle" && goStatements[s.path] == "" {
				t.Errorf("%s: a bare go statement; give the goroutine to a lifecycle.Group", s.at(g))
			}
			return true
		})
	}
}

// Every package says what it is for.
func TestPackageComments(t *testing.T) {
	t.Parallel()
	comments := make(map[string]int)
	for _, s := range sources(t) {
		if s.test || s.pkg == "docs" && s.made {
			continue
		}
		comments[s.pkg] += 0
		if s.file.Doc == nil {
			continue
		}
		comments[s.pkg]++
		text := s.file.Doc.Text()
		if s.file.Name.Name != "main" && !strings.HasPrefix(text, "Package "+s.file.Name.Name+" ") {
			t.Errorf("%s: the package comment begins with %.40q", s.path, text)
		}
	}
	for pkg, n := range comments {
		if n != 1 {
			t.Errorf("%s has %d package comments, want 1", pkg, n)
		}
	}
}

// What is too long to be taken in at once is two things.
func TestSizes(t *testing.T) {
	t.Parallel()
	for _, s := range sources(t) {
		if s.made {
			continue
		}
		if n := strings.Count(s.text, "\n"); n > maxFileLines {
			t.Errorf("%s has %d lines, at most %d are allowed", s.path, n, maxFileLines)
		}
		for _, d := range s.file.Decls {
			f, ok := d.(*ast.FuncDecl)
			if !ok {
				continue
			}
			if n := s.set.Position(f.End()).Line - s.set.Position(f.Pos()).Line + 1; n > maxFunctionLines {
				t.Errorf("%s: %s has %d lines, at most %d are allowed", s.at(f), f.Name.Name, n, maxFunctionLines)
			}
		}
	}
}
