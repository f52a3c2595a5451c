package bench

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"crier/internal/event"
	"crier/internal/kafka"
	"crier/internal/lifecycle"
)

// Modes of a gateway's load.
const (
	Unicast   = "unicast"   // deliveries to random users
	Broadcast = "broadcast" // one topic's messages to everybody, as fast as it goes
	Idle      = "idle"      // nothing
	Slow      = "slow"      // one topic's messages to 9 readers in 10; the tenth never reads
	Storm     = "storm"     // everybody comes back after a restart, 10 missed each
	Resume    = "resume"    // the subscribers of a topic come back, 1,000 missed each
)

// GatewayConfig says what load a gateway of its own process gets: deliveries are
// produced to Kafka.
type GatewayConfig struct {
	Mode        string
	Addr        string // host:port of the gateway, or of the floor
	PID         int    // of its process, whose CPU and memory are read
	WebSocket   bool
	TLS         *TLS // nil: without
	Connections int
	Rate        int // deliveries a second, or messages of Slow
	Duration    time.Duration
	Payload     int
	Silent      int // of the connections, that never read
	TokenFunc   func(user string) (string, error)
	Profile     *Profile // nil: none is taken
	// Producer sends deliveries; nil: the other side sends by itself (the floor).
	Producer interface {
		ProduceAsync(ctx context.Context, r kafka.Record, done func(kafka.Record, error))
	}
}

// benchTopic is the durable topic of those loads that have one.
const benchTopic = "bench"

func (c *GatewayConfig) topic() string {
	if c.Producer != nil && (c.Mode == Broadcast || c.Mode == Slow) {
		return benchTopic
	}
	return ""
}

// GatewayResult is what one load came to.
type GatewayResult struct {
	CPU         float64 `json:"cpu_s_per_million"` // of the server's process, for each million deliveries
	CPUShare    float64 `json:"cpu_share"`         // of one processor, while it lasted
	RSS         float64 `json:"rss_mb"`
	Rate        float64 `json:"deliveries_per_s"`
	P50         float64 `json:"p50_ms"`
	P99         float64 `json:"p99_ms"`
	ConnectRate float64 `json:"connects_per_s"`
	ConnectCPU  float64 `json:"connect_cpu_ms_per_1000"`
	CaughtUp    float64 `json:"caught_up_s,omitempty"` // storm and resume: until the last one had everything
	CPUSeconds  float64 `json:"cpu_s,omitempty"`       // storm and resume: of the server's process for all of it
	Sent        int64   `json:"sent"`
	Arrived     int64   `json:"arrived"`
	Lost        int64   `json:"lost"`
	Doubled     int64   `json:"doubled"`
	Disordered  int64   `json:"disordered"`

	Ticks *TicksResult `json:"ticks,omitempty"`
}

// streams are the load's connections.
type streams struct {
	cfg       GatewayConfig
	list      []*stream
	counting  atomic.Bool
	closing   atomic.Bool
	arrived   atomic.Int64
	doubled   atomic.Int64
	disorder  atomic.Int64
	mu        sync.Mutex
	latencies []time.Duration
	readers   *lifecycle.Group
}

// connectionsPerAddress spreads connections over loopback addresses: one has
// fewer than 30,000 ports.
const connectionsPerAddress = 10_000

// dialers connect at the same time.
const dialers = 64

// settleConnects is how long the connecting may go on after the last one is
// there; settleIdle is until the gateway has given back what a wave of connects
// took, too, where what is measured is the time after it.
const (
	settleConnects = 2 * time.Second
	settleIdle     = 12 * time.Second
)

