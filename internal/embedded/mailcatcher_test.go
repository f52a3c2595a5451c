package embedded

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/smtp"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-sasl"
	gosmtp "github.com/emersion/go-smtp"
)

func mustStartMail(t *testing.T) *MailCatcher {
	t.Helper()
	m, err := StartMailCatcher(t.Context(), MailConfig{SMTPAddr: "127.0.0.1:0", HTTPAddr: "127.0.0.1:0", Logger: logTo(t)})
	if err != nil {
		t.Fatalf("starting the mail catcher: %v", err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := m.Stop(ctx); err != nil {
			t.Error(err)
		}
	})
	return m
}

func mustSend(t *testing.T, m *MailCatcher, auth smtp.Auth, to []string, mail string) {
	t.Helper()
	if err := smtp.SendMail(m.SMTPAddr(), auth, "bounce@example.org", to, []byte(strings.ReplaceAll(mail, "\n", "\r\n"))); err != nil {
		t.Fatalf("sending: %v", err)
	}
}

// mustDo makes one request and gives its answer's status, header and body.
func mustDo(t *testing.T, method, url, body string, header ...string) (*http.Response, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
		if header[i] == "Host" {
			req.Host = header[i+1]
		}
	}
	transport := &http.Transport{DisableKeepAlives: true}
	resp, err := transport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, string(b)
}

func mustDecode[T any](t *testing.T, url string) T {
	t.Helper()
	resp, body := mustDo(t, http.MethodGet, url, "")
	if resp.StatusCode != http.StatusOK {
		t.Fatalf("GET %s: %s: %s", url, resp.Status, body)
	}
	var v T
	if err := json.Unmarshal([]byte(body), &v); err != nil {
		t.Fatalf("GET %s: %v in %s", url, err, body)
	}
	return v
}

const alertMail = `Message-Id: <one@example.org>
Date: Sat, 21 Nov 2026 10:00:00 +0100
From: =?utf-8?q?Crier_=C3=9F?= <alerts@example.org>
To: Ann <ann@example.org>
Subject: =?utf-8?q?BTCUSDT_above_=E2=82=AC100?=
List-Unsubscribe: <mailto:stop@example.org>, <https://example.org/stop>
List-Unsubscribe-Post: List-Unsubscribe=One-Click
MIME-Version: 1.0
Content-Type: multipart/mixed; boundary=a

--a
Content-Type: multipart/alternative; boundary=b

--b
Content-Type: text/plain; charset=iso-8859-1
Content-Transfer-Encoding: quoted-printable

Gr=FC=DFe, the price is above 100.
--b
Content-Type: text/html; charset=utf-8

<p>Gruss <script>alert(1)</script><a href="https://example.org/reset">reset</a></p>
--b--
--a
Content-Type: text/csv; name="ticks.csv"
Content-Disposition: attachment; filename="ticks.csv"

a,b
--a--
`

