package feed

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"crier/internal/event"
)

// coinbase speaks Coinbase Exchange's market data (docs.cdp.coinbase.com,
// Exchange, WebSocket feed: channels matches and heartbeat; REST: product trades).
// A product's trade ids have no holes; heartbeats come every second.
type coinbase struct {
	pairs    pairs
	ws, rest string
	client   *http.Client
}

// Where Coinbase Exchange is.
const (
	CoinbaseWSURL   = "wss://ws-feed.exchange.coinbase.com"
	CoinbaseRESTURL = "https://api.exchange.coinbase.com"
)

// NewCoinbase makes the feed; it connects in Run.
func NewCoinbase(cfg Config) *SocketFeed {
	return newSocketFeed("coinbase", &coinbase{pairs: newPairs(cfg.Symbols, "-"), ws: or(cfg.CoinbaseWSURL, CoinbaseWSURL),
		rest: strings.TrimRight(or(cfg.CoinbaseRESTURL, CoinbaseRESTURL), "/"), client: &http.Client{Timeout: binanceDial}}, cfg)
}

func or(s, def string) string {
	if s == "" {
		return def
	}
	return s
}

func (c *coinbase) address() string { return c.ws }

func (c *coinbase) subscribe(symbols []string) ([]byte, error) {
	return json.Marshal(map[string]any{"type": "subscribe", "product_ids": c.pairs.list(symbols), "channels": []string{"matches", "heartbeat"}})
}

// coinbaseTrade is a message of the channel matches, and an entry of the REST
// interface's list.
type coinbaseTrade struct {
	Type    string          `json:"type"`
	TradeID int64           `json:"trade_id"`
	Product string          `json:"product_id"`
	Price   json.RawMessage `json:"price"`
	Size    json.RawMessage `json:"size"`
	Time    time.Time       `json:"time"`
	Message string          `json:"message"`
	Reason  string          `json:"reason"`
}

func (c *coinbase) tick(t *coinbaseTrade, symbol string) (event.Tick, error) {
	var v event.Invalid
	price, size := v.CheckPrice("price", t.Price, true), v.CheckPrice("size", t.Size, false)
	if t.TradeID < 1 {
		v.Add("trade_id", "required", "is required")
	}
	if err := v.Err(); err != nil {
		return event.Tick{}, err
	}
	return event.Tick{Symbol: symbol, Price: *price, Size: size, Time: t.Time.UTC(), Source: "coinbase", ID: strconv.FormatInt(t.TradeID, 10)}, nil
}

func (c *coinbase) parse(data []byte) ([]event.Tick, bool, error) {
	var m coinbaseTrade
	if err := event.Unmarshal(data, &m); err != nil {
		return nil, false, fmt.Errorf("not the documented JSON: %w", err)
	}
	switch m.Type {
	case "match", "last_match":
	case "error":
		// One product that it does not have, and it refuses the whole subscription.
		for _, word := range strings.Fields(m.Reason) {
			if symbol, ours := c.pairs.symbols[strings.Trim(word, `"'.,:;`)]; ours {
				return nil, false, &refusedSymbol{symbol: symbol, reason: m.Message + ": " + m.Reason}
			}
		}
		return nil, false, fmt.Errorf("%w: %s: %s", errRefused, m.Message, m.Reason)
	default:
		return nil, false, nil
	}
	symbol, ok := c.pairs.symbols[m.Product]
	if !ok {
		return nil, false, nil
	}
	t, err := c.tick(&m, symbol)
	if err != nil {
		return nil, false, err
	}
	return []event.Tick{t}, m.Type == "last_match", nil
}

// coinbasePage is the most trades of one answer.
const coinbasePage = 1000

// missed asks for the trades before one, newest first, page by page back to the
// one that is known: the interface cannot begin at the older end.
func (c *coinbase) missed(ctx context.Context, symbol string, after, before int64, _ time.Time) ([]event.Tick, error) {
	var out []event.Tick
	for len(out) < maxHealed && before > after+1 {
		var list []coinbaseTrade
		address := fmt.Sprintf("%s/products/%s/trades?limit=%d&after=%d", c.rest, url.PathEscape(c.pairs.names[symbol]), coinbasePage, before)
		if err := ask(ctx, c.client, address, &list); err != nil {
			return nil, err
		}
		least := before
		for i := range list {
			if id := list[i].TradeID; id <= after || id >= before {
				continue
			}
			t, err := c.tick(&list[i], symbol)
			if err != nil {
				return nil, err
			}
			out = append(out, t)
			least = min(least, list[i].TradeID)
		}
		if least == before {
			break
		}
		before = least
	}
	slices.Reverse(out)
	return out, nil
}

func (c *coinbase) price(ctx context.Context, symbol string) (event.Tick, error) {
	var t coinbaseTrade
	if err := ask(ctx, c.client, fmt.Sprintf("%s/products/%s/ticker", c.rest, url.PathEscape(c.pairs.names[symbol])), &t); err != nil {
		return event.Tick{}, err
	}
	return c.tick(&t, symbol)
}
