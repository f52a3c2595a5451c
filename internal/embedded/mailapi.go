package embedded

import (
	"encoding/json"
	"net/http"
	"net/mail"
	"strconv"
	"strings"
	"time"

	"crier/internal/hostname"
)

// The API has the shape of Mailpit's (mailpit.axllent.org, API v1), so that tools
// and tests written for it work here: three of its calls, with all their members
// but tags, which we do not have.

type apiSummary struct {
	ID, MessageID string
	Read          bool
	From          *mail.Address
	To, Cc, Bcc   []*mail.Address
	ReplyTo       []*mail.Address
	Subject       string
	Created       time.Time
	Username      string
	Tags          []string
	Size          int
	Attachments   int
	Snippet       string
}

type apiList struct {
	Total         int          `json:"total"`
	Unread        int          `json:"unread"`
	Count         int          `json:"count"`          // in this answer
	MessagesCount int          `json:"messages_count"` // that the query finds
	MessagesNew   int          `json:"messages_unread"`
	Start         int          `json:"start"`
	Tags          []string     `json:"tags"`
	Messages      []apiSummary `json:"messages"`
	Dropped       int          `json:"dropped"` // ours: what made room for newer mails
}

type apiMessage struct {
	ID, MessageID       string
	From                *mail.Address
	To, Cc, Bcc         []*mail.Address
	ReplyTo             []*mail.Address
	ReturnPath          string
	Subject             string
	ListUnsubscribe     apiUnsubscribe
	Date                time.Time
	Tags                []string
	Username            string
	Text, HTML          string
	Size                int
	Inline, Attachments []mailPart
}

type apiUnsubscribe struct {
	Header     string
	Links      []string
	Errors     string
	HeaderPost string
}

// defaultPage is Mailpit's limit where none is asked for.
const defaultPage = 50

// newMailHandler serves the page and the API. addr is where the operator lets it
// listen, whose host is a name it may be called by.
func newMailHandler(store *mailStore, addr string) http.Handler {
	h := &mailHandler{store: store}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /api/v1/messages", h.list)
	mux.HandleFunc("DELETE /api/v1/messages", h.remove)
	mux.HandleFunc("GET /api/v1/message/{id}", h.message)
	mux.HandleFunc("GET /api/v1/message/{id}/raw", h.source)
	mux.HandleFunc("GET /{$}", h.mailbox)
	mux.HandleFunc("GET /mailbox.js", h.script)
	mux.HandleFunc("POST /delete", h.deleteAll)
	mux.HandleFunc("GET /mail/{id}", h.mail)
	mux.HandleFunc("GET /mail/{id}/html", h.html)
	mux.HandleFunc("GET /mail/{id}/source", h.source)
	// Pages of other origins may not change anything here, nor read it through a
	// name that they made to point at this machine.
	return hostname.Guard(headers(http.NewCrossOriginProtection().Handler(mux)), hostname.Name(addr))
}

type mailHandler struct {
	store *mailStore
}

// headers are what every answer has.
func headers(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		header := w.Header()
		header.Set("X-Content-Type-Options", "nosniff")
		header.Set("Referrer-Policy", "no-referrer")
		header.Set("Cache-Control", "no-store")
		header.Set("Content-Security-Policy", pagePolicy)
		next.ServeHTTP(w, r)
	})
}

func (h *mailHandler) list(w http.ResponseWriter, r *http.Request) {
	start := queryNumber(r, "start", 0)
	page := h.store.page(start, queryNumber(r, "limit", defaultPage))
	answer := apiList{
		Total: page.Total, Unread: page.Unread, Count: len(page.Mails), MessagesCount: page.Total,
		MessagesNew: page.Unread, Start: start, Tags: []string{}, Messages: []apiSummary{}, Dropped: page.Dropped,
	}
	for _, m := range page.Mails {
		s := m.Summary
		answer.Messages = append(answer.Messages, apiSummary{
			ID: m.ID, MessageID: s.MessageID, Read: m.Read,
			From: s.From, To: noNil(s.To), Cc: noNil(s.Cc), Bcc: noNil(s.Bcc), ReplyTo: noNil(s.ReplyTo),
			Subject: s.Subject, Created: m.Received, Username: m.Envelope.Username, Tags: []string{},
			Size: len(m.Raw), Attachments: s.Attachments, Snippet: s.Snippet,
		})
	}
	writeJSON(w, answer)
}

func (h *mailHandler) message(w http.ResponseWriter, r *http.Request) {
	m, ok := h.store.get(r.PathValue("id"))
	if !ok {
		http.NotFound(w, r)
		return
	}
	c := parseMail(&m)
	writeJSON(w, apiMessage{
		ID: m.ID, MessageID: c.MessageID, From: c.From,
		To: noNil(c.To), Cc: noNil(c.Cc), Bcc: noNil(c.Bcc), ReplyTo: noNil(c.ReplyTo),
		ReturnPath: m.Envelope.From, Subject: c.Subject, Date: c.Date, Tags: []string{},
		ListUnsubscribe: apiUnsubscribe{Header: c.Unsubscribe, Links: unsubscribeLinks(c.Unsubscribe), HeaderPost: c.UnsubPost},
		Username:        m.Envelope.Username, Text: c.Text, HTML: c.HTML, Size: len(m.Raw),
		Inline: noNil(c.Inline), Attachments: noNil(c.Attachments),
	})
}

// remove deletes the mails whose ids the body names, or all without a body.
func (h *mailHandler) remove(w http.ResponseWriter, r *http.Request) {
	var body struct{ IDs []string }
	if r.ContentLength != 0 {
		if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 1<<20)).Decode(&body); err != nil {
			http.Error(w, `the body must be {"IDs": […]} or empty`, http.StatusBadRequest)
			return
		}
	}
	h.store.remove(body.IDs)
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	_, _ = w.Write([]byte("ok")) // the peer may be gone
}

// source is the mail as it came.
func (h *mailHandler) source(w http.ResponseWriter, r *http.Request) {
	m, ok := h.store.get(r.PathValue("id"))
	if !ok {
		http.NotFound(w, r)
		return
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	_, _ = w.Write(m.Raw) // the peer may be gone
}

func writeJSON(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v) // plain data: only the peer can be at fault
}

// queryNumber reads a number that is not negative, or gives the default.
func queryNumber(r *http.Request, name string, otherwise int) int {
	n, err := strconv.Atoi(r.URL.Query().Get(name))
	if err != nil || n < 0 {
		return otherwise
	}
	return n
}

// unsubscribeLinks takes the <…> out of a List-Unsubscribe header (RFC 2369).
func unsubscribeLinks(header string) []string {
	links := []string{}
	for item := range strings.SplitSeq(header, ",") {
		item = strings.TrimSpace(item)
		if strings.HasPrefix(item, "<") && strings.HasSuffix(item, ">") {
			links = append(links, item[1:len(item)-1])
		}
	}
	return links
}

// noNil makes JSON say [] instead of null, as Mailpit does.
func noNil[T any](s []T) []T {
	if s == nil {
		return []T{}
	}
	return s
}
