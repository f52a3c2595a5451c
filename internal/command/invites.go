package command

import (
	"time"

	"crier/internal/event"
	"crier/internal/user"
)

// invitesCmd makes invitations, where signing up needs one.
type invitesCmd struct {
	Add invitesAddCmd `cmd:"" help:"Make an invitation and print its code: it is shown only now."`
}

type invitesAddCmd struct {
	databaseFlags `embed:""`
	Uses          int           `default:"1" help:"How many people may sign up by it."`
	For           time.Duration `default:"168h" help:"How long it is good."`
}

// Run is called by the parser.
func (c *invitesAddCmd) Run(e *env) error {
	var v event.Invalid
	if c.Uses < 1 || c.Uses > 100_000 {
		v.Add("uses", "range", "must be 1 to 100000")
	}
	if c.For < time.Minute || c.For > 366*24*time.Hour {
		v.Add("for", "range", "must be 1m to 8784h")
	}
	if err := v.Err(); err != nil {
		return err
	}
	return e.withUsers(c.databaseFlags, func(s *user.Store) error {
		now := time.Now()
		code, err := s.MakeInvite(e.ctx, c.Uses, now, now.Add(c.For))
		if err == nil {
			e.printf("%s\n", code)
		}
		return err
	})
}
