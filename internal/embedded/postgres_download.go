package embedded

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"

	"github.com/xi2/xz"
)

// The binaries are those of the zonkyio project on Maven Central, which the
// embedded-postgres libraries of Go and Java use: one jar for each system, in it
// one .txz with bin, lib and share.
const (
	downloadVersion  = "17.11.0"
	downloadMajor    = 17
	mavenCentral     = "https://repo1.maven.org/maven2"
	downloadPatience = 10 * time.Minute // 15 MB over a slow line
	downloadLimit    = 100 << 20        // bytes of the jar
	unpackedLimit    = 1 << 30          // bytes of one file in it
)

// downloadSums are the SHA-256 sums of the jars, so that what runs is what was
// tried out, whatever the repository or a mirror serves.
var downloadSums = map[string]string{
	"linux-amd64":        "0dd7b72b6f335b8ecfb355fa24c5781e8a93edd09880bb77eb52ebbf29b3e96d",
	"linux-arm64v8":      "8b042e0ea418b1927d95399207950da0734d27fe01e29503ade3bdc464ad4c2b",
	"linux-amd64-alpine": "ace9a6f95b1c98ce84c9841267cd04ebee5d7de5dc7b8fea148ead44f145afbd",
	"darwin-amd64":       "d464ff178e9860ba204662ac23fa547504b7fd392392ff2fb92e3fd73b5bdb64",
	"darwin-arm64v8":     "a1c2786acb0c398f9b2d76806fc52f5dc8b222cbc8e9383a9b9702084daaf3a5",
}

// downloadPlatform is this system's name in the repository.
func downloadPlatform() string {
	arch := runtime.GOARCH
	if arch == "arm64" {
		arch = "arm64v8"
	}
	name := runtime.GOOS + "-" + arch
	if _, err := os.Stat("/etc/alpine-release"); err == nil {
		name += "-alpine" // linked against musl
	}
	return name
}

// download gives the downloaded binaries, fetching them the first time.
func (p *Postgres) download(ctx context.Context) (binaries, error) {
	platform := downloadPlatform()
	sum, known := downloadSums[platform]
	if !known {
		return binaries{}, fmt.Errorf("finding Postgres: none is installed, and there is no download for %s; install it or set CRIER_DATABASE_URL", platform)
	}
	root, err := p.downloadRoot()
	if err != nil {
		return binaries{}, err
	}
	dir := filepath.Join(root, "postgres-"+downloadVersion+"-"+platform)
	if b, err := inspectBinaries(ctx, filepath.Join(dir, "bin")); err == nil {
		return b, nil
	}
	base := p.cfg.DownloadURL
	if base == "" {
		base = mavenCentral
	}
	artifact := "embedded-postgres-binaries-" + platform
	url := fmt.Sprintf("%s/io/zonky/test/postgres/%s/%s/%s-%s.jar", base, artifact, downloadVersion, artifact, downloadVersion)
	p.log.Info("downloading postgres; this happens once", "url", url, "to", dir)
	jar, err := fetch(ctx, url, sum)
	if err != nil {
		return binaries{}, fmt.Errorf("downloading Postgres (none fitting is installed): %w", err)
	}
	if err := unpackTo(jar, dir); err != nil {
		return binaries{}, fmt.Errorf("unpacking Postgres from %s: %w", url, err)
	}
	return inspectBinaries(ctx, filepath.Join(dir, "bin"))
}

// downloadRoot is the first cache folder that the account can reach.
func (p *Postgres) downloadRoot() (string, error) {
	var candidates []string
	if p.cfg.CacheDir != "" {
		candidates = append(candidates, p.cfg.CacheDir)
	}
	if cache, err := os.UserCacheDir(); err == nil {
		candidates = append(candidates, filepath.Join(cache, "crier"))
	}
	if p.account.switched {
		candidates = append(candidates, sharedRoot)
	} else {
		candidates = append(candidates, p.cfg.DataDir)
	}
	var failures error
	for _, dir := range candidates {
		if !p.account.reaches(dir) {
			failures = errors.Join(failures, fmt.Errorf("user %s does not reach %s", p.account.name, dir))
			continue
		}
		if err := os.MkdirAll(dir, 0o755); err != nil {
			failures = errors.Join(failures, err)
			continue
		}
		return dir, nil
	}
	return "", fmt.Errorf("finding a place for the Postgres download: %w", failures)
}

