package docs_test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// variable is one setting: what its field in internal/command says of it.
type variable struct {
	name, fallback, help string
	commands             []string
}

// variables reads the settings from the structs that the flag parser fills.
func variables(tb testing.TB) []variable {
	tb.Helper()
	files, err := filepath.Glob(filepath.Join(top, "internal/command/*.go"))
	if err != nil {
		tb.Fatal(err)
	}
	structs := make(map[string]*ast.StructType)
	for _, path := range files {
		if strings.HasSuffix(path, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		if err != nil {
			tb.Fatal(err)
		}
		ast.Inspect(f, func(n ast.Node) bool {
			if t, ok := n.(*ast.TypeSpec); ok {
				if s, ok := t.Type.(*ast.StructType); ok {
					structs[t.Name.Name] = s
				}
			}
			return true
		})
	}
	found := make(map[string]*variable)
	var order []string
	var walk func(command string, s *ast.StructType)
	walk = func(command string, s *ast.StructType) {
		for _, field := range s.Fields.List {
			if field.Tag == nil {
				continue
			}
			raw, _ := strconv.Unquote(field.Tag.Value) // it was parsed
			tag := reflect.StructTag(raw)
			id, _ := field.Type.(*ast.Ident)
			if _, embedded := tag.Lookup("embed"); embedded && id != nil {
				walk(command, structs[id.Name])
				continue
			}
			if _, sub := tag.Lookup("cmd"); sub && id != nil {
				if command == "all" { // of a command's own commands the first word is enough
					walk(strings.ToLower(field.Names[0].Name), structs[id.Name])
				} else {
					walk(command, structs[id.Name])
				}
				continue
			}
			name := tag.Get("env")
			if name == "" {
				continue
			}
			v := found[name]
			if v == nil {
				v = &variable{name: name, fallback: tag.Get("default"), help: tag.Get("help")}
				found[name], order = v, append(order, name)
			}
			if !slices.Contains(v.commands, command) {
				v.commands = append(v.commands, command)
			}
		}
	}
	walk("all", structs["cli"])
	var out []variable
	for _, name := range order {
		out = append(out, *found[name])
	}
	if len(out) < 30 {
		tb.Fatalf("only %d variables were found", len(out))
	}
	return out
}

// The table of variables in contract.md is what the flag parser reads.
func TestVariables(t *testing.T) {
	var b strings.Builder
	b.WriteString("| variable | default | meaning | read by |\n|---|---|---|---|\n")
	for _, v := range variables(t) {
		fallback := v.fallback
		if fallback != "" {
			fallback = "`" + fallback + "`"
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", v.name, fallback, strings.ReplaceAll(v.help, "|", "or"), strings.Join(v.commands, ", "))
	}
	made(t, "contract.md", "variables", "Variables", b.String())
}

var variableName = regexp.MustCompile(`CRIER_[A-Z0-9_]*[A-Z0-9]`)

// Every variable that a document names exists, and every one that the code
// reads is documented.
func TestVariablesExist(t *testing.T) {
	files := code(t)
	for _, d := range documents(t) {
		for _, name := range variableName.FindAllString(d.text, -1) {
			known := false
			for _, text := range files {
				known = known || isIn(text, name)
			}
			if !known {
				t.Errorf("%s names %s, which nothing reads", d.path, name)
			}
		}
	}
	docs := together(t)
	for path, text := range files {
		if !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") || strings.HasPrefix(path, "internal/criertest/") {
			continue
		}
		for _, name := range variableName.FindAllString(text, -1) {
			if !isIn(docs, name) {
				t.Errorf("%s names %s, which no document explains", path, name)
			}
		}
	}
}
