package bench

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"crier/internal/kafka"
	"crier/internal/lifecycle"
)

// GatewayConfig says what load a gateway of its own process gets: deliveries are
// produced to Kafka, one to a random user's stream each.
type GatewayConfig struct {
	Addr        string // host:port of the gateway, or of the floor
	PID         int    // of its process, whose CPU and memory are read
	Connections int
	Rate        int // deliveries a second; 0: none, the streams are idle
	Duration    time.Duration
	Payload     int
	TokenFunc   func(user string) (string, error)
	// Produce sends one delivery; nil: the other side sends by itself (the floor).
	Producer interface {
		ProduceAsync(ctx context.Context, r kafka.Record, done func(kafka.Record, error))
	}
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
	Sent        int64   `json:"sent"`
	Arrived     int64   `json:"arrived"`
	Lost        int64   `json:"lost"`
	Doubled     int64   `json:"doubled"`
	Disordered  int64   `json:"disordered"`
}

// streams are the load's connections.
type streams struct {
	cfg       GatewayConfig
	conns     []net.Conn
	last      []int64
	counting  atomic.Bool
	closing   atomic.Bool
	arrived   atomic.Int64
	doubled   atomic.Int64
	disorder  atomic.Int64
	mu        sync.Mutex
	latencies []time.Duration
	readers   *lifecycle.Group
}

// sourceAddresses spread connections over loopback addresses: one has fewer than
// 30,000 ports.
const connectionsPerAddress = 10_000

