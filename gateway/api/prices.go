package api

import (
	"math"
	"net/http"
	"slices"
	"strings"
	"time"

	"crier/internal/decimal"
	"crier/internal/event"
)

// PriceView is the newest tick of a symbol.
type PriceView struct {
	Symbol string           `json:"symbol" example:"BTCUSDT"`
	Price  decimal.Decimal  `json:"price" swaggertype:"string" example:"70000.50"`
	Size   *decimal.Decimal `json:"size,omitempty" swaggertype:"string"`
	Time   time.Time        `json:"time"`
	Source string           `json:"source" example:"binance"`
	Kind   string           `json:"kind" enums:"live,simulated,replay,external"`
	// The change of this source's price since 24 hours before, in percent; since the
	// first price that is known where there is none so old.
	Change24h string `json:"change_24h,omitempty" example:"-1.25"`
}

// Pricing lists newest prices.
//
//	@Summary	Last prices, with their source and time
//	@Tags		prices
//	@Success	200	{object}	Page{results=[]PriceView}
//	@Router		/prices [get]
func (a *API) Pricing(w http.ResponseWriter, r *http.Request) error {
	ticks := a.Hub.Newest()
	before, err := a.day.get(dayAge, func() (map[[2]string]decimal.Decimal, error) { return a.CandleStore.DayBefore(r.Context()) })
	if err != nil {
		return err
	}
	var p decimal.Percent
	out := make([]PriceView, len(ticks))
	for i, t := range ticks {
		out[i] = PriceView{t.Symbol, t.Price, t.Size, t.Time, t.Source, SourceKind(t.Source), ""}
		switch from, ok := before[[2]string{t.Symbol, t.Source}]; {
		case !ok || from.Sign() <= 0:
		case t.Price.Cmp(from) < 0:
			out[i].Change24h = p.Fall(from, t.Price).Neg().Trunc(2).String()
		default:
			out[i].Change24h = p.Change(from, t.Price).Trunc(2).String()
		}
	}
	return encode(w, http.StatusOK, Page{Count: int64(len(out)), Results: out})
}

// SourceKind tells people what kind of source a tick's is. A producer's own is
// external.
func SourceKind(source string) string {
	switch {
	case source == "binance" || source == "coinbase" || source == "kraken":
		return "live"
	case source == "simulated":
		return "simulated"
	case strings.HasPrefix(source, "replay:"):
		return "replay"
	}
	return "external"
}

// SymbolView is a symbol there are prices of, or that is watched.
type SymbolView struct {
	Symbol  string   `json:"symbol"`
	Watched bool     `json:"watched"`
	Sources []string `json:"sources"`
}

// Symbols lists the symbols.
//
//	@Summary	Symbols that are watched or have had ticks
//	@Tags		prices
//	@Success	200	{object}	Page{results=[]SymbolView}
//	@Router		/symbols [get]
func (a *API) SymbolList(w http.ResponseWriter, r *http.Request) error {
	last, err := a.Prices.All(r.Context())
	if err != nil {
		return err
	}
	views := make(map[string]*SymbolView)
	at := func(symbol string) *SymbolView {
		if views[symbol] == nil {
			views[symbol] = &SymbolView{Symbol: symbol, Sources: []string{}}
		}
		return views[symbol]
	}
	for _, s := range a.Symbols {
		at(s).Watched = true
	}
	add := func(t event.Tick) {
		if v := at(t.Symbol); t.Source != "" && !slices.Contains(v.Sources, t.Source) {
			v.Sources = append(v.Sources, t.Source)
		}
	}
	for _, l := range last {
		add(l.Tick)
	}
	for _, t := range a.Hub.Newest() {
		add(t)
	}
	out := make([]SymbolView, 0, len(views))
	for _, v := range views {
		out = append(out, *v)
	}
	slices.SortFunc(out, func(x, y SymbolView) int { return strings.Compare(x.Symbol, y.Symbol) })
	return encode(w, http.StatusOK, Page{Count: int64(len(out)), Results: out})
}

// staleAfter is how long a source may be silent until it is called stale. Crier's own
// feeds of markets tick every few seconds; how often others write, nobody has said,
// and a replay ends.
var staleAfter = map[string]time.Duration{"live": time.Minute, "simulated": time.Minute}

func stale(kind string, silent time.Duration) bool {
	limit, expected := staleAfter[kind]
	return expected && silent > limit
}

// FeedView is a source of ticks as people are told of it.
type FeedView struct {
	Source string    `json:"source"`
	Kind   string    `json:"kind"`
	Last   time.Time `json:"last"`
	// Stale: one of Crier's own feeds that has been silent for longer than it ever is.
	Stale bool `json:"stale"`
}

// StatusView is what a page needs to know before anyone signs in.
type StatusView struct {
	Version  string `json:"version"`
	Embedded bool   `json:"embedded"`
	Users    string `json:"users" enums:"own,external"`
	Signup   bool   `json:"signup"`
	Invite   bool   `json:"invite,omitempty"` // signing up needs an invitation
	Mail     string `json:"mail,omitempty"`   // where the embedded mail catcher shows what it caught
	// On the embedded default: how a shell on this machine runs this program and starts
	// it again, where Kafka listens, and the demo user's id.
	Command      string       `json:"command,omitempty" example:"go -C /src/crier run ."`
	StartCommand string       `json:"start_command,omitempty" example:"go -C /src/crier run ."`
	Kafka        string       `json:"kafka,omitempty" example:"127.0.0.1:9092"`
	DemoUser     event.UserID `json:"demo_user,omitempty" example:"1"`
	Symbols      []string     `json:"symbols"`
	Feeds        []FeedView   `json:"feeds"`
	// How many times a second this gateway sends ticks, of late: 10 at most, less
	// while it has more to write than it can.
	TickRate   float64   `json:"tick_rate"`
	ServerTime time.Time `json:"server_time"`
}

// Status tells a page where it is.
//
//	@Summary	What this installation is
//	@Tags		prices
//	@Success	200	{object}	StatusView
//	@Router		/status [get]
func (a *API) Status(w http.ResponseWriter, r *http.Request) error {
	now := time.Now()
	st := StatusView{Version: a.Version, Embedded: a.Embedded, Users: "own", Signup: !a.ExternalUsers && a.SignupMode != SignupClosed, Invite: a.SignupMode == SignupInvite, Mail: a.MailPage, Command: a.Command, StartCommand: a.StartCommand, Kafka: a.KafkaAddr, DemoUser: a.demoUser(), Symbols: notNil(a.Symbols), Feeds: []FeedView{}, TickRate: math.Round(10*a.Hub.TickStats().Reached) / 10, ServerTime: now.UTC()}
	if a.ExternalUsers {
		st.Users = "external"
	}
	for source, last := range a.Hub.Sources() {
		kind := SourceKind(source)
		st.Feeds = append(st.Feeds, FeedView{source, kind, last.UTC(), stale(kind, now.Sub(last))})
	}
	slices.SortFunc(st.Feeds, func(x, y FeedView) int { return y.Last.Compare(x.Last) })
	return encode(w, http.StatusOK, st)
}
