// Package bot is a participant in chat rooms that answers commands: prices,
// stock quotes and alerts. It is a client of Crier's public interfaces and
// nothing more: it signs in, follows rooms as an event stream, and says what it
// has to say by HTTP.
//
// When its stream ends it comes back with the last event id, so commands that
// were given meanwhile are answered late and not lost. An answer carries an
// event id made from the command's, so that one that is said again is known by
// it.
package bot

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"time"

	"crier/internal/client"
	"crier/internal/event"
	"crier/internal/lifecycle"
)

// Config is what the bot is told.
type Config struct {
	URL      string   // base URL of a gateway
	Username string   // its account
	Password string   //
	Register bool     // makes the account if it is not there
	Rooms    []string // none: all there are
	APIKey   string   // "": it sets no alerts for others
	QuoteURL string   // of the CSV source; {symbol} is replaced
}

// Bounds of work: commands that wait, and that are answered at once.
const (
	maxWaiting = 200
	workers    = 4
)

// lookEvery is how often new rooms are looked for.
const lookEvery = time.Minute

// Bot is made by New; Run is its life.
type Bot struct {
	cfg    Config
	quotes *quotes
	log    *slog.Logger
	client client.Client // its token is replaced at each sign-in, by Run's goroutine alone
	cursor string
	work   chan command
}

// command is something that somebody asked of the bot.
type command struct {
	room, name, text string
	user             event.UserID
	username         string
	eventID          string
	token            string
}

// New makes a Bot; it does no I/O.
func New(cfg Config, log *slog.Logger) (*Bot, error) {
	if !strings.Contains(cfg.URL, "://") {
		cfg.URL = "http://" + cfg.URL
	}
	if !strings.Contains(cfg.QuoteURL, "{symbol}") {
		return nil, errors.New("CRIER_BOT_QUOTE_URL: must hold {symbol}")
	}
	if cfg.Username == "" || cfg.Password == "" {
		return nil, errors.New("CRIER_BOT_USERNAME and CRIER_BOT_PASSWORD: are required")
	}
	return &Bot{cfg: cfg, quotes: newQuotes(cfg.QuoteURL), log: log, client: client.Client{Base: cfg.URL, HTTP: &http.Client{Timeout: 15 * time.Second}}, work: make(chan command, maxWaiting)}, nil
}

// Run answers until ctx ends. What goes wrong on the way is logged and tried
// again; only a wrong password ends it.
func (b *Bot) Run(ctx context.Context) error {
	group := lifecycle.NewGroup(ctx)
	for range workers {
		group.Go("bot's answers", b.answerAll)
	}
	err := b.follow(ctx)
	stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	return errors.Join(err, group.Stop(stop))
}

func (b *Bot) follow(ctx context.Context) error {
	var wait lifecycle.Backoff
	for {
		err := b.visit(ctx, wait.Reset)
		if ctx.Err() != nil {
			return nil
		}
		var refusal *client.Error
		if errors.As(err, &refusal) && refusal.Code == "invalid_login" {
			return fmt.Errorf("signing in: %w", err)
		}
		b.log.Warn("the bot was interrupted and comes back", "error", err)
		if wait.Wait(ctx) != nil {
			return nil
		}
	}
}

