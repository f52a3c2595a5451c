package feed

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/coder/websocket"

	"crier/internal/decimal"
	"crier/internal/event"
	"crier/internal/lifecycle"
)

// Facts of Binance's market data streams (developers.binance.com, WebSocket
// Streams, "General WSS information"): a connection is cut after 24 hours; the
// server pings every 20 s and cuts who has not answered within a minute; the
// event serverShutdown announces a restart.
const (
	binanceLife      = 23*time.Hour + 30*time.Minute
	binanceSilence   = 60 * time.Second
	binanceRESTEvery = 10 * time.Second
	binanceDial      = 10 * time.Second
	binanceMaxFrame  = 1 << 20
)

// BinanceFeed reads trades from Binance's combined aggTrade streams, and while
// the socket is down the last prices from its REST interface.
type BinanceFeed struct {
	cfg    Config
	client *http.Client
	life   time.Duration
	every  time.Duration    // between REST polls
	lastID map[string]int64 // by symbol: the newest trade that was emitted
	polled time.Time
}

// NewBinance makes the feed; it connects in Run.
func NewBinance(cfg Config) *BinanceFeed {
	return &BinanceFeed{cfg: cfg, client: &http.Client{Timeout: binanceDial}, life: binanceLife, every: binanceRESTEvery, lastID: make(map[string]int64)}
}

// Name is `binance`.
func (f *BinanceFeed) Name() string { return "binance" }

var errShutdown = errors.New("the exchange announced that it restarts")

// Reachable tries to open the stream once.
func (f *BinanceFeed) Reachable(ctx context.Context) error {
	c, err := f.dial(ctx)
	if err != nil {
		return err
	}
	return c.CloseNow()
}

func (f *BinanceFeed) dial(ctx context.Context) (*websocket.Conn, error) {
	streams := make([]string, len(f.cfg.Symbols))
	for i, s := range f.cfg.Symbols {
		streams[i] = strings.ToLower(s) + "@aggTrade"
	}
	address := strings.TrimRight(f.cfg.BinanceWSURL, "/") + "/stream?streams=" + strings.Join(streams, "/")
	ctx, cancel := context.WithTimeoutCause(ctx, binanceDial, fmt.Errorf("connecting to the exchange took more than %v", binanceDial))
	defer cancel()
	c, _, err := websocket.Dial(ctx, address, &websocket.DialOptions{HTTPClient: &http.Client{}})
	if err != nil {
		return nil, fmt.Errorf("connecting to %s: %w", f.cfg.BinanceWSURL, err)
	}
	c.SetReadLimit(binanceMaxFrame)
	return c, nil
}

// Run keeps the stream open, and polls the REST interface while it is not.
func (f *BinanceFeed) Run(ctx context.Context, emit func(event.Tick) error) error {
	wait := lifecycle.Backoff{Min: 500 * time.Millisecond, Max: 30 * time.Second}
	for {
		conn, err := f.dial(ctx)
		if err == nil {
			f.cfg.Log.Info("feed connected", "source", f.Name())
			var lived time.Duration
			lived, err = f.stream(ctx, conn, emit)
			if lived > time.Minute {
				wait.Reset()
			}
		}
		var ended *emitError
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.As(err, &ended):
			return ended.error
		case err == nil: // its planned end
			continue
		}
		f.cfg.Log.Warn("feed interrupted", "source", f.Name(), "error", err)
		if err := f.pollFor(ctx, wait.Next(), emit); err != nil {
			return err
		}
		if ctx.Err() != nil {
			return nil
		}
	}
}

// emitError is Kafka's fault, not the exchange's.
type emitError struct{ error }

// stream reads one connection until it ends. nil: as planned, before the cut.
func (f *BinanceFeed) stream(ctx context.Context, conn *websocket.Conn, emit func(event.Tick) error) (time.Duration, error) {
	defer conn.CloseNow() //nolint:errcheck // it may be closed already
	began := time.Now()
	for {
		if time.Since(began) > f.life {
			return time.Since(began), nil
		}
		// The library answers pings while it reads; silence means a dead peer.
		read, cancel := context.WithTimeoutCause(ctx, binanceSilence, fmt.Errorf("the exchange was silent for %v", binanceSilence))
		_, data, err := conn.Read(read)
		if err != nil && read.Err() != nil && ctx.Err() == nil {
			err = context.Cause(read)
		}
		cancel()
		if err != nil {
			return time.Since(began), fmt.Errorf("reading from the exchange: %w", err)
		}
		tick, err := parseBinance(data)
		if errors.Is(err, errShutdown) {
			return time.Since(began), err
		}
		if err != nil {
			f.cfg.Log.Warn("the exchange sent what cannot be read", "source", f.Name(), "error", err)
			continue
		}
		if tick == nil {
			continue
		}
		if err := f.heal(ctx, tick, emit); err != nil {
			return time.Since(began), err
		}
		if !f.isNew(tick) {
			continue
		}
		if err := emit(*tick); err != nil {
			return time.Since(began), &emitError{err}
		}
	}
}

