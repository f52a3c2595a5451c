package mail

import (
	"bytes"
	"embed"
	"encoding/json"
	"fmt"
	html "html/template"
	"io/fs"
	"net/mail"
	"os"
	"strings"
	text "text/template"
	"time"

	gomail "github.com/wneessen/go-mail"

	"crier/internal/event"
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
	token     func(address string) string
}

// NewComposer reads the templates subject.txt, notification.txt and
// notification.html from a folder, "" being those that are built in. token signs
// the address in the unsubscribe link.
func NewComposer(from, publicURL, folder string, token func(string) string) (*Composer, error) {
	address, err := mail.ParseAddress(from)
	if err != nil {
		return nil, fmt.Errorf("CRIER_MAIL_FROM: %w", err)
	}
	files, err := fs.Sub(defaults, "templates")
	if err != nil {
		return nil, fmt.Errorf("reading the built-in mail templates: %w", err)
	}
	if folder != "" {
		files = os.DirFS(folder)
	}
	c := &Composer{from: address, publicURL: strings.TrimRight(publicURL, "/"), token: token}
	_, c.host, _ = strings.Cut(address.Address, "@")
	if c.subject, err = text.ParseFS(files, "subject.txt"); err == nil {
		if c.text, err = text.ParseFS(files, "notification.txt"); err == nil {
			c.html, err = html.ParseFS(files, "notification.html")
		}
	}
	if err != nil {
		return nil, fmt.Errorf("CRIER_MAIL_TEMPLATES: %w", err)
	}
	return c, nil
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
	m := gomail.NewMsg(gomail.WithNoDefaultUserAgent())
	m.FromMailAddress(c.from)
	if err := m.To(to); err != nil {
		return nil, fmt.Errorf("%w: the address cannot be used: %w", ErrRefused, err)
	}
	// One line, whatever the notification says: a header is not to be left.
	m.Subject(strings.Join(strings.Fields(subject.String()), " "))
	m.SetDateWithValue(now)
	// The same for every attempt, so that a second copy can be recognised.
	m.SetMessageIDWithValue(fmt.Sprintf("%s.%d@%s", n.EventID, n.ID, c.host))
	m.SetGenHeader(gomail.HeaderListUnsubscribe, "<"+d.Unsubscribe+">")
	m.SetGenHeader(gomail.HeaderListUnsubscribePost, "List-Unsubscribe=One-Click")
	m.SetGenHeader("Auto-Submitted", "auto-generated") // RFC 3834
	m.SetBodyString(gomail.TypeTextPlain, plain.String())
	m.AddAlternativeString(gomail.TypeTextHTML, rich.String())
	return m, nil
}
