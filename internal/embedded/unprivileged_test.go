package embedded

import (
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
)

// The same tests hold for a user without rights: this binary runs them again as
// nobody.
func TestAsUnprivilegedUser(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("not root: the other tests are this test")
	}
	t.Parallel()
	dir := filepath.Dir(tempDir(t))
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	// Where the go command builds, nobody may not look.
	binary := filepath.Join(dir, "embedded.test")
	if err := copyFile(os.Args[0], binary); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(binary, 0o755); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), binary, "-test.v", "-test.run", "^Test(Postgres|Broker|Process)", "-test.skip", "Download$|DamagedFiles$")
	cmd.Dir = dir
	cmd.Env = []string{"HOME=" + dir, "TMPDIR=" + dir, "PATH=" + os.Getenv("PATH")}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobodyID, Gid: nobodyID}}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("as nobody: %v\n%s", err, out)
	}
	t.Logf("as nobody:\n%s", out)
}
