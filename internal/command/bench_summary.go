package command

import (
	"encoding/json"
	"errors"
	"fmt"
	"runtime"
	"runtime/debug"
	"slices"
	"time"

	"crier/internal/bench"
)

// benchSummaryCmd runs every load of bench gateway, and prints what each has
// reached beside what was asked for and what other servers reach.
type benchSummaryCmd struct {
	Runs     int           `default:"1" help:"Run each load so often and take the median."`
	Duration time.Duration `default:"10s" help:"How long each load lasts."`
	JSON     bool          `name:"json" help:"Print one JSON object a row."`
}

// figure is one row of the summary.
type figure struct {
	What    string  `json:"what"`
	Unit    string  `json:"unit"`
	Floor   float64 `json:"floor,omitempty"` // of the same run; 0: there is none
	Peers   string  `json:"peers,omitempty"` // on another machine of two cores, docs/performance.md
	Wanted  string  `json:"wanted"`
	Reached float64 `json:"reached"`
	Met     bool    `json:"met"`
}

// Run is called by the parser.
func (c *benchSummaryCmd) Run(e *env) error {
	if runtime.GOOS != "linux" {
		return errors.New("bench summary reads /proc, which is Linux's")
	}
	debug.SetGCPercent(loadGCPercent)
	if !c.JSON {
		e.printf("| | floor | others | wanted | reached | |\n|---|---|---|---|---|---|\n")
	}
	for _, load := range []func(*env) ([]figure, error){c.unicast, c.broadcast, c.slow, c.idle, c.sideBySide, c.resume, c.storm, c.pipeline} {
		var all [][]figure
		for range max(1, c.Runs) {
			figures, err := load(e)
			if err != nil {
				return err
			}
			all = append(all, figures)
		}
		for i := range all[0] {
			row := median(all, i)
			if err := c.print(e, row); err != nil {
				return err
			}
		}
	}
	return nil
}

// median is the run whose figure for a row is the middle one.
func median(runs [][]figure, row int) figure {
	var list []figure
	for _, r := range runs {
		list = append(list, r[row])
	}
	slices.SortFunc(list, func(a, b figure) int {
		switch {
		case a.Reached < b.Reached:
			return -1
		case a.Reached > b.Reached:
			return 1
		}
		return 0
	})
	return list[len(list)/2]
}

func (c *benchSummaryCmd) print(e *env, f figure) error {
	if c.JSON {
		b, err := json.Marshal(f)
		if err != nil {
			return fmt.Errorf("encoding a figure: %w", err)
		}
		e.printf("%s\n", b)
		return nil
	}
	floor, met := "", "no"
	if f.Floor > 0 {
		floor = plain(f.Floor)
	}
	if f.Met {
		met = "yes"
	}
	e.printf("| %s, %s | %s | %s | %s | %s | %s |\n", f.What, f.Unit, floor, f.Peers, f.Wanted, plain(f.Reached), met)
	return nil
}

// plain is a figure with as many digits as it is worth.
func plain(v float64) string {
	switch {
	case v >= 1000:
		return fmt.Sprintf("%.0f", v)
	case v >= 100:
		return fmt.Sprintf("%.0f", v)
	case v >= 10:
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.2f", v)
}

// load runs bench gateway with its defaults but what set changes.
func (c *benchSummaryCmd) load(e *env, mode string, set func(*benchGatewayCmd)) (*gatewayReport, error) {
	g := &benchGatewayCmd{Mode: mode, Connections: 10_000, Rate: 20_000, Payload: 128, Transport: "sse", Duration: c.Duration, Gateways: 1}
	if set != nil {
		set(g)
	}
	report, err := g.measure(e)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", mode, err)
	}
	if report.Lost+report.Doubled+report.Disordered > 0 {
		return nil, fmt.Errorf("%s: %d lost, %d doubled, %d out of order", mode, report.Lost, report.Doubled, report.Disordered)
	}
	return report, nil
}

func (c *benchSummaryCmd) unicast(e *env) ([]figure, error) {
	r, err := c.load(e, bench.Unicast, nil)
	if err != nil {
		return nil, err
	}
	g, f := r.Gateway, r.Floor
	return []figure{
		{"10,000 streams, 20,000 deliveries a second of 128 B", "CPU s a million", f.CPU, "19 to 48", "1.4 × floor", g.CPU, g.CPU <= 1.4*f.CPU},
		{"resident under that load", "MB", f.RSS, "303 to 781", "90", g.RSS, g.RSS <= 90},
		{"from Kafka to the reader, p99", "ms", f.P99, "2.4 to 115 (not from Kafka)", "10", g.P99, g.P99 < 10},
		{"1,000 connects with token and inbox position", "CPU ms", f.ConnectCPU, "120 to 396", "180", g.ConnectCPU, g.ConnectCPU <= 180},
	}, nil
}

