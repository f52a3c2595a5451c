package promises

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"crier/internal/criertest"
)

// blocks are the shell commands of a document.
var blocks = regexp.MustCompile("(?ms)^```sh\n(.*?)^```$")

// The commands of README.md do what it says, one after the other, on a fresh
// embedded run: each ends with 0, and what they send is in the inbox.
func TestReadmeCommands(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	found := blocks.FindAllStringSubmatch(string(text), -1)
	if len(found) < 6 {
		t.Fatalf("only %d blocks of commands were found", len(found))
	}
	for _, tool := range []string{"bash", "curl"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Fatalf("README.md wants %s: %v", tool, err)
		}
	}
	p := criertest.Start(t)
	f := p.Facts()
	here := strings.NewReplacer("go run .", `"$CRIER_TEST_PROGRAM"`, "http://127.0.0.1:8080", f.HTTP, "127.0.0.1:9092", f.Kafka, ".crier/", p.Dir+"/")
	_, noKcat := exec.LookPath("kcat")
	for i, b := range found {
		if noKcat != nil && strings.Contains(b[1], "kcat") {
			t.Logf("block %d is not run: kcat is not installed", i+1)
			continue
		}
		ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
		out, err := p.Shell(ctx, "set -euo pipefail\n"+here.Replace(b[1]))
		cancel()
		if err != nil {
			t.Fatalf("block %d of README.md: %v\n%s\n%s", i+1, err, b[1], out)
		}
	}
	demo := p.DemoUser()
	want := []string{"Hello", "Build 4711 is green", "One", "Two"}
	if noKcat == nil {
		want = append(want, "From a producer", "SERVER.ROOM rose to 31.5")
	}
	got := demo.Follow(t, "0", len(want))
	for i, n := range got {
		if n.Title != want[i] {
			t.Errorf("notification %d is %q, want %q", i+1, n.Title, want[i])
		}
	}
	if noKcat == nil {
		var firings struct{ Count int }
		if err := demo.Do(t.Context(), "GET", fmt.Sprintf("/alerts/%d/firings", 1), nil, &firings); err != nil || firings.Count != 1 {
			t.Errorf("firings %+v, %v", firings, err)
		}
	}
}
