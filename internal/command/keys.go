package command

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"crier/internal/event"
	"crier/internal/postgres"
	"crier/internal/schedule"
	"crier/internal/scope"
	"crier/internal/user"
)

// keysCmd manages the API keys of services.
type keysCmd struct {
	Add    keysAddCmd    `cmd:"" help:"Make a key for a service and print it: it is shown only now."`
	List   keysListCmd   `cmd:"" help:"List the keys: whose they are, what they may do, until when, and when they were last used."`
	Rotate keysRotateCmd `cmd:"" help:"Make a successor of a service's key and print it; the old one stays good for a while."`
	Revoke keysRevokeCmd `cmd:"" help:"End all keys of a service, or one of them."`
}

type keysAddCmd struct {
	databaseFlags `embed:""`
	Owner         string     `arg:"" help:"Name of the service: its sends are idempotent under it."`
	Scope         namesFlag  `complete:"scopes" aliases:"scopes" placeholder:"SCOPE,..." help:"What the key may do, a comma list of the scopes above. Without it: everything."`
	Kind          namesFlag  `aliases:"kinds" placeholder:"KIND,..." help:"Kinds of notifications that it may send, a comma list of names and of prefixes that end in *. Without it: any."`
	Expires       expiryFlag `placeholder:"WHEN" help:"When it ends: after a duration (90d, 12h), or at a date or time in UTC (2030-01-31, 2030-01-31T12:00:00Z). Without it, and with never: not."`
	keyFlags      `embed:""`
}

// Help is called by the parser.
func (keysAddCmd) Help() string {
	var b strings.Builder
	b.WriteString("Scopes:\n")
	for _, e := range scope.Catalogue {
		fmt.Fprintf(&b, "  %-15s %s\n", e.Scope, strings.ReplaceAll(e.Allows, "`", ""))
	}
	return b.String()
}

// Run is called by the parser.
func (c *keysAddCmd) Run(e *env) error {
	now := time.Now()
	var v event.Invalid
	v.CheckName("owner", c.Owner, event.MaxSource)
	grant, err := grantOf(c.Scope, c.Kind)
	if err := errors.Join(v.Err(), err); err != nil {
		return err
	}
	expires, err := c.Expires.at(now)
	if err != nil {
		return err
	}
	return e.withUsers(c.databaseFlags, func(s *user.Store) error {
		secret, made, err := s.MakeKey(e.ctx, user.Key{Owner: c.Owner, Grant: grant, ExpiresAt: expires}, now)
		if err == nil {
			err = c.print(e, secret, made, nil, now)
		}
		return err
	})
}

// grantOf is what flags name. A flag that is given and names nothing, as an empty
// variable of a script does, is an error and does not mean everything.
func grantOf(scopes, kinds namesFlag) (scope.Grant, error) {
	var v event.Invalid
	for field, f := range map[string]namesFlag{"scope": scopes, "kind": kinds} {
		if f.given && len(f.names) == 0 {
			v.Add(field, "required", "names nothing")
		}
	}
	grant, err := scope.New(scopes.names, kinds.names)
	return grant, errors.Join(v.Err(), err)
}

// namesFlag is a comma list, which knows whether it was given.
type namesFlag struct {
	given bool
	names []string
}

// UnmarshalText is called by the flag parser, at each of several.
func (f *namesFlag) UnmarshalText(b []byte) error {
	f.given = true
	if len(b) > 0 {
		f.names = append(f.names, strings.Split(string(b), ",")...)
	}
	return nil
}

// keyFlags are those of commands that make a key.
type keyFlags struct {
	JSON bool `name:"json" help:"Print the key as a JSON object with its id and what it may do."`
}

// print shows a key that was made: the secret alone, and to people what it may do. A key
// that could not be shown is good and known to nobody: the error says how to end it.
func (f keyFlags) print(e *env, secret string, made user.Key, old *user.Key, now time.Time) error {
	f.write(e, secret, made, old, now)
	if err := e.out.failed(); err != nil {
		return fmt.Errorf("%w: key %d was made and could not be shown; end it with crier keys revoke %s --id %d", err, made.ID, made.Owner, made.ID)
	}
	return nil
}

