package command

import (
	"errors"
	"net/url"

	"crier/internal/client"
	"crier/internal/event"
	"crier/internal/telemetry"
)

// usersCmd exports and erases users, by a gateway: it ends their streams as well.
type usersCmd struct {
	Export usersExportCmd `cmd:"" help:"Write all that is kept of a user to standard output, as JSON."`
	Erase  usersEraseCmd  `cmd:"" help:"Remove a user with all that is kept of them. It cannot be undone."`
}

type serviceFlags struct {
	URL    string           `name:"url" env:"CRIER_URL" help:"Base URL of a gateway. Default: the embedded run of this data dir."`
	APIKey telemetry.Secret `name:"api-key" env:"CRIER_API_KEY" help:"Key of a service (scopes users:export, users:erase). Default: the embedded run's."`
	ID     string           `arg:"" help:"The user's id; with an identity provider its sub."`
}

func (f *serviceFlags) do(e *env, method, suffix string) ([]byte, error) {
	var v event.Invalid
	if v.CheckUserID("id", event.UserID(f.ID)); v.Err() != nil {
		return nil, v.Err()
	}
	base, key := f.URL, string(f.APIKey)
	if base == "" {
		facts, err := e.readRunFile()
		if err != nil {
			return nil, errors.Join(errors.New("--url is not given"), err)
		}
		if base = facts.HTTP; key == "" {
			key = facts.APIKey
		}
	}
	if key == "" {
		return nil, errors.New("--api-key is required with --url")
	}
	c := &client.Client{Base: base, APIKey: key}
	return c.Raw(e.ctx, method, "/users/"+url.PathEscape(f.ID)+suffix, "", nil)
}

type usersExportCmd struct {
	serviceFlags `embed:""`
}

// Run is called by the parser.
func (c *usersExportCmd) Run(e *env) error {
	text, err := c.do(e, "GET", "/export")
	if err == nil {
		_, err = e.out.Write(text)
	}
	return err
}

type usersEraseCmd struct {
	serviceFlags `embed:""`
}

// Run is called by the parser.
func (c *usersEraseCmd) Run(e *env) error {
	_, err := c.do(e, "DELETE", "")
	return err
}