// fetch gets the jar and compares its sum.
func fetch(ctx context.Context, url, sum string) (jar []byte, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, downloadPatience, fmt.Errorf("no answer within %s", downloadPatience))
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	// A client of its own, so that no idle connection outlives the download.
	transport := http.DefaultTransport.(*http.Transport).Clone()
	defer transport.CloseIdleConnections()
	resp, err := (&http.Client{Transport: transport}).Do(req)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, resp.Body.Close()) }()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s answered %s", url, resp.Status)
	}
	jar, err = io.ReadAll(io.LimitReader(resp.Body, downloadLimit))
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", url, err)
	}
	if got := sha256.Sum256(jar); hex.EncodeToString(got[:]) != sum {
		return nil, fmt.Errorf("checking %s: its SHA-256 sum is %x, not %s", url, got, sum)
	}
	return jar, nil
}

// unpackTo unpacks beside dir and renames: a crash on the way, or another
// process doing the same, leaves no half of it behind in dir.
func unpackTo(jar []byte, dir string) error {
	tmp, err := os.MkdirTemp(filepath.Dir(dir), ".unpacking-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(tmp) }() // gone when it was renamed
	zr, err := zip.NewReader(bytes.NewReader(jar), int64(len(jar)))
	if err != nil {
		return err
	}
	for _, f := range zr.File {
		if !strings.HasSuffix(f.Name, ".txz") {
			continue
		}
		if err := unpackMember(f, tmp); err != nil {
			return err
		}
		if err := os.Chmod(tmp, 0o755); err != nil { // MkdirTemp makes 0700
			return err
		}
		err := os.Rename(tmp, dir)
		if errors.Is(err, fs.ErrExist) || errors.Is(err, syscall.ENOTEMPTY) {
			return nil // another process was quicker
		}
		return err
	}
	return errors.New("no .txz in the jar")
}

func unpackMember(f *zip.File, dir string) (err error) {
	in, err := f.Open()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, in.Close()) }()
	plain, err := xz.NewReader(in, 0)
	if err != nil {
		return err
	}
	root, err := os.OpenRoot(dir) // nothing in the archive can name a place outside
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, root.Close()) }()
	for tr := tar.NewReader(plain); ; {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := unpackEntry(root, h, tr); err != nil {
			return fmt.Errorf("entry %s: %w", h.Name, err)
		}
	}
}

// unpackEntry writes one entry, with modes that let everybody read: the account
// that runs it is not the one that unpacks it.
func unpackEntry(root *os.Root, h *tar.Header, content io.Reader) error {
	name := filepath.Clean(h.Name)
	if err := makeReadable(root, filepath.Dir(name)); err != nil {
		return err
	}
	switch h.Typeflag {
	case tar.TypeDir:
		return makeReadable(root, name)
	case tar.TypeSymlink:
		return root.Symlink(h.Linkname, name)
	case tar.TypeReg:
		mode := fs.FileMode(0o644)
		if h.Mode&0o100 != 0 || filepath.Dir(name) == "bin" {
			mode = 0o755
		}
		f, err := root.OpenFile(name, os.O_CREATE|os.O_WRONLY|os.O_EXCL, mode)
		if err != nil {
			return err
		}
		_, err = io.Copy(f, io.LimitReader(content, unpackedLimit))
		return errors.Join(err, f.Chmod(mode), f.Close()) // Chmod: whatever the umask
	default:
		return nil
	}
}

// makeReadable makes a folder and those above it, open to read.
func makeReadable(root *os.Root, dir string) error {
	if dir == "." {
		return nil
	}
	if err := makeReadable(root, filepath.Dir(dir)); err != nil {
		return err
	}
	err := root.Mkdir(dir, 0o755)
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return root.Chmod(dir, 0o755)
}
