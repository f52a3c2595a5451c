package docs_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"crier/gateway/hub"
	"crier/gateway/ws"
	"crier/internal/command"
	"crier/internal/kafka"
	"crier/internal/problem"
)

var metricName = regexp.MustCompile(`\bcrier_(?:gateway|consumer|mail|webhook|monitor|matcher|mover|kafka|build|dead)_[a-z_]+`)

// Every metric has a row for the operator, and every row is of a metric.
func TestMetrics(t *testing.T) {
	made := make(map[string]bool)
	for path, text := range code(t) {
		if strings.HasSuffix(path, ".go") && !strings.HasSuffix(path, "_test.go") {
			for _, m := range metricName.FindAllString(text, -1) {
				made[m] = true
			}
		}
	}
	if len(made) < 15 {
		t.Fatalf("only %d metrics were found", len(made))
	}
	operating := read(t, "docs/operating.md")
	for m := range made {
		if !strings.Contains(operating, "`"+m+"`") {
			t.Errorf("docs/operating.md does not explain %s", m)
		}
	}
	for _, d := range documents(t) {
		for _, m := range metricName.FindAllString(d.text, -1) {
			if !made[m] {
				t.Errorf("%s names %s, which is no metric", d.path, m)
			}
		}
	}
}

// errors.md has a heading and the status of every code, and no other code; the
// `type` of a problem points to the heading.
func TestErrorCodes(t *testing.T) {
	text := read(t, "docs/errors.md")
	for code, entry := range problem.Catalogue {
		if !strings.Contains(text, fmt.Sprintf("\n## %s\n\n%d. ", code, entry.Status)) {
			t.Errorf("docs/errors.md has no heading %q with status %d", code, entry.Status)
		}
	}
	for _, m := range regexp.MustCompile(`(?m)^## (.+)$`).FindAllStringSubmatch(text, -1) {
		if _, ok := problem.Catalogue[problem.Code(m[1])]; !ok {
			t.Errorf("docs/errors.md explains %q, which is no code", m[1])
		}
	}
}

// errors.md lists why streams end, go on and break, and the codes that sockets
// are closed with.
func TestStreamReasons(t *testing.T) {
	text := read(t, "docs/errors.md")
	for _, reason := range []string{hub.GapUnreadable, hub.GapAhead, hub.GapPruned, hub.TokenExpired, hub.LoggedOut, hub.DrainingNow, hub.TooSlow} {
		if !strings.Contains(text, "`"+reason+"`") {
			t.Errorf("docs/errors.md does not explain the reason %s", reason)
		}
	}
	for _, c := range []int{int(ws.CloseNormal), int(ws.CloseRestart), int(ws.CloseTooBig), int(ws.CloseTokenExpired)} {
		if !strings.Contains(text, fmt.Sprintf("\n| %d |", c)) {
			t.Errorf("docs/errors.md does not explain the close code %d", c)
		}
	}
	contract := read(t, "docs/contract.md")
	for _, name := range []string{hub.Ready, hub.Notification, hub.Ticks, hub.CountsType, hub.Resumed, hub.Gap, hub.Bye} {
		if !strings.Contains(contract, "| `"+name+"` |") {
			t.Errorf("docs/contract.md does not list the event %s", name)
		}
	}
	for _, topic := range kafka.TopicNames {
		if !strings.Contains(contract, "`"+topic+"`") {
			t.Errorf("docs/contract.md does not list the topic %s", topic)
		}
	}
	for _, word := range regexp.MustCompile(`complain\("([a-z_]+)"`).FindAllStringSubmatch(read(t, "gateway/ws/ws.go"), -1) {
		if !strings.Contains(text, "`"+word[1]+"`") && !strings.Contains(text, "## "+word[1]+"\n") {
			t.Errorf("docs/errors.md does not explain the socket's error %s", word[1])
		}
	}
}

// endpoint is a method and an address as documents write them.
var endpoint = regexp.MustCompile("`(GET|POST|PUT|PATCH|DELETE) (/[^ `]*)`")

// routeLine is one line of a table of routes.
var routeLine = regexp.MustCompile(`(?m)^\s*\{(?:Method: )?"(GET|POST|PUT|PATCH|DELETE)", (?:Path: )?"(/[^"]*)"`)

// Every canonical route stands in contract.md, and every endpoint that a
// document names is a route.
func TestEndpoints(t *testing.T) {
	canonical := make(map[string]bool)
	for _, m := range routeLine.FindAllStringSubmatch(read(t, "gateway/routes.go"), -1) {
		canonical[m[1]+" /api/v1"+m[2]] = true
	}
	if len(canonical) < 25 {
		t.Fatalf("only %d routes were found", len(canonical))
	}
	contract := read(t, "docs/contract.md")
	for route := range canonical {
		if !strings.Contains(contract, "`"+route+"`") {
			t.Errorf("docs/contract.md does not list %s", route)
		}
	}
	others := map[string]bool{"GET /": true, "GET /metrics": true, "GET /healthz": true, "GET /readyz": true}
	for path, text := range code(t) {
		if strings.HasPrefix(path, "gateway/compat/") {
			for _, m := range routeLine.FindAllStringSubmatch(text, -1) {
				others[m[1]+" "+m[2]] = true
			}
		}
	}
	for _, d := range documents(t) {
		if strings.HasPrefix(d.path, "docs/compatible-") {
			continue // they have tables of their own form
		}
		for _, m := range endpoint.FindAllStringSubmatch(d.text, -1) {
			address, _, _ := strings.Cut(m[2], "?")
			if e := m[1] + " " + address; !canonical[e] && !others[e] {
				t.Errorf("%s names %s, which is no route", d.path, e)
			}
		}
	}
}

