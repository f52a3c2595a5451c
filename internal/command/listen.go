package command

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"crier/internal/client"
	"crier/internal/event"
	"crier/internal/telemetry"
	"crier/internal/token"
)

// listenCmd follows a user's stream over SSE.
type listenCmd struct {
	URL       string           `name:"url" env:"CRIER_URL" help:"Base URL of a gateway. Default: the embedded run of this data dir."`
	User      string           `short:"u" help:"User to follow; a token is minted with CRIER_JWT_SECRET, or the data dir's."`
	Token     telemetry.Secret `env:"CRIER_TOKEN" help:"A token of the user instead."`
	mintFlags `embed:""`
	Since     string   `help:"A cursor: everything after it comes first; 0: from the beginning."`
	Topics    []string `help:"ticks:SYMBOL, comma-separated."`
	Count     int      `help:"Stop after so many notifications; 0: never."`
}

// Run is called by the parser. It prints each event as a JSON line.
func (c *listenCmd) Run(e *env) error {
	if c.URL == "" {
		facts, err := e.readRunFile()
		if err != nil {
			return errors.Join(errors.New("--url is not given"), err)
		}
		c.URL = facts.HTTP
	}
	text := string(c.Token)
	if text == "" && c.User != "" {
		var err error
		if text, err = e.mint(c.mintFlags, token.Identity{UserID: event.UserID(c.User)}, 12*time.Hour); err != nil {
			return err
		}
	}
	if text == "" && len(c.Topics) == 0 {
		return errors.New("--user, --token or --topics is required")
	}
	cl := client.Client{Base: c.URL, Token: text}
	left := c.Count
	enough := errors.New("enough")
	ctx, cancel := context.WithCancelCause(e.ctx)
	defer cancel(nil)
	err := cl.Stream(ctx, client.StreamOptions{Since: c.Since, Topics: c.Topics, Reconnect: true,
		OnLost: func(err error) { e.log.Warn("the stream was interrupted", "error", err) }}, func(ev client.Event) {
		if c.Count > 0 && left == 0 {
			return
		}
		b, _ := json.Marshal(ev) // its data came as JSON
		e.printf("%s\n", b)
		if err := e.out.failed(); err != nil {
			cancel(err) // nobody reads
		}
		if ev.Type == "notification" && c.Count > 0 {
			if left--; left == 0 {
				cancel(enough)
			}
		}
	})
	if errors.Is(err, enough) || e.ctx.Err() != nil {
		return nil
	}
	return err
}

// tokenCmd mints a token.
type tokenCmd struct {
	User      string        `short:"u" required:"" help:"User that the token speaks for; with --scope, the service."`
	Scope     namesFlag     `complete:"scopes" aliases:"scopes" placeholder:"SCOPE,..." help:"Make it a service's token that may do this, a comma list of the scopes of crier keys add."`
	TTL       time.Duration `name:"ttl" default:"12h" help:"How long it is good."`
	mintFlags `embed:""`
}

// mintFlags say how a token is minted: as the gateway wants it, see userFlags.
type mintFlags struct {
	JWTSecret   telemetry.Secret `env:"CRIER_JWT_SECRET" help:"Secret to sign the token with. Default: the data dir's."`
	JWTAudience []string         `env:"CRIER_JWT_AUDIENCE" help:"Audiences (aud) that the token names."`
	JWTIssuer   string           `env:"CRIER_JWT_ISSUER" help:"Issuer (iss) that the token names."`
}

// Run is called by the parser.
func (c *tokenCmd) Run(e *env) error {
	id := token.Identity{UserID: event.UserID(c.User), Service: c.Scope.given}
	if id.Service {
		var err error
		if id.Grant, err = grantOf(c.Scope, namesFlag{}); err != nil {
			return err
		}
	}
	text, err := e.mint(c.mintFlags, id, c.TTL)
	if err != nil {
		return err
	}
	e.printf("%s\n", text)
	return nil
}

// mint makes a token with the flags' secret, or the data dir's.
func (e *env) mint(f mintFlags, id token.Identity, ttl time.Duration) (string, error) {
	var v event.Invalid
	v.CheckUserID("user", id.UserID)
	if err := v.Err(); err != nil {
		return "", err
	}
	secret := string(f.JWTSecret)
	if secret == "" {
		keys, err := e.readSecrets()
		if err != nil {
			return "", fmt.Errorf("CRIER_JWT_SECRET is not set, and the data dir %s has none: %w", e.dataDir, err)
		}
		secret = keys.JWTSecret
	}
	a, err := token.New(token.Config{Secret: secret, Audience: f.JWTAudience, Issuer: f.JWTIssuer})
	if err != nil {
		return "", err
	}
	now := time.Now()
	id.Expires = now.Add(ttl)
	return a.Mint(id, now)
}
