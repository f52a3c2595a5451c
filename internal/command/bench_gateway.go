package command

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"crier/internal/bench"
	"crier/internal/event"
	"crier/internal/kafka"
	"crier/internal/lifecycle"
	"crier/internal/token"
)

// benchGatewayCmd loads a gateway that is a process of its own, and the floor in
// the same run, so that both see the same machine.
type benchGatewayCmd struct {
	Mode        string        `enum:"unicast,broadcast,idle,storm,slow,resume,ticks" default:"unicast" help:"ticks: five symbols' ticks to viewers; unicast: deliveries to random users; broadcast: a topic's messages to all, as fast as it goes; idle: none; storm: all come back after a restart, 10 missed each; slow: a topic's messages beside readers that never read; resume: a topic's subscribers come back, 1,000 missed each."`
	Connections int           `default:"10000" help:"Streams, one a user. At most the open files that this system allows, less a few."`
	Rate        int           `default:"20000" help:"Deliveries a second (unicast), or messages (slow: 250 unless given), or ticks of a symbol (ticks: 1000 unless given)."`
	Payload     int           `default:"128" help:"Bytes of a delivery (slow: 4096 unless given)."`
	Transport   string        `enum:"sse,ws,h2,sse-tls,ws-tls" default:"sse" help:"sse, ws, or over TLS: h2 (SSE whose streams share connections of HTTP/2), sse-tls, ws-tls. The floor is without."`
	Duration    time.Duration `default:"10s" help:"How long the load lasts."`
	Missed      int           `help:"What each reader missed; 0: 10 (storm), 1000 (resume)."`
	NoFloor     bool          `help:"Leave out the floor."`
	Gateways    int           `default:"1" help:"So many gateways side by side, with --connections each (idle)."`
	Profile     string        `complete:"file" help:"Write the gateway's CPU profile under load to this file, and its heap at the end to FILE.heap."`
	At          string        `hidden:"" help:"Load the gateway at this address, whose secret is CRIER_JWT_SECRET: how several are loaded, each by a process with open files of its own."`
	AtPID       int           `name:"at-pid" hidden:"" help:"Its process."`
	JSON        bool          `name:"json" help:"Print one JSON object."`

	PerConnection int `default:"10" help:"Streams that share a connection (h2)."`
}

// loadGCPercent is the load's own: with ten thousand readers, a broker and Postgres
// beside the gateway on two cores, its collector must not be what is measured.
const loadGCPercent = 400

// gatewayReport is what --json prints.
type gatewayReport struct {
	Floor      *bench.GatewayResult  `json:"floor,omitempty"`
	Alone      *bench.GatewayResult  `json:"alone,omitempty"` // slow: without those that never read
	Gateway    bench.GatewayResult   `json:"gateway"`
	Others     []bench.GatewayResult `json:"others,omitempty"` // of --gateways
	Lost       int64                 `json:"lost"`
	Doubled    int64                 `json:"doubled"`
	Disordered int64                 `json:"disordered"`
}

// Run is called by the parser.
func (c *benchGatewayCmd) Run(e *env) error {
	if runtime.GOOS != "linux" {
		return errors.New("bench gateway reads /proc, which is Linux's")
	}
	if c.Mode == bench.Slow {
		if c.Rate == 20_000 {
			c.Rate = 250
		}
		if c.Payload == 128 {
			c.Payload = 4096
		}
		if c.Connections == 10_000 {
			c.Connections = 100
		}
	}
	if c.Mode == bench.Resume && c.Connections == 10_000 {
		c.Connections = 1000
	}
	if c.Mode == bench.Ticks && c.Rate == 20_000 {
		c.Rate = 1000
	}
	debug.SetGCPercent(loadGCPercent)
	if c.At != "" {
		return c.attached(e)
	}
	report, err := c.measure(e)
	if err != nil {
		return err
	}
	if c.JSON {
		b, err := json.Marshal(report)
		if err != nil {
			return fmt.Errorf("encoding the result: %w", err)
		}
		e.printf("%s\n", b)
		return nil
	}
	c.table(e, report)
	return nil
}