// RunGateway connects, loads, and counts: all modes but Storm and Resume.
func RunGateway(ctx context.Context, cfg GatewayConfig) (GatewayResult, error) {
	var out GatewayResult
	s := &streams{cfg: cfg, list: make([]*stream, cfg.Connections), readers: lifecycle.NewGroup(ctx)}
	defer s.close(ctx)
	before, err := cpuTime(cfg.PID)
	if err != nil {
		return out, err
	}
	began := time.Now()
	if err := s.connect(ctx); err != nil {
		return out, err
	}
	after, err := cpuTime(cfg.PID)
	if err != nil {
		return out, err
	}
	out.ConnectRate = float64(cfg.Connections) / time.Since(began).Seconds()
	out.ConnectCPU = 1000 * (after - before).Seconds() / (float64(cfg.Connections) / 1000)
	settle := settleConnects
	if cfg.Mode == Idle {
		settle = settleIdle
	}
	if err := lifecycle.Sleep(ctx, settle); err != nil {
		return out, err
	}
	if before, err = cpuTime(cfg.PID); err != nil {
		return out, err
	}
	profiled := cfg.Profile.take(ctx, cfg.Duration)
	began = time.Now()
	s.counting.Store(true)
	out.Sent, err = s.load(ctx)
	if err != nil {
		return out, err
	}
	took := time.Since(began)
	if after, err = cpuTime(cfg.PID); err != nil {
		return out, err
	}
	if out.RSS, err = residentMB(cfg.PID); err != nil {
		return out, err
	}
	err = errors.Join(s.readers.Err(), profiled())
	s.close(ctx) // the readers hand in their latencies
	s.summarise(&out, took, after-before)
	return out, err
}

