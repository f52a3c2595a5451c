package embedded

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
)

// VersionError says that the cluster was made by another major version of
// Postgres than any at hand. Postgres does not read such data.
type VersionError struct {
	Dir    string // the cluster
	Needed int    // its major version
	Found  []int  // the major versions at hand
}

// Error says what to do about it.
func (e *VersionError) Error() string {
	return fmt.Sprintf("the data in %s was made by Postgres %d, and only %v is at hand: install Postgres %d, "+
		"or point CRIER_POSTGRES_BIN_DIR at its binaries, or move that folder away to begin anew", e.Dir, e.Needed, e.Found, e.Needed)
}

// clusterMajor is the major version of the cluster in dir, 0 when there is none.
func clusterMajor(dir string) (int, error) {
	b, err := os.ReadFile(filepath.Join(dir, "PG_VERSION"))
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("reading the cluster's version: %w", err)
	}
	major, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil {
		return 0, fmt.Errorf("reading the cluster's version in %s: %w", dir, err)
	}
	return major, nil
}

// ensureCluster makes the cluster and its password where they are missing.
//
// The cluster is made in a folder beside its place and renamed when it is whole,
// so that a crash on the way leaves nothing that looks like one.
func (p *Postgres) ensureCluster(ctx context.Context) error {
	have, err := clusterMajor(p.dataDir())
	if err != nil {
		return err
	}
	if have != 0 {
		return p.readPassword()
	}
	if p.cfg.TemplateDir == "" {
		return p.initCluster(ctx, p.home)
	}
	return p.copyTemplate(ctx)
}

// copyTemplate makes the cluster as a copy of one that was never run.
func (p *Postgres) copyTemplate(ctx context.Context) (err error) {
	template := filepath.Join(p.cfg.TemplateDir, strconv.Itoa(p.bin.major))
	if err := errors.Join(os.MkdirAll(template, 0o700), os.Chmod(p.cfg.TemplateDir, 0o711), p.account.own(template)); err != nil {
		return fmt.Errorf("making the template of the cluster: %w", err)
	}
	lock, err := awaitDir(ctx, template, "postgres template")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, lock.release()) }()
	have, err := clusterMajor(filepath.Join(template, "data"))
	if err != nil {
		return err
	}
	if have == 0 {
		if err := p.initCluster(ctx, template); err != nil {
			return err
		}
	}
	for _, name := range []string{"password", "data"} {
		if err := copyTree(filepath.Join(template, name), filepath.Join(p.home, name)); err != nil {
			return fmt.Errorf("copying the template of the cluster: %w", err)
		}
		if err := p.account.ownAll(filepath.Join(p.home, name)); err != nil {
			return err
		}
	}
	return p.readPassword()
}

// initCluster makes password and data in home. A password that is there is used:
// it may belong to a cluster that was moved away and comes back.
func (p *Postgres) initCluster(ctx context.Context, home string) error {
	secret := filepath.Join(home, "password")
	if _, err := os.Stat(secret); errors.Is(err, fs.ErrNotExist) {
		if err := writeDurably(secret, rand.Text()+"\n", 0o600); err != nil {
			return err
		}
	}
	if err := p.account.own(secret); err != nil { // initdb reads it
		return err
	}
	unfinished := filepath.Join(home, "data.new")
	if err := os.RemoveAll(unfinished); err != nil {
		return fmt.Errorf("removing an unfinished cluster: %w", err)
	}
	p.log.Info("making a postgres cluster", "data", filepath.Join(home, "data"), "version", p.bin.version)
	// Plain byte order needs no locale of the system and never changes under an
	// index with a library; the character type still folds non-ASCII letters
	// where the system knows such a locale.
	var failures error
	for _, ctype := range []string{"C.UTF-8", "en_US.UTF-8", "C"} {
		err := p.runInitdb(ctx, home, unfinished, ctype)
		if err == nil {
			if err := os.Rename(unfinished, filepath.Join(home, "data")); err != nil {
				return fmt.Errorf("putting the new cluster in its place: %w", err)
			}
			if home != p.home {
				return nil
			}
			return p.readPassword()
		}
		failures = errors.Join(failures, err)
		if ctx.Err() != nil {
			break
		}
	}
	return fmt.Errorf("making a postgres cluster: %w", failures)
}

func (p *Postgres) runInitdb(ctx context.Context, home, dir, ctype string) error {
	args := []string{
		"--pgdata", dir, "--username", postgresName, "--pwfile", filepath.Join(home, "password"),
		"--auth", "scram-sha-256", "--encoding", "UTF8", "--locale", "C", "--lc-ctype", ctype,
	}
	if p.cfg.Disposable {
		args = append(args, "--no-sync")
	}
	cmd := exec.CommandContext(ctx, filepath.Join(p.bin.dir, "initdb"), args...)
	p.prepare(cmd, home)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("running initdb as user %s: %w: %s", p.account.name, err, bytes.TrimSpace(out))
	}
	return nil
}

// prepare sets what all programs of Postgres need: the account, a folder that
// the account can be in, and an environment without any PG… variable of ours.
func (p *Postgres) prepare(cmd *exec.Cmd, dir string) {
	p.account.apply(cmd)
	cmd.Dir = dir
	cmd.Env = []string{"LC_ALL=C", "TZ=UTC", "PATH=" + p.bin.dir + ":/usr/bin:/bin"}
	if v, ok := os.LookupEnv("LD_LIBRARY_PATH"); ok {
		cmd.Env = append(cmd.Env, "LD_LIBRARY_PATH="+v)
	}
}

func (p *Postgres) readPassword() error {
	b, err := os.ReadFile(filepath.Join(p.home, "password"))
	if err != nil {
		return fmt.Errorf("reading the password of embedded postgres: %w", err)
	}
	p.password = strings.TrimSpace(string(b))
	return nil
}

// copyTree copies folders and plain files with their modes; a cluster that never
// ran has nothing else.
func copyTree(from, to string) error {
	return filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		target := filepath.Join(to, rel)
		if d.IsDir() {
			return os.MkdirAll(target, 0o700)
		}
		return copyFile(path, target)
	})
}

func copyFile(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer func() { _ = in.Close() }() // read only
	out, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}
