package feed

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/coder/websocket"

	"crier/internal/event"
	"crier/internal/lifecycle"
)

// protocol is what an exchange's socket and REST interface speak. Trades of a
// symbol are numbered without holes.
type protocol interface {
	// address is where its socket is, and subscribe what is said first on it.
	address() string
	subscribe() ([]byte, error)
	// parse reads one message: its trades, in order. latest says that they are what
	// was before the subscription.
	parse(data []byte) (trades []event.Tick, latest bool, err error)
	// missed asks the REST interface for trades of a symbol after one and before
	// another, in order: as many as one answer holds, the first ones.
	missed(ctx context.Context, symbol string, after, before int64, since time.Time) ([]event.Tick, error)
	// price asks the REST interface for the last trade.
	price(ctx context.Context, symbol string) (event.Tick, error)
}

// maxHealed bounds how many missed trades of one hole are fetched: what is more
// is said, and left out.
const maxHealed = 10_000

// SocketFeed reads trades from an exchange's socket, fetches those that it has
// missed by their numbers, and while the socket is down polls last prices. Owned
// by who calls Run.
type SocketFeed struct {
	name     string
	symbols  []string
	x        protocol
	cfg      Config
	silence  time.Duration // without a message the peer is taken for dead
	life     time.Duration
	every    time.Duration // between polls
	polled   time.Time
	lastID   map[string]int64 // by symbol: the newest trade that was emitted
	lastTime map[string]time.Time
}

func newSocketFeed(name string, x protocol, cfg Config) *SocketFeed {
	return &SocketFeed{name: name, symbols: cfg.Symbols, x: x, cfg: cfg, silence: 30 * time.Second, life: 23 * time.Hour, every: 10 * time.Second,
		lastID: make(map[string]int64), lastTime: make(map[string]time.Time)}
}

// Name is the exchange's.
func (f *SocketFeed) Name() string { return f.name }

// Run keeps the socket open, and polls while it is not.
func (f *SocketFeed) Run(ctx context.Context, emit func(event.Tick) error) error {
	wait := lifecycle.Backoff{Min: 500 * time.Millisecond, Max: 30 * time.Second}
	for {
		began := time.Now()
		err := f.stream(ctx, emit)
		var ended *emitError
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.As(err, &ended):
			return ended.error
		case err == nil: // its planned end
			continue
		}
		if time.Since(began) > time.Minute {
			wait.Reset()
		}
		f.cfg.Log.Warn("feed interrupted", "source", f.name, "error", err)
		if err := f.pollFor(ctx, wait.Next(), emit); err != nil || ctx.Err() != nil {
			return err
		}
	}
}

func (f *SocketFeed) stream(ctx context.Context, emit func(event.Tick) error) error {
	dial, cancel := context.WithTimeoutCause(ctx, binanceDial, fmt.Errorf("connecting to the exchange took more than %v", binanceDial))
	defer cancel()
	c, _, err := websocket.Dial(dial, f.x.address(), &websocket.DialOptions{HTTPClient: &http.Client{}})
	if err != nil {
		return fmt.Errorf("connecting to %s: %w", f.x.address(), err)
	}
	defer c.CloseNow() //nolint:errcheck // it may be closed already
	c.SetReadLimit(binanceMaxFrame)
	hello, err := f.x.subscribe()
	if err == nil {
		err = c.Write(dial, websocket.MessageText, hello)
	}
	if err != nil {
		return fmt.Errorf("subscribing: %w", err)
	}
	f.cfg.Log.Info("feed connected", "source", f.name)
	for began := time.Now(); time.Since(began) < f.life; {
		read, cancel := context.WithTimeoutCause(ctx, f.silence, fmt.Errorf("the exchange was silent for %v", f.silence))
		_, data, err := c.Read(read)
		if err != nil && read.Err() != nil && ctx.Err() == nil {
			err = context.Cause(read)
		}
		cancel()
		if err != nil {
			return fmt.Errorf("reading from the exchange: %w", err)
		}
		trades, latest, err := f.x.parse(data)
		if errors.Is(err, errRefused) {
			return err
		}
		if err != nil {
			f.cfg.Log.Warn("the exchange sent what cannot be read", "source", f.name, "error", err)
			continue
		}
		if err := f.take(ctx, trades, latest, emit); err != nil {
			return err
		}
	}
	return nil
}

// errRefused says that the exchange does not want what was asked of it.
var errRefused = errors.New("the exchange refuses")

// take emits trades that are new, and before them those that are missing.
func (f *SocketFeed) take(ctx context.Context, trades []event.Tick, latest bool, emit func(event.Tick) error) error {
	for i, t := range trades {
		id, err := strconv.ParseInt(t.ID, 10, 64)
		known, seen := f.lastID[t.Symbol]
		switch {
		case err == nil && seen && id <= known:
			continue // an overlapping connection has brought it
		case latest && !seen && i < len(trades)-1 && sameLater(trades[i+1:], t.Symbol):
			continue // of what was before we came, the last one is enough
		case err == nil && seen && id > known+1:
			if err := f.heal(ctx, t.Symbol, known, id, emit); err != nil {
				return err
			}
		}
		if err := emit(t); err != nil {
			return &emitError{err}
		}
		f.lastTime[t.Symbol] = t.Time
		if err == nil {
			f.lastID[t.Symbol] = id
		}
	}
	return nil
}

