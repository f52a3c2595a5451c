package docs_test

import (
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the made parts of the documents anew")

const top = ".."

// document is one document: its path from the top, and its text.
type document struct {
	path, text string
}

// documents are all that people read.
func documents(tb testing.TB) []document {
	tb.Helper()
	paths, err := filepath.Glob("*.md")
	if err != nil {
		tb.Fatal(err)
	}
	for i, p := range paths {
		paths[i] = "docs/" + p
	}
	paths = append(paths, "README.md", "CHANGELOG.md")
	var out []document
	for _, p := range paths {
		out = append(out, document{p, read(tb, p)})
	}
	return out
}

func read(tb testing.TB, path string) string {
	tb.Helper()
	b, err := os.ReadFile(filepath.Join(top, path))
	if err != nil {
		tb.Fatal(err)
	}
	return string(b)
}

// together is the text of all documents.
func together(tb testing.TB) string {
	tb.Helper()
	var b strings.Builder
	for _, d := range documents(tb) {
		b.WriteString(d.text)
		b.WriteByte('\n')
	}
	return b.String()
}

// code is the text of all files that are no documents, by path.
func code(tb testing.TB) map[string]string {
	tb.Helper()
	out := make(map[string]string)
	err := filepath.WalkDir(top, func(path string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(top, path)
		if err != nil {
			return err
		}
		rel = filepath.ToSlash(rel)
		if d.IsDir() {
			if rel == ".git" || rel == ".crier" || d.Name() == "testdata" {
				return filepath.SkipDir
			}
			return nil
		}
		ext := filepath.Ext(rel)
		if slices.Contains([]string{".go", ".yml", ".sql", ".js"}, ext) || strings.HasPrefix(rel, ".ci/") {
			if rel != "docs/docs.go" && !(strings.HasPrefix(rel, "docs/") && strings.HasSuffix(rel, "_test.go")) {
				b, err := os.ReadFile(path)
				if err != nil {
					return err
				}
				out[rel] = string(b)
			}
		}
		return nil
	})
	if err != nil {
		tb.Fatal(err)
	}
	return out
}

// isIn says whether a whole word stands in a text.
func isIn(text, word string) bool {
	ok, err := regexp.MatchString(`(^|[^A-Za-z0-9_])`+regexp.QuoteMeta(word)+`($|[^A-Za-z0-9_])`, text)
	return err == nil && ok
}
