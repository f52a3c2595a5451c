package feed

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"crier/internal/event"
)

// kraken speaks Kraken's WebSocket v2 (docs.kraken.com, Spot WebSocket v2: channel
// trade; a heartbeat every second without other messages) and the public REST
// call Trades. A pair's trade ids have no holes. Prices are JSON numbers, of which
// the digits are taken as they stand.
type kraken struct {
	pairs    pairs
	ws, rest string
	client   *http.Client
}

// Where Kraken is.
const (
	KrakenWSURL   = "wss://ws.kraken.com/v2"
	KrakenRESTURL = "https://api.kraken.com"
)

// NewKraken makes the feed; it connects in Run.
func NewKraken(cfg Config) *SocketFeed {
	return newSocketFeed("kraken", &kraken{pairs: newPairs(cfg.Symbols, "/"), ws: or(cfg.KrakenWSURL, KrakenWSURL),
		rest: strings.TrimRight(or(cfg.KrakenRESTURL, KrakenRESTURL), "/"), client: &http.Client{Timeout: binanceDial}}, cfg)
}

func (k *kraken) address() string { return k.ws }

func (k *kraken) subscribe(symbols []string) ([]byte, error) {
	return json.Marshal(map[string]any{"method": "subscribe", "params": map[string]any{"channel": "trade", "symbol": k.pairs.list(symbols), "snapshot": true}})
}

func (k *kraken) parse(data []byte) ([]event.Tick, bool, error) {
	var m struct {
		Method  string `json:"method"`
		Success *bool  `json:"success"`
		Error   string `json:"error"`
		Symbol  string `json:"symbol"` // of a refused subscription
		Channel string `json:"channel"`
		Type    string `json:"type"`
		Data    []struct {
			Symbol    string          `json:"symbol"`
			Price     json.RawMessage `json:"price"`
			Quantity  json.RawMessage `json:"qty"`
			TradeID   int64           `json:"trade_id"`
			Timestamp time.Time       `json:"timestamp"`
		} `json:"data"`
	}
	if err := event.Unmarshal(data, &m); err != nil {
		// Other channels' data has another form.
		var other struct {
			Channel string `json:"channel"`
		}
		if event.Unmarshal(data, &other) == nil && other.Channel != "trade" && other.Channel != "" {
			return nil, false, nil
		}
		return nil, false, fmt.Errorf("not the documented JSON: %w", err)
	}
	if m.Method == "subscribe" && m.Success != nil && !*m.Success {
		// Each symbol is answered for itself.
		if symbol, ours := k.pairs.symbols[m.Symbol]; ours {
			return nil, false, &refusedSymbol{symbol: symbol, reason: m.Error, rest: true}
		}
		return nil, false, fmt.Errorf("%w: %s", errRefused, m.Error)
	}
	if m.Channel != "trade" {
		return nil, false, nil
	}
	var out []event.Tick
	for _, d := range m.Data {
		symbol, ok := k.pairs.symbols[d.Symbol]
		if !ok {
			continue
		}
		var v event.Invalid
		price, size := v.CheckPrice("price", d.Price, true), v.CheckPrice("qty", d.Quantity, false)
		if err := v.Err(); err != nil {
			return nil, false, err
		}
		out = append(out, event.Tick{Symbol: symbol, Price: *price, Size: size, Time: d.Timestamp.UTC(), Source: "kraken", ID: strconv.FormatInt(d.TradeID, 10)})
	}
	return out, m.Type == "snapshot", nil
}

// restPair is a pair as the REST interface calls it: it has older names of two
// coins.
func (k *kraken) restPair(symbol string) string {
	base, quote, _ := strings.Cut(k.pairs.names[symbol], "/")
	old := strings.NewReplacer("BTC", "XBT", "DOGE", "XDG")
	return old.Replace(base) + old.Replace(quote)
}

func (k *kraken) trades(ctx context.Context, symbol, query string) ([]event.Tick, error) {
	var answer struct {
		Error  []string                   `json:"error"`
		Result map[string]json.RawMessage `json:"result"`
	}
	if err := ask(ctx, k.client, k.rest+"/0/public/Trades?pair="+url.QueryEscape(k.restPair(symbol))+query, &answer); err != nil {
		return nil, err
	}
	if len(answer.Error) > 0 {
		return nil, fmt.Errorf("asking the exchange: %s", strings.Join(answer.Error, ", "))
	}
	var out []event.Tick
	for name, raw := range answer.Result {
		if name == "last" {
			continue
		}
		var rows [][]json.RawMessage // price, volume, time, side, type, misc, trade id
		if err := event.Unmarshal(raw, &rows); err != nil {
			return nil, fmt.Errorf("reading the exchange's answer: %w", err)
		}
		for _, row := range rows {
			t, err := krakenRow(row, symbol)
			if err != nil {
				return nil, err
			}
			out = append(out, t)
		}
	}
	return out, nil
}

func krakenRow(row []json.RawMessage, symbol string) (event.Tick, error) {
	if len(row) < 7 {
		return event.Tick{}, errors.New("reading the exchange's answer: a trade has too few members")
	}
	var v event.Invalid
	price, size := v.CheckPrice("price", row[0], true), v.CheckPrice("volume", row[1], false)
	if err := v.Err(); err != nil {
		return event.Tick{}, err
	}
	// Seconds with decimals, which a float would round.
	seconds, ok := new(big.Rat).SetString(string(row[2]))
	if !ok {
		return event.Tick{}, fmt.Errorf("reading the exchange's answer: %q is no time", row[2])
	}
	ns := new(big.Rat).Mul(seconds, big.NewRat(int64(time.Second), 1))
	at := new(big.Int).Quo(ns.Num(), ns.Denom()).Int64()
	return event.Tick{Symbol: symbol, Price: *price, Size: size, Time: time.Unix(0, at).UTC(), Source: "kraken", ID: string(row[6])}, nil
}

// missed asks for trades since the time of the last one that is known.
func (k *kraken) missed(ctx context.Context, symbol string, _, _ int64, since time.Time) ([]event.Tick, error) {
	return k.trades(ctx, symbol, "&count=1000&since="+strconv.FormatInt(since.UnixNano()-1, 10))
}

func (k *kraken) price(ctx context.Context, symbol string) (event.Tick, error) {
	list, err := k.trades(ctx, symbol, "&count=1")
	if err != nil {
		return event.Tick{}, err
	}
	if len(list) == 0 {
		return event.Tick{}, errors.New("reading the exchange's answer: no trade")
	}
	return list[len(list)-1], nil
}
