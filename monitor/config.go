package monitor

import (
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"slices"
	"strings"

	"crier/internal/event"
	"crier/monitor/feed"
)

// Config is what an operator may change.
type Config struct {
	Feeds          string // a list as feed.Parse reads it, or Auto
	Symbols        []string
	BinanceWSURL   string
	BinanceRESTURL string
	// "": where the exchange is.
	CoinbaseWSURL, CoinbaseRESTURL string
	KrakenWSURL, KrakenRESTURL     string
	SimulatedSeed                  uint64
	// Instance tells running monitors apart in Kafka's transactions.
	Instance string
	// FailFunc is called at named points; tests kill the process there. nil
	// does nothing.
	FailFunc func(point string)
}

// Auto stands for binance, or the simulation where that cannot be reached and
// this installation has never held live ticks.
const Auto = "auto"

// Check finds everything that is wrong with a configuration.
func (c Config) Check() error { return c.normalise() }

// feeds is what the feeds need of the configuration.
func (c Config) feeds(log *slog.Logger) feed.Config {
	return feed.Config{
		Symbols: c.Symbols, BinanceWSURL: c.BinanceWSURL, BinanceRESTURL: c.BinanceRESTURL, SimulatedSeed: c.SimulatedSeed,
		CoinbaseWSURL: c.CoinbaseWSURL, CoinbaseRESTURL: c.CoinbaseRESTURL, KrakenWSURL: c.KrakenWSURL, KrakenRESTURL: c.KrakenRESTURL,
		Log: log,
	}
}

func (c *Config) normalise() error {
	if c.FailFunc == nil {
		c.FailFunc = func(string) {}
	}
	if c.Instance == "" {
		c.Instance = "1"
	}
	var errs []error
	if strings.TrimSpace(c.Feeds) == "" {
		errs = append(errs, errors.New("CRIER_FEEDS: is required here: binance, coinbase, kraken, simulated, replay:FILE[@SPEED] or none"))
	}
	if len(c.Symbols) == 0 {
		errs = append(errs, errors.New("CRIER_SYMBOLS: must name at least one symbol"))
	}
	errs = append(errs, event.CheckSymbols("CRIER_SYMBOLS", c.Symbols))
	for _, a := range []struct{ name, url, form string }{
		{"CRIER_BINANCE_WS_URL", c.BinanceWSURL, "a ws or wss URL"}, {"CRIER_BINANCE_REST_URL", c.BinanceRESTURL, "an http or https URL"},
		{"CRIER_COINBASE_WS_URL", c.CoinbaseWSURL, "a ws or wss URL"}, {"CRIER_COINBASE_REST_URL", c.CoinbaseRESTURL, "an http or https URL"},
		{"CRIER_KRAKEN_WS_URL", c.KrakenWSURL, "a ws or wss URL"}, {"CRIER_KRAKEN_REST_URL", c.KrakenRESTURL, "an http or https URL"},
	} {
		if u, err := url.Parse(a.url); a.url != "" && (err != nil || u.Host == "" || !slices.Contains(strings.Fields(a.form), u.Scheme)) {
			errs = append(errs, fmt.Errorf("%s %q: must be %s", a.name, a.url, a.form))
		}
	}
	if c.Feeds != Auto {
		_, err := feed.Parse(c.Feeds, c.feeds(slog.New(slog.DiscardHandler)))
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}
