package embedded

import (
	"bytes"
	_ "embed"
	"html/template"
	"net/http"
	"net/mail"
	"strings"
	"time"
)

const (
	// pagePolicy is for our own pages: one script, a file of ours, and the style
	// sheet that is written in them.
	pagePolicy = "default-src 'none'; script-src 'self'; connect-src 'self'; style-src 'unsafe-inline'; frame-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
	// mailPolicy is for a mail's own HTML: a unique origin without scripts, forms
	// or requests to anybody (so that reading a mail tells its sender nothing).
	// Links open outside.
	mailPolicy = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; form-action 'none'; base-uri 'none'; " +
		"frame-ancestors 'self'; sandbox allow-popups allow-popups-to-escape-sandbox"
)

//go:embed mailpage.html
var mailPageSource string

//go:embed mailbox.js
var mailboxScript []byte

var mailPages = template.Must(template.New("mail").Funcs(template.FuncMap{
	"who":  formatAddresses,
	"when": func(t time.Time) string { return t.Local().Format("2006-01-02 15:04:05") },
}).Parse(mailPageSource))

// mailbox is the list, newest first.
func (h *mailHandler) mailbox(w http.ResponseWriter, _ *http.Request) {
	writePage(w, "mailbox", h.store.page(0, maxMails))
}

// script shows new mails in the list.
func (h *mailHandler) script(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/javascript; charset=utf-8")
	_, _ = w.Write(mailboxScript) // the peer may be gone
}

// maxSource is how much of a mail's source its page shows; the rest is a click away.
const maxSource = 64 << 10

// mail shows one mail: its header, its HTML in a frame, its text, its source,
// its parts.
func (h *mailHandler) mail(w http.ResponseWriter, r *http.Request) {
	m, ok := h.store.get(r.PathValue("id"))
	if !ok {
		http.NotFound(w, r)
		return
	}
	writePage(w, "mail", struct {
		ID      string
		Content *mailContent
		Source  string
		Cut     bool
	}{m.ID, parseMail(&m), strings.ToValidUTF8(string(m.Raw[:min(len(m.Raw), maxSource)]), "\ufffd"), len(m.Raw) > maxSource})
}

// html is the mail's own HTML, to be framed.
func (h *mailHandler) html(w http.ResponseWriter, r *http.Request) {
	m, ok := h.store.get(r.PathValue("id"))
	if !ok {
		http.NotFound(w, r)
		return
	}
	w.Header().Set("Content-Security-Policy", mailPolicy)
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	// The base makes each link open in a tab of its own. It comes first, and the
	// first counts. The peer may be gone.
	_, _ = w.Write([]byte("<!doctype html><base target=\"_blank\">\n" + parseMail(&m).HTML))
}

// deleteAll is the page's button. Other origins were refused before.
func (h *mailHandler) deleteAll(w http.ResponseWriter, r *http.Request) {
	h.store.remove(nil)
	http.Redirect(w, r, "/", http.StatusSeeOther)
}

// writePage writes a page as a whole or an error, not half of each.
func writePage(w http.ResponseWriter, name string, data any) {
	var b bytes.Buffer
	if err := mailPages.ExecuteTemplate(&b, name, data); err != nil {
		http.Error(w, "writing the page: "+err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	_, _ = w.Write(b.Bytes()) // the peer may be gone
}

// formatAddresses prints addresses for reading; the template escapes them.
func formatAddresses(list ...any) string {
	var out []string
	for _, item := range list {
		switch a := item.(type) {
		case *mail.Address:
			out = append(out, formatAddress(a))
		case []*mail.Address:
			for _, one := range a {
				out = append(out, formatAddress(one))
			}
		}
	}
	return strings.Join(out, ", ")
}

func formatAddress(a *mail.Address) string {
	switch {
	case a == nil:
		return ""
	case a.Name == "":
		return a.Address
	default:
		return a.Name + " <" + a.Address + ">"
	}
}
