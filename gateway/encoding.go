package gateway

import (
	"compress/gzip"
	"io"
	"net/http"
	"strings"

	"crier/internal/problem"
)

// maxCompressed bounds a compressed body. Handlers bound what it decompresses to;
// this one is for a body that decompresses to nothing for ever.
const maxCompressed = 2 << 20

// decodeContent has handlers read a compressed body decompressed (RFC 9110,
// section 8.4). Only gzip is taken, as the answer to anything else says.
func decodeContent(w http.ResponseWriter, r *http.Request) error {
	switch strings.ToLower(strings.TrimSpace(strings.Join(r.Header.Values("Content-Encoding"), ","))) {
	case "", "identity":
		return nil
	case "gzip", "x-gzip":
		r.Body = &gzipBody{body: http.MaxBytesReader(w, r.Body, maxCompressed)}
		r.ContentLength = -1
		r.Header.Del("Content-Encoding")
		return nil
	}
	w.Header().Set("Accept-Encoding", "gzip") // RFC 9110, section 15.5.16
	return problem.New(problem.UnsupportedEncoding, "The Content-Encoding of a request may be gzip, or absent.")
}

// gzipBody decompresses a body as it is read.
type gzipBody struct {
	body io.ReadCloser
	gzip *gzip.Reader
}

func (b *gzipBody) Read(p []byte) (int, error) {
	if b.gzip == nil {
		r, err := gzip.NewReader(b.body)
		if err != nil {
			return 0, err
		}
		b.gzip = r
	}
	return b.gzip.Read(p)
}

func (b *gzipBody) Close() error { return b.body.Close() }