func (s *streams) summarise(out *GatewayResult, took, cpu time.Duration) {
	out.Arrived, out.Doubled, out.Disordered = s.arrived.Load(), s.doubled.Load(), s.disorder.Load()
	if s.cfg.Producer == nil {
		out.Sent = out.Arrived // the floor counts nothing itself
	}
	out.Lost = max(0, out.Sent-out.Arrived)
	out.Rate = float64(out.Arrived) / took.Seconds()
	out.CPUShare = cpu.Seconds() / took.Seconds()
	if out.Arrived > 0 {
		out.CPU = cpu.Seconds() / (float64(out.Arrived) / 1e6)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	slices.Sort(s.latencies)
	if n := len(s.latencies); n > 0 {
		out.P50 = float64(s.latencies[n/2].Microseconds()) / 1000
		out.P99 = float64(s.latencies[n*99/100].Microseconds()) / 1000
	}
}

func benchUser(i int) string { return "bench-" + strconv.Itoa(i) }

// connect opens all streams, and has those read that are to.
func (s *streams) connect(ctx context.Context) error {
	return eachOf(ctx, len(s.list), func(ctx context.Context, i int) error {
		text, err := s.cfg.TokenFunc(benchUser(i))
		if err != nil {
			return err
		}
		one, err := openStream(ctx, i, ask{addr: s.cfg.Addr, ws: s.cfg.WebSocket, tls: s.cfg.TLS, topic: s.cfg.topic(), token: text, payload: s.cfg.Payload})
		if err != nil {
			return err
		}
		s.list[i] = one
		if i >= s.cfg.Silent {
			s.readers.Go("stream", func(ctx context.Context) error { return s.read(ctx, one) })
		}
		return nil
	})
}

// eachOf does something n times, so many at once as there are dialers.
func eachOf(ctx context.Context, n int, do func(ctx context.Context, i int) error) error {
	var next atomic.Int64
	group := lifecycle.NewGroup(ctx)
	for range dialers {
		group.Go("dialer", func(ctx context.Context) error {
			for {
				i := int(next.Add(1) - 1)
				if i >= n || ctx.Err() != nil {
					return nil
				}
				if err := do(ctx, i); err != nil {
					return err
				}
			}
		})
	}
	if err := group.Wait(ctx); err != nil {
		return err
	}
	return group.Err()
}

// sampleOver bounds the latencies that are kept: of a broadcast one in so many.
const sampleOver = 16

// read counts what comes on one stream.
func (s *streams) read(ctx context.Context, one *stream) error {
	var mine []time.Duration
	defer func() {
		s.mu.Lock()
		s.latencies = append(s.latencies, mine...)
		s.mu.Unlock()
	}()
	every := int64(1)
	if s.cfg.Mode == Broadcast {
		every = sampleOver
	}
	topic := s.cfg.topic()
	for {
		cursor, data, err := one.next()
		if err != nil {
			if ctx.Err() != nil || s.closing.Load() {
				return nil
			}
			return fmt.Errorf("reading stream %d: %w", one.number, err)
		}
		at, ok := stamped(data)
		if !ok {
			continue
		}
		id, err := place(cursor, topic)
		if err != nil {
			return fmt.Errorf("reading stream %d: %w", one.number, err)
		}
		switch {
		case id <= one.last:
			s.doubled.Add(1)
			continue
		case id > one.last+1:
			s.disorder.Add(1)
		}
		one.last = id
		if s.counting.Load() {
			s.arrived.Add(1)
			if id%every == 0 {
				mine = append(mine, time.Since(at))
			}
		}
	}
}

// load produces, and waits until everything has come.
func (s *streams) load(ctx context.Context) (int64, error) {
	if s.cfg.Producer == nil || s.cfg.Mode == Idle {
		return 0, lifecycle.Sleep(ctx, s.cfg.Duration)
	}
	var failed atomic.Int64
	sent, err := s.produce(ctx, func(_ kafka.Record, err error) {
		if err != nil {
			failed.Add(1)
		}
	})
	if err != nil {
		return sent, err
	}
	for deadline := time.Now().Add(settleTime); s.arrived.Load() < sent && time.Now().Before(deadline); {
		if err := lifecycle.Sleep(ctx, time.Millisecond); err != nil {
			return sent, err
		}
	}
	if n := failed.Load(); n > 0 {
		return sent, fmt.Errorf("%d deliveries were not produced", n)
	}
	return sent, nil
}

// broadcastAhead is how many messages of a broadcast may be on their way: enough
// to keep the gateway busy, and few enough that they do not only wait.
const broadcastAhead = 16

// produce returns how many deliveries its records come to.
func (s *streams) produce(ctx context.Context, done func(kafka.Record, error)) (sent int64, err error) {
	filler := strings.Repeat("x", max(0, s.cfg.Payload-40))
	readers := int64(s.cfg.Connections - s.cfg.Silent)
	began := time.Now()
	if s.cfg.Mode == Unicast {
		ids := make([]int64, s.cfg.Connections)
		total := int64(float64(s.cfg.Rate) * s.cfg.Duration.Seconds())
		for sent < total {
			// What is due by now goes out together, as a busy consumer's batch does.
			due := min(total, int64(time.Since(began).Seconds()*float64(s.cfg.Rate)))
			for ; sent < due; sent++ {
				i := rand.IntN(len(ids))
				ids[i]++
				s.cfg.Producer.ProduceAsync(ctx, deliveryRecord("user", benchUser(i), ids[i], filler), done)
			}
			if err := lifecycle.Sleep(ctx, time.Millisecond); err != nil {
				return sent, err
			}
		}
		return sent, nil
	}
	for id := int64(1); time.Since(began) < s.cfg.Duration; {
		ready := id <= s.arrived.Load()/readers+broadcastAhead
		if s.cfg.Mode == Slow {
			ready = float64(id) <= time.Since(began).Seconds()*float64(s.cfg.Rate)
		}
		if !ready {
			if err := lifecycle.Sleep(ctx, 200*time.Microsecond); err != nil {
				return sent, err
			}
			continue
		}
		s.cfg.Producer.ProduceAsync(ctx, deliveryRecord("topic", benchTopic, id, filler), done)
		id++
		sent += readers
	}
	return sent, nil
}

// deliveryRecord is a delivery as the consumer produces it.
func deliveryRecord(is, owner string, id int64, filler string) kafka.Record {
	value := fmt.Appendf(make([]byte, 0, len(filler)+80), `{"id":%d,%s%d","x":"%s"}`, id, stampKey, time.Now().UnixNano(), filler)
	return kafka.Record{Topic: kafka.Deliveries, Key: []byte(owner), Value: value, Headers: []kafka.Header{
		{Key: is, Value: []byte(owner)}, {Key: "id", Value: strconv.AppendInt(nil, id, 10)}, {Key: "kind", Value: []byte(event.KindMessage)}}}
}

// close ends the readers, and the connections with them. It may be called again.
func (s *streams) close(ctx context.Context) {
	s.closing.Store(true)
	for _, one := range s.list {
		if one != nil {
			_ = one.conn.SetDeadline(time.Now())
		}
	}
	if err := s.readers.Stop(context.WithoutCancel(ctx)); err != nil && !errors.Is(err, lifecycle.ErrStopped) {
		return // what they have found is told by Err
	}
	for _, one := range s.list {
		if one != nil {
			_ = one.conn.Close()
		}
	}
}