func (f keyFlags) write(e *env, secret string, made user.Key, old *user.Key, now time.Time) {
	if f.JSON {
		shown := struct {
			Key string `json:"key"`
			keyRow
			Old *keyRow `json:"old,omitempty"`
		}{Key: secret, keyRow: rowOf(made, now)}
		if old != nil {
			row := rowOf(*old, now)
			shown.Old = &row
		}
		listFlags{JSON: true}.row(e, shown, "")
		return
	}
	if isTerminal(e.Stderr) {
		fmt.Fprintf(e.Stderr, "key %d of %s: %s; %s\n", made.ID, made.Owner, describe(made.Grant), ends(made, now))
		if old != nil {
			fmt.Fprintf(e.Stderr, "key %d of %s, which it replaces: %s\n", old.ID, old.Owner, ends(*old, now))
		}
	}
	e.printf("%s\n", secret)
}

// keyRow is a key as JSON.
type keyRow struct {
	ID         int64      `json:"id"`
	Owner      string     `json:"owner"`
	State      string     `json:"state"`      // live, expired or revoked
	AllScopes  bool       `json:"all_scopes"` // those of later versions included
	Scopes     []string   `json:"scopes"`
	Kinds      []string   `json:"kinds,omitempty"` // none: any
	CreatedAt  time.Time  `json:"created_at"`
	ExpiresAt  *time.Time `json:"expires_at,omitempty"`
	ReplacedAt *time.Time `json:"replaced_at,omitempty"`
	RevokedAt  *time.Time `json:"revoked_at,omitempty"`
	LastUsedAt *time.Time `json:"last_used_at,omitempty"`
}

func rowOf(k user.Key, now time.Time) keyRow {
	state := "live"
	switch {
	case k.RevokedAt != nil:
		state = "revoked"
	case k.Expired(now):
		state = "expired"
	}
	return keyRow{k.ID, k.Owner, state, k.Grant.All, k.Grant.Names(), k.Grant.Kinds, k.CreatedAt.UTC(), utc(k.ExpiresAt), utc(k.ReplacedAt), utc(k.RevokedAt), utc(k.LastUsedAt)}
}

func utc(t *time.Time) *time.Time {
	if t == nil {
		return nil
	}
	u := t.UTC()
	return &u
}

// describe is what a key may do, for people.
func describe(g scope.Grant) string {
	text := "all scopes"
	if !g.All {
		text = "no scopes"
		if len(g.Scopes) > 0 {
			text = strings.Join(g.Names(), ",")
		}
	}
	if g.Kinds != nil {
		text += "; kinds " + strings.Join(g.Kinds, ",")
	}
	return text
}

// ends is until when a key is good, for people.
func ends(k user.Key, now time.Time) string {
	switch {
	case k.RevokedAt != nil:
		return "revoked " + k.RevokedAt.UTC().Format(time.RFC3339)
	case k.Expired(now):
		return "expired " + k.ExpiresAt.UTC().Format(time.RFC3339)
	case k.ReplacedAt != nil && k.ExpiresAt != nil:
		return "replaced, live until " + k.ExpiresAt.UTC().Format(time.RFC3339)
	case k.ExpiresAt != nil:
		return "live until " + k.ExpiresAt.UTC().Format(time.RFC3339)
	}
	return "live"
}

type keysListCmd struct {
	databaseFlags `embed:""`
	listFlags     `embed:""`
}

// Run is called by the parser.
func (c *keysListCmd) Run(e *env) error {
	return e.withUsers(c.databaseFlags, func(s *user.Store) error {
		keys, err := s.Keys(e.ctx)
		now := time.Now()
		for _, k := range keys {
			used := "not used"
			if k.LastUsedAt != nil {
				used = "used " + k.LastUsedAt.UTC().Format(time.RFC3339)
			}
			c.row(e, rowOf(k, now), "%-30s %4d  made %s  %s  %s  %s\n", k.Owner, k.ID, k.CreatedAt.UTC().Format(time.RFC3339), used, ends(k, now), describe(k.Grant))
		}
		return err
	})
}

type keysRotateCmd struct {
	databaseFlags `embed:""`
	Owner         string     `arg:"" help:"Name of the service."`
	ID            int64      `name:"id" help:"Which of its keys, by the id that crier keys list shows; needed where it has several."`
	Overlap       spanFlag   `placeholder:"DURATION" default:"24h" help:"How long the old key stays good, if it does not end before; 0s: it ends at once."`
	Expires       expiryFlag `placeholder:"WHEN" help:"When the new key ends, as for crier keys add. Without it: it lives as long as the old one was made to live."`
	keyFlags      `embed:""`
}