// measure runs the load.
func (c *benchGatewayCmd) measure(e *env) (*gatewayReport, error) {
	report := new(gatewayReport)
	if c.Gateways > 1 {
		if c.Mode != bench.Idle || c.Transport != "sse" && c.Transport != "ws" {
			return nil, errors.New("--gateways: must be 1, or --mode idle with --transport sse or ws")
		}
		all, err := c.sideBySide(e)
		if err != nil {
			return nil, err
		}
		report.Gateway, report.Others = all[0], all[1:]
		return report, nil
	}
	if !c.NoFloor && (c.Mode == bench.Unicast || c.Mode == bench.Broadcast) {
		floor, err := c.floor(e)
		if err != nil {
			return nil, fmt.Errorf("the floor: %w", err)
		}
		report.Floor = &floor
	}
	silent := 0
	if c.Mode == bench.Slow {
		silent = c.Connections / 10
		alone, err := c.gateway(e, c.Connections-silent, 0)
		if err != nil {
			return nil, err
		}
		report.Alone = &alone
	}
	var err error
	if report.Gateway, err = c.gateway(e, c.Connections, silent); err != nil {
		return nil, err
	}
	report.Lost, report.Doubled, report.Disordered = report.Gateway.Lost, report.Gateway.Doubled, report.Gateway.Disordered
	return report, nil
}

func (c *benchGatewayCmd) table(e *env, report *gatewayReport) {
	e.printf("%-8s %11s %9s %10s %9s %8s %8s %10s %13s %6s %8s %11s\n", "", "CPU s/M", "CPU %", "RSS MB", "rate/s", "p50 ms", "p99 ms", "connects/s", "ms/1000 conn.", "lost", "doubled", "disordered")
	row := func(name string, r *bench.GatewayResult) {
		if r != nil {
			e.printf("%-8s %11.1f %9.1f %10.1f %9.0f %8.2f %8.2f %10.0f %13.0f %6d %8d %11d\n", name, r.CPU, 100*r.CPUShare, r.RSS, r.Rate, r.P50, r.P99, r.ConnectRate, r.ConnectCPU, r.Lost, r.Doubled, r.Disordered)
		}
	}
	row("floor", report.Floor)
	row("alone", report.Alone)
	row("gateway", &report.Gateway)
	for i := range report.Others {
		row("gateway", &report.Others[i])
	}
	g := &report.Gateway
	if f := report.Floor; f != nil && f.CPU > 0 {
		e.printf("gateway : floor, CPU %.2f, rate %.2f\n", g.CPU/f.CPU, g.Rate/f.Rate)
	}
	if a := report.Alone; a != nil && a.P99 > 0 {
		e.printf("beside : alone, p99 %.2f\n", g.P99/a.P99)
	}
	if t := g.Ticks; t != nil {
		e.printf("%.0f ticks/s; rounds/s a viewer %.2f, at least %.2f; ticks a round %.2f; writes a viewer and round %.3f\n", t.Produced, t.Rounds, t.Fewest, t.PerRound, t.WriteCalls)
	}
	if g.CaughtUp > 0 {
		e.printf("all caught up after %.2f s, %.2f CPU s\n", g.CaughtUp, g.CPUSeconds)
	}
}

// child is this program again, as another process.
type child struct {
	cmd   *exec.Cmd
	group *lifecycle.Group
	mu    sync.Mutex
	err   error
}

