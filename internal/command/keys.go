package command

import (
	"errors"
	"time"

	"crier/internal/event"
	"crier/internal/postgres"
	"crier/internal/user"
)

// keysCmd manages the API keys of services.
type keysCmd struct {
	Add    keysAddCmd    `cmd:"" help:"Make a key for a service and print it: it is shown only now."`
	List   keysListCmd   `cmd:"" help:"List whose keys there are."`
	Revoke keysRevokeCmd `cmd:"" help:"End all keys of a service."`
}

type keysAddCmd struct {
	databaseFlags `embed:""`
	Owner         string `arg:"" help:"Name of the service: its sends are idempotent under it."`
}

// Run is called by the parser.
func (c *keysAddCmd) Run(e *env) error {
	var v event.Invalid
	v.CheckName("owner", c.Owner, event.MaxSource)
	if err := v.Err(); err != nil {
		return err
	}
	return e.withUsers(c.databaseFlags, func(s *user.Store) error {
		key, err := s.MakeKey(e.ctx, c.Owner, time.Now())
		if err == nil {
			e.printf("%s\n", key)
		}
		return err
	})
}

type keysListCmd struct {
	databaseFlags `embed:""`
	listFlags     `embed:""`
}

// Run is called by the parser.
func (c *keysListCmd) Run(e *env) error {
	return e.withUsers(c.databaseFlags, func(s *user.Store) error {
		keys, err := s.Keys(e.ctx)
		for _, k := range keys {
			state := "live"
			if k.RevokedAt != nil {
				state = "revoked " + k.RevokedAt.UTC().Format(time.RFC3339)
			}
			c.row(e, struct {
				Owner     string     `json:"owner"`
				CreatedAt time.Time  `json:"created_at"`
				RevokedAt *time.Time `json:"revoked_at,omitempty"`
			}{k.Owner, k.CreatedAt.UTC(), k.RevokedAt}, "%-30s made %s  %s\n", k.Owner, k.CreatedAt.UTC().Format(time.RFC3339), state)
		}
		return err
	})
}

type keysRevokeCmd struct {
	databaseFlags `embed:""`
	Owner         string `arg:"" help:"Name of the service."`
}

// Run is called by the parser.
func (c *keysRevokeCmd) Run(e *env) error {
	return e.withUsers(c.databaseFlags, func(s *user.Store) error { return s.RevokeKeys(e.ctx, c.Owner, time.Now()) })
}

// withUsers opens the users' store for one command.
func (e *env) withUsers(f databaseFlags, fn func(*user.Store) error) error {
	db, err := e.openDatabase(f)
	if err != nil {
		return err
	}
	defer db.Close()
	return fn(user.New(db))
}

// openDatabase falls back to the embedded run's Postgres.
func (e *env) openDatabase(f databaseFlags) (*postgres.DB, error) {
	if f.DatabaseURL == "" {
		facts, err := e.readRunFile()
		if err != nil {
			return nil, errors.Join(errors.New("CRIER_DATABASE_URL is not set, and no embedded Postgres runs here"), err)
		}
		f.DatabaseURL = facts.postgresSecret()
	}
	return f.open(e.ctx)
}
