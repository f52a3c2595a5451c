package feed

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"
)

// market is an exchange of our own: its socket plays a script for each
// connection, after it was told what to subscribe to; its REST interface answers
// by the path and query.
type market struct {
	*httptest.Server
	mu         sync.Mutex
	scripts    [][]string
	subscribed []string
	asked      []string
}

func newMarket(t *testing.T, rest func(path string) (int, string), scripts ...[]string) *market {
	m := &market{scripts: scripts}
	mux := http.NewServeMux()
	mux.HandleFunc("/ws", func(w http.ResponseWriter, r *http.Request) {
		m.mu.Lock()
		var script []string
		if len(m.scripts) > 0 {
			script, m.scripts = m.scripts[0], m.scripts[1:]
		}
		m.mu.Unlock()
		if script == nil {
			http.Error(w, "no more", http.StatusServiceUnavailable)
			return
		}
		c, err := websocket.Accept(w, r, nil)
		if err != nil {
			t.Error(err)
			return
		}
		defer c.CloseNow() //nolint:errcheck // it may be closed already
		_, hello, err := c.Read(r.Context())
		if err != nil {
			return
		}
		m.mu.Lock()
		m.subscribed = append(m.subscribed, string(hello))
		last := len(m.scripts) == 0
		m.mu.Unlock()
		say(t, r.Context(), c, script...)
		if last {
			<-c.CloseRead(r.Context()).Done()
		}
	})
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		m.mu.Lock()
		m.asked = append(m.asked, r.URL.String())
		m.mu.Unlock()
		status, body := rest(r.URL.String())
		w.WriteHeader(status)
		_, _ = w.Write([]byte(body))
	})
	m.Server = httptest.NewServer(mux)
	t.Cleanup(m.Close)
	return m
}

func (m *market) config(symbols ...string) (Config, *[]string) {
	var gaps []string
	ws := "ws" + strings.TrimPrefix(m.URL, "http") + "/ws"
	return Config{Symbols: symbols, CoinbaseWSURL: ws, CoinbaseRESTURL: m.URL, KrakenWSURL: ws, KrakenRESTURL: m.URL, Log: slog.New(slog.DiscardHandler),
		GapFunc: func(source string, missed, healed int64) {
			gaps = append(gaps, fmt.Sprintf("%s %d/%d", source, healed, missed))
		}}, &gaps
}

func quick(f *SocketFeed) *SocketFeed {
	f.every = 0
	switch x := f.x.(type) {
	case *coinbase:
		x.client.Transport = &http.Transport{DisableKeepAlives: true}
	case *kraken:
		x.client.Transport = &http.Transport{DisableKeepAlives: true}
	}
	return f
}

func match(kind, product string, id int, price string) string {
	return fmt.Sprintf(`{"type":%q,"trade_id":%d,"sequence":50,"maker_order_id":"ac928c66-ca53-498f-9c13-a110027a60e8","taker_order_id":"132fb6ae-456b-4654-b4e0-d681ac05cea1","time":"2014-11-07T08:19:27.028459Z","product_id":%q,"size":"5.23512","price":%q,"side":"sell"}`,
		kind, id, product, price)
}

// Coinbase: what it documents is read; a hole in the trades' numbers is filled
// from the REST interface before what stands behind it, also over a reconnect;
// repeats are dropped.
func TestCoinbase(t *testing.T) {
	t.Parallel()
	rest := func(path string) (int, string) {
		switch {
		case path == "/products/BTC-USDT/ticker":
			return 200, `{"trade_id":14,"price":"14.5","size":"1","time":"2014-11-07T08:19:30Z"}`
		case path == "/products/BTC-USDT/trades?limit=1000&after=14":
			return 200, `[{"trade_id":13,"side":"sell","size":"1","price":"13","time":"2014-11-07T08:19:29Z"},{"trade_id":12,"side":"buy","size":"1","price":"12","time":"2014-11-07T08:19:28Z"},{"trade_id":11,"size":"1","price":"11","time":"2014-11-07T08:19:28Z"}]`
		}
		return 500, `{"message":"what?"}`
	}
	m := newMarket(t, rest,
		[]string{`{"type":"subscriptions","channels":[{"name":"matches","product_ids":["BTC-USDT","ETH-USDT"]}]}`, match("last_match", "BTC-USDT", 10, "10"), `{"type":"heartbeat","sequence":90,"last_trade_id":20,"product_id":"BTC-USDT","time":"2014-11-07T08:19:28.464459Z"}`,
			match("match", "BTC-USDT", 11, "11"), match("match", "XRP-USDT", 1, "1"), `garbage`, match("match", "BTC-USDT", 11, "11")},
		[]string{match("last_match", "BTC-USDT", 14, "14.5"), match("match", "ETH-USDT", 7, "0.00000001"), match("match", "BTC-USDT", 15, "15")})
	cfg, gaps := m.config("BTCUSDT", "ETHUSDT")
	got := collect(t, quick(NewCoinbase(cfg)), last("BTCUSDT=15#15"))
	if fmt.Sprint(got) != "[BTCUSDT=10#10 BTCUSDT=11#11 BTCUSDT=12#12 BTCUSDT=13#13 BTCUSDT=14.5#14 ETHUSDT=0.00000001#7 BTCUSDT=15#15]" {
		t.Errorf("got %v", got)
	}
	if fmt.Sprint(*gaps) != "[coinbase 2/2]" {
		t.Errorf("gaps %v", *gaps)
	}
	var hello struct {
		Type       string
		ProductIDs []string `json:"product_ids"`
		Channels   []string
	}
	if err := json.Unmarshal([]byte(m.subscribed[0]), &hello); err != nil || fmt.Sprint(hello) != "{subscribe [BTC-USDT ETH-USDT] [matches heartbeat]}" {
		t.Errorf("subscribed with %s", m.subscribed[0])
	}
}

