package compat

import (
	"encoding/json"
	"errors"
	"net/http"
	"strings"

	"crier/gateway/api"
	"crier/internal/destination"
	"crier/internal/event"
	"crier/internal/problem"
)

// Texts of D that clients compare.
const (
	textAccountCreated     = "Account Created Successfully"
	textDestinationCreated = "Destination Created Successfully"
	textUpdated            = "Updated Successfully"
	textDeleted            = "Deleted Successfully"
	textInvalidDetails     = "Invalid Details"
	textInvalidIncoming    = "Invalid Data"
	textUnauthenticated    = "Un Authenticate"
	textRequired           = "This field is required."
	textEmailExists        = "account with this email already exists."
)

// Messages for requests without a credential where the older system asked for none.
const (
	textNoSecret = "secret_token is missing: send it in the body, the query or the header X-Account-Token, or send an API key (X-API-Key). The older system did not ask for it here: see docs/compatible-data-pusher.md and CRIER_COMPAT_OPEN."
	textNoKey    = "account_id is missing, or an API key (X-API-Key), which lists all accounts. The older system did not ask for it: see docs/compatible-data-pusher.md and CRIER_COMPAT_OPEN."
)

var errNoSecret = errors.New("no secret token")

// holder is who makes a request for which the older system asked no secret token.
func (c *clients) holder(r *http.Request, token string) (api.Principal, error) {
	who := c.opened(r, DataPusher)
	if who.Service == "" && who.UserID == "" && token == "" && who.Lacks == nil {
		return who, errNoSecret
	}
	return who, nil
}

// said is D's answer, 200 whatever it says.
type said struct {
	Status  bool `json:"status"`
	Message any  `json:"message,omitempty"`
	Data    any  `json:"data,omitempty"`
}

func say(w http.ResponseWriter, s said) error { return answer(w, http.StatusOK, s) }

// deny writes {"status": false} with a client's fault: what it says by field, or
// the text given. Other statuses are left to the caller, who writes them in D's form.
func deny(w http.ResponseWriter, err error, text string) error {
	p := problem.Of(err)
	switch {
	case errors.Is(err, errNoSecret):
		return say(w, said{Message: textNoSecret})
	case problem.Catalogue[p.Code].Status >= 500, p.Code == problem.TooMany, p.Code == problem.TooLarge:
		return err
	case p.Code == problem.EmailTaken:
		return say(w, said{Message: map[string][]string{"email": {textEmailExists}}})
	case p.Code == problem.NotFound, p.Code == problem.Unauthorized:
		return say(w, said{Message: text})
	case len(p.Errors) > 0:
		return say(w, said{Message: byField(p)})
	}
	return say(w, said{Message: p.Detail})
}

// readD takes a body, and what it does not say from the query; the account's
// token may stand in a header besides.
func readD(w http.ResponseWriter, r *http.Request) (f fields, token string, err error) {
	if f, err = read(w, r); err != nil {
		return f, "", err
	}
	for name, values := range r.URL.Query() {
		if _, there := f[name]; there {
			continue
		}
		b, err := json.Marshal(values[0])
		if err != nil {
			return f, "", err
		}
		f[name] = b
	}
	if token = optional(f, "secret_token"); token == "" {
		token = r.Header.Get(api.AccountToken)
	}
	return f, token, nil
}

// number is a member's id, 0 for one that no account or destination has.
func (f fields) number(name string) int64 {
	n, err := f.integer(name)
	if err != nil || n < 1 {
		return 0
	}
	return n
}

// present is a member's text, nil where it was not sent.
func (f fields) present(name string) *string {
	if raw := f[name]; len(raw) == 0 || string(raw) == "null" {
		return nil
	}
	s := f.text(name)
	return &s
}

// missing names members that were not sent, by field; nil if all were.
func (f fields) missing(names ...string) map[string][]string {
	var out map[string][]string
	for _, n := range names {
		if !f.has(n) {
			if out == nil {
				out = make(map[string][]string)
			}
			out[n] = []string{textRequired}
		}
	}
	return out
}

// holds is the account that a request names, for holder.
func (c *clients) holds(r *http.Request, f fields, token string) (destination.Account, error) {
	who, err := c.holder(r, token)
	if err != nil {
		return destination.Account{}, err
	}
	return c.Reach(r.Context(), who, token, event.AccountID(f.number("account_id")))
}

