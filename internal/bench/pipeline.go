package bench

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"crier/internal/client"
	"crier/internal/kafka"
	"crier/internal/lifecycle"
)

// Target is the gateway that is loaded, with a key that may send.
type Target struct {
	URL    string
	APIKey string
}

// PipelineConfig says what load there is: notifications are POSTed, or produced
// to Kafka, stored, and awaited on their users' streams.
type PipelineConfig struct {
	Target
	Producer *kafka.Client // what produces to `notifications`, as a backend's would; nil: they are POSTed
	Backend  int           // a process of Postgres, whose CPU time is measured with that of all of them; 0: none
	Users    int           // with a stream each
	Rate     int           // notifications a second; 0: look for the highest
	Duration time.Duration // of each load
	Payload  int           // bytes
	Senders  int           // POSTs at the same time
}

// Result is what one load came to.
type Result struct {
	Target     int     `json:"target_rate"`
	Sent       int64   `json:"sent"`
	Failed     int64   `json:"failed"` // refused or unanswered
	Arrived    int64   `json:"arrived"`
	Lost       int64   `json:"lost"`
	Doubled    int64   `json:"doubled"`
	Disordered int64   `json:"disordered"`
	Rate       float64 `json:"rate"` // arrived a second, from the first send to the last arrival
	P50        float64 `json:"p50_ms"`
	P99        float64 `json:"p99_ms"`
	Max        float64 `json:"max_ms"`
	// CPU seconds per million notifications that arrived, from the first send to
	// the last arrival; 0 where they cannot be read.
	ProgramCPU  float64 `json:"program_cpu_s_per_million"`
	PostgresCPU float64 `json:"postgres_cpu_s_per_million"`
}

// Sustained says that the load was kept up: nothing lost, all sent on time, and
// what was sent had come soon after.
func (r Result) Sustained() bool {
	return r.Lost == 0 && r.Failed == 0 && r.Doubled == 0 && r.Disordered == 0 && r.Rate >= 0.95*float64(r.Target) && r.P99 < 1000
}

// Pipeline is the load's world: users that have signed up and follow their
// streams.
type Pipeline struct {
	cfg    PipelineConfig
	http   *http.Client
	users  []string
	tokens []string
}

// NewPipeline signs users up. Close ends their streams.
func NewPipeline(ctx context.Context, cfg PipelineConfig) (*Pipeline, error) {
	if cfg.Users <= 0 || cfg.Duration <= 0 || cfg.Senders <= 0 {
		return nil, errors.New("bench: users, duration and senders must be positive")
	}
	transport := &http.Transport{MaxIdleConns: cfg.Senders + cfg.Users, MaxIdleConnsPerHost: cfg.Senders, DisableCompression: true}
	p := &Pipeline{cfg: cfg, http: &http.Client{Transport: transport}, users: make([]string, cfg.Users), tokens: make([]string, cfg.Users)}
	world := strings.ToLower(rand.Text()[:10])
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(4)
	for i := range p.users {
		group.Go(func() error { return p.signUp(ctx, i, fmt.Sprintf("bench-%s-%d", world, i)) })
	}
	if err := group.Wait(); err != nil {
		return nil, fmt.Errorf("bench: signing up: %w", err)
	}
	return p, nil
}

func (p *Pipeline) signUp(ctx context.Context, i int, name string) error {
	c := client.Client{Base: p.cfg.URL, HTTP: p.http, APIKey: p.cfg.APIKey} // whose sign-ups are not limited
	body := map[string]string{"username": name, "password": rand.Text()}
	if err := c.Do(ctx, "POST", "/signup", body, nil); err != nil {
		return err
	}
	var in struct {
		Access string `json:"access"`
		User   struct {
			ID string `json:"id"`
		} `json:"user"`
	}
	if err := c.Do(ctx, "POST", "/login", body, &in); err != nil {
		return err
	}
	p.users[i], p.tokens[i] = in.User.ID, in.Access
	return nil
}

// Close gives back its connections.
func (p *Pipeline) Close() { p.http.CloseIdleConnections() }

// settleTime is how long what was sent may take to come before it is lost.
const settleTime = 10 * time.Second

