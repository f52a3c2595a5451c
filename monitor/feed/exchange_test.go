package feed

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"

	"crier/internal/event"
)

// exchange is a Binance of our own: each connection is played a script.
type exchange struct {
	*httptest.Server
	t       *testing.T
	mu      sync.Mutex
	scripts []func(ctx context.Context, c *websocket.Conn)
	asked   []string // by the stream's address
	prices  func(symbol string) (int, string)
	polls   int
}

func newExchange(t *testing.T, scripts ...func(ctx context.Context, c *websocket.Conn)) *exchange {
	x := &exchange{t: t, scripts: scripts, prices: func(string) (int, string) { return 200, `{"symbol":"A","price":"0.5"}` }}
	mux := http.NewServeMux()
	mux.HandleFunc("/stream", func(w http.ResponseWriter, r *http.Request) {
		x.mu.Lock()
		x.asked = append(x.asked, r.URL.RawQuery)
		var script func(context.Context, *websocket.Conn)
		if len(x.scripts) > 0 {
			script, x.scripts = x.scripts[0], x.scripts[1:]
		}
		x.mu.Unlock()
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
		script(r.Context(), c)
	})
	mux.HandleFunc("/api/v3/ticker/price", func(w http.ResponseWriter, r *http.Request) {
		x.mu.Lock()
		defer x.mu.Unlock()
		x.polls++
		status, body := x.prices(r.URL.Query().Get("symbol"))
		w.WriteHeader(status)
		_, _ = w.Write([]byte(body))
	})
	x.Server = httptest.NewServer(mux)
	t.Cleanup(x.Close)
	return x
}

func (x *exchange) feed(symbols ...string) *BinanceFeed {
	f := NewBinance(Config{Symbols: symbols, BinanceWSURL: "ws" + strings.TrimPrefix(x.URL, "http"), BinanceRESTURL: x.URL + "/", Log: slog.New(slog.DiscardHandler)})
	f.client.Transport = &http.Transport{DisableKeepAlives: true}
	return f
}

// collect runs the feed until enough says so, and returns what was emitted.
func collect(t *testing.T, f Feed, enough func(got []string) bool) []string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var got []string
	err := f.Run(ctx, func(x event.Tick) error {
		if got = append(got, fmt.Sprintf("%s=%s#%s", x.Symbol, x.Price, x.ID)); enough(got) {
			cancel()
		}
		return nil
	})
	if err != nil || !enough(got) {
		t.Errorf("got %v, %v", got, err)
	}
	return got
}

func trade(symbol string, id int, price string) string {
	return fmt.Sprintf(`{"stream":"%s@aggTrade","data":{"e":"aggTrade","E":1700000000001,"s":%q,"a":%d,"p":%q,"q":"1.5","f":1,"l":2,"T":1700000000000,"m":true,"M":false}}`,
		strings.ToLower(symbol), symbol, id, price)
}

func say(t *testing.T, ctx context.Context, c *websocket.Conn, messages ...string) {
	for _, m := range messages {
		if err := c.Write(ctx, websocket.MessageText, []byte(m)); err != nil {
			t.Log(err) // the feed has ended
			return
		}
	}
}

func last(s string) func([]string) bool {
	return func(got []string) bool { return slices.Contains(got, s) }
}

// Trades of the combined stream are emitted as they come; what cannot be read is
// passed over, repeats of another connection are dropped, and an announced
// restart or a cut leads to a new connection.
func TestBinanceStream(t *testing.T) {
	t.Parallel()
	x := newExchange(t,
		func(ctx context.Context, c *websocket.Conn) {
			say(t, ctx, c, trade("A", 1, "1.10"), `garbage`, `{"result":null,"id":1}`, trade("A", 2, "dear"), trade("B", 1, "7"), trade("A", 3, "1.30"), trade("A", 3, "1.30"),
				`{"stream":"a@kline_1m","data":{"e":"kline"}}`, `{"e":"serverShutdown","E":1700000000000}`, trade("A", 99, "9"))
			<-c.CloseRead(ctx).Done()
		},
		func(ctx context.Context, c *websocket.Conn) {
			say(t, ctx, c, trade("A", 2, "1.20"), trade("A", 3, "1.30"), trade("A", 4, "1.40"))
		}, // and it is cut
		func(ctx context.Context, c *websocket.Conn) {
			ctx = c.CloseRead(ctx)
			if err := c.Ping(ctx); err != nil {
				t.Errorf("a ping was not answered: %v", err)
			}
			say(t, ctx, c, trade("A", 5, "1.50"))
			<-ctx.Done()
		},
	)
	x.prices = func(string) (int, string) { return 500, "" }
	got := collect(t, x.feed("A", "B"), last("A=1.50#5"))
	if want := []string{"A=1.10#1", "B=7#1", "A=1.30#3", "A=1.40#4", "A=1.50#5"}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	if len(x.asked) != 3 || x.asked[0] != "streams=a@aggTrade/b@aggTrade" {
		t.Errorf("asked for %v", x.asked)
	}
}

// While the stream is down last prices come from the REST interface, at their
// own pace; an answer without a price makes none up.
func TestBinanceREST(t *testing.T) {
	t.Parallel()
	x := newExchange(t)
	x.prices = func(symbol string) (int, string) {
		switch {
		case symbol == "B":
			return 200, `{}`
		case x.polls > 6:
			return 200, `{"symbol":"A","price":"2.00"}`
		case x.polls > 3:
			return 418, `{"code":-1003,"msg":"Way too many requests"}`
		}
		return 200, `{"symbol":"A","price":"1.00"}`
	}
	f := x.feed("A", "B")
	f.every = 50 * time.Millisecond
	got := collect(t, f, last("A=2.00#"))
	for _, g := range got {
		if g != "A=1.00#" && g != "A=2.00#" {
			t.Errorf("emitted %s", g)
		}
	}
}

// A connection is given up before the exchange cuts it; Kafka's fault ends the
// run; whether the exchange can be reached is told.
func TestBinanceEnds(t *testing.T) {
	t.Parallel()
	talk := func(ctx context.Context, c *websocket.Conn) {
		for i := 1; ctx.Err() == nil && i < 100; i++ {
			say(t, ctx, c, trade("A", i, "1"))
			<-time.After(2 * time.Millisecond)
		}
		<-c.CloseRead(ctx).Done()
	}
	x := newExchange(t, talk, talk, talk, talk)
	f := x.feed("A")
	f.life = 20 * time.Millisecond
	collect(t, f, func(got []string) bool {
		x.mu.Lock()
		defer x.mu.Unlock()
		return len(x.asked) >= 3
	})
	away := fmt.Errorf("Kafka is away")
	if err := newExchange(t, talk).feed("A").Run(t.Context(), func(event.Tick) error { return away }); err != away {
		t.Errorf("with Kafka away: %v", err)
	}
	if err := newExchange(t, talk).feed("A").Reachable(t.Context()); err != nil {
		t.Errorf("reachable: %v", err)
	}
	if err := newExchange(t).feed("A").Reachable(t.Context()); err == nil {
		t.Error("reachable: no error")
	}
}
