package gateway_test

import (
	"compress/gzip"
	"io"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// plainly fetches without a client's own decompression; encoding is what it accepts.
func (w *world) plainly(method, path, encoding string, who ...credential) (*http.Response, string) {
	w.t.Helper()
	req, err := http.NewRequestWithContext(w.t.Context(), method, w.url+path, nil)
	if err != nil {
		w.t.Fatal(err)
	}
	req.Header.Set("Accept-Encoding", encoding)
	for _, c := range who {
		c(req)
	}
	resp, err := (&http.Client{Transport: &http.Transport{DisableCompression: true, DisableKeepAlives: true}}).Do(req)
	if err != nil {
		w.t.Fatal(err)
	}
	defer resp.Body.Close()
	body := io.Reader(resp.Body)
	if resp.Header.Get("Content-Encoding") == "gzip" && method != http.MethodHead && resp.StatusCode == 200 {
		if body, err = gzip.NewReader(resp.Body); err != nil {
			w.t.Fatal(err)
		}
	}
	text, err := io.ReadAll(body)
	if err != nil {
		w.t.Fatal(err)
	}
	return resp, string(text)
}

// The page names each file by a folder of this content, which a browser keeps for good,
// and all modules at once; other pages' addresses are asked for again, which costs no
// body. A page that is older than the program gets the present files.
func TestAssetsAreKept(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	_, page := w.plainly("GET", "/inbox", "")
	files := regexp.MustCompile(`"(/static/[^"]+)"`).FindAllStringSubmatch(page, -1)
	if len(files) < 40 || !strings.Contains(page, `<link rel="modulepreload" href="/static/`) {
		t.Fatalf("the page names %d files", len(files))
	}
	for _, f := range files {
		resp, _ := w.plainly("GET", f[1], "gzip")
		if cache := resp.Header.Get("Cache-Control"); resp.StatusCode != 200 || cache != "public, max-age=31536000, immutable" || resp.Header.Get("Content-Security-Policy") == "" {
			t.Errorf("%s: %d %q", f[1], resp.StatusCode, cache)
		}
	}
	own := files[0][1][:len("/static/0123456789ab/")]
	if again, text := newWorld(t, nil).plainly("GET", own+"style.css", ""); again.Header.Get("Cache-Control") != "public, max-age=31536000, immutable" || text == "" {
		t.Error("another gateway of the same program has another folder")
	}
	first, _ := w.plainly("GET", "/static/crier.js", "")
	for _, path := range []string{"/static/crier.js", "/static/0123456789ab/crier.js", own + "crier.js"} {
		for _, encoding := range []string{"", "gzip"} {
			resp, text := w.plainly("GET", path, encoding, func(r *http.Request) { r.Header.Set("If-None-Match", first.Header.Get("ETag")) })
			if resp.StatusCode != http.StatusNotModified || text != "" {
				t.Errorf("%s, which has not changed, with %q: %d, %d bytes", path, encoding, resp.StatusCode, len(text))
			}
			if cache := resp.Header.Get("Cache-Control"); path != own+"crier.js" && cache != "no-cache" {
				t.Errorf("%s: %q", path, cache)
			}
		}
	}
	for _, path := range []string{own + "none.js", own + "../embed.go", "/static/0123456789ab/", "/static/" + strings.Repeat("0123456789ab/", 2) + "crier.js"} {
		if resp, _ := w.plainly("GET", path, ""); resp.StatusCode != http.StatusNotFound || strings.Contains(resp.Header.Get("Cache-Control"), "immutable") {
			t.Errorf("%s: %d", path, resp.StatusCode)
		}
	}
}

// What is long is compressed for who takes it, and for nobody else; a stream is not.
func TestAnswersAreCompressed(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	access, _ := w.signUp("ann")
	for _, path := range []string{"/", "/static/style.css", "/static/app/main.js", "/static/favicon.svg", "/docs/errors", "/swagger/doc.json", "/swagger/swagger-ui-bundle.js", "/swagger/index.html", "/api/v1/symbols"} {
		plain, text := w.plainly("GET", path, "identity;q=1, *;q=0", bearer(access))
		packed, same := w.plainly("GET", path, "gzip", bearer(access))
		if plain.StatusCode != 200 || plain.Header.Get("Content-Encoding") != "" || text != same {
			t.Errorf("%s: %d %q, %d and %d bytes", path, plain.StatusCode, plain.Header.Get("Content-Encoding"), len(text), len(same))
		}
		if want := len(text) >= 1024; (packed.Header.Get("Content-Encoding") == "gzip") != want || !slices.Contains(packed.Header.Values("Vary"), "Accept-Encoding") {
			t.Errorf("%s with %d bytes: Content-Encoding %q, Vary %q", path, len(text), packed.Header.Get("Content-Encoding"), packed.Header.Values("Vary"))
		}
		if head, body := w.plainly("HEAD", path, "gzip", bearer(access)); head.StatusCode != 200 || body != "" || head.Header.Get("Content-Type") != plain.Header.Get("Content-Type") {
			t.Errorf("HEAD %s: %d %s, not %s", path, head.StatusCode, head.Header.Get("Content-Type"), plain.Header.Get("Content-Type"))
		}
	}
	for path, want := range map[string]string{"/swagger/swagger-ui-bundle.js": "public, max-age=86400", "/swagger/index.html": "no-store", "/swagger/doc.json": "no-store"} {
		if resp, _ := w.plainly("GET", path, "gzip"); resp.Header.Get("Cache-Control") != want {
			t.Errorf("%s: %q", path, resp.Header.Get("Cache-Control"))
		}
	}
	req, err := http.NewRequestWithContext(t.Context(), "GET", w.url+"/api/v1/stream", nil)
	if err != nil {
		t.Fatal(err)
	}
	bearer(access)(req)
	req.Header.Set("Accept-Encoding", "gzip")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.Uncompressed || resp.Header.Get("Content-Encoding") != "" {
		t.Error("a stream is compressed")
	}
}
