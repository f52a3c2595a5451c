package embedded

import (
	"bytes"
	"errors"
	"io"
	"net/mail"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/emersion/go-message"
	_ "github.com/emersion/go-message/charset" // mails in other character sets than UTF-8
	gomail "github.com/emersion/go-message/mail"
)

// A mail is a stranger's tree. Beyond these it is shown as far as it was read.
const (
	maxMailDepth  = 10
	maxMailParts  = 200
	snippetLength = 250 // characters, as Mailpit's
)

// mailPart is an attachment, by Mailpit's names.
type mailPart struct {
	PartID      string
	FileName    string
	ContentType string
	ContentID   string
	Size        int
}

// mailContent is a mail taken apart. All text is valid UTF-8.
type mailContent struct {
	MessageID              string
	From                   *mail.Address
	To, Cc, Bcc, ReplyTo   []*mail.Address
	Subject                string
	Date                   time.Time
	Text, HTML             string
	Attachments, Inline    []mailPart
	Unsubscribe, UnsubPost string

	parts int
}

// mailSummary is what the list shows, so that it need not parse.
type mailSummary struct {
	MessageID            string
	From                 *mail.Address
	To, Cc, Bcc, ReplyTo []*mail.Address
	Subject              string
	Attachments          int
	Snippet              string
}

// parseMail reads as much as can be read; a broken mail gives what was whole.
func parseMail(m *storedMail) *mailContent {
	c := &mailContent{Date: m.Received}
	e, err := message.Read(bytes.NewReader(m.Raw))
	if err != nil && !readable(err) {
		c.Text = clean(string(m.Raw))
		c.fillAddresses(m.Envelope)
		return c
	}
	h := gomail.Header{Header: e.Header}
	c.MessageID, _ = h.MessageID()
	c.MessageID = clean(c.MessageID)
	c.Subject = headerText(e.Header, "Subject")
	if d, err := h.Date(); err == nil && !d.IsZero() {
		c.Date = d
	}
	from := addresses(h, "From")
	if len(from) > 0 {
		c.From = from[0]
	}
	c.To, c.Cc, c.Bcc, c.ReplyTo = addresses(h, "To"), addresses(h, "Cc"), addresses(h, "Bcc"), addresses(h, "Reply-To")
	c.Unsubscribe, c.UnsubPost = headerText(e.Header, "List-Unsubscribe"), headerText(e.Header, "List-Unsubscribe-Post")
	c.fillAddresses(m.Envelope)
	c.walk(e, "", 0)
	return c
}

// fillAddresses takes from the envelope what the header does not say; recipients
// that only the envelope has are blind copies.
func (c *mailContent) fillAddresses(e envelope) {
	if c.From == nil {
		c.From = &mail.Address{Address: clean(e.From)}
	}
	known := map[string]bool{}
	for _, list := range [][]*mail.Address{c.To, c.Cc, c.Bcc} {
		for _, a := range list {
			known[strings.ToLower(a.Address)] = true
		}
	}
	for _, to := range e.To {
		if !known[strings.ToLower(to)] {
			c.Bcc = append(c.Bcc, &mail.Address{Address: clean(to)})
		}
	}
}

// walk collects the first text and HTML bodies and lists the other parts.
func (c *mailContent) walk(e *message.Entity, id string, depth int) {
	c.parts++
	if mr := e.MultipartReader(); mr != nil {
		for n := 1; depth < maxMailDepth && c.parts < maxMailParts; n++ {
			part, err := mr.NextPart()
			if err != nil && (!readable(err) || part == nil) {
				return // the end, or broken from here on
			}
			partID := strconv.Itoa(n)
			if id != "" {
				partID = id + "." + partID
			}
			c.walk(part, partID, depth+1)
		}
		return
	}
	if id == "" {
		id = "1"
	}
	kind, params, err := e.Header.ContentType()
	if err != nil || kind == "" {
		kind = "text/plain"
	}
	disposition, dparams, _ := e.Header.ContentDisposition() // empty when broken
	name := dparams["filename"]
	if name == "" {
		name = params["name"]
	}
	body, _ := io.ReadAll(e.Body) // what came before a fault; the mail itself is bounded
	switch {
	case disposition != "attachment" && name == "" && kind == "text/plain" && c.Text == "":
		c.Text = clean(string(body))
	case disposition != "attachment" && name == "" && kind == "text/html" && c.HTML == "":
		c.HTML = clean(string(body))
	default:
		p := mailPart{PartID: id, FileName: clean(name), ContentType: clean(kind), Size: len(body)}
		p.ContentID = clean(strings.Trim(e.Header.Get("Content-Id"), "<> "))
		if disposition != "attachment" && p.ContentID != "" {
			c.Inline = append(c.Inline, p)
		} else {
			c.Attachments = append(c.Attachments, p)
		}
	}
}

func summarise(m *storedMail) mailSummary {
	c := parseMail(m)
	return mailSummary{
		MessageID: c.MessageID, From: c.From, To: c.To, Cc: c.Cc, Bcc: c.Bcc, ReplyTo: c.ReplyTo,
		Subject: c.Subject, Attachments: len(c.Attachments), Snippet: snippet(c),
	}
}

// snippet is the beginning of the text, or of the HTML without its tags.
func snippet(c *mailContent) string {
	text := c.Text
	if strings.TrimSpace(text) == "" {
		text = withoutTags(c.HTML)
	}
	runes := []rune(strings.Join(strings.Fields(text[:min(len(text), 16*snippetLength)]), " "))
	if len(runes) > snippetLength {
		runes = append(runes[:snippetLength], '…')
	}
	return clean(string(runes)) // the cut may have split a character
}

// withoutTags drops what is between < and >. It is for reading, not for safety:
// its output is escaped like everything else.
func withoutTags(html string) string {
	var b strings.Builder
	inside := false
	for _, r := range html {
		switch {
		case r == '<':
			inside = true
		case r == '>' && inside:
			inside = false
			b.WriteByte(' ')
		case !inside:
			b.WriteRune(r)
		}
	}
	return b.String()
}

// readable tells the errors of go-message that come with a usable part.
func readable(err error) bool {
	return message.IsUnknownCharset(err) || message.IsUnknownEncoding(err)
}

func addresses(h gomail.Header, field string) []*mail.Address {
	list, err := h.AddressList(field)
	if err != nil {
		if raw := headerText(h.Header, field); raw != "" && !errors.Is(err, mail.ErrHeaderNotPresent) {
			return []*mail.Address{{Address: raw}} // better than nothing
		}
		return nil
	}
	out := make([]*mail.Address, 0, len(list))
	for _, a := range list {
		out = append(out, &mail.Address{Name: clean(a.Name), Address: clean(a.Address)})
	}
	return out
}

// headerText decodes a field, or gives it as it is where that is not possible.
func headerText(h message.Header, field string) string {
	text, err := h.Text(field)
	if err != nil {
		text = h.Get(field)
	}
	return clean(text)
}

// clean makes valid UTF-8 without control characters but tab and line ends,
// which could otherwise rearrange a terminal that prints the API's answer.
func clean(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) && r != '\n' && r != '\r' && r != '\t' {
			return -1
		}
		return r
	}, strings.ToValidUTF8(s, "\uFFFD"))
}
