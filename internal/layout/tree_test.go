package layout

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// source is one parsed Go file.
type source struct {
	path string // from the top of the repository
	pkg  string // the folder, "." being the top
	test bool
	made bool // by a generator: its size is nobody's fault
	file *ast.File
	set  *token.FileSet
	text string
}

// imports are the paths that the file imports.
func (s *source) imports() []string {
	var out []string
	for _, i := range s.file.Imports {
		path, _ := strconv.Unquote(i.Path.Value) // it was parsed
		out = append(out, path)
	}
	return out
}

func (s *source) at(n ast.Node) string {
	p := s.set.Position(n.Pos())
	return s.path + ":" + strconv.Itoa(p.Line)
}

// top is the folder with go.mod.
func top(tb testing.TB) string {
	tb.Helper()
	dir, err := os.Getwd()
	if err != nil {
		tb.Fatal(err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir
		}
		up := filepath.Dir(dir)
		if up == dir {
			tb.Fatal("no go.mod above the test's folder")
		}
		dir = up
	}
}

// sources parses every Go file of the repository.
func sources(tb testing.TB) []*source {
	tb.Helper()
	root := top(tb)
	var out []*source
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := d.Name()
		if d.IsDir() {
			if path != root && (strings.HasPrefix(name, ".") || name == "testdata") {
				return filepath.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(name, ".go") {
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		s := &source{set: token.NewFileSet(), text: string(text), test: strings.HasSuffix(name, "_test.go")}
		if s.path, err = filepath.Rel(root, path); err != nil {
			return err
		}
		s.path = filepath.ToSlash(s.path)
		s.pkg = filepath.ToSlash(filepath.Dir(s.path))
		if s.file, err = parser.ParseFile(s.set, path, text, parser.ParseComments|parser.SkipObjectResolution); err != nil {
			return err
		}
		s.made = ast.IsGenerated(s.file) || strings.HasPrefix(s.text, "// Package docs Code generated")
		out = append(out, s)
		return nil
	})
	if err != nil {
		tb.Fatal(err)
	}
	if len(out) < 50 {
		tb.Fatalf("only %d Go files were found", len(out))
	}
	return out
}