// A mail sent over SMTP is found through Mailpit's calls with Mailpit's names,
// decoded; reading marks it; deleting removes it.
func TestMailAPI(t *testing.T) {
	t.Parallel()
	m := mustStartMail(t)
	empty := mustDecode[map[string]any](t, m.URL()+"/api/v1/messages")
	if list, ok := empty["messages"].([]any); !ok || len(list) != 0 {
		t.Errorf("messages of an empty mailbox: %v, want []", empty["messages"])
	}
	mustSend(t, m, nil, []string{"ann@example.org", "hidden@example.org"}, alertMail)

	list := mustDecode[map[string]any](t, m.URL()+"/api/v1/messages?limit=1")
	for name, want := range map[string]float64{"total": 1, "unread": 1, "count": 1, "messages_count": 1, "messages_unread": 1, "start": 0, "dropped": 0} {
		if list[name] != want {
			t.Errorf("%s is %v, want %v", name, list[name], want)
		}
	}
	first := list["messages"].([]any)[0].(map[string]any)
	for name, want := range map[string]string{
		"MessageID": "one@example.org", "Subject": "BTCUSDT above €100", "Snippet": "Grüße, the price is above 100.",
		"From": "map[Address:alerts@example.org Name:Crier ß]", "To": "[map[Address:ann@example.org Name:Ann]]",
		"Bcc": "[map[Address:hidden@example.org Name:]]", "Attachments": "1", "Read": "false",
	} {
		if got := fmt.Sprint(first[name]); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}

	one := mustDecode[map[string]any](t, m.URL()+"/api/v1/message/"+first["ID"].(string))
	for name, want := range map[string]string{
		"Text": "Grüße, the price is above 100.", "Date": "2026-11-21T10:00:00+01:00", "ReturnPath": "bounce@example.org",
		"Attachments": "[map[ContentID: ContentType:text/csv FileName:ticks.csv PartID:2 Size:3]]", "Inline": "[]",
		"ListUnsubscribe": "map[Errors: Header:<mailto:stop@example.org>, <https://example.org/stop> HeaderPost:List-Unsubscribe=One-Click Links:[mailto:stop@example.org https://example.org/stop]]",
	} {
		if got := strings.TrimSpace(fmt.Sprint(one[name])); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	if html := one["HTML"].(string); !strings.Contains(html, "reset</a>") {
		t.Errorf("HTML is %q", html)
	}
	if list := mustDecode[apiList](t, m.URL()+"/api/v1/messages"); list.Unread != 0 || !list.Messages[0].Read {
		t.Errorf("after reading: %+v", list)
	}
	if latest := mustDecode[apiMessage](t, m.URL()+"/api/v1/message/latest"); latest.ID != first["ID"] {
		t.Errorf("latest is %s, want %s", latest.ID, first["ID"])
	}
	if resp, body := mustDo(t, http.MethodDelete, m.URL()+"/api/v1/messages", `{"IDs":["`+first["ID"].(string)+`"]}`); resp.StatusCode != 200 || body != "ok" {
		t.Errorf("DELETE: %s %q", resp.Status, body)
	}
	if resp, _ := mustDo(t, http.MethodGet, m.URL()+"/api/v1/message/"+first["ID"].(string), ""); resp.StatusCode != http.StatusNotFound {
		t.Errorf("after DELETE: %s, want 404", resp.Status)
	}
}

// DELETE without a body empties the mailbox; start and limit page through it,
// newest first.
func TestMailPaging(t *testing.T) {
	t.Parallel()
	m := mustStartMail(t)
	for i := range 3 {
		mustSend(t, m, nil, []string{"a@example.org"}, fmt.Sprintf("Subject: %d\n\nbody\n", i))
	}
	page := mustDecode[apiList](t, m.URL()+"/api/v1/messages?start=1&limit=1")
	if page.Total != 3 || page.Count != 1 || page.Start != 1 || page.Messages[0].Subject != "1" {
		t.Errorf("second of three: %+v", page)
	}
	mustDo(t, http.MethodDelete, m.URL()+"/api/v1/messages", "")
	if page := mustDecode[apiList](t, m.URL()+"/api/v1/messages"); page.Total != 0 {
		t.Errorf("after DELETE: %d mails", page.Total)
	}
}

// Any credentials do, by PLAIN and by LOGIN, and the name is shown.
func TestMailAuth(t *testing.T) {
	t.Parallel()
	m := mustStartMail(t)
	mustSend(t, m, smtp.PlainAuth("", "ann", "whatever", "127.0.0.1"), []string{"a@example.org"}, "Subject: x\n\nbody\n")
	if got := mustDecode[apiList](t, m.URL()+"/api/v1/messages").Messages[0].Username; got != "ann" {
		t.Errorf("PLAIN: user %q, want ann", got)
	}
	c, err := gosmtp.Dial(m.SMTPAddr())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	if err := c.Auth(sasl.NewLoginClient("ben", "whatever")); err != nil {
		t.Fatalf("AUTH LOGIN: %v", err)
	}
	if err := c.SendMail("x@example.org", []string{"a@example.org"}, strings.NewReader("Subject: y\r\n\r\nbody\r\n")); err != nil {
		t.Fatal(err)
	}
	if got := mustDecode[apiList](t, m.URL()+"/api/v1/messages").Messages[0].Username; got != "ben" {
		t.Errorf("LOGIN: user %q, want ben", got)
	}
}

// A mail's HTML is served without scripts, forms or requests to others, in an
// origin of its own; on our pages whatever it says is text.
func TestMailPageIsSafe(t *testing.T) {
	t.Parallel()
	m := mustStartMail(t)
	mustSend(t, m, nil, []string{"a@example.org"}, "Subject: <script>alert(1)</script>\nFrom: \"<img src=x>\" <x@example.org>\nContent-Type: text/html\n\n<script>alert(2)</script><b>hello</b>\n")
	mustSend(t, m, nil, []string{"a@example.org"}, "Subject: plain\n\n</pre><script>alert(3)</script>\n")
	for _, id := range []string{"", "mail/" + mustDecode[apiList](t, m.URL()+"/api/v1/messages").Messages[1].ID, "mail/latest"} {
		resp, body := mustDo(t, http.MethodGet, m.URL()+"/"+id, "")
		if resp.StatusCode != http.StatusOK || strings.Contains(body, "<script>") || strings.Contains(body, "alert(1)</script") || strings.Contains(body, "<img") {
			t.Errorf("page /%s (%s) holds the mail's markup:\n%s", id, resp.Status, body)
		}
		if policy := resp.Header.Get("Content-Security-Policy"); !strings.HasPrefix(policy, "default-src 'none'; script-src 'self';") {
			t.Errorf("page /%s has the policy %q", id, policy)
		}
	}
	id := mustDecode[apiList](t, m.URL()+"/api/v1/messages").Messages[1].ID
	resp, body := mustDo(t, http.MethodGet, m.URL()+"/mail/"+id+"/html", "")
	if policy := resp.Header.Get("Content-Security-Policy"); policy != mailPolicy || strings.Contains(policy, "allow-scripts") || strings.Contains(policy, "allow-same-origin") {
		t.Errorf("the mail's HTML has the policy %q", policy)
	}
	if !strings.Contains(body, "<b>hello</b>") {
		t.Errorf("the mail's HTML is %q", body)
	}
	if resp, body := mustDo(t, http.MethodGet, m.URL()+"/mail/"+id+"/source", ""); resp.Header.Get("Content-Type") != "text/plain; charset=utf-8" || !strings.Contains(body, "alert(2)") {
		t.Errorf("source: %s: %q", resp.Header.Get("Content-Type"), body)
	}
}

// Pages of other origins neither change anything nor get in by a made-up name.
func TestMailPageOtherOrigins(t *testing.T) {
	t.Parallel()
	m := mustStartMail(t)
	mustSend(t, m, nil, []string{"a@example.org"}, "Subject: x\n\nbody\n")
	for _, from := range [][]string{{"Sec-Fetch-Site", "cross-site"}, {"Origin", "https://evil.example"}} {
		if resp, _ := mustDo(t, http.MethodPost, m.URL()+"/delete", "", from...); resp.StatusCode != http.StatusForbidden {
			t.Errorf("POST /delete with %v: %s, want 403", from, resp.Status)
		}
		if resp, _ := mustDo(t, http.MethodDelete, m.URL()+"/api/v1/messages", "", from...); resp.StatusCode != http.StatusForbidden {
			t.Errorf("DELETE with %v: %s, want 403", from, resp.Status)
		}
	}
	if resp, _ := mustDo(t, http.MethodGet, m.URL()+"/api/v1/messages", "", "Host", "rebound.evil.example:8025"); resp.StatusCode != http.StatusMisdirectedRequest {
		t.Errorf("by another name: %s, want 421", resp.Status)
	}
	if got := mustDecode[apiList](t, m.URL()+"/api/v1/messages").Total; got != 1 {
		t.Errorf("%d mails are left, want 1", got)
	}
	if resp, _ := mustDo(t, http.MethodPost, m.URL()+"/delete", "", "Sec-Fetch-Site", "same-origin"); resp.StatusCode != http.StatusSeeOther {
		t.Errorf("our own button: %s, want 303", resp.Status)
	}
}

// The store holds so many mails and so many bytes; the oldest make room and are
// counted.
func TestMailStoreBounds(t *testing.T) {
	t.Parallel()
	s := newMailStore(3, 1000)
	for i := range 5 {
		s.add(envelope{}, fmt.Appendf(nil, "Subject: %d\r\n\r\n", i), time.Now())
	}
	if p := s.page(0, 10); p.Total != 3 || p.Dropped != 2 || p.Mails[2].Summary.Subject != "2" {
		t.Errorf("by number: %d kept, %d dropped, oldest %q", p.Total, p.Dropped, p.Mails[2].Summary.Subject)
	}
	s.add(envelope{}, append([]byte("Subject: large\r\n\r\n"), make([]byte, 970)...), time.Now())
	if p := s.page(0, 10); p.Total != 1 || p.Dropped != 5 || s.bytes > 1000 {
		t.Errorf("by size: %d kept, %d dropped, %d bytes", p.Total, p.Dropped, s.bytes)
	}
	s.remove(nil)
	if s.bytes != 0 {
		t.Errorf("%d bytes counted in an empty store", s.bytes)
	}
}

// A mail over the limit is refused in the protocol, and nothing of it kept.
func TestMailTooLarge(t *testing.T) {
	t.Parallel()
	m := mustStartMail(t)
	c, err := gosmtp.Dial(m.SMTPAddr())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	line := strings.Repeat("x", 998) + "\r\n"
	err = c.SendMail("x@example.org", []string{"a@example.org"}, strings.NewReader("Subject: x\r\n\r\n"+strings.Repeat(line, maxMailBytes/len(line)+1)))
	var refused *gosmtp.SMTPError
	if !errors.As(err, &refused) || refused.Code != 552 {
		t.Errorf("got %v, want 552", err)
	}
	if got := mustDecode[apiList](t, m.URL()+"/api/v1/messages").Total; got != 0 {
		t.Errorf("%d mails kept", got)
	}
}

// Stop ends connections that say nothing, and both addresses are free again.
func TestMailStopWithIdlePeers(t *testing.T) {
	t.Parallel()
	m := mustStartMail(t)
	idle, err := net.Dial("tcp", m.SMTPAddr())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = idle.Close() }()
	if _, err := idle.Read(make([]byte, 3)); err != nil { // the greeting: it is being served
		t.Fatal(err)
	}
	if err := m.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := m.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	again, err := StartMailCatcher(t.Context(), MailConfig{SMTPAddr: m.SMTPAddr(), HTTPAddr: strings.TrimPrefix(m.URL(), "http://")})
	if err != nil {
		t.Fatalf("on the same addresses: %v", err)
	}
	var taken *AddrInUseError
	if _, err := StartMailCatcher(t.Context(), MailConfig{SMTPAddr: "127.0.0.1:0", HTTPAddr: strings.TrimPrefix(m.URL(), "http://")}); !errors.As(err, &taken) || taken.What != "mail" {
		t.Errorf("on a taken address: %v, want AddrInUseError", err)
	}
	if err := again.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// Whatever arrives is taken apart without a panic, into valid text.
func FuzzMailParse(f *testing.F) {
	f.Add([]byte(strings.ReplaceAll(alertMail, "\n", "\r\n")))
	f.Add([]byte("Content-Type: multipart/mixed; boundary=\"\"\r\n\r\n----\r\n"))
	f.Add([]byte(strings.Repeat("Content-Type: multipart/mixed; boundary=a\r\n\r\n--a\r\n", 50)))
	f.Add([]byte("Content-Type: text/html; charset=utf-7\r\nContent-Transfer-Encoding: base64\r\n\r\n!!!"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		m := &storedMail{Raw: raw, Envelope: envelope{From: "a", To: []string{"b"}}}
		m.Summary = summarise(m)
		if _, err := json.Marshal(parseMail(m)); err != nil {
			t.Error(err)
		}
		if len([]rune(m.Summary.Snippet)) > snippetLength+1 {
			t.Errorf("a snippet of %d characters", len([]rune(m.Summary.Snippet)))
		}
	})
}