func krakenMessage(kind string, trades ...string) string {
	return `{"channel":"trade","type":"` + kind + `","data":[` + strings.Join(trades, ",") + `]}`
}

func krakenTrade(symbol string, id int, price string) string {
	return fmt.Sprintf(`{"symbol":%q,"side":"sell","price":%s,"qty":40.0,"ord_type":"market","trade_id":%d,"timestamp":"2023-09-25T07:49:37.708706Z"}`, symbol, price, id)
}

// Kraken: the same in its own words. Prices are JSON numbers and keep their
// digits; of the snapshot of the past the last trade is taken at first, and after a
// reconnect all that are new.
func TestKraken(t *testing.T) {
	t.Parallel()
	rest := func(path string) (int, string) {
		if strings.HasPrefix(path, "/0/public/Trades?pair=XBTUSDT&count=1000&since=1695628177708705999") {
			return 200, `{"error":[],"result":{"XBTUSDT":[["30242.9","0.1",1695628177.708706,"b","m","",102],["30243.40000","0.34507674",1695628178.8277369,"b","m","",103],["30244.1","1",1695628178.9,"s","l","",104]],"last":"1695628178900000000"}}`
		}
		return 200, `{"error":["EGeneral:Too many requests"]}`
	}
	m := newMarket(t, rest,
		[]string{`{"channel":"status","type":"update","data":[{"version":"2.0.0","system":"online","api_version":"v2","connection_id":1}]}`,
			`{"method":"subscribe","result":{"channel":"trade","snapshot":true,"symbol":"BTC/USDT"},"success":true,"time_in":"2023-09-25T09:04:31.742599Z","time_out":"2023-09-25T09:04:31.742648Z"}`,
			krakenMessage("snapshot", krakenTrade("BTC/USDT", 100, "1"), krakenTrade("BTC/USDT", 101, "30242.10")), `{"channel":"heartbeat"}`,
			krakenMessage("update", krakenTrade("BTC/USDT", 102, "30242.9"), krakenTrade("BTC/USDT", 105, "0.00000012"))},
		[]string{krakenMessage("snapshot", krakenTrade("BTC/USDT", 105, "1"), krakenTrade("BTC/USDT", 106, "6"), krakenTrade("BTC/USDT", 107, "7"))})
	cfg, gaps := m.config("BTCUSDT")
	got := collect(t, quick(NewKraken(cfg)), last("BTCUSDT=7#107"))
	if fmt.Sprint(got) != "[BTCUSDT=30242.10#101 BTCUSDT=30242.9#102 BTCUSDT=30243.40000#103 BTCUSDT=30244.1#104 BTCUSDT=0.00000012#105 BTCUSDT=6#106 BTCUSDT=7#107]" {
		t.Errorf("got %v", got)
	}
	if fmt.Sprint(*gaps) != "[kraken 2/2]" {
		t.Errorf("gaps %v", *gaps)
	}
	if m.subscribed[0] != `{"method":"subscribe","params":{"channel":"trade","snapshot":true,"symbol":["BTC/USDT"]}}` {
		t.Errorf("subscribed with %s", m.subscribed[0])
	}
}

// A hole that cannot be filled is told, and what stands behind it goes on; what
// the exchange refuses ends the connection.
func TestUnhealed(t *testing.T) {
	t.Parallel()
	m := newMarket(t, func(string) (int, string) { return 503, "" },
		[]string{match("match", "A-USD", 1, "1"), match("match", "A-USD", 5, "5")}, []string{`{"type":"error","message":"Failed to subscribe","reason":"try again later"}`},
		[]string{match("match", "A-USD", 6, "6")})
	cfg, gaps := m.config("A-USD")
	got := collect(t, quick(NewCoinbase(cfg)), last("A-USD=6#6"))
	if fmt.Sprint(got) != "[A-USD=1#1 A-USD=5#5 A-USD=6#6]" || fmt.Sprint(*gaps) != "[coinbase 0/3]" {
		t.Errorf("got %v, gaps %v", got, *gaps)
	}
}

