package command_test

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"crier/internal/criertest"
)

// words are the words of a command line as the scripts hand them on: the last one is at
// the cursor, and empty behind a space.
func words(line string) []string {
	list := strings.Fields(line)
	if line == "" || strings.HasSuffix(line, " ") {
		list = append(list, "")
	}
	return list
}

// completions are command lines and what can stand at their ends: some of it, and
// nothing with the other beginning; :files is the shell's own completion.
var completions = []struct {
	line  string
	want  []string // all of it, or behind "...": among others
	never string
}{
	{"", []string{"...", "run", "keys", "completion"}, "-"},
	{"k", []string{"keys"}, ""},
	{"keys ", []string{"add", "list", "rotate", "revoke"}, ""},
	{"keys r", []string{"revoke", "rotate"}, ""},
	{"keys add ", nil, ""},
	{"keys list --j", []string{"--json"}, ""},
	{"keys rotate shop --o", []string{"--overlap"}, ""},
	{"keys add shop --", []string{"...", "--scope", "--kind", "--expires", "--log-level"}, "--overlap"},
	{"keys --", []string{"...", "--log-level"}, "--scope"},
	{"keys add shop --scope rooms", []string{"rooms:write"}, ""},
	{"keys add shop --scopes rooms", []string{"rooms:write"}, ""},
	{"keys add shop --scope=rooms", []string{"--scope=rooms:write"}, ""},
	{"keys add shop --scope send:users,send:", []string{"send:users,send:everyone", "send:users,send:topics"}, ""},
	{"keys add shop --kind ", nil, ""},
	{"--log-level ", []string{"debug", "error", "info", "warn"}, ""},
	{"--log-level debug keys l", []string{"list"}, ""},
	{"--log-level keys keys l", []string{"list"}, ""}, // a flag's value is no command
	{"--log-level=d", []string{"--log-level=debug"}, ""},
	{"--http-a", []string{"--http-addr"}, ""}, // of the default command
	{"gateway --tls-cert ", []string{":files"}, ""},
	{"gateway --tls-cert=", []string{":files"}, ""},
	{"import ", []string{":files"}, ""},
	{"completion ", []string{"bash", "fish", "zsh"}, ""},
	{"help keys a", []string{"add"}, ""},
	{"help ", []string{"...", "keys"}, ""},
	{"bench gateway --mode st", []string{"storm"}, ""},
	{"keys list -- -", nil, ""},
	{"no-such-command -", []string{"...", "--help"}, ""},
}

// The program lists what can stand at the cursor, and no hidden word, whatever its
// environment says.
func TestComplete(t *testing.T) {
	t.Parallel()
	for _, c := range completions {
		code, out, stderr := run(t, append([]string{"__complete"}, words(c.line)...)...)
		var got []string
		for line := range strings.Lines(out) {
			value, _, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "\t")
			got = append(got, value)
		}
		if code != 0 || stderr != "" || !completes(got, c.want) || c.never != "" && slices.Contains(got, c.never) {
			t.Errorf("%q: %d %s %q, want %q", c.line, code, stderr, got, c.want)
		}
	}
	if code, _, _ := run(t, "__complete"); code != 0 {
		t.Errorf("without a word: %d", code)
	}
	if code, _, stderr := run(t, "completion", "csh"); code != 2 || !strings.Contains(stderr, "bash") {
		t.Errorf("another shell: %d %s", code, stderr)
	}
}

func completes(got, want []string) bool {
	got = slices.Sorted(slices.Values(got))
	if len(want) > 0 && want[0] == "..." {
		return !slices.ContainsFunc(want[1:], func(w string) bool { return !slices.Contains(got, w) })
	}
	return slices.Equal(got, slices.Sorted(slices.Values(want)))
}

// drivers complete the lines of its standard input with the shell's own means, and
// print what the shell would offer, one a line, and an empty line behind each.
var drivers = map[string]string{
	"bash": `
source <(crier completion bash)
[[ $(complete -p crier) == "complete -F _crier crier" ]] || exit 9
while IFS= read -r COMP_LINE; do
	COMP_POINT=${#COMP_LINE}
	_crier
	for found in "${COMPREPLY[@]}"; do printf '%s\n' "$found"; done
	echo
done`,
	// The function's calls of the completion system, replaced by ones that print.
	"zsh": `
compdef() { [[ "$1 $2" == "_crier crier" ]] || exit 9 }
source <(crier completion zsh)
_describe() { local entry; for entry in ${(P)4}; do entry=${entry//\\:/$'\1'}; print -r -- "${${entry%%:*}//$'\1'/:}"; done }
_files() { print -r -- ":files" }
compset() { : }
while IFS= read -r line; do
	words=(${=line}); [[ $line == *" " ]] && words+=("")
	CURRENT=$#words; PREFIX=$words[-1]
	_crier
	print
done`,
	"fish": `
crier completion fish | source
while read -l line
	complete -C "$line" | string replace -r '\t.*' ''
	echo
end`,
}

// The scripts work in their shells: bash's and fish's own completion offers what the
// program lists.
func TestCompletionScripts(t *testing.T) {
	t.Parallel()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir, home := t.TempDir(), t.TempDir()
	// As an operator's bin folder: crier is found by its name.
	if err := os.WriteFile(filepath.Join(dir, "crier"), []byte("#!/bin/sh\nCRIER_TEST_CHILD=1 exec '"+exe+"' \"$@\"\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"a file.pem", "another.pem"} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for shell, driver := range drivers {
		t.Run(shell, func(t *testing.T) {
			t.Parallel()
			path := criertest.Installed(t, shell)
			var input strings.Builder
			for _, c := range completions {
				input.WriteString("crier " + c.line + "\n")
			}
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
			defer cancel()
			cmd := exec.CommandContext(ctx, path, "-c", driver)
			cmd.Dir, cmd.Stdin = dir, strings.NewReader(input.String())
			cmd.Env = append(os.Environ(), "PATH="+dir+":"+os.Getenv("PATH"), "HOME="+home, "XDG_CONFIG_HOME="+home, "XDG_DATA_HOME="+home)
			var stderr strings.Builder
			cmd.Stderr = &stderr
			out, err := cmd.Output()
			if err != nil {
				t.Fatalf("%v %s", err, stderr.String())
			}
			var answers [][]string
			var answer []string
			for line := range strings.Lines(string(out)) {
				if line = strings.TrimSuffix(line, "\n"); line != "" {
					answer = append(answer, line)
					continue
				}
				answers, answer = append(answers, answer), nil
			}
			if len(answers) != len(completions) {
				t.Fatalf("%d answers to %d lines: %q %s", len(answers), len(completions), out, stderr.String())
			}
			for i, c := range completions {
				if want := offered(shell, c.line, c.want); !completes(answers[i], want) {
					t.Errorf("%q: %q, want %q", c.line, answers[i], want)
				}
			}
		})
	}
}

// offered is what a shell makes of the program's answer: names of files, and in bash
// only what stands behind the last character at which it breaks words.
func offered(shell, line string, want []string) []string {
	list := words(line)
	current := list[len(list)-1]
	before := current[:strings.LastIndexAny(current, "=:")+1]
	if slices.Equal(want, []string{":files"}) && shell != "zsh" {
		want = []string{"a file.pem", "another.pem", "crier"}
		if shell == "bash" {
			return want
		}
		out := make([]string, len(want))
		for i := range want {
			out[i] = before + want[i]
		}
		return out
	}
	if shell != "bash" {
		return want
	}
	out := make([]string, len(want))
	for i := range want {
		out[i] = strings.TrimPrefix(want[i], before)
	}
	return out
}
