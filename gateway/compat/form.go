package compat

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"net/url"
	"strings"

	"crier/gateway/api"
	"crier/internal/event"
	"crier/internal/problem"
	"crier/internal/scope"
)

// clients are the handlers of older clients.
type clients struct {
	*api.API
	open func(r *http.Request, system string) bool
}

// opened is who makes a request that one of the systems did not ask credentials for:
// a service, where the operator has opened that.
func (c *clients) opened(r *http.Request, system string) api.Principal {
	if who := api.Who(r); who.Service != "" || who.Lacks != nil || !c.open(r, system) {
		return who
	}
	return api.Principal{Service: "open-" + system, Grant: scope.Grant{Scopes: openScopes[system]}}
}

// openScopes is what a system let anybody do.
var openScopes = map[string]api.Scopes{
	DataPusher:    {scope.AccountsRead, scope.AccountsWrite, scope.AccountsPush},
	Notifications: {scope.SendUsers},
}

// fields are the members of a body, each as the JSON that was sent; a form's
// are strings.
type fields map[string]json.RawMessage

// maxBody bounds a request's body; the largest is a notification's payload.
const maxBody = 1 << 20

// read takes a JSON object or a form, see readBody.
func read(w http.ResponseWriter, r *http.Request) (fields, error) {
	f, _, err := readBody(w, r)
	return f, err
}

// readBody takes a JSON object whatever the Content-Type says, because curl sends
// JSON as a form unless it is told otherwise; else a form, and reports that it was
// one. What is neither is an empty body: the older systems answered that with their
// message for missing fields.
func readBody(w http.ResponseWriter, r *http.Request) (f fields, form bool, err error) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err != nil {
		return fields{}, false, tooLarge(err)
	}
	if json.Unmarshal(body, &f) == nil && f != nil {
		return f, false, nil
	}
	values, err := formOf(r.Header.Get("Content-Type"), body)
	if err != nil {
		return fields{}, false, problem.Wrap(problem.InvalidJSON, "The form could not be read.", err)
	}
	f = make(fields, len(values))
	for name, v := range values {
		b, err := json.Marshal(v[len(v)-1]) // Django, too, takes the last of a field that comes twice
		if err != nil {
			return f, false, err
		}
		f[name] = b
	}
	return f, len(f) > 0, nil
}

// formOf is the fields of a multipart body, or of a URL-encoded one: of the latter,
// pairs that cannot be decoded are left out. net/http would read the forms of POST,
// PUT and PATCH only, and these clients send them with DELETE as well.
func formOf(contentType string, body []byte) (url.Values, error) {
	kind, params, _ := mime.ParseMediaType(contentType) // an unreadable one is taken for URL-encoded
	if kind != "multipart/form-data" {
		values, _ := url.ParseQuery(string(body))
		return values, nil
	}
	form, err := multipart.NewReader(bytes.NewReader(body), params["boundary"]).ReadForm(maxBody)
	if err != nil {
		return nil, err
	}
	return form.Value, form.RemoveAll()
}

func tooLarge(err error) error {
	var limit *http.MaxBytesError
	if errors.As(err, &limit) {
		return problem.New(problem.TooLarge, "The body must be at most 1 MiB.")
	}
	return problem.Wrap(problem.InvalidJSON, "The body could not be read.", err)
}

// has says whether a member was sent that is not null or an empty string.
func (f fields) has(names ...string) bool {
	for _, n := range names {
		if s := string(f[n]); s == "" || s == "null" || s == `""` {
			return false
		}
	}
	return true
}

// text is a member's string, or its JSON where it is a number.
func (f fields) text(name string) string {
	var s string
	if json.Unmarshal(f[name], &s) == nil {
		return s
	}
	return string(f[name])
}

// isText says whether a member is a string.
func (f fields) isText(name string) bool { return len(f[name]) > 0 && f[name][0] == '"' }

// answer writes JSON.
func answer(w http.ResponseWriter, status int, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(append(b, '\n')) // a reader that has gone is no fault of ours
	return nil
}

// refuse writes {"error": text} with a client's fault. Other statuses are left to the
// caller, who writes them in the route's form.
func refuse(w http.ResponseWriter, status int, member string, err error, text string) error {
	if err != nil {
		p := problem.Of(err)
		if problem.Catalogue[p.Code].Status >= 500 || p.Code == problem.TooMany || p.Code == problem.BadOrigin || p.Code == problem.TooLarge {
			return err
		}
		if text == "" {
			text = sentence(p)
		}
	}
	return answer(w, status, map[string]string{member: text})
}

// sentence is a problem in one line for people.
func sentence(p *problem.Problem) string {
	if len(p.Errors) == 0 {
		return p.Detail
	}
	var parts []string
	for _, e := range p.Errors {
		parts = append(parts, strings.TrimSpace(e.Field+" "+e.Message))
	}
	return strings.Join(parts, "; ")
}

// The forms of refusals that the systems' clients read: A's and B's, C's, D's, and
// of E's accounts.
func errorForm(_ *http.Request, p *problem.Problem) any {
	return map[string]string{"error": sentence(p)}
}

func detailForm(_ *http.Request, p *problem.Problem) any {
	return map[string]string{"detail": sentence(p)}
}

func statusForm(_ *http.Request, p *problem.Problem) any { return said{Message: sentence(p)} }

func fieldForm(_ *http.Request, p *problem.Problem) any { return byField(p) }

// loginForm is E's for a page, whose script goes through arrays of texts by field,
// and A's for everybody else: A's clients are programs.
func loginForm(r *http.Request, p *problem.Problem) any {
	if fromPage(r) {
		return fieldForm(r, p)
	}
	return errorForm(r, p)
}

// fromPage reports whether a script on a page makes a request. Browsers add the
// first two headers to what a script POSTs (Fetch, sections 3.2 and 3.6), older ones
// the third, and older libraries the last.
func fromPage(r *http.Request) bool {
	for _, name := range []string{"Origin", "Sec-Fetch-Mode", "Referer", "X-Requested-With"} {
		if r.Header.Get(name) != "" {
			return true
		}
	}
	return false
}

// byField is a problem as older clients with arrays of messages want it.
func byField(p *problem.Problem) map[string][]string {
	out := make(map[string][]string)
	for _, e := range p.Errors {
		name := e.Field
		if name == "" {
			name = "non_field_errors"
		}
		out[name] = append(out[name], e.Message)
	}
	if len(out) == 0 {
		out["non_field_errors"] = []string{p.Detail}
	}
	return out
}

func isInput(err error) (*problem.Problem, bool) {
	var inv event.Invalid
	p := problem.Of(err)
	return p, errors.As(err, &inv) || len(p.Errors) > 0
}
