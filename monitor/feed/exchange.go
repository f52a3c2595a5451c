package feed

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
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
	// address is where its socket is, and subscribe what is sent first on it.
	address() string
	subscribe(symbols []string) ([]byte, error)
	// parse reads one message: its trades, in order. latest says that they are what
	// was before the subscription. Its error is a *refusedSymbol where the exchange
	// does not serve one of the symbols.
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
	refused  map[string]time.Time // symbols that the exchange does not serve, and since when
	recheck  time.Duration        // after it, a refused symbol is asked for again
}

func newSocketFeed(name string, x protocol, cfg Config) *SocketFeed {
	return &SocketFeed{name: name, symbols: cfg.Symbols, x: x, cfg: cfg, silence: 30 * time.Second, life: 23 * time.Hour, every: 10 * time.Second,
		lastID: make(map[string]int64), lastTime: make(map[string]time.Time),
		refused: make(map[string]time.Time), recheck: time.Hour}
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
		case errors.Is(err, errNoSymbols): // each refusal was logged
			if lifecycle.Sleep(ctx, f.recheck) != nil {
				return nil
			}
			continue
		}
		var refused *refusedSymbol
		if errors.As(err, &refused) && f.refuse(refused) {
			continue // each time there is one symbol less
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
	symbols := f.served(time.Now())
	if len(symbols) == 0 {
		return errNoSymbols
	}
	hello, err := f.x.subscribe(symbols)
	if err == nil {
		err = c.Write(dial, websocket.MessageText, hello)
	}
	if err != nil {
		return fmt.Errorf("subscribing: %w", err)
	}
	f.cfg.Log.Info("feed connected", "source", f.name)
	for began := time.Now(); time.Since(began) < f.lifetime(); {
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
		var refused *refusedSymbol
		if errors.As(err, &refused) && refused.rest {
			f.refuse(refused)
			continue
		}
		if err != nil && (refused != nil || errors.Is(err, errRefused)) {
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

// errRefused is the exchange's refusal of a subscription.
var errRefused = errors.New("the exchange refuses")

// errNoSymbols says that the exchange serves none of the symbols.
var errNoSymbols = errors.New("the exchange serves none of the symbols")

// refusedSymbol is the exchange's refusal to serve one symbol, such as one that
// was delisted. rest says that the subscription to the others holds.
type refusedSymbol struct {
	symbol, reason string
	rest           bool
}

func (e *refusedSymbol) Error() string {
	return fmt.Sprintf("the exchange refuses %s: %s", e.symbol, e.reason)
}

// refuse leaves a symbol out of what is subscribed to and polled; false: it was
// left out already, and the refusal must have another cause.
func (f *SocketFeed) refuse(e *refusedSymbol) bool {
	if since, known := f.refused[e.symbol]; known && time.Since(since) < f.recheck {
		return false
	} else if !known {
		f.cfg.Log.Warn("the exchange does not serve a symbol, which is left out", "source", f.name, "symbol", e.symbol, "reason", e.reason, "asked_again_in", f.recheck)
	}
	f.refused[e.symbol] = time.Now()
	return true
}

// served are the symbols to ask for: all, but those that were refused a short
// time ago.
func (f *SocketFeed) served(now time.Time) []string {
	out := make([]string, 0, len(f.symbols))
	for _, s := range f.symbols {
		if since, refused := f.refused[s]; !refused || now.Sub(since) >= f.recheck {
			out = append(out, s)
		}
	}
	return out
}

// lifetime is how long a connection is kept: until the exchange would end it, or
// until a refused symbol is to be asked for again.
func (f *SocketFeed) lifetime() time.Duration {
	if len(f.refused) > 0 {
		return min(f.life, f.recheck)
	}
	return f.life
}

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
		delete(f.refused, t.Symbol)
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
		failed := pollFailures{}
		for _, s := range f.served(time.Now()) {
			t, err := f.x.price(ctx, s)
			if ctx.Err() != nil {
				return nil
			}
			if err != nil {
				if failed.add(s, err) {
					break
				}
				continue
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
		failed.log(f.cfg.Log, f.name)
		if !time.Now().Before(until) {
			return nil
		}
	}
}

// pollFailures collects which symbols a round of polling did not get, for one
// log line.
type pollFailures struct {
	symbols []string
	err     error // of the first
}

// add notes a failure, and reports whether the round is to end: when the
// exchange cannot be reached or is limiting us, the other symbols fare no better.
// A symbol that it does not know must not keep the others from being asked for.
func (p *pollFailures) add(symbol string, err error) (end bool) {
	if p.symbols = append(p.symbols, symbol); p.err == nil {
		p.err = err
	}
	var status *statusError
	answered := errors.As(err, &status)
	var unreachable *url.Error
	return errors.As(err, &unreachable) || answered && (status.code == http.StatusTooManyRequests || status.code == http.StatusTeapot)
}

func (p *pollFailures) log(log *slog.Logger, source string) {
	if len(p.symbols) > 0 {
		log.Warn("the exchange's REST interface gave no price", "source", source, "symbols", p.symbols, "error", p.err)
	}
}

// statusError is an answer other than 200. Binance bans an address that goes on
// after 429 with 418.
type statusError struct {
	code int
	body string
}

func (e *statusError) Error() string { return fmt.Sprintf("status %d: %.100q", e.code, e.body) }

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
		return fmt.Errorf("asking the exchange: %w", &statusError{resp.StatusCode, string(body)})
	}
	if err := event.Unmarshal(body, into); err != nil {
		return fmt.Errorf("reading the exchange's answer: %w", err)
	}
	return nil
}
