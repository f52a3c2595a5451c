package mail

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/base64"
	"encoding/json"
	"fmt"
	html "html/template"
	"io/fs"
	"net/mail"
	"os"
	"path/filepath"
	"strings"
	text "text/template"
	"time"
	"unicode/utf8"

	gomail "github.com/wneessen/go-mail"

	"crier/internal/event"
	"crier/internal/user"
)

//go:embed templates
var defaults embed.FS

// Composer makes messages from notifications. It is safe for concurrent use.
type Composer struct {
	from      *mail.Address
	host      string // of Message-IDs
	publicURL string
	subject   *text.Template
	text      *text.Template
	html      *html.Template
	resetText *text.Template
	resetHTML *html.Template

	confirmText *text.Template
	confirmHTML *html.Template
	token       func(address string) string
}

// NewComposer reads the templates subject.txt, notification.txt,
// notification.html, reset.txt, reset.html, confirm.txt and confirm.html from a
// folder, "" being those that are built in. A folder may lack the last four, which
// older ones do. token signs the address in the unsubscribe link.
func NewComposer(from, publicURL, folder string, token func(string) string) (*Composer, error) {
	address, err := mail.ParseAddress(from)
	if err != nil {
		return nil, fmt.Errorf("CRIER_MAIL_FROM %q: must be an address such as Crier <alerts@example.org>: %w", from, err)
	}
	c := &Composer{from: address, publicURL: strings.TrimRight(publicURL, "/"), token: token}
	_, c.host, _ = strings.Cut(address.Address, "@")
	for name, into := range map[string]**text.Template{"subject.txt": &c.subject, "notification.txt": &c.text, "reset.txt": &c.resetText, "confirm.txt": &c.confirmText} {
		if *into, err = text.ParseFS(templates(folder, name), name); err != nil {
			return nil, fmt.Errorf("CRIER_MAIL_TEMPLATES %q: must be a folder with the templates: %w", folder, err)
		}
	}
	for name, into := range map[string]**html.Template{"notification.html": &c.html, "reset.html": &c.resetHTML, "confirm.html": &c.confirmHTML} {
		if *into, err = html.ParseFS(templates(folder, name), name); err != nil {
			return nil, fmt.Errorf("CRIER_MAIL_TEMPLATES %q: must be a folder with the templates: %w", folder, err)
		}
	}
	return c, nil
}

// templates is where a template is: in the operator's folder, or with ours.
func templates(folder, name string) fs.FS {
	if folder != "" {
		_, err := os.Stat(filepath.Join(folder, name))
		if err == nil || !strings.HasPrefix(name, "reset.") && !strings.HasPrefix(name, "confirm.") {
			return os.DirFS(folder)
		}
	}
	files, err := fs.Sub(defaults, "templates")
	if err != nil {
		panic("the built-in mail templates are not there: " + err.Error())
	}
	return files
}

// Data is what templates see.
type Data struct {
	Notification event.Stored
	Alert        *event.Trigger // nil for what is no fired alert
	Link         string         // the notification on the page
	Unsubscribe  string
}

// Compose makes the message of a notification to an address.
func (c *Composer) Compose(n event.Stored, to string, now time.Time) (*gomail.Msg, error) {
	d := Data{Notification: n, Link: fmt.Sprintf("%s/inbox/%d", c.publicURL, n.ID), Unsubscribe: c.publicURL + "/api/v1/unsubscribe?token=" + c.token(to)}
	if strings.HasPrefix(n.URL, "http") {
		d.Link = n.URL
	} else if n.URL != "" {
		d.Link = c.publicURL + n.URL
	}
	if n.Kind == event.KindAlert {
		var t event.Trigger
		if json.Unmarshal(n.Payload, &t) == nil && t.AlertID > 0 {
			d.Alert = &t
		}
	}
	var subject, plain, rich bytes.Buffer
	for _, err := range []error{c.subject.Execute(&subject, d), c.text.Execute(&plain, d), c.html.Execute(&rich, d)} {
		if err != nil {
			return nil, fmt.Errorf("filling in the mail's template: %w", err)
		}
	}
	m, err := c.letter(to, subject.String(), fmt.Sprintf("%s.%d", n.EventID, n.ID), now, plain.String(), rich.String())
	if err != nil {
		return nil, err
	}
	m.SetGenHeader(gomail.HeaderListUnsubscribe, "<"+d.Unsubscribe+">")
	m.SetGenHeader(gomail.HeaderListUnsubscribePost, "List-Unsubscribe=One-Click")
	return m, nil
}