func (e *env) child(out io.Writer, args []string, env ...string) (*child, error) {
	exe, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("finding this program: %w", err)
	}
	cmd := exec.Command(exe, args...)
	cmd.Env = append(append(os.Environ(), "CRIER_LOG_LEVEL=warn"), env...)
	cmd.Stdout, cmd.Stderr = out, e.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting %v: %w", args, err)
	}
	c := &child{cmd: cmd, group: lifecycle.NewGroup(context.WithoutCancel(e.ctx))}
	c.group.Go("child", func(context.Context) error {
		err := cmd.Wait()
		c.mu.Lock()
		c.err = err
		c.mu.Unlock()
		return nil
	})
	return c, nil
}

// stop interrupts it, and kills it after ten seconds.
func (c *child) stop() {
	_ = c.cmd.Process.Signal(os.Interrupt) // it may be gone
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if c.group.Wait(ctx) != nil {
		_ = c.cmd.Process.Kill()
		_ = c.group.Wait(context.Background()) // killed
	}
}

func freeAddr(ctx context.Context) (string, error) {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", fmt.Errorf("looking for a free port: %w", err)
	}
	return l.Addr().String(), l.Close()
}

func (c *benchGatewayCmd) floor(e *env) (bench.GatewayResult, error) {
	addr, err := freeAddr(e.ctx)
	if err != nil {
		return bench.GatewayResult{}, err
	}
	p, err := e.child(io.Discard, []string{"bench", "floor", "--addr", addr, "--connections", strconv.Itoa(c.Connections), "--rate", strconv.Itoa(c.Rate),
		"--payload", strconv.Itoa(c.Payload), "--duration", c.Duration.String(), "--mode", c.Mode, "--transport", c.Transport})
	if err != nil {
		return bench.GatewayResult{}, err
	}
	defer p.stop()
	if err := awaitListener(e.ctx, addr, p); err != nil {
		return bench.GatewayResult{}, err
	}
	return bench.RunGateway(e.ctx, bench.GatewayConfig{Mode: c.Mode, WebSocket: c.Transport == "ws", Addr: addr, PID: p.cmd.Process.Pid, Connections: c.Connections, Rate: c.Rate,
		Duration: c.Duration + time.Second, Payload: c.Payload, TokenFunc: func(string) (string, error) { return "none", nil }})
}

// awaitListener waits until the child's process listens; the floor takes
// connections as they come, so it is asked of the kernel and not by connecting.
func awaitListener(ctx context.Context, addr string, p *child) error {
	_, port, err := net.SplitHostPort(addr)
	if err != nil {
		return err
	}
	n, err := strconv.Atoi(port)
	if err != nil {
		return err
	}
	want := fmt.Sprintf(":%04X 00000000:0000 0A", n) // state 0A is LISTEN, proc(5)
	for deadline := time.Now().Add(15 * time.Second); time.Now().Before(deadline); {
		b, err := os.ReadFile("/proc/net/tcp")
		if err == nil && bytes.Contains(b, []byte(want)) {
			return nil
		}
		p.mu.Lock()
		ended := p.err
		p.mu.Unlock()
		if ended != nil {
			return fmt.Errorf("the process ended at its start: %w", ended)
		}
		if err := lifecycle.Sleep(ctx, 20*time.Millisecond); err != nil {
			return err
		}
	}
	return fmt.Errorf("nothing listens on %s", addr)
}

// loaded is what a gateway's load stands on: an embedded broker and Postgres of
// this process, and gateways that are processes of their own.
type loaded struct {
	e      *env
	ground *ground
	env    []string
	secret string
}

func (e *env) loaded() (*loaded, error) {
	g, err := e.ground()
	if err != nil {
		return nil, err
	}
	secret := rand.Text() + rand.Text()
	return &loaded{e: e, ground: g, secret: secret, env: []string{"CRIER_KAFKA_BROKERS=" + g.facts.Kafka, "CRIER_DATABASE_URL=" + g.facts.Postgres,
		"CRIER_JWT_SECRET=" + secret, "CRIER_USERS=external", "CRIER_API_KEY=bench"}}, nil
}