// A symbol that the exchange does not serve, such as a delisted one, is left out:
// the others' trades come, with a new subscription where the exchange has refused
// all of it. After a while it is asked for again.
func TestRefusedSymbol(t *testing.T) {
	t.Parallel()
	away := func(string) (int, string) { return 503, "" }
	t.Run("coinbase", func(t *testing.T) {
		t.Parallel()
		refusal := `{"type":"error","message":"Failed to subscribe","reason":"OLD-USD is not a valid product"}`
		m := newMarket(t, away, []string{refusal}, []string{match("match", "A-USD", 1, "1"), match("match", "B-USD", 2, "2")})
		cfg, _ := m.config("A-USD", "OLD-USD", "B-USD")
		f := quick(NewCoinbase(cfg))
		got := collect(t, f, last("B-USD=2#2"))
		if fmt.Sprint(got) != "[A-USD=1#1 B-USD=2#2]" || len(m.subscribed) != 2 || strings.Contains(m.subscribed[1], "OLD-USD") {
			t.Errorf("got %v, subscribed with %v", got, m.subscribed)
		}
		if n := len(f.served(time.Now().Add(f.recheck))); n != 3 {
			t.Errorf("later %d of 3 symbols are asked for", n)
		}
	})
	t.Run("kraken", func(t *testing.T) {
		t.Parallel()
		refusal := `{"method":"subscribe","error":"Currency pair not supported OLD/USD","success":false,"symbol":"OLD/USD","time_in":"2023-09-25T09:04:31.742599Z","time_out":"2023-09-25T09:04:31.742648Z"}`
		m := newMarket(t, away, []string{refusal, krakenMessage("update", krakenTrade("A/USD", 1, "1"))}, []string{krakenMessage("update", krakenTrade("B/USD", 2, "2"))})
		cfg, _ := m.config("A/USD", "OLD/USD", "B/USD")
		got := collect(t, quick(NewKraken(cfg)), last("B/USD=2#2"))
		if fmt.Sprint(got) != "[A/USD=1#1 B/USD=2#2]" || len(m.subscribed) != 2 || !strings.Contains(m.subscribed[0], "OLD/USD") || strings.Contains(m.subscribed[1], "OLD/USD") {
			t.Errorf("got %v, subscribed with %v", got, m.subscribed)
		}
	})
}

// While the socket is away, a symbol that the REST interface does not know does
// not keep those behind it from being asked for; a limit ends the round.
func TestPollingGoesOnBehindABadSymbol(t *testing.T) {
	t.Parallel()
	t.Run("coinbase", func(t *testing.T) {
		t.Parallel()
		m := newMarket(t, func(path string) (int, string) {
			if path == "/products/OLD-USD/ticker" {
				return 404, `{"message":"NotFound"}`
			}
			return 200, `{"trade_id":14,"price":"14.5","size":"1","time":"2014-11-07T08:19:30Z"}`
		})
		cfg, _ := m.config("OLD-USD", "A-USD")
		collect(t, quick(NewCoinbase(cfg)), last("A-USD=14.5#14"))
	})
	t.Run("binance", func(t *testing.T) {
		t.Parallel()
		x := newExchange(t)
		x.prices = func(symbol string) (int, string) {
			if symbol == "OLD" {
				return 400, `{"code":-1121,"msg":"Invalid symbol."}`
			}
			return 200, `{"symbol":"A","price":"0.5"}`
		}
		collect(t, x.feed("OLD", "A"), last("A=0.5#"))
	})
	t.Run("limited", func(t *testing.T) {
		for _, status := range []int{http.StatusTooManyRequests, http.StatusTeapot} {
			var failed pollFailures
			if !failed.add("A", fmt.Errorf("asking: %w", &statusError{status, ""})) {
				t.Errorf("the round goes on after %d", status)
			}
		}
		var failed pollFailures
		if !failed.add("A", &url.Error{Op: "Get", URL: "http://127.0.0.1:1", Err: errors.New("refused")}) {
			t.Error("the round goes on though the exchange cannot be reached")
		}
	})
}

// Binance's holes are filled by aggregate ids.
func TestBinanceHeals(t *testing.T) {
	t.Parallel()
	x := newExchange(t, func(ctx context.Context, c *websocket.Conn) {
		say(t, ctx, c, trade("A", 1, "1.10"), trade("A", 4, "1.40"))
		<-c.CloseRead(ctx).Done()
	})
	inner := x.Config.Handler
	x.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/api/v3/aggTrades" {
			inner.ServeHTTP(w, r)
			return
		}
		if r.URL.RawQuery != "symbol=A&fromId=2&limit=1000" {
			t.Errorf("asked %s", r.URL)
		}
		_, _ = w.Write([]byte(`[{"a":2,"p":"1.20","q":"4.7","f":1,"l":2,"T":1498793709153,"m":true,"M":true},{"a":3,"p":"1.30","q":"4.7","f":1,"l":2,"T":1498793709154,"m":true,"M":true},{"a":4,"p":"1.40","q":"1","f":1,"l":2,"T":1498793709155,"m":true,"M":true}]`))
	})
	got := collect(t, x.feed("A"), last("A=1.40#4"))
	if fmt.Sprint(got) != "[A=1.10#1 A=1.20#2 A=1.30#3 A=1.40#4]" {
		t.Errorf("got %v", got)
	}
}
