package command

import (
	_ "embed"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/alecthomas/kong"

	"crier/internal/scope"
)

// The scripts ask this program what may stand at the cursor, so they fit whichever
// version they find.
var (
	//go:embed completion.bash
	bashScript string
	//go:embed completion.zsh
	zshScript string
	//go:embed completion.fish
	fishScript string
)

// completeWord is the first argument by which the scripts ask: the words behind the
// program's name follow, up to the one at the cursor, which may be empty.
const completeWord = "__complete"

// filesOnly is the answer where the shell is to complete a file's name.
const filesOnly = ":files"

type completeCmd struct {
	Shell string `arg:"" enum:"bash,zsh,fish" help:"bash, zsh or fish."`
}

// Help is called by the parser.
func (completeCmd) Help() string {
	return "For the shell that runs:\n\n  source <(crier completion bash)\n  source <(crier completion zsh)\n  crier completion fish | source\n\nThe script's first lines say where to keep it for all shells."
}

// Run is called by the parser.
func (c *completeCmd) Run(e *env) error {
	e.printf("%s", map[string]string{"bash": bashScript, "zsh": zshScript, "fish": fishScript}[c.Shell])
	return nil
}

// candidate is what may stand at the cursor.
type candidate struct{ value, help string }

// printCandidates answers a script: a line for each, its help behind a tab.
func printCandidates(w io.Writer, app *kong.Application, words []string) {
	for _, c := range complete(app, words) {
		if c.value == filesOnly {
			fmt.Fprintln(w, filesOnly)
			return
		}
		fmt.Fprintf(w, "%s\t%s\n", c.value, strings.Join(strings.Fields(c.help), " "))
	}
}

// complete lists what may stand in place of the last word: commands, flags, or values of
// a flag or an argument.
func complete(app *kong.Application, words []string) []candidate {
	if len(words) > 1 && words[0] == "help" { // it takes commands
		words = words[1:]
	}
	if len(words) == 0 {
		return nil
	}
	at := &cursor{node: app.Node}
	for _, word := range words[:len(words)-1] {
		at.pass(word)
	}
	current := words[len(words)-1]
	name, value, assigned := strings.Cut(current, "=")
	switch {
	case at.awaited != nil:
		return values(at.awaited.Value, "", current)
	case !at.plain && assigned && strings.HasPrefix(name, "-"):
		if f := at.flag(name); f != nil && takesValue(f) {
			return values(f.Value, name+"=", value)
		}
		return nil
	case !at.plain && strings.HasPrefix(current, "-"):
		return at.flags(current)
	}
	return at.words(current)
}

// cursor is where in the command line a word stands.
type cursor struct {
	node    *kong.Node
	args    int        // positional ones before it
	awaited *kong.Flag // the word before it was this flag, whose value it is
	plain   bool       // behind --
}

// pass goes on behind a word.
func (c *cursor) pass(word string) {
	switch {
	case c.awaited != nil:
		c.awaited = nil
	case c.plain:
		c.args++
	case word == "--":
		c.plain = true
	case strings.HasPrefix(word, "-") && len(word) > 1:
		if f := c.flag(word); f != nil && takesValue(f) { // one with = is no flag's name
			c.awaited = f
		}
	default:
		if i := slices.IndexFunc(c.node.Children, func(n *kong.Node) bool { return n.Name == word || slices.Contains(n.Aliases, word) }); i >= 0 && c.args == 0 {
			c.node = c.node.Children[i]
			return
		}
		c.args++
	}
}

// all are the flags that may stand here; those of the default command, too.
func (c *cursor) all() []*kong.Flag {
	nodes := []*kong.Node{c.node}
	if c.node.DefaultCmd != nil {
		nodes = append(nodes, c.node.DefaultCmd)
	}
	var list []*kong.Flag
	for _, n := range nodes {
		for _, group := range n.AllFlags(true) {
			for _, f := range group {
				if !slices.Contains(list, f) {
					list = append(list, f)
				}
			}
		}
	}
	return list
}

// flag is the one that a word names, nil if there is none.
func (c *cursor) flag(word string) *kong.Flag {
	long, isLong := strings.CutPrefix(word, "--")
	for _, f := range c.all() {
		if isLong && (f.Name == long || slices.Contains(f.Aliases, long)) || !isLong && f.Short != 0 && word == "-"+string(f.Short) {
			return f
		}
	}
	return nil
}

// takesValue reports whether a flag's value is the next word.
func takesValue(f *kong.Flag) bool { return !f.IsBool() && !f.IsCounter() }

func (c *cursor) flags(begun string) (list []candidate) {
	for _, f := range c.all() {
		if name := "--" + f.Name; strings.HasPrefix(name, begun) {
			list = append(list, candidate{name, f.Help})
		}
	}
	slices.SortFunc(list, func(a, b candidate) int { return strings.Compare(a.value, b.value) })
	return list
}

// words are commands, or values of the argument that stands here.
func (c *cursor) words(begun string) (list []candidate) {
	if c.args == 0 && !c.plain {
		for _, n := range c.node.Children {
			if !n.Hidden && n.Type == kong.CommandNode && strings.HasPrefix(n.Name, begun) {
				list = append(list, candidate{n.Name, n.Help})
			}
		}
	}
	if n := len(c.node.Positional); n > 0 {
		arg := c.node.Positional[min(c.args, n-1)]
		if c.args < n || arg.IsCumulative() {
			list = append(list, values(arg, "", begun)...)
		}
	}
	return list
}

// values are those that a flag or argument may have, behind what stands before them in
// the same word. The tag complete lists them where no enum does; of a comma list the
// last one is completed.
func values(v *kong.Value, before, begun string) (list []candidate) {
	var known []candidate
	switch tag := v.Tag.Get("complete"); {
	case tag == "file":
		return []candidate{{value: filesOnly}}
	case tag == "scopes":
		var listed []string
		if i := strings.LastIndex(begun, ","); i >= 0 {
			listed, before, begun = strings.Split(begun[:i], ","), before+begun[:i+1], begun[i+1:]
		}
		for _, e := range scope.Catalogue {
			if !slices.Contains(listed, string(e.Scope)) {
				known = append(known, candidate{string(e.Scope), strings.ReplaceAll(e.Allows, "`", "")})
			}
		}
	case tag != "":
		for name := range strings.SplitSeq(tag, ",") {
			known = append(known, candidate{value: name})
		}
	case v.Enum != "":
		for _, name := range v.EnumSlice() {
			known = append(known, candidate{value: name})
		}
	}
	for _, c := range known {
		if strings.HasPrefix(c.value, begun) {
			list = append(list, candidate{before + c.value, c.help})
		}
	}
	return list
}