func (l *loaded) close() { _ = l.ground.stop() } // its folder goes away with it

// start runs a gateway and waits until it listens. The process is returned with
// an error too.
func (l *loaded) start(addr, admin string) (*child, error) {
	p, err := l.e.child(io.Discard, []string{"gateway"}, append(slices.Clone(l.env), "CRIER_HTTP_ADDR="+addr, "CRIER_ADMIN_ADDR="+admin)...)
	if err == nil {
		err = awaitListener(l.e.ctx, addr, p)
	}
	return p, err
}

// minter makes tokens of the gateways' secret.
func minter(ctx context.Context, secret string) (func(user string) (string, error), error) {
	tokens, err := token.New(token.Config{Secret: secret})
	if err != nil {
		return nil, err
	}
	now := time.Now()
	return func(user string) (string, error) {
		return tokens.Mint(token.Identity{UserID: event.UserID(user), Expires: now.Add(time.Hour)}, now)
	}, nil
}

// gateway runs one gateway and loads it.
func (c *benchGatewayCmd) gateway(e *env, connections, silent int) (bench.GatewayResult, error) {
	var none bench.GatewayResult
	l, err := e.loaded()
	if err != nil {
		return none, err
	}
	defer l.close()
	addr, err := freeAddr(e.ctx)
	if err != nil {
		return none, err
	}
	admin, err := freeAddr(e.ctx)
	if err != nil {
		return none, err
	}
	certs, overTLS, err := c.overTLS(l.ground.dir)
	if err != nil {
		return none, err
	}
	l.env = append(l.env, certs...)
	p, err := l.start(addr, admin)
	if p != nil {
		defer func() { p.stop() }()
	}
	if err != nil {
		return none, err
	}
	producer, err := kafka.Open(kafka.Config{Brokers: []string{l.ground.facts.Kafka}})
	if err != nil {
		return none, err
	}
	defer producer.Close()
	cfg := bench.GatewayConfig{Mode: c.Mode, WebSocket: strings.HasPrefix(c.Transport, "ws"), TLS: overTLS, Addr: addr, PID: p.cmd.Process.Pid, Connections: connections, Silent: silent, Rate: c.Rate, Duration: c.Duration,
		Payload: c.Payload, Producer: producer}
	if cfg.TokenFunc, err = minter(e.ctx, l.secret); err != nil {
		return none, err
	}
	if c.Profile != "" {
		cfg.Profile = &bench.Profile{File: c.Profile, Admin: admin}
	}
	if c.Mode == bench.Ticks {
		return bench.RunTicks(e.ctx, cfg)
	}
	if c.Mode != bench.Storm && c.Mode != bench.Resume {
		return bench.RunGateway(e.ctx, cfg)
	}
	missed := c.Missed
	if missed == 0 {
		missed = map[string]int{bench.Storm: 10, bench.Resume: 1000}[c.Mode]
	}
	return bench.RunReturn(e.ctx, bench.ReturnConfig{GatewayConfig: cfg, Missed: missed,
		StoreFunc: func(ctx context.Context, recs []kafka.Record) error { return e.store(ctx, producer, recs, l.env) },
		RestartFunc: func() (int, error) {
			p.stop()
			if p, err = l.start(addr, admin); err != nil {
				return 0, err
			}
			return p.cmd.Process.Pid, nil
		}})
}