// RunGateway connects, loads, and counts.
func RunGateway(ctx context.Context, cfg GatewayConfig) (GatewayResult, error) {
	var out GatewayResult
	s := &streams{cfg: cfg, conns: make([]net.Conn, cfg.Connections), last: make([]int64, cfg.Connections), readers: lifecycle.NewGroup(ctx)}
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
	if err := lifecycle.Sleep(ctx, 2*time.Second); err != nil { // the connecting is over
		return out, err
	}
	if before, err = cpuTime(cfg.PID); err != nil {
		return out, err
	}
	began = time.Now()
	s.counting.Store(true)
	out.Sent, err = s.load(ctx)
	if err != nil {
		return out, err
	}
	if after, err = cpuTime(cfg.PID); err != nil {
		return out, err
	}
	took := time.Since(began)
	if out.RSS, err = residentMB(cfg.PID); err != nil {
		return out, err
	}
	err = s.readers.Err()
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

// connect opens all streams, sixty-four at a time.
func (s *streams) connect(ctx context.Context) error {
	var next atomic.Int64
	dialers := lifecycle.NewGroup(ctx)
	for range 64 {
		dialers.Go("dialer", func(ctx context.Context) error {
			for {
				i := int(next.Add(1) - 1)
				if i >= len(s.conns) || ctx.Err() != nil {
					return nil
				}
				if err := s.open(ctx, i); err != nil {
					return err
				}
			}
		})
	}
	if err := dialers.Wait(ctx); err != nil {
		return err
	}
	return dialers.Err()
}

// open connects one stream and waits for its first event.
func (s *streams) open(ctx context.Context, i int) error {
	user := "bench-" + strconv.Itoa(i)
	text, err := s.cfg.TokenFunc(user)
	if err != nil {
		return err
	}
	from := &net.TCPAddr{IP: net.IPv4(127, 0, 0, byte(2+i/connectionsPerAddress))}
	conn, err := (&net.Dialer{LocalAddr: from, Timeout: 20 * time.Second}).DialContext(ctx, "tcp", s.cfg.Addr)
	if err != nil {
		return fmt.Errorf("connecting stream %d: %w", i, err)
	}
	s.conns[i] = conn
	if _, err := fmt.Fprintf(conn, "GET /api/v1/stream HTTP/1.1\r\nHost: %s\r\nAuthorization: Bearer %s\r\n\r\n", s.cfg.Addr, text); err != nil {
		return fmt.Errorf("asking for stream %d: %w", i, err)
	}
	in := bufio.NewReaderSize(conn, 2048)
	line, err := in.ReadString('\n')
	if err != nil || !strings.Contains(line, " 200 ") {
		return fmt.Errorf("stream %d begins with %q: %w", i, line, errors.Join(err))
	}
	for !strings.HasPrefix(line, "event: ready") {
		if line, err = in.ReadString('\n'); err != nil {
			return fmt.Errorf("stream %d: %w", i, err)
		}
	}
	s.readers.Go("stream", func(ctx context.Context) error { return s.read(ctx, i, in) })
	return nil
}

// read counts what comes on one stream.
func (s *streams) read(ctx context.Context, i int, in *bufio.Reader) error {
	var id int64
	var mine []time.Duration
	defer func() {
		s.mu.Lock()
		s.latencies = append(s.latencies, mine...)
		s.mu.Unlock()
	}()
	for {
		line, err := in.ReadSlice('\n')
		if err != nil {
			if ctx.Err() != nil || s.closing.Load() {
				return nil
			}
			return fmt.Errorf("reading stream %d: %w", i, err)
		}
		switch {
		case bytes.HasPrefix(line, []byte("id: ")):
			if id, err = strconv.ParseInt(string(bytes.TrimSpace(line[4:])), 10, 64); err != nil {
				return fmt.Errorf("reading stream %d: %w", i, err)
			}
		case bytes.HasPrefix(line, []byte("data: ")):
			stamp := bytes.Index(line, []byte(stampKey))
			if stamp < 0 {
				continue
			}
			digits, _, _ := strings.Cut(string(line[stamp+len(stampKey):]), `"`)
			nano, err := strconv.ParseInt(digits, 10, 64)
			if err != nil {
				return fmt.Errorf("reading stream %d: %w", i, err)
			}
			switch {
			case id <= s.last[i]:
				s.doubled.Add(1)
				continue
			case id > s.last[i]+1:
				s.disorder.Add(1)
			}
			s.last[i] = id
			if s.counting.Load() {
				s.arrived.Add(1)
				mine = append(mine, time.Since(time.Unix(0, nano)))
			}
		}
	}
}

// load produces at the rate, and waits until everything has come.
func (s *streams) load(ctx context.Context) (int64, error) {
	if s.cfg.Producer == nil || s.cfg.Rate == 0 {
		return 0, lifecycle.Sleep(ctx, s.cfg.Duration)
	}
	ids := make([]int64, s.cfg.Connections)
	filler := strings.Repeat("x", max(0, s.cfg.Payload-40))
	var failed atomic.Int64
	var sent int64
	total := int64(float64(s.cfg.Rate) * s.cfg.Duration.Seconds())
	began := time.Now()
	for sent < total {
		// What is due by now goes out together, as a busy consumer's batch does.
		due := min(total, int64(time.Since(began).Seconds()*float64(s.cfg.Rate)))
		for ; sent < due; sent++ {
			i := rand.IntN(len(ids))
			ids[i]++
			user := "bench-" + strconv.Itoa(i)
			value := fmt.Appendf(make([]byte, 0, s.cfg.Payload+40), `{"id":%d,%s%d","x":"%s"}`, ids[i], stampKey, time.Now().UnixNano(), filler)
			s.cfg.Producer.ProduceAsync(ctx, kafka.Record{Topic: kafka.Deliveries, Key: []byte(user), Value: value, Headers: []kafka.Header{
				{Key: "user", Value: []byte(user)}, {Key: "id", Value: strconv.AppendInt(nil, ids[i], 10)}, {Key: "kind", Value: []byte("message")}}}, func(_ kafka.Record, err error) {
				if err != nil {
					failed.Add(1)
				}
			})
		}
		if err := lifecycle.Sleep(ctx, time.Millisecond); err != nil {
			return sent, err
		}
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

// close ends the readers, and the connections with them. It may be called again.
func (s *streams) close(ctx context.Context) {
	s.closing.Store(true)
	for _, c := range s.conns {
		if c != nil {
			_ = c.SetDeadline(time.Now())
		}
	}
	_ = s.readers.Stop(context.WithoutCancel(ctx)) // their deadlines have passed
	for _, c := range s.conns {
		if c != nil {
			_ = c.Close()
		}
	}
}
