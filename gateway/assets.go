package gateway

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io/fs"
	"net/http"
	"path"
	"regexp"
	"strings"

	"github.com/klauspost/compress/gzhttp"
)

// assets are the page and its files, which change with the program only. The page names
// its files below a folder that is called after their content, so that a browser keeps
// them for good; without that folder they are for other pages, and are asked for again.
type assets struct {
	page  []byte
	etag  string
	own   string // the folder, such as "0123456789ab/"
	files fs.FS

	notFound http.HandlerFunc
}

// folder matches the folder of any version: a page that stayed open while the program was
// exchanged gets the present files.
var folder = regexp.MustCompile(`^[0-9a-f]{12}/`)

func newAssets(files fs.FS, notFound http.HandlerFunc) (*assets, error) {
	content := sha256.New()
	var preload bytes.Buffer
	err := fs.WalkDir(files, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := fs.ReadFile(files, name)
		if err != nil {
			return err
		}
		fmt.Fprintf(content, "%s %d\n%s", name, len(text), text)
		if path.Ext(name) == ".js" {
			// All at once, rather than each when another one has named it.
			fmt.Fprintf(&preload, "  <link rel=\"modulepreload\" href=\"/static/%s\">\n", name)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("reading the page's files: %w", err)
	}
	page, err := fs.ReadFile(files, "index.html")
	if err != nil {
		return nil, fmt.Errorf("reading the page: %w", err)
	}
	version := hex.EncodeToString(content.Sum(nil))[:12]
	a := &assets{etag: `W/"` + version + `"`, own: version + "/", files: files, notFound: notFound}
	page = bytes.Replace(page, []byte("  <script type=\"module\""), append(preload.Bytes(), "  <script type=\"module\""...), 1)
	a.page = bytes.ReplaceAll(page, []byte(`"/static/`), []byte(`"/static/`+a.own))
	return a, nil
}

// servePage answers with the document of all views.
func (a *assets) servePage(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Security-Policy", pagePolicy)
	h.Set("Cache-Control", "no-cache")
	_, _ = w.Write(a.page)
}

// ServeHTTP answers with a file, named below /static/.
func (a *assets) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Content-Security-Policy", pagePolicy)
	h.Set("Cache-Control", "no-cache")
	// A weak one: it holds for the compressed file as well.
	h.Set("ETag", a.etag)
	// Pages of other origins import the client module from here; a module's
	// script is fetched with CORS. What it may then do CRIER_ALLOWED_ORIGINS says.
	h.Set("Access-Control-Allow-Origin", "*")
	if version := folder.FindString(r.URL.Path); version != "" {
		if version == a.own {
			h.Set("Cache-Control", "public, max-age=31536000, immutable")
		}
		r = r.Clone(r.Context())
		r.URL.Path = strings.TrimPrefix(r.URL.Path, version)
	}
	if info, err := fs.Stat(a.files, r.URL.Path); err != nil || !info.Mode().IsRegular() {
		h.Set("Cache-Control", "no-cache")
		h.Del("ETag")
		a.notFound(w, r)
		return
	}
	http.FileServerFS(a.files).ServeHTTP(w, r)
}

// newCompressor makes what compresses answers of 1 KiB and more for clients that take
// gzip. A random amount is added to each, since how long a compressed answer is may tell
// what is in it (BREACH).
func newCompressor() (func(http.Handler) http.Handler, error) {
	wrap, err := gzhttp.NewWrapper(gzhttp.MinSize(1024), gzhttp.EnableZstd(false), gzhttp.RandomJitter(32, 0, false))
	if err != nil {
		return nil, fmt.Errorf("setting up compression: %w", err)
	}
	return func(h http.Handler) http.Handler { return wrap(h) }, nil
}