// holdsDestination is the destination that a request names, for holder.
func (c *clients) holdsDestination(r *http.Request, f fields, token string) (destination.Destination, error) {
	who, err := c.holder(r, token)
	if err != nil {
		return destination.Destination{}, err
	}
	return c.GivenDestination(r.Context(), who, token, f.number("destination_id"))
}

func (f fields) account() api.AccountRequest {
	return api.AccountRequest{Name: f.present("account_name"), Email: f.present("email"), Website: f.present("website")}
}

// createAccount is POST /account.
func (c *clients) createAccount(w http.ResponseWriter, r *http.Request) error {
	f, _, err := readD(w, r)
	if err != nil {
		return err
	}
	if m := f.missing("account_name", "email"); m != nil {
		return say(w, said{Message: m})
	}
	who := api.Who(r)
	if who.UserID == "" {
		who = c.opened(r, DataPusher)
	}
	made, err := c.MakeAccount(r.Context(), who, f.account())
	if err != nil {
		return deny(w, err, textInvalidDetails)
	}
	return say(w, said{Status: true, Message: textAccountCreated, Data: map[string]any{"account_id": made.ID, "secret_token": made.SecretToken}})
}

// accountD is an account as D's clients see one.
type accountD struct {
	ID      event.AccountID `json:"account_id"`
	Name    string          `json:"account_name"`
	Email   string          `json:"email"`
	Website string          `json:"website"`
}

func formD(a destination.Account) accountD { return accountD{a.ID, a.Name, a.Email, a.Website} }

// showAccount is GET /account: one, or all with an API key. The page has a view of
// that address, too: a browser that goes there gets it.
func (c *clients) showAccount(page http.Handler) api.Handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		if r.URL.RawQuery == "" && strings.Contains(r.Header.Get("Accept"), "text/html") {
			page.ServeHTTP(w, r)
			return nil
		}
		f, token, err := readD(w, r)
		if err != nil {
			return err
		}
		if !f.has("account_id") {
			return c.allAccounts(w, r)
		}
		acc, err := c.holds(r, f, token)
		if err != nil {
			return deny(w, err, textInvalidDetails)
		}
		return say(w, said{Status: true, Data: formD(acc)})
	}
}

func (c *clients) allAccounts(w http.ResponseWriter, r *http.Request) error {
	who := c.opened(r, DataPusher)
	if who.Lacks != nil {
		return deny(w, who.Lacks, "")
	}
	if who.Service == "" {
		return say(w, said{Message: textNoKey})
	}
	list, _, _, err := c.Destinations.Accounts(r.Context(), "", 0, maxListed)
	if err != nil {
		return err
	}
	out := make([]accountD, len(list))
	for i, a := range list {
		out[i] = formD(a)
	}
	return say(w, said{Status: true, Data: out})
}

// changeAccount is PATCH /account.
func (c *clients) changeAccount(w http.ResponseWriter, r *http.Request) error {
	f, token, err := readD(w, r)
	if err != nil {
		return err
	}
	acc, err := c.Reach(r.Context(), api.Who(r), token, event.AccountID(f.number("account_id")))
	if err == nil {
		_, err = c.ChangeAccount(r.Context(), acc.ID, f.account())
	}
	if err != nil {
		return deny(w, err, textInvalidDetails)
	}
	return say(w, said{Status: true, Message: textUpdated})
}

// deleteAccount is DELETE /account.
func (c *clients) deleteAccount(w http.ResponseWriter, r *http.Request) error {
	f, token, err := readD(w, r)
	if err != nil {
		return err
	}
	acc, err := c.Reach(r.Context(), api.Who(r), token, event.AccountID(f.number("account_id")))
	if err != nil {
		return deny(w, err, textInvalidDetails)
	}
	if err := c.Destinations.DeleteAccount(r.Context(), acc.ID); err != nil {
		return err
	}
	return say(w, said{Status: true, Message: textDeleted})
}

// target is what a destination's members say; headers may be the text of an
// object, as forms have them.
func (f fields) target() (api.DestinationRequest, error) {
	in := api.DestinationRequest{URL: f.present("url"), Method: f.present("http_method")}
	if in.Method != nil {
		*in.Method = strings.ToUpper(*in.Method) // as the older system compared it
	}
	if raw := f["headers"]; len(raw) > 0 && string(raw) != "null" {
		var text string
		if json.Unmarshal(raw, &text) == nil {
			raw = json.RawMessage(text)
		}
		var given map[string]any
		if err := json.Unmarshal(raw, &given); err != nil {
			return in, event.Invalid{{Field: "headers", Rule: "type", Message: "must be an object"}}
		}
		in.Headers = make(map[string]string, len(given))
		for name, v := range given {
			switch v := v.(type) {
			case string:
				in.Headers[name] = v
			case float64, bool:
				b, err := json.Marshal(v)
				if err != nil {
					return in, err
				}
				in.Headers[name] = string(b)
			default:
				return in, event.Invalid{{Field: "headers." + event.CleanText(name), Rule: "type", Message: "must be a text"}}
			}
		}
	}
	return in, nil
}

