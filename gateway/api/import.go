package api

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"crier/internal/alert"
	"crier/internal/destination"
	"crier/internal/event"
	"crier/internal/inbox"
	"crier/internal/kafka"
	"crier/internal/problem"
	"crier/internal/user"
)

// maxSecretToken bounds an imported account's secret token, in bytes.
const maxSecretToken = 200

// Import brings in what another system has kept, line by line. A line that was
// imported before changes nothing. It is for one goroutine.
type Import struct {
	api *API
	// refused are the users of lines that were refused, by name and id: an alert of
	// theirs must not become that of another user here, whose name or id theirs is.
	refused map[string]bool
	alerts  map[event.UserID]map[string]int // how many of a content there were before, and are not accounted for
}

// NewImport begins an import.
func (a *API) NewImport() *Import {
	return &Import{api: a, refused: make(map[string]bool), alerts: make(map[event.UserID]map[string]int)}
}

// Line imports one line, a JSON object whose type says what it is. made is false if
// it is there already. An event.Invalid or a problem says what is wrong with it.
func (i *Import) Line(ctx context.Context, line []byte) (made bool, err error) {
	var of struct {
		Type string `json:"type"`
	}
	if err := event.DecodeObject(line, &of); err != nil {
		return false, err
	}
	switch of.Type {
	case "user":
		return i.user(ctx, line)
	case "room":
		return i.room(ctx, line)
	case "account":
		return i.account(ctx, line)
	case "destination":
		return i.destination(ctx, line)
	case "alert":
		return i.alert(ctx, line)
	}
	return false, event.Invalid{{Field: "type", Rule: "enum", Message: "must be user, room, account, destination or alert"}}
}

// importedUser is a line of type user.
type importedUser struct {
	ID        int64  `json:"id"`
	Username  string `json:"username"` // "": from the address
	Email     string `json:"email"`
	Password  string `json:"password"` // its hash
	CreatedAt string `json:"created_at"`
}

func (i *Import) user(ctx context.Context, line []byte) (bool, error) {
	var in importedUser
	if err := event.DecodeObject(line, &in); err != nil {
		return false, err
	}
	if in.Username == "" && in.Email != "" {
		in.Username = UsernameOf(in.Email)
	}
	made, err := i.createUser(ctx, &in)
	if err != nil {
		i.refused[strings.ToLower(in.Username)], i.refused[fmt.Sprint(in.ID)] = true, true
	}
	return made, err
}

func (i *Import) createUser(ctx context.Context, in *importedUser) (bool, error) {
	if i.api.ExternalUsers {
		return false, problem.New(problem.Forbidden, "People sign up with the identity provider here.")
	}
	var v event.Invalid
	checkID(&v, in.ID)
	user.CheckUsername(&v, "username", in.Username)
	user.CheckEmail(&v, "email", in.Email)
	user.CheckHash(&v, "password", in.Password)
	createdAt := checkCreated(&v, in.CreatedAt)
	if err := v.Err(); err != nil {
		return false, err
	}
	acc := user.Account{ID: in.ID, Username: in.Username, Email: in.Email, PasswordHash: in.Password, CreatedAt: createdAt}
	known, err := i.api.Users.ByID(ctx, acc.UserID())
	if err == nil && strings.EqualFold(known.Username, in.Username) {
		return false, nil
	}
	if err != nil && !errors.Is(err, user.ErrNotFound) {
		return false, err
	}
	err = i.api.DB.Tx(ctx, func(tx pgx.Tx) error {
		if _, err := user.CreateAs(ctx, tx, acc); err != nil {
			return err
		}
		return inbox.OpenInboxes(ctx, tx, acc.UserID())
	})
	switch {
	case errors.Is(err, user.ErrIDTaken):
		v.Add("id", "unique", "is another user's here")
	case errors.Is(err, user.ErrUsernameTaken):
		v.Add("username", "unique", "is another user's here, in any case of letters")
	case err != nil:
		return false, err
	}
	return true, v.Err()
}

// UsernameOf is the username of a user known by an email address: the address, where
// it is a valid name.
func UsernameOf(address string) string {
	var v event.Invalid
	if user.CheckUsername(&v, "username", address); v.Err() != nil {
		return "mail-" + strings.ToLower(rand.Text()[:12])
	}
	return address
}

