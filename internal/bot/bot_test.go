package bot_test

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"crier/internal/bot"
	"crier/internal/criertest"
	"crier/internal/event"
)

// source is the source of quotes: what it answers, by symbol, in the form of
// stooq.com's /q/l/?f=sd2t2ohlcv&h&e=csv.
func source(t *testing.T) string {
	const head = "Symbol,Date,Time,Open,High,Low,Close,Volume\r\n"
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch symbol := r.URL.Query().Get("s"); symbol {
		case "aapl.us":
			fmt.Fprint(w, head+"AAPL.US,2026-11-20,22:00:08,91.72,93.5,91.3,93.42,38942510\r\n")
		case "slow.us":
			<-r.Context().Done()
		case "odd.us":
			fmt.Fprint(w, "<html>Exceeded the daily hits limit</html>")
		case "nan.us":
			fmt.Fprint(w, head+"NAN.US,2026-11-20,22:00:08,1,1,1,dear,1\r\n")
		case "short.us":
			fmt.Fprint(w, head+"SHORT.US\r\n")
		case "down.us":
			w.WriteHeader(http.StatusServiceUnavailable)
		default:
			fmt.Fprintf(w, "%s%s,N/D,N/D,N/D,N/D,N/D,N/D,N/D\r\n", head, strings.ToUpper(symbol))
		}
	}))
	t.Cleanup(s.Close)
	return s.URL + "/q/l/?s={symbol}&f=sd2t2ohlcv&h&e=csv"
}

// running is a bot that lives until the test ends or stop is called.
func running(t *testing.T, cfg bot.Config) (stop func()) {
	t.Helper()
	b, err := bot.New(cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := b.Run(ctx); err != nil {
			t.Errorf("the bot ended: %v", err)
		}
	})
	stop = func() { cancel(); wg.Wait() }
	t.Cleanup(stop)
	return stop
}

// room is what was said by the bot in a room.
type room struct {
	t    *testing.T
	user *criertest.User
	name string
}

func (r *room) ask(command, payload string) {
	r.t.Helper()
	if err := r.user.Do(r.t.Context(), "POST", "/rooms/"+r.name+"/messages", map[string]string{"command": command, "payload": payload}, nil); err != nil {
		r.t.Fatal(err)
	}
}

func (r *room) heard() []string {
	r.t.Helper()
	var page struct{ Results []event.RoomMessage }
	if err := r.user.Do(r.t.Context(), "GET", "/rooms/"+r.name+"/messages", nil, &page); err != nil {
		r.t.Fatal(err)
	}
	out := make([]string, len(page.Results))
	for i, m := range page.Results {
		out[len(out)-1-i] = m.Username + ": " + m.Body
	}
	return out
}

func (r *room) await(n int) []string {
	r.t.Helper()
	criertest.Eventually(r.t, time.Minute, fmt.Sprintf("%d answers in %s", n, r.name), func() bool { return len(r.heard()) >= n })
	return r.heard()
}

func present(t *testing.T, u *criertest.User, rooms ...string) {
	t.Helper()
	for _, name := range rooms {
		criertest.Eventually(t, time.Minute, "the bot is in "+name, func() bool {
			var page struct{ Results []event.RoomUser }
			return u.Do(t.Context(), "GET", "/rooms/"+name+"/members", nil, &page) == nil && len(page.Results) == 1 && page.Results[0].Username == "bot"
		})
	}
}

