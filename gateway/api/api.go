// Package api holds Crier's canonical handlers, one file for each resource.
// A handler decodes with a limit, checks, authorises, calls one domain function
// and encodes; what it says no with is an error that problem.Write puts on the
// wire. Older clients' requests are mapped onto the same handlers.
package api

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"github.com/gorilla/mux"
	"github.com/prometheus/client_golang/prometheus"

	"crier/gateway/hub"
	"crier/gateway/presence"
	"crier/gateway/sse"
	"crier/gateway/ws"
	"crier/internal/alert"
	"crier/internal/candle"
	"crier/internal/decimal"
	"crier/internal/destination"
	"crier/internal/event"
	"crier/internal/inbox"
	"crier/internal/kafka"
	"crier/internal/postgres"
	"crier/internal/price"
	"crier/internal/problem"
	"crier/internal/room"
	"crier/internal/schedule"
	"crier/internal/token"
	"crier/internal/user"
)

// Kafka is what handlers need of it.
type Kafka interface {
	Produce(ctx context.Context, recs ...kafka.Record) error
	EndOf(ctx context.Context, topic, key string) (event.Place, error)
	Reread(ctx context.Context, topic string, partition int32, from, to int64, fn func(kafka.Record) bool) error
}

// Config is what handlers need to know of the operator's wishes.
type Config struct {
	Version        string
	Embedded       bool // guests may come, loopback is not limited
	ExternalUsers  bool
	APIKey         string
	AccessTTL      time.Duration
	RefreshTTL     time.Duration
	Symbols        []string
	SignupMode     string                     // who may sign up
	SignupLimit    int                        // an hour, of an address; 0: any number
	SendLimitUser  int                        // notifications a second of a user
	SendLimitKey   int                        // and of a service
	Conns          int                        // connections to Postgres at most
	MailPage       string                     // of the embedded mail catcher
	Command        string                     // runs this program from a shell, on the embedded default
	StartCommand   string                     // the same with the arguments it was started with
	KafkaAddr      string                     // Kafka's, on the embedded default
	HTTPSFunc      func(*http.Request) bool   // whether the client's own connection is encrypted
	RemoteFunc     func(*http.Request) string // the client's address, behind trusted proxies
	SameOriginFunc func(*http.Request) bool   // whether it comes from a page of ours, or from no page
}

// API is the handlers and what they work on. It is safe for concurrent use.
type API struct {
	Config
	DB           *postgres.DB
	Inbox        *inbox.Store
	Alerts       *alert.Store
	Users        *user.Store
	Destinations *destination.Store
	Guard        *destination.Guard
	Prices       *price.Store
	CandleStore  *candle.Store
	Schedule     *schedule.Store
	Rooms        *room.Store
	Presence     *presence.Presence
	Tokens       *token.Authority
	Kafka        Kafka
	Hub          *hub.Hub
	SSE          *sse.Server
	WS           *ws.Server
	Log          *slog.Logger

	heads   *coalescer[event.UserID, inbox.Head]
	live    *coalescer[string, user.Live]
	known   *knownUsers
	keys    *coalescer[string, user.Key] // by their secrets
	keyUses keyUses
	day     fresh[map[[2]string]decimal.Decimal]
	last    fresh[[]price.Last]
	charts  *charts
	hasher  *user.Hasher
	logins  *failures
	gates   map[Work]*gate
	cuts    *cuts
	rates   rates
	talk    *talkers
	resets  *talkers // requests for new passwords, by address
	sent    prometheus.Counter
	demo    atomic.Pointer[event.UserID] // see EnsureUser
}

// Prepare makes what the handlers keep in memory; it is called once, before
// the first request.
func (a *API) Prepare(reg prometheus.Registerer) {
	a.heads = newCoalescer(a.Inbox.Heads)
	a.live = newCoalescer(func(ctx context.Context, sessions []string) (map[string]user.Live, error) {
		return a.Users.LiveOf(ctx, sessions, time.Now())
	})
	a.known, a.keys = newKnownUsers(a.Users.Exist), newCoalescer(a.lookUpKeys)
	a.charts = newCharts()
	a.gates = newGates(a.Conns, runtime.GOMAXPROCS(0))
	a.hasher, a.logins, a.cuts = user.NewHasher(), newFailures(), newCuts()
	a.rates = newRates(&a.Config)
	a.talk, a.resets = newTalkers(talkRate, talkBurst), newTalkers(resetRate, resetBurst)
	a.SSE.CutFunc, a.WS.CutFunc, a.WS.Commands = a.cuts.note, a.cuts.note, commands{a}
	a.sent = prometheus.NewCounter(prometheus.CounterOpts{Name: "crier_gateway_sent_total", Help: "Notifications accepted over HTTP."})
	reg.MustRegister(a.sent)
}