func checkID(v *event.Invalid, id int64) {
	if id < 1 {
		v.Add("id", "required", "is required: a whole number from 1 on")
	}
}

// checkCreated reads a time of making, "" for now.
func checkCreated(v *event.Invalid, text string) time.Time {
	if text == "" {
		return time.Now()
	}
	at, err := time.Parse(time.RFC3339, text)
	if err != nil {
		at, err = time.Parse("2006-01-02T15:04:05", text) // of a database without time zones, which is UTC
	}
	if err != nil {
		v.Add("created_at", "time", "must be a time such as 2030-01-31T12:00:00Z")
	}
	return at
}

func (i *Import) room(ctx context.Context, line []byte) (bool, error) {
	var in struct {
		Name string `json:"name"`
	}
	if err := event.DecodeObject(line, &in); err != nil {
		return false, err
	}
	var v event.Invalid
	if v.CheckRoom("name", in.Name); v.Err() != nil {
		return false, v.Err()
	}
	return i.api.Rooms.Ensure(ctx, in.Name, time.Now())
}

func (i *Import) account(ctx context.Context, line []byte) (bool, error) {
	var in struct {
		AccountRequest
		ID          int64  `json:"id"`
		SecretToken string `json:"secret_token"`
		CreatedAt   string `json:"created_at"`
	}
	if err := event.DecodeObject(line, &in); err != nil {
		return false, err
	}
	var v event.Invalid
	checkID(&v, in.ID)
	in.check(&v, true)
	createdAt := checkCreated(&v, in.CreatedAt)
	switch {
	case in.SecretToken == "":
		v.Add("secret_token", "required", "is required")
	case len(in.SecretToken) > maxSecretToken:
		v.Add("secret_token", "length", fmt.Sprintf("must be at most %d bytes", maxSecretToken))
	}
	if err := v.Err(); err != nil {
		return false, err
	}
	known, err := i.api.Destinations.Account(ctx, event.AccountID(in.ID))
	if err == nil && strings.EqualFold(known.Email, *in.Email) {
		return false, nil
	}
	if err != nil && !errors.Is(err, destination.ErrNotFound) {
		return false, err
	}
	acc := destination.Account{ID: event.AccountID(in.ID), Name: *in.Name, Email: *in.Email, Website: deref(in.Website), CreatedAt: createdAt}
	_, err = i.api.Destinations.CreateAccountAs(ctx, acc, in.SecretToken)
	if errors.Is(err, destination.ErrIDTaken) {
		return false, event.Invalid{{Field: "id", Rule: "unique", Message: "is another account's here"}}
	}
	return err == nil, AccountProblem(err)
}

func (i *Import) destination(ctx context.Context, line []byte) (bool, error) {
	var in struct {
		DestinationRequest
		ID        int64           `json:"id"`
		AccountID event.AccountID `json:"account_id"`
	}
	if err := event.DecodeObject(line, &in); err != nil {
		return false, err
	}
	var v event.Invalid
	checkID(&v, in.ID)
	if in.AccountID < 1 {
		v.Add("account_id", "required", "is required: a whole number from 1 on")
	}
	if err := v.Err(); err != nil {
		return false, err
	}
	known, err := i.api.Destinations.ByID(ctx, in.ID)
	if err == nil && known.AccountID == in.AccountID && known.URL == deref(in.URL) {
		return false, nil
	}
	if err != nil && !errors.Is(err, destination.ErrNotFound) {
		return false, err
	}
	in.DestinationRequest.ID = in.ID
	_, err = i.api.MakeDestination(ctx, Principal{Service: "import"}, destination.Account{ID: in.AccountID}, in.DestinationRequest)
	switch {
	case errors.Is(err, destination.ErrIDTaken):
		return false, event.Invalid{{Field: "id", Rule: "unique", Message: "is another destination's here"}}
	case problem.Of(err).Code == problem.NotFound && err != nil:
		return false, event.Invalid{{Field: "account_id", Rule: "exists", Message: "is no account's here"}}
	}
	return err == nil, err
}

