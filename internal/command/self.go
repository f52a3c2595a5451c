package command

import (
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
)

// commandLine is how a shell runs this program again from any folder, on the same
// data: by its executable, or through the go command where that has built it into a
// folder that goes with the process. source is the program's own folder, if known.
func commandLine(executable, source, dataDir string) string {
	run := shellWord(executable)
	if strings.Contains(filepath.ToSlash(executable), "/go-build") && filepath.IsAbs(source) {
		run = "go -C " + shellWord(source) + " run ."
		if dataDir == filepath.Join(source, ".crier") {
			return run // the default, from there
		}
	}
	return "CRIER_DATA_DIR=" + shellWord(dataDir) + " " + run
}

// sourceDir is the folder that this program was built from; not absolute if that was
// left out of it (-trimpath).
func sourceDir() string {
	_, file, _, _ := runtime.Caller(0)
	return filepath.Dir(filepath.Dir(filepath.Dir(file)))
}

// plainWord is what a shell takes as it is.
var plainWord = regexp.MustCompile(`^[\w@%+=:,./-]+$`)

// shellWord quotes s for a POSIX shell, where that is needed.
func shellWord(s string) string {
	if plainWord.MatchString(s) {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

// shellWords is a list of arguments as a shell takes it, with a space before each.
func shellWords(args []string) string {
	var b strings.Builder
	for _, arg := range args {
		b.WriteString(" " + shellWord(arg))
	}
	return b.String()
}
