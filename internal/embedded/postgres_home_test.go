package embedded

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// closedDir is a folder of mode 0700 that belongs to root, as /root is.
func closedDir(t *testing.T) string {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("only root runs Postgres as somebody else")
	}
	dir := filepath.Join(filepath.Dir(tempDir(t)), "closed")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	return dir
}

// For root, data under a closed folder goes to a place that the account reaches,
// is found again, follows a move, is not shared with a copy, and is not brought
// back when the data directory was deleted. (Not parallel: it moves sharedRoot.)
func TestPostgresRelocates(t *testing.T) {
	closed := closedDir(t)
	was := sharedRoot
	sharedRoot = filepath.Join(filepath.Dir(closed), "shared")
	t.Cleanup(func() { sharedRoot = was })
	dir := filepath.Join(closed, "clone", ".crier", "postgres")

	first := mustStartPostgres(t, PostgresConfig{DataDir: dir})
	if !strings.HasPrefix(first.dataDir(), sharedRoot) {
		t.Fatalf("the cluster is at %s, want it below %s", first.dataDir(), sharedRoot)
	}
	mustExec(t, first.URL(), makeRow)
	mustStopPostgres(t, first)

	again := mustStartPostgres(t, PostgresConfig{DataDir: dir})
	if got := mustExec(t, again.URL(), checkRow); got != "here" {
		t.Errorf("second start: row %q, want here", got)
	}
	mustStopPostgres(t, again)

	copied := filepath.Join(closed, "copy")
	if err := copyTree(dir, copied); err != nil {
		t.Fatal(err)
	}
	other := mustStartPostgres(t, PostgresConfig{DataDir: copied})
	if other.home == first.home {
		t.Error("a copied data directory uses the original's cluster")
	}
	mustStopPostgres(t, other)

	moved := filepath.Join(closed, "moved")
	if err := os.Rename(dir, moved); err != nil {
		t.Fatal(err)
	}
	after := mustStartPostgres(t, PostgresConfig{DataDir: moved})
	if got := mustExec(t, after.URL(), checkRow); got != "here" {
		t.Errorf("after a move: row %q, want here", got)
	}
	mustStopPostgres(t, after)

	anew := mustStartPostgres(t, PostgresConfig{DataDir: dir})
	if got := mustExec(t, anew.URL(), "SELECT count(*) FROM pg_tables WHERE tablename = 'kept'"); got != "0" {
		t.Error("a data directory that was made anew found the old cluster")
	}
}

// A cluster that a user made still belongs to that user after root ran it.
func TestPostgresKeepsOwner(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can give files away")
	}
	t.Parallel()
	dir := tempDir(t)
	mustStopPostgres(t, mustStartPostgres(t, PostgresConfig{DataDir: dir}))
	nobody := account{name: "nobody", uid: nobodyID, gid: nobodyID, switched: true}
	if err := nobody.ownAll(dir); err != nil {
		t.Fatal(err)
	}
	p := mustStartPostgres(t, PostgresConfig{DataDir: dir})
	if p.account.uid != nobodyID {
		t.Errorf("Postgres runs as %d, want the owner of its data, %d", p.account.uid, nobodyID)
	}
}
