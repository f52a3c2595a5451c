package embedded

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// sharedRoot is where root keeps what an unprivileged Postgres must reach and
// the data directory does not allow. A variable for tests only.
var sharedRoot = "/var/lib/crier"

const (
	// relocatedFile, in the data directory, holds the path of a cluster that
	// lives elsewhere.
	relocatedFile = "postgres-location"
	// originFile, in such a cluster, holds the data directory it belongs to.
	originFile = "origin"
)

// settle decides where the cluster lives and makes the place.
//
// It is DataDir, unless Postgres must run as somebody who cannot reach that (a
// clone under /root, mode 0700); then a folder below sharedRoot, named after
// DataDir and noted in it. The note, not the name, finds it again: a moved data
// directory keeps its cluster, a copied one does not get the original's, and one
// that was deleted and made anew starts empty.
func (p *Postgres) settle() error {
	home := p.cfg.DataDir
	if note, err := os.ReadFile(filepath.Join(p.cfg.DataDir, relocatedFile)); err == nil {
		return p.settleAt(strings.TrimSpace(string(note)))
	} else if !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("reading where the cluster lives: %w", err)
	}
	if p.account.reaches(filepath.Dir(home)) {
		p.home = home
		return errors.Join(p.account.own(home), p.account.own(filepath.Join(home, "lock")))
	}
	return p.relocate()
}

// settleAt uses a cluster that was relocated by an earlier start.
func (p *Postgres) settleAt(home string) error {
	origin, err := os.ReadFile(filepath.Join(home, originFile))
	if err != nil {
		return fmt.Errorf("finding the cluster that %s says is at %s: %w", filepath.Join(p.cfg.DataDir, relocatedFile), home, err)
	}
	if was := strings.TrimSpace(string(origin)); was != p.cfg.DataDir {
		note, err := os.ReadFile(filepath.Join(was, relocatedFile))
		if err == nil && strings.TrimSpace(string(note)) == home {
			p.log.Warn("this data directory is a copy; its postgres starts empty", "copy", p.cfg.DataDir, "original", was)
			return p.relocate()
		}
		if err := writeDurably(filepath.Join(home, originFile), p.cfg.DataDir+"\n", 0o600); err != nil {
			return err
		}
	}
	p.home = home
	p.account = postgresAccount(p.dataDir())
	p.log.Info("postgres data lives outside the data directory", "data", p.dataDir(), "reason", "not reachable by user "+p.account.name)
	return nil
}

// relocate makes a new place below sharedRoot and notes it on both sides.
func (p *Postgres) relocate() error {
	if err := os.MkdirAll(sharedRoot, 0o711); err != nil {
		return fmt.Errorf("making %s for the cluster: %w", sharedRoot, err)
	}
	name := fmt.Sprintf("%x", sha256.Sum256([]byte(p.cfg.DataDir)))[:16]
	for n := 1; ; n++ {
		home := filepath.Join(sharedRoot, name)
		if n > 1 {
			home = fmt.Sprintf("%s-%d", home, n)
		}
		err := os.Mkdir(home, 0o700)
		if errors.Is(err, fs.ErrExist) {
			p.log.Warn("an earlier cluster of this path is left alone; delete it when it is not needed", "path", home)
			continue
		}
		if err != nil {
			return fmt.Errorf("making %s for the cluster: %w", home, err)
		}
		if !p.account.reaches(home) && !p.account.reaches(sharedRoot) {
			return fmt.Errorf("placing the cluster: user %s reaches neither %s nor %s", p.account.name, p.cfg.DataDir, sharedRoot)
		}
		p.home = home
		p.log.Info("postgres data lives outside the data directory", "data", p.dataDir(), "reason", "not reachable by user "+p.account.name)
		return errors.Join(
			p.account.own(home),
			writeDurably(filepath.Join(home, originFile), p.cfg.DataDir+"\n", 0o600),
			writeDurably(filepath.Join(p.cfg.DataDir, relocatedFile), home+"\n", 0o600),
		)
	}
}

// writeDurably replaces a small file as a whole: after a crash it has the old
// content or the new one.
func writeDurably(path, content string, mode fs.FileMode) error {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-")
	if err != nil {
		return fmt.Errorf("writing %s: %w", path, err)
	}
	_, err = f.WriteString(content)
	err = errors.Join(err, f.Chmod(mode), f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		_ = os.Remove(f.Name())
		return fmt.Errorf("writing %s: %w", path, err)
	}
	return nil
}