// flagWord is a flag behind the program's name.
var (
	commandLine = regexp.MustCompile("(?m)(?:go run \\.|\\bcrier)((?: +[^\n`|]+)?)")
	flagWord    = regexp.MustCompile(`--[a-z][a-z-]*`)
)

// Every command and flag in a document is one that the program takes.
func TestCommandLines(t *testing.T) {
	help := func(args ...string) string {
		var out bytes.Buffer
		command.Main(t.Context(), command.Program{Args: append(args, "--help"), Stdin: strings.NewReader(""), Stdout: &out, Stderr: &out})
		return out.String()
	}
	texts := make(map[string]string) // by the command's first word
	contract := read(t, "docs/contract.md")
	for _, m := range regexp.MustCompile(`(?m)^  ([a-z]+(?: [a-z]+)*)(?: <[a-z-]+>)*(?:  +| \[flags\])`).FindAllStringSubmatch(help(), -1) {
		words := strings.Fields(m[1])
		said := help(words...)
		if !strings.Contains(said, "Usage: crier "+m[1]) {
			t.Errorf("crier %s --help says %.100q", m[1], said)
		}
		texts[words[0]] += said
		if !strings.Contains(contract, "`crier "+m[1]) {
			t.Errorf("docs/contract.md does not list crier %s", m[1])
		}
	}
	if len(texts) < 10 {
		t.Fatalf("only %d commands were found", len(texts))
	}
	for _, d := range documents(t) {
		for _, m := range commandLine.FindAllStringSubmatch(d.text, -1) {
			words := strings.Fields(m[1])
			if len(words) == 0 || texts[words[0]] == "" {
				continue
			}
			for _, f := range flagWord.FindAllString(strings.Join(words, " "), -1) {
				if f != "--help" && !strings.Contains(texts[words[0]], f) {
					t.Errorf("%s: crier %s does not take %s", d.path, words[0], f)
				}
			}
		}
	}
}

// named is what looks like a file or package of the repository.
var named = regexp.MustCompile("`((?:consumer|docs|gateway|internal|monitor|static|\\.ci)(?:/[A-Za-z0-9_.-]+)*(?:/[A-Za-z0-9_.-]+|/)|[a-z-]+\\.(?:go|yml|md))`")

// Every file and package that a document names is there.
func TestFiles(t *testing.T) {
	for _, d := range documents(t) {
		for _, m := range named.FindAllStringSubmatch(d.text, -1) {
			path := m[1]
			// Each part begins with files of these names.
			if path == "doc.go" || path == "config.go" {
				path = "gateway/" + path
			}
			if _, err := os.Stat(filepath.Join(top, path)); err != nil {
				t.Errorf("%s names %s, which is not there", d.path, m[1])
			}
		}
	}
	for path, text := range code(t) {
		if strings.HasSuffix(path, "_test.go") {
			continue
		}
		for _, m := range regexp.MustCompile(`docs/[a-z0-9-]+\.md`).FindAllString(text, -1) {
			if _, err := os.Stat(filepath.Join(top, m)); err != nil {
				t.Errorf("%s names %s, which is not there", path, m)
			}
		}
	}
}

var (
	link    = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	heading = regexp.MustCompile(`(?m)^#+ (.+)$`)
)

// anchor is a heading's as GitHub makes it.
func anchor(title string) string {
	title = strings.ToLower(strings.TrimSpace(title))
	title = regexp.MustCompile(`[^\p{L}\p{N} _-]`).ReplaceAllString(title, "")
	return strings.ReplaceAll(title, " ", "-")
}

// Links within the repository lead somewhere.
func TestLinks(t *testing.T) {
	for _, d := range documents(t) {
		for _, m := range link.FindAllStringSubmatch(d.text, -1) {
			target, fragment, _ := strings.Cut(m[1], "#")
			if strings.Contains(target, "://") || strings.HasPrefix(target, "mailto:") {
				continue
			}
			path, text := d.path, d.text
			if target != "" {
				path = filepath.ToSlash(filepath.Join(filepath.Dir(d.path), target))
				if _, err := os.Stat(filepath.Join(top, path)); err != nil {
					t.Errorf("%s links to %s, which is not there", d.path, target)
					continue
				}
				if fragment != "" {
					text = read(t, path)
				}
			}
			if fragment == "" {
				continue
			}
			found := false
			for _, h := range heading.FindAllStringSubmatch(text, -1) {
				found = found || anchor(h[1]) == fragment
			}
			if !found {
				t.Errorf("%s links to #%s of %s, which has no such heading", d.path, fragment, path)
			}
		}
	}
}
