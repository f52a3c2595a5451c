package command

import "testing"

func TestCommandLine(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ executable, source, dataDir, want string }{
		"built":                      {"/usr/bin/crier", "/src/crier", "/data", "CRIER_DATA_DIR=/data /usr/bin/crier"},
		"go run":                     {"/tmp/go-build1/b001/exe/crier", "/src/crier", "/src/crier/.crier", "go -C /src/crier run ."},
		"go run, other data":         {"/tmp/go-build1/b001/exe/crier", "/src/crier", "/data", "CRIER_DATA_DIR=/data go -C /src/crier run ."},
		"go run, source left out":    {"/tmp/go-build1/b001/exe/crier", "crier", "/data", "CRIER_DATA_DIR=/data /tmp/go-build1/b001/exe/crier"},
		"words that have to be kept": {"/my programs/crier", "/src", "/it's", `CRIER_DATA_DIR='/it'\''s' '/my programs/crier'`},
	} {
		if got := commandLine(c.executable, c.source, c.dataDir); got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
	if got := shellWords([]string{"--symbols", "A,B", "--note=a b", ""}); got != ` --symbols A,B '--note=a b' ''` {
		t.Errorf("arguments: %s", got)
	}
}
