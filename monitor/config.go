package monitor

import (
	"errors"
	"log/slog"
	"strings"

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
	if c.Feeds != Auto {
		_, err := feed.Parse(c.Feeds, c.feeds(slog.New(slog.DiscardHandler)))
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}