func (c *benchSummaryCmd) broadcast(e *env) ([]figure, error) {
	r, err := c.load(e, bench.Broadcast, nil)
	if err != nil {
		return nil, err
	}
	return []figure{{"broadcast of 128 B to 10,000", "deliveries/s", r.Floor.Rate, "73,000 to 166,000", "0.95 × floor", r.Gateway.Rate, r.Gateway.Rate >= 0.95*r.Floor.Rate}}, nil
}

func (c *benchSummaryCmd) slow(e *env) ([]figure, error) {
	r, err := c.load(e, bench.Slow, func(g *benchGatewayCmd) { g.Connections, g.Rate, g.Payload = 100, 250, 4096 })
	if err != nil {
		return nil, err
	}
	ratio := r.Gateway.P99 / r.Alone.P99
	return []figure{{"p99 beside 10 readers that never read", "× alone", 0, "1.1 to 1.2; one stands still", "1.2", ratio, ratio <= 1.2}}, nil
}

// idleConnections is as many as a process may have files open here, less a few.
const idleConnections = 19_000

func (c *benchSummaryCmd) idle(e *env) ([]figure, error) {
	// Long enough that each stream has its heartbeat.
	r, err := c.load(e, bench.Idle, func(g *benchGatewayCmd) { g.Connections, g.Duration = idleConnections, 25*time.Second })
	if err != nil {
		return nil, err
	}
	each := r.Gateway.RSS * 1e6 / idleConnections / 1000
	return []figure{
		{"19,000 idle streams, the process included", "KB each", 0, "26 to 65; a bare loop 4.2", "6", each, each < 6},
		{"CPU meanwhile, heartbeats included", "% of a core", 0, "1 to 9", "1", 100 * r.Gateway.CPUShare, r.Gateway.CPUShare < 0.01},
	}, nil
}

func (c *benchSummaryCmd) sideBySide(e *env) ([]figure, error) {
	r, err := c.load(e, bench.Idle, func(g *benchGatewayCmd) {
		g.Connections, g.Duration, g.Gateways = idleConnections, 25*time.Second, 4
	})
	if err != nil {
		return nil, err
	}
	worst := 0.0
	for _, one := range append(r.Others, r.Gateway) {
		worst = max(worst, one.RSS*1e6/idleConnections/1000)
	}
	return []figure{{"four gateways with 19,000 idle streams each, the largest", "KB each", 0, "", "6", worst, worst < 6}}, nil
}

func (c *benchSummaryCmd) resume(e *env) ([]figure, error) {
	r, err := c.load(e, bench.Resume, func(g *benchGatewayCmd) { g.Connections = 1000 })
	if err != nil {
		return nil, err
	}
	return []figure{
		{"1,000 readers of a topic back, 1,000 missed each", "s", 0, "0.9 to 13", "0.9", r.Gateway.CaughtUp, r.Gateway.CaughtUp < 0.9},
		{"the gateway's work for that", "CPU s", 0, "1.1 to 21", "1", r.Gateway.CPUSeconds, r.Gateway.CPUSeconds < 1},
	}, nil
}

func (c *benchSummaryCmd) storm(e *env) ([]figure, error) {
	r, err := c.load(e, bench.Storm, nil)
	if err != nil {
		return nil, err
	}
	return []figure{{"10,000 back after a restart, 10 missed each", "s", 0, "", "5", r.Gateway.CaughtUp, r.Gateway.CaughtUp < 5}}, nil
}

// storedRate is what the whole path is loaded with, a second.
const storedRate = 12_000

func (c *benchSummaryCmd) pipeline(e *env) ([]figure, error) {
	r, err := (&benchPipelineCmd{From: "kafka", Rate: storedRate, Duration: c.Duration, Users: 100, Payload: 128, Senders: 1, JSON: true}).measure(e)
	if err != nil {
		return nil, fmt.Errorf("pipeline: %w", err)
	}
	if r.Lost+r.Doubled+r.Disordered > 0 || r.Postgres.SynchronousCommit != "on" {
		return nil, fmt.Errorf("pipeline: %d lost, %d doubled, %d out of order, synchronous_commit %s", r.Lost, r.Doubled, r.Disordered, r.Postgres.SynchronousCommit)
	}
	return []figure{{"stored and delivered, Kafka, Postgres and readers on this machine, synchronous_commit on", "a second", 0, "", "10,000", r.Rate, r.Rate >= 10_000}}, nil
}
