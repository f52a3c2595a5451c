// Package feed reads market prices from where they are made and hands them on
// as ticks: live exchanges, a recorded file, or a simulation. A feed owns its
// connections, reconnects by itself, and keeps the order of each symbol.
package feed

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strconv"
	"strings"

	"crier/internal/event"
)

// Feed is a source of ticks.
type Feed interface {
	// Name is what its ticks carry as their source.
	Name() string
	// Run emits ticks until ctx ends or the feed has no more (a file's end),
	// which is no error. emit blocks while Kafka is behind, and its error ends
	// the run; it is called by one goroutine at a time.
	Run(ctx context.Context, emit func(event.Tick) error) error
}

// Kinds of sources, as people are told.
const (
	Live      = "live"
	Simulated = "simulated"
	Replay    = "replay"
	External  = "external" // some producer's own ticks
)

// KindOf tells what kind of source a tick's source is.
func KindOf(source string) string {
	switch {
	case source == "binance" || source == "coinbase" || source == "kraken":
		return Live
	case source == SimulatedName:
		return Simulated
	case strings.HasPrefix(source, replayPrefix):
		return Replay
	}
	return External
}

// Config is what feeds need to know.
type Config struct {
	Symbols        []string
	BinanceWSURL   string
	BinanceRESTURL string
	// "": where the exchange is (CoinbaseWSURL and so on).
	CoinbaseWSURL, CoinbaseRESTURL string
	KrakenWSURL, KrakenRESTURL     string
	// GapFunc is told of each hole in a source's numbers: how many trades were
	// missed, and how many of them were fetched. nil does nothing.
	GapFunc       func(source string, missed, healed int64)
	SimulatedSeed uint64 // 0: another one each time
	// ResumeFunc tells the id of the last tick of a source and symbol that is in
	// `ticks`, "" if there is none: a replay goes on behind it.
	ResumeFunc func(ctx context.Context, source, symbol string) (string, error)
	Log        *slog.Logger
}

// Parse makes the feeds of a list such as binance,replay:trades.csv@10. none
// stands for no feed at all.
func Parse(list string, cfg Config) ([]Feed, error) {
	var feeds []Feed
	var specs []string
	var errs []error
	for _, spec := range strings.Split(list, ",") {
		spec = strings.TrimSpace(spec)
		if spec != "" && slices.Contains(specs, spec) {
			errs = append(errs, fmt.Errorf("CRIER_FEEDS %q: is named twice", spec))
			continue
		}
		specs = append(specs, spec)
		switch {
		case spec == "none" || spec == "":
		case spec == "binance":
			feeds = append(feeds, NewBinance(cfg))
		case spec == SimulatedName:
			feeds = append(feeds, NewSimulated(cfg.Symbols, cfg.SimulatedSeed))
		case strings.HasPrefix(spec, replayPrefix):
			f, err := parseReplay(spec, cfg)
			errs = append(errs, err)
			feeds = append(feeds, f)
		case spec == "coinbase":
			feeds = append(feeds, NewCoinbase(cfg))
		case spec == "kraken":
			feeds = append(feeds, NewKraken(cfg))
		default:
			errs = append(errs, fmt.Errorf("CRIER_FEEDS %q: must be binance, coinbase, kraken, simulated, replay:FILE[@SPEED] or none", spec))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return feeds, nil
}

func parseReplay(spec string, cfg Config) (Feed, error) {
	path, speedText, found := strings.TrimPrefix(spec, replayPrefix), "1", false
	if i := strings.LastIndexByte(path, '@'); i >= 0 {
		path, speedText, found = path[:i], path[i+1:], true
	}
	speed := 0.0
	if speedText != "max" {
		var err error
		speed, err = strconv.ParseFloat(speedText, 64)
		if err != nil || !(speed > 0 && speed <= 1e9) {
			return nil, fmt.Errorf("CRIER_FEEDS %q: the speed after @ must be a positive number or max", spec)
		}
	}
	if path == "" {
		return nil, fmt.Errorf("CRIER_FEEDS %q: the file is missing (found @: %t)", spec, found)
	}
	if _, err := os.Stat(path); err != nil {
		return nil, fmt.Errorf("CRIER_FEEDS %q: %w", spec, err)
	}
	return &ReplayFeed{Path: path, Speed: speed, resume: cfg.ResumeFunc, log: cfg.Log}, nil
}
