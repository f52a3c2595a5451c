package bench

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"crier/internal/kafka"
	"crier/internal/lifecycle"
)

// Ticks is the load of a page's prices: five symbols, each with so many ticks a
// second, and everybody follows all of them.
const Ticks = "ticks"

// tickSymbols are what viewers follow.
var tickSymbols = []string{"BENCHA", "BENCHB", "BENCHC", "BENCHD", "BENCHE"}

// TicksResult is what a load of ticks came to, besides GatewayResult: there a
// delivery is one tick to one viewer, disordered a price older than the one
// before it, and the latencies are from the newest tick's produce to its viewer.
type TicksResult struct {
	Produced   float64 `json:"ticks_per_s"`             // of all symbols
	Rounds     float64 `json:"rounds_per_s_a_viewer"`   // mean
	Fewest     float64 `json:"rounds_per_s_at_least"`   // of the viewer with the fewest
	PerRound   float64 `json:"ticks_a_round"`           // of five, that a viewer gets together
	WriteCalls float64 `json:"writes_a_viewer_a_round"` // system calls of the server, /proc/PID/io
}

// tickViewer is what one viewer has seen.
type tickViewer struct {
	*stream
	last   [5]int64 // the newest price by symbol
	rounds int64
	fresh  time.Duration // of the newest of a round
}

// RunTicks connects viewers, produces ticks at cfg.Rate a symbol, and counts.
func RunTicks(ctx context.Context, cfg GatewayConfig) (GatewayResult, error) {
	out := GatewayResult{Ticks: &TicksResult{}}
	s := &streams{cfg: cfg, list: make([]*stream, cfg.Connections), readers: lifecycle.NewGroup(ctx)}
	defer s.close(ctx)
	began := time.Now()
	viewers := make([]*tickViewer, cfg.Connections)
	names := make([]string, len(tickSymbols))
	for i, symbol := range tickSymbols {
		names[i] = "ticks:" + symbol
	}
	err := eachOf(ctx, len(viewers), func(ctx context.Context, i int) error {
		text, err := cfg.TokenFunc(benchUser(i))
		if err != nil {
			return err
		}
		one, err := openStream(ctx, i, ask{addr: cfg.Addr, ws: cfg.WebSocket, tls: cfg.TLS, topic: strings.Join(names, ","), token: text, payload: 1024})
		if err != nil {
			return err
		}
		s.list[i], viewers[i] = one, &tickViewer{stream: one}
		s.readers.Go("viewer", func(ctx context.Context) error { return s.view(ctx, viewers[i], began) })
		return nil
	})
	if err != nil {
		return out, err
	}
	out.ConnectRate = float64(cfg.Connections) / time.Since(began).Seconds()
	var produced, failed atomic.Int64
	feed := lifecycle.NewGroup(ctx)
	feed.Go("feed", func(ctx context.Context) error { return s.tick(ctx, began, &produced, &failed) })
	defer func() { _ = feed.Stop(context.WithoutCancel(ctx)) }()
	// The first seconds are the pace's to settle in.
	if err := lifecycle.Sleep(ctx, settleConnects+3*time.Second); err != nil {
		return out, err
	}
	cpu, err := cpuTime(cfg.PID)
	if err != nil {
		return out, err
	}
	writes, err := writeCalls(cfg.PID)
	if err != nil {
		return out, err
	}
	ticks, from := produced.Load(), time.Now()
	s.counting.Store(true)
	if err := lifecycle.Sleep(ctx, cfg.Duration); err != nil {
		return out, err
	}
	s.counting.Store(false)
	took := time.Since(from)
	after, err := cpuTime(cfg.PID)
	if err != nil {
		return out, err
	}
	written, err := writeCalls(cfg.PID)
	if err != nil {
		return out, err
	}
	if out.RSS, err = residentMB(cfg.PID); err != nil {
		return out, err
	}
	out.Ticks.Produced = float64(produced.Load()-ticks) / took.Seconds()
	err = s.readers.Err()
	s.close(ctx) // the viewers hand in what they have
	s.summarise(&out, took, after-cpu)
	out.Sent, out.Lost = out.Arrived, 0 // a viewer gets the newest, not all
	out.Ticks.summarise(viewers, took, out.Arrived, written-writes)
	if n := failed.Load(); n > 0 && err == nil {
		err = fmt.Errorf("%d ticks were not produced", n)
	}
	return out, err
}

