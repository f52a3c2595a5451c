package command

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strconv"
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
	Mode        string        `enum:"unicast,idle" default:"unicast" help:"unicast: deliveries to random users; idle: none, connections only."`
	Connections int           `default:"10000" help:"Streams, one a user. At most the open files that this system allows, less a few."`
	Rate        int           `default:"20000" help:"Deliveries a second."`
	Payload     int           `default:"128" help:"Bytes of a delivery."`
	Transport   string        `enum:"sse" default:"sse" help:"sse."`
	Duration    time.Duration `default:"10s" help:"How long the load lasts."`
	NoFloor     bool          `help:"Leave out the floor."`
	JSON        bool          `name:"json" help:"Print one JSON object."`
}

// gatewayReport is what --json prints.
type gatewayReport struct {
	Floor      *bench.GatewayResult `json:"floor,omitempty"`
	Gateway    bench.GatewayResult  `json:"gateway"`
	Lost       int64                `json:"lost"`
	Doubled    int64                `json:"doubled"`
	Disordered int64                `json:"disordered"`
}

// Run is called by the parser.
func (c *benchGatewayCmd) Run(e *env) error {
	if runtime.GOOS != "linux" {
		return errors.New("bench gateway reads /proc, which is Linux's")
	}
	if c.Mode == "idle" {
		c.Rate = 0
	}
	var report gatewayReport
	if !c.NoFloor && c.Rate > 0 {
		floor, err := c.floor(e)
		if err != nil {
			return fmt.Errorf("the floor: %w", err)
		}
		report.Floor = &floor
	}
	var err error
	if report.Gateway, err = c.gateway(e); err != nil {
		return err
	}
	report.Lost, report.Doubled, report.Disordered = report.Gateway.Lost, report.Gateway.Doubled, report.Gateway.Disordered
	if c.JSON {
		b, err := json.Marshal(report)
		if err != nil {
			return fmt.Errorf("encoding the result: %w", err)
		}
		e.printf("%s\n", b)
		return nil
	}
	e.printf("%-8s %11s %9s %10s %9s %8s %8s %10s %13s %6s %8s %11s\n", "", "CPU s/M", "CPU %", "RSS MB", "rate/s", "p50 ms", "p99 ms", "connects/s", "ms/1000 conn.", "lost", "doubled", "disordered")
	row := func(name string, r bench.GatewayResult) {
		e.printf("%-8s %11.1f %9.1f %10.1f %9.0f %8.2f %8.2f %10.0f %13.0f %6d %8d %11d\n", name, r.CPU, 100*r.CPUShare, r.RSS, r.Rate, r.P50, r.P99, r.ConnectRate, r.ConnectCPU, r.Lost, r.Doubled, r.Disordered)
	}
	if report.Floor != nil {
		row("floor", *report.Floor)
	}
	row("gateway", report.Gateway)
	if f := report.Floor; f != nil && f.CPU > 0 {
		e.printf("gateway : floor, CPU %.2f\n", report.Gateway.CPU/f.CPU)
	}
	return nil
}

// child is this program again, as another process.
type child struct {
	cmd   *exec.Cmd
	group *lifecycle.Group
	mu    sync.Mutex
	err   error
}

func (e *env) child(args []string, env ...string) (*child, error) {
	exe, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("finding this program: %w", err)
	}
	cmd := exec.Command(exe, args...)
	cmd.Env = append(append(os.Environ(), "CRIER_LOG_LEVEL=warn"), env...)
	cmd.Stdout, cmd.Stderr = io.Discard, e.Stderr
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
	p, err := e.child([]string{"bench", "floor", "--addr", addr, "--connections", strconv.Itoa(c.Connections), "--rate", strconv.Itoa(c.Rate),
		"--payload", strconv.Itoa(c.Payload), "--duration", c.Duration.String()})
	if err != nil {
		return bench.GatewayResult{}, err
	}
	defer p.stop()
	if err := awaitListener(e.ctx, addr, p); err != nil {
		return bench.GatewayResult{}, err
	}
	return bench.RunGateway(e.ctx, bench.GatewayConfig{Addr: addr, PID: p.cmd.Process.Pid, Connections: c.Connections, Rate: c.Rate, Duration: c.Duration + time.Second, Payload: c.Payload,
		TokenFunc: func(string) (string, error) { return "none", nil }})
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

// gateway runs a gateway on an embedded broker and Postgres of this process.
func (c *benchGatewayCmd) gateway(e *env) (bench.GatewayResult, error) {
	var none bench.GatewayResult
	g, err := e.ground()
	if err != nil {
		return none, err
	}
	defer func() { _ = g.stop() }() // its folder goes away with it
	facts := g.facts
	addr, err := freeAddr(e.ctx)
	if err != nil {
		return none, err
	}
	secret := rand.Text() + rand.Text()
	p, err := e.child([]string{"gateway"}, "CRIER_HTTP_ADDR="+addr, "CRIER_ADMIN_ADDR=127.0.0.1:0", "CRIER_KAFKA_BROKERS="+facts.Kafka, "CRIER_DATABASE_URL="+facts.Postgres,
		"CRIER_JWT_SECRET="+secret, "CRIER_USERS=external", "CRIER_API_KEY=bench")
	if err != nil {
		return none, err
	}
	defer p.stop()
	if err := awaitListener(e.ctx, addr, p); err != nil {
		return none, err
	}
	tokens, err := token.New(e.ctx, token.Config{Secret: secret})
	if err != nil {
		return none, err
	}
	producer, err := kafka.Open(kafka.Config{Brokers: []string{facts.Kafka}})
	if err != nil {
		return none, err
	}
	defer producer.Close()
	now := time.Now()
	return bench.RunGateway(e.ctx, bench.GatewayConfig{Addr: addr, PID: p.cmd.Process.Pid, Connections: c.Connections, Rate: c.Rate, Duration: c.Duration, Payload: c.Payload, Producer: producer,
		TokenFunc: func(user string) (string, error) {
			return tokens.Mint(token.Identity{UserID: event.UserID(user), Expires: now.Add(time.Hour)}, now)
		}})
}

// floorCmd is the other process of bench gateway.
type floorCmd struct {
	Addr        string        `required:"" help:"Listener."`
	Connections int           `required:"" help:"Connections to wait for."`
	Rate        int           `required:"" help:"Deliveries a second."`
	Payload     int           `required:"" help:"Bytes of a delivery."`
	Duration    time.Duration `required:"" help:"How long."`
}

// Run is called by the parser.
func (c *floorCmd) Run(e *env) error {
	l, err := new(net.ListenConfig).Listen(e.ctx, "tcp", c.Addr)
	if err != nil {
		return fmt.Errorf("listening: %w", err)
	}
	defer l.Close()
	return bench.Floor(e.ctx, l, c.Connections, c.Rate, c.Payload, c.Duration)
}