// Run is called by the parser.
func (c *keysRotateCmd) Run(e *env) error {
	now := time.Now()
	expires, err := c.Expires.at(now)
	if err != nil {
		return err
	}
	return e.withUsers(c.databaseFlags, func(s *user.Store) error {
		secret, made, old, err := s.RotateKey(e.ctx, c.Owner, user.Rotation{ID: c.ID, Overlap: time.Duration(c.Overlap), Renew: !c.Expires.given, ExpiresAt: expires}, now)
		var several user.AmbiguousError
		switch {
		case err == nil:
			err = c.print(e, secret, made, &old, now)
		case errors.As(err, &several):
			err = fmt.Errorf("%w (--id)", err)
		}
		return err
	})
}

type keysRevokeCmd struct {
	databaseFlags `embed:""`
	Owner         string `arg:"" help:"Name of the service."`
	ID            int64  `name:"id" help:"Only this key, by the id that crier keys list shows."`
	CancelSends   bool   `help:"Cancel all that is scheduled in the service's name, by whichever key, and print how many sends that were."`
}

// Run is called by the parser.
func (c *keysRevokeCmd) Run(e *env) error {
	return e.withDatabase(c.databaseFlags, func(db *postgres.DB) error {
		store := user.New(db)
		err := store.RevokeKeys(e.ctx, c.Owner, c.ID, time.Now())
		if c.CancelSends && errors.Is(err, user.ErrNoKey) {
			// Ended before, as when the command is run again; what never was is an error.
			keys, listErr := store.Keys(e.ctx)
			if listErr != nil {
				return listErr
			}
			if slices.ContainsFunc(keys, func(k user.Key) bool { return k.Owner == c.Owner && (c.ID == 0 || k.ID == c.ID) }) {
				err = nil
			}
		}
		if err != nil || !c.CancelSends {
			return err
		}
		n, err := schedule.New(db).CancelAll(e.ctx, user.KeySender(c.Owner), time.Now())
		if err == nil {
			e.printf("%d\n", n)
		}
		return err
	})
}

// spanFlag is a duration that may be in days.
type spanFlag time.Duration

// maxSpan is longer than any key should live, and far from what a duration can hold.
const maxSpan = 100 * 366 * 24 * time.Hour

var errSpan = errors.New("must be a duration from 0s on, such as 90d, 12h or 30m")

// UnmarshalText is called by the flag parser.
func (f *spanFlag) UnmarshalText(b []byte) error {
	d, err := time.ParseDuration(string(b))
	if days, ok := strings.CutSuffix(string(b), "d"); ok {
		var n uint64
		if n, err = strconv.ParseUint(days, 10, 16); err == nil {
			d = time.Duration(n) * 24 * time.Hour
		}
	}
	if err != nil || d < 0 || d > maxSpan {
		return errSpan
	}
	*f = spanFlag(d)
	return nil
}

// expiryFlag is when a key ends: never, after a duration, or at a time.
type expiryFlag struct {
	given bool
	after time.Duration
	time  time.Time
}

// UnmarshalText is called by the flag parser.
func (f *expiryFlag) UnmarshalText(b []byte) error {
	*f = expiryFlag{given: true}
	if string(b) == "never" {
		return nil
	}
	for _, form := range []string{time.DateOnly, time.RFC3339} {
		if t, err := time.Parse(form, string(b)); err == nil {
			f.time = t
			return nil
		}
	}
	var span spanFlag
	if err := span.UnmarshalText(b); err != nil || span == 0 {
		return errors.New("must be a duration such as 90d or 12h, a date such as 2030-01-31, a time such as 2030-01-31T12:00:00Z, or never")
	}
	f.after = time.Duration(span)
	return nil
}

// at is the time that is meant, nil for never.
func (f expiryFlag) at(now time.Time) (*time.Time, error) {
	at := f.time
	switch {
	case f.after > 0:
		at = now.Add(f.after)
	case at.IsZero():
		return nil, nil
	}
	var v event.Invalid
	if at.Before(now.Add(time.Minute)) { // else the key is dead before it can be used
		v.Add("expires", "future", "must be at least a minute from now")
	}
	return &at, v.Err()
}

// withUsers opens the users' store for one command.
func (e *env) withUsers(f databaseFlags, fn func(*user.Store) error) error {
	return e.withDatabase(f, func(db *postgres.DB) error { return fn(user.New(db)) })
}

// withDatabase opens the database for one command.
func (e *env) withDatabase(f databaseFlags, fn func(*postgres.DB) error) error {
	db, err := e.openDatabase(f)
	if err != nil {
		return err
	}
	defer db.Close()
	if err := db.CheckSchema(e.ctx); err != nil {
		return err
	}
	return fn(db)
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