func (r *TicksResult) summarise(viewers []*tickViewer, took time.Duration, arrived, writes int64) {
	var all int64
	fewest := viewers[0].rounds
	for _, v := range viewers {
		all += v.rounds
		fewest = min(fewest, v.rounds)
	}
	r.Rounds = float64(all) / float64(len(viewers)) / took.Seconds()
	r.Fewest = float64(fewest) / took.Seconds()
	if all > 0 {
		r.PerRound = float64(arrived) / float64(all)
		r.WriteCalls = float64(writes) / float64(all)
	}
}

// view reads one viewer's stream: a price is the microsecond of its making, so
// it says its age, and is never less than the one before.
func (s *streams) view(ctx context.Context, v *tickViewer, began time.Time) error {
	var mine []time.Duration
	defer func() {
		s.mu.Lock()
		s.latencies = append(s.latencies, mine...)
		s.mu.Unlock()
	}()
	for {
		_, data, err := v.next()
		if err != nil {
			if ctx.Err() != nil || s.closing.Load() {
				return nil
			}
			return fmt.Errorf("reading viewer %d: %w", v.number, err)
		}
		i, price, ok := tickOf(data)
		if !ok {
			continue
		}
		back := price < v.last[i]
		v.last[i] = max(v.last[i], price)
		if !s.counting.Load() {
			continue
		}
		s.arrived.Add(1)
		if back {
			s.disorder.Add(1)
		}
		age := time.Since(began) - time.Duration(price)*time.Microsecond
		if i == 0 { // every round has one of the first symbol, and it comes first
			v.rounds++
			v.fresh = age
		}
		v.fresh = min(v.fresh, age)
		if i == len(tickSymbols)-1 && v.rounds%sampleOver == int64(v.number%sampleOver) {
			mine = append(mine, v.fresh)
		}
	}
}

var tickPrefix = []byte(`"symbol":"BENCH`)

// tickOf is the number of a tick's symbol, and its price.
func tickOf(data []byte) (symbol int, price int64, ok bool) {
	i := bytes.Index(data, tickPrefix)
	if i < 0 || i+len(tickPrefix) >= len(data) {
		return 0, 0, false
	}
	symbol = int(data[i+len(tickPrefix)] - 'A')
	_, rest, ok := bytes.Cut(data[i:], []byte(`"price":"`))
	if !ok || symbol < 0 || symbol >= len(tickSymbols) {
		return 0, 0, false
	}
	for _, c := range rest {
		if c < '0' || c > '9' {
			break
		}
		price = 10*price + int64(c-'0')
	}
	return symbol, price, true
}

// tick produces until ctx ends.
func (s *streams) tick(ctx context.Context, began time.Time, produced, failed *atomic.Int64) error {
	done := func(_ kafka.Record, err error) {
		if err != nil && ctx.Err() == nil {
			failed.Add(1)
		}
	}
	from := time.Now()
	for sent := 0; ; {
		for due := int(time.Since(from).Seconds() * float64(s.cfg.Rate)); sent < due; sent++ {
			for _, symbol := range tickSymbols {
				now := time.Now()
				value := fmt.Appendf(make([]byte, 0, 160), `{"symbol":"%s","price":"%d","size":"0.0145","time":"%s","source":"bench","id":"%d"}`,
					symbol, now.Sub(began).Microseconds(), now.UTC().Format(time.RFC3339Nano), sent)
				s.cfg.Producer.ProduceAsync(ctx, kafka.Record{Topic: kafka.Ticks, Key: []byte(symbol), Value: value}, done)
				produced.Add(1)
			}
		}
		if lifecycle.Sleep(ctx, time.Millisecond) != nil {
			return nil
		}
	}
}

// writeCalls is how many times a process has called write and its like (proc(5),
// /proc/PID/io, syscw).
func writeCalls(pid int) (int64, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/io", pid))
	if err != nil {
		return 0, fmt.Errorf("reading a process's calls: %w", err)
	}
	lines := strings.Split(string(b), "\n")
	if i := slices.IndexFunc(lines, func(l string) bool { return strings.HasPrefix(l, "syscw: ") }); i >= 0 {
		return strconv.ParseInt(strings.TrimPrefix(lines[i], "syscw: "), 10, 64)
	}
	return 0, fmt.Errorf("reading a process's calls: no syscw in %q", b)
}