// letter is a message with what all have. id is the same for every attempt, so
// that a second copy can be recognised.
func (c *Composer) letter(to, subject, id string, now time.Time, plain, rich string) (*gomail.Msg, error) {
	m := gomail.NewMsg(gomail.WithNoDefaultUserAgent())
	m.FromMailAddress(c.from)
	if err := m.To(to); err != nil {
		return nil, fmt.Errorf("%w: the address cannot be used: %w", ErrRefused, err)
	}
	// One line, whatever the notification says: a header is not to be left.
	m.Subject(literal(strings.Join(strings.Fields(subject), " ")))
	m.SetDateWithValue(now)
	m.SetMessageIDWithValue(id + "@" + c.host)
	m.SetGenHeader("Auto-Submitted", "auto-generated") // RFC 3834
	m.SetBodyString(gomail.TypeTextPlain, plain)
	m.AddAlternativeString(gomail.TypeTextHTML, rich)
	return m, nil
}

// literal protects a header text that itself has the form of an encoded word
// (RFC 2047), which mail programs would decode: it is encoded once more. Other
// texts are encoded by the library where they need it.
func literal(s string) string {
	if !strings.Contains(s, "=?") {
		return s
	}
	var words []string
	for word := []byte{}; s != ""; {
		_, size := utf8.DecodeRuneInString(s)
		word, s = append(word, s[:size]...), s[size:]
		if len(word) >= maxEncodedWord-utf8.UTFMax || s == "" {
			words = append(words, "=?utf-8?b?"+base64.StdEncoding.EncodeToString(word)+"?=")
			word = word[:0]
		}
	}
	return strings.Join(words, " ")
}

// maxEncodedWord is how many bytes of text fit an encoded word of 75 characters
// (RFC 2047, section 2) in base64.
const maxEncodedWord = 45

// ComposeReset makes the message with the link to a new password.
func (c *Composer) ComposeReset(r user.Reset, token string, now time.Time) (*gomail.Msg, error) {
	d := struct {
		Username, Link string
		Ends           time.Time
	}{r.Username, c.publicURL + "/reset?token=" + token, r.Ends}
	var plain, rich bytes.Buffer
	for _, err := range []error{c.resetText.Execute(&plain, d), c.resetHTML.Execute(&rich, d)} {
		if err != nil {
			return nil, fmt.Errorf("filling in the mail's template: %w", err)
		}
	}
	return c.letter(r.Address, "A new password for "+r.Username, "reset."+r.ID, now, plain.String(), rich.String())
}

// ComposeConfirmation makes the message with the link that confirms an address. It
// contains nothing that was written by the user who gave the address. hasAccount says that the
// address is an account's own already, which its owner may have forgotten.
func (c *Composer) ComposeConfirmation(address, token string, hasAccount bool, now time.Time) (*gomail.Msg, error) {
	d := struct {
		Site, Link, Reset, Unsubscribe string
		HasAccount                     bool
	}{c.publicURL, c.publicURL + "/api/v1/confirm?token=" + token, c.publicURL + "/reset", c.publicURL + "/api/v1/unsubscribe?token=" + c.token(address), hasAccount}
	var plain, rich bytes.Buffer
	for _, err := range []error{c.confirmText.Execute(&plain, d), c.confirmHTML.Execute(&rich, d)} {
		if err != nil {
			return nil, fmt.Errorf("filling in the mail's template: %w", err)
		}
	}
	id := sha256.Sum256([]byte(address + now.UTC().Format(time.DateOnly)))
	m, err := c.letter(address, "Confirm your email address", fmt.Sprintf("confirm.%x", id[:16]), now, plain.String(), rich.String())
	if err != nil {
		return nil, err
	}
	m.SetGenHeader(gomail.HeaderListUnsubscribe, "<"+d.Unsubscribe+">")
	m.SetGenHeader(gomail.HeaderListUnsubscribePost, "List-Unsubscribe=One-Click")
	return m, nil
}
