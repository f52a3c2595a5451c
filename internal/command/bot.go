package command

import (
	"errors"
	"strings"

	"crier/internal/bot"
	"crier/internal/telemetry"
)

// botCmd runs the chat bot. The names that begin with FINBOT are those of an
// older bot's settings.
type botCmd struct {
	URL      string           `name:"url" env:"CRIER_BOT_URL,FINBOT_HOST" help:"Base URL of a gateway. Default: the embedded run of this data dir."`
	Username string           `env:"CRIER_BOT_USERNAME,FINBOT_USERNAME" default:"bot" help:"Its account."`
	Password telemetry.Secret `env:"CRIER_BOT_PASSWORD,FINBOT_PASSWORD" help:"The account's password."`
	Register bool             `env:"CRIER_BOT_REGISTER" help:"Make the account if it is not there."`
	Rooms    string           `env:"CRIER_BOT_ROOMS,FINBOT_ROOMS" help:"Rooms to be in, colon-separated. Default: all."`
	APIKey   telemetry.Secret `name:"api-key" env:"CRIER_BOT_API_KEY" help:"API key (scope alerts:write) to set alerts for whoever asks. Default: the embedded run's; none: it sets none."`
	QuoteURL string           `name:"quote-url" env:"CRIER_BOT_QUOTE_URL" default:"https://stooq.com/q/l/?s={symbol}&f=sd2t2ohlcv&h&e=csv" help:"Source of stock quotes, CSV."`
}

// Run is called by the parser.
func (c *botCmd) Run(e *env) error {
	if c.URL == "" {
		facts, err := e.readRunFile()
		if err != nil {
			return errors.Join(errors.New("--url is not given"), err)
		}
		if c.URL = facts.HTTP; c.APIKey == "" {
			c.APIKey = telemetry.Secret(facts.APIKey)
		}
	}
	var rooms []string
	if c.Rooms != "" {
		rooms = strings.Split(c.Rooms, ":")
	}
	b, err := bot.New(bot.Config{URL: c.URL, Username: c.Username, Password: string(c.Password), Register: c.Register, Rooms: rooms,
		APIKey: string(c.APIKey), QuoteURL: c.QuoteURL}, e.log)
	if err != nil {
		return err
	}
	return b.Run(e.ctx)
}