// Handler is a handler that may say no.
type Handler func(w http.ResponseWriter, r *http.Request) error

// maxBody bounds a request's body: ten thousand user ids and a payload of 64
// KiB fit well.
const maxBody = 1 << 20

// decode reads the body as one JSON object.
func decode(w http.ResponseWriter, r *http.Request, v any) error {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err != nil {
		var tooLarge *http.MaxBytesError
		if errors.As(err, &tooLarge) {
			return problem.New(problem.TooLarge, "The body must be at most 1 MiB.")
		}
		return problem.Wrap(problem.InvalidJSON, "The body could not be read.", err)
	}
	if !utf8.Valid(body) {
		return event.Invalid{{Field: "", Rule: "utf8", Message: "must be valid UTF-8"}}
	}
	return event.DecodeObject(body, v)
}

// encode answers with JSON.
func encode(w http.ResponseWriter, status int, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(append(b, '\n')) // a reader that has gone is no fault of ours
	return nil
}

// Page is one page of a list; Next is the address of the following one.
type Page struct {
	Count   int64   `json:"count"`
	Next    *string `json:"next" extensions:"x-nullable"`
	Results any     `json:"results"`
}

// Pages hold this many unless limit= says otherwise.
const (
	defaultPage = 50
	maxPage     = 200
)

// paging reads limit and cursor.
func paging(r *http.Request) (limit int, before int64, err error) {
	var v event.Invalid
	limit = defaultPage
	if s := r.URL.Query().Get("limit"); s != "" {
		n, err := strconv.Atoi(s)
		if err != nil || n < 1 || n > maxPage {
			v.Add("limit", "range", "must be 1 to "+strconv.Itoa(maxPage))
		} else {
			limit = n
		}
	}
	if s := r.URL.Query().Get("cursor"); s != "" {
		n, err := strconv.ParseInt(s, 10, 64)
		if err != nil || n < 1 {
			v.Add("cursor", "cursor", "must be taken from a page's next")
		}
		before = n
	}
	return limit, before, v.Err()
}

// next is the address of the page behind the entry with this id.
func next(r *http.Request, more bool, id int64) *string {
	if !more {
		return nil
	}
	q := r.URL.Query()
	q.Set("cursor", strconv.FormatInt(id, 10))
	s := r.URL.Path + "?" + q.Encode()
	return &s
}

// boolean reads a query parameter that is true or false.
func boolean(v *event.Invalid, r *http.Request, name string) bool {
	switch r.URL.Query().Get(name) {
	case "", "false", "0":
		return false
	case "true", "1":
		return true
	}
	v.Add(name, "boolean", "must be true or false")
	return false
}

// queryText reads a query parameter that Postgres can hold.
func queryText(v *event.Invalid, r *http.Request, name string, limit int) string {
	s := r.URL.Query().Get(name)
	v.CheckText(name, s, limit)
	return s
}

// PathVar is the part of the path that a route names so.
func PathVar(r *http.Request, name string) string {
	// Routes match the encoded path, in which %2F is no separator. What net/http
	// has parsed can be decoded.
	text, err := url.PathUnescape(mux.Vars(r)[name])
	if err != nil {
		return ""
	}
	return text
}

// pathID reads the id in an address; anything else is not found.
func pathID(text string) (int64, error) {
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < 1 || strings.HasPrefix(text, "+") {
		return 0, problem.New(problem.NotFound, "No such id.")
	}
	return n, nil
}

// signal tells the other gateways, and this one, of a change. It is a hint: when
// it is lost, they see it within 30 s, so its failure only is logged.
func (a *API) signal(ctx context.Context, s event.Signal) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	if err := a.Kafka.Produce(ctx, kafka.SignalRecord(s)); err != nil {
		a.Log.Warn("a signal to the gateways was lost", "type", s.Type, "error", err)
	}
}