func (i *Import) alert(ctx context.Context, line []byte) (bool, error) {
	var in struct {
		AlertRequest
		Username string `json:"username"`
	}
	if err := event.DecodeObject(line, &in); err != nil {
		return false, err
	}
	uid, err := i.owner(ctx, in.UserID, in.Username)
	if err != nil {
		return false, err
	}
	// Alerts that have fired or were deleted are kept as such.
	state := alert.State(deref(in.State))
	if in.State = nil; state != "" && state != alert.Created && state != alert.Paused && state != alert.Triggered && state != alert.Deleted {
		return false, event.Invalid{{Field: "state", Rule: "enum", Message: "must be created, paused, triggered or deleted"}}
	}
	now := time.Now()
	made, err := in.alert(uid, now)
	if err != nil {
		return false, err
	}
	made.State = state
	there, err := i.counted(ctx, uid, now)
	if err != nil {
		return false, err
	}
	if c := contentOf(&made); there[c] > 0 {
		there[c]--
		return false, nil
	}
	if made.Place, err = i.api.Kafka.EndOf(ctx, kafka.Ticks, made.Symbol); err != nil {
		return false, problem.Wrap(problem.Unavailable, "Kafka did not say where the ticks end.", err)
	}
	if made.Email != "" {
		if err := i.api.DB.Tx(ctx, func(tx pgx.Tx) error { return user.Vouch(ctx, tx, uid, made.Email, now) }); err != nil {
			return false, err
		}
	}
	if _, err = i.api.Alerts.Create(ctx, made, now); errors.Is(err, alert.ErrLimit) {
		return false, tooManyAlerts()
	}
	return err == nil, err
}

// owner is the user that an alert's line names, by id or name.
func (i *Import) owner(ctx context.Context, id event.UserID, name string) (event.UserID, error) {
	if id == "" && name == "" {
		return "", event.Invalid{{Field: "user_id", Rule: "required", Message: "user_id or username is required"}}
	}
	if i.refused[string(id)] || i.refused[strings.ToLower(name)] {
		return "", event.Invalid{{Field: "user_id", Rule: "exists", Message: "is of a user whose line was refused"}}
	}
	if id != "" {
		return id, i.api.requireUsers(ctx, []event.UserID{id})
	}
	found, err := i.api.Users.ByLogin(ctx, name)
	if err != nil {
		return "", err
	}
	if len(found) == 0 {
		return "", problem.New(problem.UserNotFound, fmt.Sprintf("There is no user %q.", name))
	}
	return found[0].UserID(), nil
}

// maxCompared is how many of a user's alerts are compared with those imported.
const maxCompared = 100_000

// counted is how many alerts of each content the user had when the import began.
func (i *Import) counted(ctx context.Context, uid event.UserID, now time.Time) (map[string]int, error) {
	if known, ok := i.alerts[uid]; ok {
		return known, nil
	}
	all := make(map[string]int)
	for _, state := range []alert.State{"", alert.Deleted} { // "": all others
		list, _, _, err := i.api.Alerts.List(ctx, uid, alert.Filter{State: state, Limit: maxCompared}, now)
		if err != nil {
			return nil, err
		}
		for n := range list {
			all[contentOf(&list[n])]++
		}
	}
	i.alerts[uid] = all
	return all, nil
}

// contentOf is what makes two alerts the same to an import, whatever has become of
// them since.
func contentOf(a *alert.Alert) string {
	v := a.View()
	v.ID, v.State, v.Firings, v.CreatedAt, v.TriggeredAt, v.Place = 0, "", 0, time.Time{}, nil, event.Place{}
	for _, number := range []*string{&v.Target, &v.Percent, &v.Low, &v.High, &v.Hysteresis} {
		if strings.Contains(*number, ".") {
			*number = strings.TrimSuffix(strings.TrimRight(*number, "0"), ".")
		}
	}
	for _, at := range []**time.Time{&v.ExpiresAt, &v.Snoozed} {
		if *at != nil {
			utc := (*at).UTC().Truncate(time.Microsecond) // as Postgres keeps it
			*at = &utc
		}
	}
	b, _ := json.Marshal(v) // texts and numbers encode
	return string(b)
}