// Load sends at one rate and awaits everything.
func (p *Pipeline) Load(ctx context.Context, rate int) (Result, error) {
	t := &tally{latencies: make([]time.Duration, 0, rate*int(p.cfg.Duration/time.Second+1))}
	run := rand.Text()[:8]
	streams := lifecycle.NewGroup(ctx)
	defer func() { _ = streams.Stop(context.WithoutCancel(ctx)) }() // they end with their context
	for i, u := range p.users {
		r := &reader{user: u, ready: make(chan struct{}), tally: t, run: run}
		streams.Go("stream", func(ctx context.Context) error { return r.follow(ctx, p.http, p.cfg.URL, p.tokens[i]) })
		select {
		case <-r.ready:
		case <-streams.Context().Done():
			return Result{}, fmt.Errorf("bench: %w", context.Cause(streams.Context()))
		}
	}
	used := p.usage()
	began := time.Now()
	send := p.send
	if p.cfg.Producer != nil {
		send = p.produce
	}
	sent, failed := send(streams.Context(), rate, run)
	last := time.Now()
	arrived := func() int64 { t.mu.Lock(); defer t.mu.Unlock(); return t.arrived }
	for deadline := last.Add(settleTime); arrived() < sent && time.Now().Before(deadline) && ctx.Err() == nil; {
		before := arrived()
		_ = lifecycle.Sleep(ctx, 2*time.Millisecond) // the loop sees the context
		if arrived() > before {
			last = time.Now()
		}
	}
	used = p.usage().since(used)
	if err := streams.Err(); err != nil {
		return Result{}, fmt.Errorf("bench: %w", err)
	}
	if ctx.Err() != nil {
		return Result{}, context.Cause(ctx)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	r := summarise(t, rate, sent, failed, last.Sub(began))
	millions := float64(max(1, r.Arrived)) / 1e6
	r.ProgramCPU, r.PostgresCPU = used.program.Seconds()/millions, used.postgres.Seconds()/millions
	return r, nil
}

func summarise(t *tally, rate int, sent, failed int64, took time.Duration) Result {
	slices.Sort(t.latencies)
	at := func(q float64) float64 {
		if len(t.latencies) == 0 {
			return 0
		}
		return float64(t.latencies[min(len(t.latencies)-1, int(q*float64(len(t.latencies))))].Microseconds()) / 1000
	}
	return Result{Target: rate, Sent: sent, Failed: failed, Arrived: t.arrived, Lost: max(0, sent-t.arrived), Doubled: t.doubled, Disordered: t.disordered,
		Rate: float64(t.arrived) / took.Seconds(), P50: at(0.5), P99: at(0.99), Max: at(1)}
}

// send POSTs on a fixed schedule, whatever the answers take: a request that is
// late is not left out. It returns what was accepted and what was not.
func (p *Pipeline) send(ctx context.Context, rate int, run string) (accepted, failed int64) {
	var sent, bad, next atomic.Int64
	total := int64(float64(rate) * p.cfg.Duration.Seconds())
	gap := time.Duration(int64(time.Second) / int64(rate))
	began := time.Now()
	senders := lifecycle.NewGroup(ctx)
	for range p.cfg.Senders {
		senders.Go("sender", func(ctx context.Context) error {
			for {
				n := next.Add(1) - 1
				if n >= total || ctx.Err() != nil {
					return nil
				}
				if wait := time.Until(began.Add(time.Duration(n) * gap)); wait > 0 {
					if lifecycle.Sleep(ctx, wait) != nil {
						return nil
					}
				}
				if p.post(ctx, p.users[int(n)%len(p.users)], run) == nil {
					sent.Add(1)
				} else {
					bad.Add(1)
				}
			}
		})
	}
	_ = senders.Wait(context.WithoutCancel(ctx)) // they end with the last request
	return sent.Load(), bad.Load()
}

// notification is what is said to a user: when it was sent, and filler.
func (p *Pipeline) notification(user, run string) []byte {
	b := make([]byte, 0, p.cfg.Payload+120)
	b = fmt.Appendf(b, `{"user_id":%q,"payload":{%s%s/%d","x":"`, user, stampKey, run, time.Now().UnixNano())
	for range max(0, p.cfg.Payload-60) {
		b = append(b, 'x')
	}
	return append(b, `"}}`...)
}

func (p *Pipeline) post(ctx context.Context, user, run string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, p.cfg.URL+"/api/v1/notifications", bytes.NewReader(p.notification(user, run)))
	if err != nil {
		return err
	}
	req.Header.Set("X-API-Key", p.cfg.APIKey)
	resp, err := p.http.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	_, err = io.Copy(io.Discard, resp.Body)
	if resp.StatusCode != http.StatusAccepted {
		return fmt.Errorf("status %d", resp.StatusCode)
	}
	return err
}

// Highest looks for the highest rate that is sustained: doubling, then halving
// the distance, to within a tenth. each is told of every load.
func (p *Pipeline) Highest(ctx context.Context, each func(Result)) (Result, error) {
	var best Result
	low, high := 0, 0
	for rate := 500; ; {
		r, err := p.Load(ctx, rate)
		if err != nil {
			return best, err
		}
		each(r)
		if r.Sustained() {
			best, low = r, rate
		} else {
			high = rate
		}
		switch {
		case high == 0:
			rate *= 2
		case low == 0 && high <= 100 || high-low <= max(50, high/10):
			return best, nil
		default:
			rate = (low + high) / 2
		}
	}
}