// createDestination is POST /destination.
func (c *clients) createDestination(w http.ResponseWriter, r *http.Request) error {
	f, token, err := readD(w, r)
	if err != nil {
		return err
	}
	if m := f.missing("account_id", "url", "http_method"); m != nil {
		return say(w, said{Message: m})
	}
	in, err := f.target()
	var acc destination.Account
	if err == nil {
		acc, err = c.holds(r, f, token)
	}
	var made api.NewDestination
	if err == nil {
		made, err = c.MakeDestination(r.Context(), c.opened(r, DataPusher), acc, in)
	}
	if err != nil {
		return deny(w, err, textInvalidDetails)
	}
	return say(w, said{Status: true, Message: textDestinationCreated, Data: map[string]any{"id": made.ID, "secret": made.Secret}})
}

// destinationD is a destination as D's clients see one.
type destinationD struct {
	ID      int64             `json:"id"`
	Account event.AccountID   `json:"account"`
	URL     string            `json:"url"`
	Method  string            `json:"http_method"`
	Headers map[string]string `json:"headers"`
}

// listDestinations is GET /destination.
func (c *clients) listDestinations(w http.ResponseWriter, r *http.Request) error {
	f, token, err := readD(w, r)
	if err != nil {
		return err
	}
	acc, err := c.holds(r, f, token)
	if err != nil {
		return deny(w, err, textInvalidDetails)
	}
	list, err := c.Destinations.List(r.Context(), acc.ID)
	if err != nil {
		return err
	}
	out := make([]destinationD, len(list))
	for i, d := range list {
		out[i] = destinationD{d.ID, d.AccountID, d.URL, d.Method, d.Headers}
	}
	return say(w, said{Status: true, Data: out})
}

// changeDestination is PATCH /destination.
func (c *clients) changeDestination(w http.ResponseWriter, r *http.Request) error {
	f, token, err := readD(w, r)
	if err != nil {
		return err
	}
	in, err := f.target()
	var d destination.Destination
	if err == nil {
		d, err = c.holdsDestination(r, f, token)
	}
	if err == nil {
		_, err = c.ChangeDestination(r.Context(), d.ID, in)
	}
	if err != nil {
		return deny(w, err, textInvalidDetails)
	}
	return say(w, said{Status: true, Message: textUpdated})
}

// deleteDestination is DELETE /destination.
func (c *clients) deleteDestination(w http.ResponseWriter, r *http.Request) error {
	f, token, err := readD(w, r)
	if err != nil {
		return err
	}
	d, err := c.holdsDestination(r, f, token)
	if err != nil {
		return deny(w, err, textInvalidDetails)
	}
	if err := c.Destinations.Delete(r.Context(), d.ID); err != nil {
		return err
	}
	return say(w, said{Status: true, Message: textDeleted})
}

// incomingData is POST or GET /server/incoming_data. What stands in a query is
// JSON where it can be read so, else a text.
func (c *clients) incomingData(w http.ResponseWriter, r *http.Request) error {
	f, token, err := readD(w, r)
	if err != nil {
		return err
	}
	data := f["data"]
	var text string
	if _, inQuery := r.URL.Query()["data"]; inQuery && json.Unmarshal(data, &text) == nil && json.Valid([]byte(text)) {
		data = json.RawMessage(text)
	}
	in := event.Incoming{AccountID: event.AccountID(f.number("account_id")), Data: data, IdempotencyKey: r.Header.Get("Idempotency-Key")}
	if in.AccountID == 0 || len(data) == 0 {
		return say(w, said{Message: textInvalidIncoming})
	}
	if _, err := c.Destinations.Account(r.Context(), in.AccountID); err != nil {
		return deny(w, api.AccountProblem(err), textInvalidIncoming)
	}
	who := api.Who(r)
	if who.Cookie && r.Method == http.MethodGet {
		who = api.Principal{} // a link on another site's page can make a browser ask this
	}
	if _, err := c.TakeIn(r.Context(), who, token, in); err != nil {
		return deny(w, err, textUnauthenticated)
	}
	return say(w, said{Status: true})
}