// The bot answers in the room that it was asked in, in plain words whatever
// befalls its source.
func TestAnswers(t *testing.T) {
	t.Parallel()
	p := criertest.Start(t)
	ann := p.SignUp("ann")
	running(t, bot.Config{URL: p.Facts().HTTP, Username: "bot", Password: "a bot's password", Register: true, APIKey: p.Facts().APIKey, QuoteURL: source(t)})
	present(t, ann, "family", "friends", "investments")
	k := p.Kgo(t)
	if err := k.ProduceSync(t.Context(), p.TickRecord("BTCUSDT", "97000.50")).FirstErr(); err != nil {
		t.Fatal(err)
	}
	criertest.Eventually(t, time.Minute, "the price is known", func() bool {
		var page struct{ Results []struct{ Symbol string } }
		return ann.Do(t.Context(), "GET", "/prices", nil, &page) == nil && len(page.Results) == 1
	})
	friends := &room{t, ann, "friends"}
	var alerts struct {
		Results []struct{ Symbol, Condition, Target string }
	}
	for i, c := range []struct{ command, payload, want string }{
		{"stock", "aapl.us", "AAPL.US quote is $93.42 per share"},
		{"stock", " btcusdt ", "BTCUSDT quote is $97000.50 per share"},
		{"STOCK", "nope.us", "I could not find the symbol NOPE.US."},
		{"stock", "odd.us", "The source of quotes answered for ODD.US with something that is no quote."},
		{"stock", "nan.us", "The source of quotes answered for NAN.US with something that is no quote."},
		{"stock", "short.us", "The source of quotes answered for SHORT.US with something that is no quote."},
		{"stock", "down.us", "The source of quotes cannot be reached; ask again later."},
		{"stock", "a b&c=d", "That is no symbol; a quote is asked for with /stock=aapl.us."},
		{"stock", "slow.us", "The source of quotes did not answer within 5s; ask again later."},
		{"alert", "BTCUSDT above 170,000.50", "@ann: alert 1 is set; you will be told when BTCUSDT is at or above 170000.50."},
		{"alert", "BTCUSDT sideways 1", "I did not understand that; an alert is set with /alert=BTCUSDT above 70000."},
		{"alert", "BTCUSDT below 1.2.3", "1.2.3 is no price."},
		{"help", "", "I know: /stock=SYMBOL for a quote, such as /stock=aapl.us or /stock=BTCUSDT · /alert=BTCUSDT above 70000 to be told when a price is reached · /help= for this."},
	} {
		friends.ask("dance", "x") // somebody else's command
		friends.ask(c.command, c.payload)
		got := friends.await(i + 1)
		if got[i] != "bot: "+c.want {
			t.Errorf("%s=%s: %s", c.command, c.payload, got[i])
		}
	}
	if err := ann.Do(t.Context(), "GET", "/alerts", nil, &alerts); err != nil || len(alerts.Results) != 1 || alerts.Results[0].Target != "170000.50" {
		t.Errorf("ann's alerts: %+v %v", alerts, err)
	}
	family := &room{t, ann, "family"}
	family.ask("help", "")
	family.await(1)
	if n := len(friends.heard()); n != 13 {
		t.Errorf("%d answers in friends", n)
	}
}

// What is asked while the bot's gateway is away is answered, once, when it is
// back; a bot without a key says that it sets no alerts; one with a wrong
// password ends.
func TestComesBack(t *testing.T) {
	t.Parallel()
	p := criertest.NewProgram(t, "CRIER_HTTP_ADDR="+criertest.FreeAddr(t))
	p.Start()
	ann := p.SignUp("ann")
	running(t, bot.Config{URL: strings.TrimPrefix(p.Facts().HTTP, "http://"), Username: "bot", Password: "a bot's password", Register: true, Rooms: []string{"friends"}, QuoteURL: "http://127.0.0.1:1/{symbol}"})
	present(t, ann, "friends")
	friends := &room{t, ann, "friends"}
	friends.ask("alert", "BTCUSDT above 1")
	friends.await(1)
	p.Kill()
	p.Start()
	friends.ask("stock", "aapl.us")
	got := friends.await(2)
	if got[0] != "bot: I may not set alerts here: whoever runs me has given me no API key." || got[1] != "bot: The source of quotes cannot be reached; ask again later." {
		t.Errorf("answers %v", got)
	}
	b, err := bot.New(bot.Config{URL: p.Facts().HTTP, Username: "bot", Password: "another password", QuoteURL: "http://x/{symbol}"}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "signing in") {
		t.Errorf("with a wrong password: %v", err)
	}
	if _, err := bot.New(bot.Config{URL: "x", Username: "bot", Password: "y", QuoteURL: "http://x/"}, slog.Default()); err == nil {
		t.Error("a source without {symbol} is taken")
	}
}

// The command's settings have the older bot's names too.
func TestCommand(t *testing.T) {
	t.Parallel()
	p := criertest.Start(t)
	ann := p.SignUp("ann")
	b := criertest.NewProcess(t, []string{"bot", "--register"}, "FINBOT_HOST="+strings.TrimPrefix(p.Facts().HTTP, "http://"), "FINBOT_USERNAME=finbot",
		"FINBOT_PASSWORD=a bot's password", "FINBOT_ROOMS=friends:family", "CRIER_BOT_QUOTE_URL="+source(t))
	b.Launch()
	friends := &room{t, ann, "family"}
	criertest.Eventually(t, time.Minute, "finbot is in", func() bool {
		var page struct{ Results []event.RoomUser }
		return ann.Do(t.Context(), "GET", "/rooms/family/members", nil, &page) == nil && len(page.Results) == 1
	})
	friends.ask("stock", "aapl.us")
	if got := friends.await(1); got[0] != "finbot: AAPL.US quote is $93.42 per share" {
		t.Errorf("%v", got)
	}
	b.Stop()
}