// visit signs in and follows the rooms until the stream ends, or the rooms are
// others. good is called when it is in.
func (b *Bot) visit(ctx context.Context, good func()) error {
	if err := b.signIn(ctx); err != nil {
		return err
	}
	rooms, err := b.rooms(ctx)
	if err != nil {
		return err
	}
	if len(rooms) == 0 {
		return errors.New("there are no rooms")
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	look := lifecycle.NewGroup(ctx)
	look.Go("looking for rooms", func(ctx context.Context) error {
		for lifecycle.Sleep(ctx, lookEvery) == nil {
			if now, err := b.rooms(ctx); err == nil && !slices.Equal(now, rooms) {
				cancel(errors.New("the rooms are others now"))
				return nil
			}
		}
		return nil
	})
	stream := b.client
	stream.HTTP = nil // it lasts
	err = stream.Stream(ctx, client.StreamOptions{Since: b.cursor, Join: rooms}, func(e client.Event) {
		if e.ID != "" {
			b.cursor = e.ID
		}
		switch e.Type {
		case "ready":
			b.log.Info("the bot is in", "rooms", rooms)
			good()
		case "message":
			b.hear(e.Data)
		}
	})
	if cause := context.Cause(ctx); cause != nil {
		err = cause
	}
	stop, done := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer done()
	return errors.Join(err, look.Stop(stop))
}

func (b *Bot) signIn(ctx context.Context) error {
	in := map[string]string{"username": b.cfg.Username, "password": b.cfg.Password}
	var out struct {
		Access string `json:"access"`
	}
	b.client.Token = ""
	err := b.client.Do(ctx, "POST", "/login", in, &out)
	var refusal *client.Error
	if b.cfg.Register && errors.As(err, &refusal) && refusal.Code == "invalid_login" {
		if signup := b.client.Do(ctx, "POST", "/signup", in, nil); signup == nil {
			err = b.client.Do(ctx, "POST", "/login", in, &out)
		}
	}
	b.client.Token = out.Access
	return err
}

// rooms are those that it was told, or all.
func (b *Bot) rooms(ctx context.Context) ([]string, error) {
	if len(b.cfg.Rooms) > 0 {
		return b.cfg.Rooms, nil
	}
	var page struct {
		Results []struct {
			Name string `json:"name"`
		} `json:"results"`
	}
	if err := b.client.Do(ctx, "GET", "/rooms", nil, &page); err != nil {
		return nil, err
	}
	names := make([]string, len(page.Results))
	for i, r := range page.Results {
		names[i] = r.Name
	}
	return names, nil
}

// hear takes a command of somebody else's; anything else is not for the bot.
func (b *Bot) hear(data []byte) {
	var m struct {
		Topic   string       `json:"topic"`
		Kind    string       `json:"kind"`
		EventID string       `json:"event_id"`
		UserID  event.UserID `json:"user_id"`
		Payload event.Said   `json:"payload"`
	}
	if json.Unmarshal(data, &m) != nil || m.Kind != event.KindCustom || m.Payload.Username == b.cfg.Username {
		return
	}
	c := command{room: strings.TrimPrefix(m.Topic, event.RoomPrefix), name: strings.ToLower(m.Payload.Command), text: strings.TrimSpace(m.Payload.Payload),
		user: m.UserID, username: m.Payload.Username, eventID: m.EventID, token: b.client.Token}
	select {
	case b.work <- c:
	default:
		b.log.Warn("a command was passed over: too many wait", "room", c.room, "command", c.name)
	}
}

// answerAll is the life of one of the goroutines that answer.
func (b *Bot) answerAll(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case c := <-b.work:
			if text := b.answer(ctx, c); text != "" {
				b.say(ctx, c, text)
			}
		}
	}
}

// say says an answer in the room that was asked in.
func (b *Bot) say(ctx context.Context, c command, text string) {
	h := sha256.Sum256([]byte("answer to " + c.eventID))
	h[6], h[8] = h[6]&0x0f|0x80, h[8]&0x3f|0x80 // RFC 9562, version 8
	body := map[string]string{"body": text, "event_id": fmt.Sprintf("%x-%x-%x-%x-%x", h[0:4], h[4:6], h[6:8], h[8:10], h[10:16])}
	as := client.Client{Base: b.cfg.URL, Token: c.token, HTTP: b.client.HTTP}
	var wait lifecycle.Backoff
	for try := range 5 {
		err := as.Do(ctx, "POST", "/rooms/"+c.room+"/messages", body, nil)
		var refusal *client.Error
		if err == nil || ctx.Err() != nil || errors.As(err, &refusal) && refusal.Status < 500 && refusal.Status != http.StatusTooManyRequests {
			if err != nil {
				b.log.Warn("an answer was refused", "room", c.room, "error", err)
			}
			return
		}
		b.log.Warn("an answer was not said", "room", c.room, "try", try+1, "error", err)
		if wait.Wait(ctx) != nil {
			return
		}
	}
}