// sideBySide runs gateways on one broker and Postgres. Each is loaded by a process
// of its own: a process may have no more files open than one gateway.
func (c *benchGatewayCmd) sideBySide(e *env) ([]bench.GatewayResult, error) {
	l, err := e.loaded()
	if err != nil {
		return nil, err
	}
	defer l.close()
	outputs := make([]bytes.Buffer, c.Gateways)
	loads := make([]*child, c.Gateways)
	for i := range loads {
		addr, err := freeAddr(e.ctx)
		if err != nil {
			return nil, err
		}
		p, err := l.start(addr, "127.0.0.1:0")
		if p != nil {
			defer p.stop()
		}
		if err != nil {
			return nil, err
		}
		loads[i], err = e.child(&outputs[i], []string{"bench", "gateway", "--mode", c.Mode, "--transport", c.Transport, "--connections", strconv.Itoa(c.Connections),
			"--duration", c.Duration.String(), "--at", addr, "--at-pid", strconv.Itoa(p.cmd.Process.Pid)}, "CRIER_JWT_SECRET="+l.secret)
		if err != nil {
			return nil, err
		}
		defer loads[i].stop()
	}
	results := make([]bench.GatewayResult, c.Gateways)
	for i, p := range loads {
		if err := p.group.Wait(e.ctx); err != nil {
			return nil, err
		}
		if p.err != nil {
			return nil, fmt.Errorf("loading gateway %d: %w", i, p.err)
		}
		if err := json.Unmarshal(outputs[i].Bytes(), &results[i]); err != nil {
			return nil, fmt.Errorf("reading what gateway %d's load found: %w", i, err)
		}
	}
	return results, nil
}

// attached loads a gateway that another process runs, and prints what it found.
func (c *benchGatewayCmd) attached(e *env) error {
	tokens, err := minter(e.ctx, os.Getenv("CRIER_JWT_SECRET"))
	if err != nil {
		return err
	}
	result, err := bench.RunGateway(e.ctx, bench.GatewayConfig{Mode: c.Mode, WebSocket: c.Transport == "ws", Addr: c.At, PID: c.AtPID, Connections: c.Connections, Duration: c.Duration,
		Payload: c.Payload, TokenFunc: tokens})
	if err != nil {
		return err
	}
	b, err := json.Marshal(result)
	if err != nil {
		return fmt.Errorf("encoding the result: %w", err)
	}
	e.printf("%s\n", b)
	return nil
}

// store produces records, and runs a consumer until it has stored them all.
func (e *env) store(ctx context.Context, k *kafka.Client, recs []kafka.Record, env []string) error {
	for chunk := range slices.Chunk(recs, 5000) {
		if err := k.Produce(ctx, chunk...); err != nil {
			return err
		}
	}
	p, err := e.child(io.Discard, []string{"consumer"}, append(env[:len(env):len(env)], "CRIER_LOG_LEVEL=error")...) // it has no mail server, and warns of it
	if err != nil {
		return err
	}
	defer p.stop()
	for {
		_, ends, err := k.Bounds(ctx, kafka.Notifications)
		if err != nil {
			return err
		}
		at, err := k.Committed(ctx, kafka.ConsumerGroup, kafka.Notifications)
		if err != nil {
			return err
		}
		if maps.Equal(ends, at) {
			return nil
		}
		if err := lifecycle.Sleep(ctx, 50*time.Millisecond); err != nil {
			return err
		}
	}
}

// floorCmd is the other process of bench gateway.
type floorCmd struct {
	Addr        string        `required:"" help:"Listener."`
	Connections int           `required:"" help:"Connections to wait for."`
	Rate        int           `required:"" help:"Deliveries a second."`
	Payload     int           `required:"" help:"Bytes of a delivery."`
	Duration    time.Duration `required:"" help:"How long."`
	Mode        string        `default:"unicast" help:"unicast or broadcast."`
	Transport   string        `default:"sse" help:"sse or ws."`
}

// Run is called by the parser.
func (c *floorCmd) Run(e *env) error {
	l, err := new(net.ListenConfig).Listen(e.ctx, "tcp", c.Addr)
	if err != nil {
		return fmt.Errorf("listening: %w", err)
	}
	defer l.Close()
	return bench.Floor(e.ctx, l, bench.FloorConfig{Mode: c.Mode, WebSocket: c.Transport == "ws", Connections: c.Connections, Rate: c.Rate, Payload: c.Payload, Duration: c.Duration})
}
