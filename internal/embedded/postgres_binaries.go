package embedded

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

const (
	// binDirVariable overrides the search for binaries; see PostgresConfig.BinDir.
	binDirVariable = "CRIER_POSTGRES_BIN_DIR"
	hideLocal      = "none"

	// oldestMajor is the oldest version still maintained when this was written.
	oldestMajor = 14
)

// binaries is a folder with the three programs we need, of one version.
type binaries struct {
	dir     string
	version string // "17.11"
	major   int
}

// programs must be in one folder; pg_ctl is for the operator's own hands.
var programs = []string{"initdb", "postgres", "pg_ctl"}

// chooseBinaries takes the first that fits: of any version for a new cluster, of
// its own major version for one that exists.
func (p *Postgres) chooseBinaries(ctx context.Context) error {
	need, err := clusterMajor(p.dataDir())
	if err != nil {
		return err
	}
	dirs, only := p.binaryDirs()
	var found []int
	for _, dir := range dirs {
		b, err := inspectBinaries(ctx, dir)
		if err != nil && (only || ctx.Err() != nil) {
			return err
		}
		if err != nil || !p.account.reaches(b.dir) {
			continue
		}
		if b.major >= oldestMajor && (need == 0 || b.major == need) {
			p.bin = b
			return nil
		}
		found = append(found, b.major)
	}
	if need != 0 && (only || need != downloadMajor) {
		if !only {
			found = append(found, downloadMajor)
		}
		return &VersionError{Dir: p.dataDir(), Needed: need, Found: found}
	}
	if only {
		return fmt.Errorf("the Postgres in %v is %v, older than %d, or not reachable by user %s", dirs, found, oldestMajor, p.account.name)
	}
	p.bin, err = p.download(ctx)
	return err
}

// binaryDirs lists where binaries may be, best first. only means that the
// operator named the folder, so that nothing else will do.
func (p *Postgres) binaryDirs() (dirs []string, only bool) {
	dir := p.cfg.BinDir
	if dir == "" {
		dir = os.Getenv(binDirVariable)
	}
	switch dir {
	case "":
		return localBinaryDirs(), false
	case hideLocal:
		return nil, false
	default:
		return []string{dir}, true
	}
}

// localBinaryDirs is PATH, then where packages of the known systems put them.
func localBinaryDirs() []string {
	dirs := filepath.SplitList(os.Getenv("PATH"))
	for _, pattern := range []string{
		"/usr/lib/postgresql/*/bin", // Debian, Ubuntu
		"/usr/libexec/postgresql*",  // Alpine
		"/usr/pgsql-*/bin",          // PGDG on Red Hat
		"/opt/homebrew/opt/postgresql*/bin",
		"/usr/local/opt/postgresql*/bin",
		"/Applications/Postgres.app/Contents/Versions/*/bin",
	} {
		matches, err := filepath.Glob(pattern)
		if err != nil {
			continue // the patterns are constants
		}
		slices.SortFunc(matches, func(a, b string) int { return numberIn(b) - numberIn(a) })
		dirs = append(dirs, matches...)
	}
	return dirs
}

var digits = regexp.MustCompile(`\d+`)

// numberIn is the last number in a path, for "newest first".
func numberIn(path string) int {
	all := digits.FindAllString(path, -1)
	if len(all) == 0 {
		return 0
	}
	n, err := strconv.Atoi(all[len(all)-1])
	if err != nil {
		return 0
	}
	return n
}

// inspectBinaries follows links (a lone link in PATH leads to the folder where
// all three are) and asks the programs for their version.
func inspectBinaries(ctx context.Context, dir string) (binaries, error) {
	real, err := filepath.EvalSymlinks(filepath.Join(dir, "postgres"))
	if err != nil {
		return binaries{}, fmt.Errorf("looking for Postgres in %s: %w", dir, err)
	}
	b := binaries{dir: filepath.Dir(real)}
	for _, name := range programs {
		out, err := exec.CommandContext(ctx, filepath.Join(b.dir, name), "--version").Output()
		if err != nil {
			return binaries{}, fmt.Errorf("asking %s for its version: %w", filepath.Join(b.dir, name), err)
		}
		version := versionIn(string(out))
		if b.version == "" {
			b.version = version
		}
		if version == "" || version != b.version {
			return binaries{}, fmt.Errorf("looking for Postgres in %s: %s is of version %q, the others of %q", b.dir, name, version, b.version)
		}
	}
	major, _, _ := strings.Cut(b.version, ".")
	if b.major, err = strconv.Atoi(major); err != nil {
		return binaries{}, fmt.Errorf("reading the version of Postgres in %s: %w", b.dir, err)
	}
	return b, nil
}

// versionPattern finds "17.11" in "postgres (PostgreSQL) 17.11 (Debian …)", and
// "18" in "… 18beta1".
var versionPattern = regexp.MustCompile(`\(PostgreSQL\) (\d+(?:\.\d+)*)`)

func versionIn(output string) string {
	m := versionPattern.FindStringSubmatch(output)
	if m == nil {
		return ""
	}
	return m[1]
}