func sameLater(trades []event.Tick, symbol string) bool {
	for i := range trades {
		if trades[i].Symbol == symbol {
			return true
		}
	}
	return false
}

// heal fetches the trades between two numbers.
func (f *SocketFeed) heal(ctx context.Context, symbol string, after, before int64, emit func(event.Tick) error) error {
	lost := before - after - 1
	healed := int64(0)
	for after+1 < before && healed < maxHealed {
		list, err := f.x.missed(ctx, symbol, after, before, f.lastTime[symbol])
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err != nil {
			f.cfg.Log.Warn("missed trades could not be fetched", "source", f.name, "symbol", symbol, "after", after, "before", before, "error", err)
			break
		}
		moved := false
		for _, t := range list {
			id, err := strconv.ParseInt(t.ID, 10, 64)
			if err != nil || id <= after || id >= before {
				continue
			}
			if err := emit(t); err != nil {
				return &emitError{err}
			}
			after, moved = id, true
			f.lastID[symbol], f.lastTime[symbol] = id, t.Time
			healed++
		}
		if !moved {
			break
		}
	}
	f.cfg.gap(f.name, symbol, lost, healed)
	return nil
}

// pollFor asks for last prices every ten seconds, until d has passed.
func (f *SocketFeed) pollFor(ctx context.Context, d time.Duration, emit func(event.Tick) error) error {
	until := time.Now().Add(d)
	for {
		if due := f.polled.Add(f.every); time.Now().Before(due) {
			if lifecycle.Sleep(ctx, min(time.Until(due), time.Until(until))) != nil || !time.Now().Before(until) {
				return nil
			}
		}
		f.polled = time.Now()
		for _, s := range f.symbols {
			t, err := f.x.price(ctx, s)
			if ctx.Err() != nil {
				return nil
			}
			if err != nil {
				f.cfg.Log.Warn("the exchange's REST interface did not answer", "source", f.name, "symbol", s, "error", err)
				break
			}
			// It is a trade with a number: the socket's will say whether it was seen.
			if err := f.take(ctx, []event.Tick{t}, true, emit); err != nil {
				var ended *emitError
				if errors.As(err, &ended) {
					return ended.error
				}
				return nil
			}
		}
		if !time.Now().Before(until) {
			return nil
		}
	}
}

// gap tells of a hole in an exchange's numbers.
func (c *Config) gap(source, symbol string, lost, healed int64) {
	if healed < lost {
		c.Log.Error("trades of an exchange were missed", "source", source, "symbol", symbol, "missed", lost, "fetched", healed)
	} else {
		c.Log.Info("missed trades were fetched", "source", source, "symbol", symbol, "trades", healed)
	}
	if c.GapFunc != nil {
		c.GapFunc(source, lost, healed)
	}
}

// pairs maps symbols to an exchange's names of them and back: BTCUSDT is
// BTC-USDT or BTC/USDT there.
type pairs struct {
	names, symbols map[string]string
}

// quotes are what pairs are quoted in, the longer ones first.
var quotes = []string{"FDUSD", "USDT", "USDC", "TUSD", "USD", "EUR", "GBP", "JPY", "CHF", "CAD", "AUD", "BTC", "ETH"}

func newPairs(symbols []string, separator string) pairs {
	p := pairs{make(map[string]string), make(map[string]string)}
	for _, s := range symbols {
		name := s
		if i := strings.IndexAny(s, "-/"); i >= 0 {
			name = s[:i] + separator + s[i+1:]
		} else {
			for _, q := range quotes {
				if base, ok := strings.CutSuffix(s, q); ok && base != "" {
					name = base + separator + q
					break
				}
			}
		}
		p.names[s], p.symbols[name] = name, s
	}
	return p
}

func (p *pairs) list(symbols []string) []string {
	out := make([]string, len(symbols))
	for i, s := range symbols {
		out[i] = p.names[s]
	}
	return out
}

// ask gets one JSON answer of a REST interface.
func ask(ctx context.Context, client *http.Client, address string, into any) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return fmt.Errorf("asking the exchange: %w", err)
	}
	resp, err := client.Do(req)
	if err != nil {
		return fmt.Errorf("asking the exchange: %w", err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 4<<20))
	if err != nil {
		return fmt.Errorf("asking the exchange: %w", err)
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("asking the exchange: status %d: %.100q", resp.StatusCode, body)
	}
	if err := json.Unmarshal(body, into); err != nil {
		return fmt.Errorf("reading the exchange's answer: %w", err)
	}
	return nil
}