// heal fetches the trades between the last one emitted and this one, which the
// stream did not bring: aggregate ids have no holes (REST, "Compressed/Aggregate
// trades list").
func (f *BinanceFeed) heal(ctx context.Context, t *event.Tick, emit func(event.Tick) error) error {
	id, err := strconv.ParseInt(t.ID, 10, 64)
	after := f.lastID[t.Symbol]
	if err != nil || after == 0 || id <= after+1 {
		return nil
	}
	lost, healed := id-after-1, int64(0)
	for after+1 < id && healed < maxHealed {
		var list []struct {
			ID       int64           `json:"a"`
			Price    json.RawMessage `json:"p"`
			Quantity json.RawMessage `json:"q"`
			Time     int64           `json:"T"`
		}
		address := fmt.Sprintf("%s/api/v3/aggTrades?symbol=%s&fromId=%d&limit=1000", strings.TrimRight(f.cfg.BinanceRESTURL, "/"), url.QueryEscape(t.Symbol), after+1)
		err := ask(ctx, f.client, address, &list)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		from := after
		for _, m := range list {
			var v event.Invalid
			price, size := v.CheckPrice("p", m.Price, true), v.CheckPrice("q", m.Quantity, false)
			if v.Err() != nil || m.ID <= after || m.ID >= id {
				continue
			}
			if err := emit(event.Tick{Symbol: t.Symbol, Price: *price, Size: size, Time: time.UnixMilli(m.Time).UTC(), Source: f.Name(), ID: strconv.FormatInt(m.ID, 10)}); err != nil {
				return &emitError{err}
			}
			after = m.ID
			f.lastID[t.Symbol] = after
			healed++
		}
		if err != nil || after == from {
			if err != nil {
				f.cfg.Log.Warn("missed trades could not be fetched", "source", f.Name(), "symbol", t.Symbol, "error", err)
			}
			break
		}
	}
	f.cfg.gap(f.Name(), t.Symbol, lost, healed)
	return nil
}

// isNew drops trades that an overlapping connection has brought already.
func (f *BinanceFeed) isNew(t *event.Tick) bool {
	id, err := strconv.ParseInt(t.ID, 10, 64)
	if err != nil {
		return true
	}
	if id <= f.lastID[t.Symbol] {
		return false
	}
	f.lastID[t.Symbol] = id
	return true
}

// parseBinance reads one message of a combined stream; nil: nothing for us.
func parseBinance(data []byte) (*event.Tick, error) {
	var msg struct {
		Data struct {
			Event    string          `json:"e"`
			Symbol   string          `json:"s"`
			ID       int64           `json:"a"`
			Price    json.RawMessage `json:"p"`
			Quantity json.RawMessage `json:"q"`
			Time     int64           `json:"T"`
		} `json:"data"`
		Event string `json:"e"`
	}
	if err := event.Unmarshal(data, &msg); err != nil {
		return nil, fmt.Errorf("not the documented JSON: %w", err)
	}
	switch {
	case msg.Event == "serverShutdown" || msg.Data.Event == "serverShutdown":
		return nil, errShutdown
	case msg.Data.Event != "aggTrade":
		return nil, nil
	}
	var v event.Invalid
	v.CheckSymbol("s", msg.Data.Symbol)
	price := v.CheckPrice("p", msg.Data.Price, true)
	size := v.CheckPrice("q", msg.Data.Quantity, false)
	if err := v.Err(); err != nil {
		return nil, err
	}
	return &event.Tick{Symbol: msg.Data.Symbol, Price: *price, Size: size, Time: time.UnixMilli(msg.Data.Time).UTC(), Source: "binance",
		ID: strconv.FormatInt(msg.Data.ID, 10)}, nil
}

// pollFor asks the REST interface for last prices every ten seconds, until d
// has passed.
func (f *BinanceFeed) pollFor(ctx context.Context, d time.Duration, emit func(event.Tick) error) error {
	until := time.Now().Add(d)
	for {
		if due := f.polled.Add(f.every); time.Now().Before(due) {
			if lifecycle.Sleep(ctx, min(time.Until(due), time.Until(until))) != nil || !time.Now().Before(until) {
				return nil
			}
		}
		f.polled = time.Now()
		failed := pollFailures{}
		for _, s := range f.cfg.Symbols {
			price, err := f.price(ctx, s)
			if ctx.Err() != nil {
				return nil
			}
			if err != nil {
				if failed.add(s, err) {
					break
				}
				continue
			}
			if err := emit(event.Tick{Symbol: s, Price: price, Time: time.Now(), Source: f.Name()}); err != nil {
				return err
			}
		}
		failed.log(f.cfg.Log, f.Name())
		if !time.Now().Before(until) {
			return nil
		}
	}
}

func (f *BinanceFeed) price(ctx context.Context, symbol string) (decimal.Decimal, error) {
	address := strings.TrimRight(f.cfg.BinanceRESTURL, "/") + "/api/v3/ticker/price?symbol=" + url.QueryEscape(symbol)
	var answer struct {
		Price json.RawMessage `json:"price"`
	}
	if err := ask(ctx, f.client, address, &answer); err != nil {
		return decimal.Decimal{}, err
	}
	var v event.Invalid
	price := v.CheckPrice("price", answer.Price, true) // without one, none is made up
	if err := v.Err(); err != nil {
		return decimal.Decimal{}, fmt.Errorf("reading a price: %w", err)
	}
	return *price, nil
}
