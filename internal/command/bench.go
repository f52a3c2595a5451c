package command

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"time"

	"crier/internal/bench"
	"crier/internal/telemetry"
)

// benchCmd is the load generator.
type benchCmd struct {
	Pipeline benchPipelineCmd `cmd:"" help:"From POST to the stream: send, store, deliver, and count what arrives. Without --url it runs its own embedded Crier in a temporary folder."`
	Gateway  benchGatewayCmd  `cmd:"" help:"A gateway alone, as a process of its own: CPU, memory and latency of many streams, beside the floor (Linux)."`
	Alerts   benchAlertsCmd   `cmd:"" help:"The index of alerts alone: load from Postgres, memory, ticks and firings a second on one core."`
	Summary  benchSummaryCmd  `cmd:"" help:"Every load of bench gateway one after the other, as a table beside what others reach (Linux, about four minutes)."`
	Floor    floorCmd         `cmd:"" hidden:"" help:"The floor's process."`
}

// benchPipelineCmd loads the whole path.
type benchPipelineCmd struct {
	URL      string           `name:"url" help:"Gateway to load. Default: an embedded Crier of its own."`
	APIKey   telemetry.Secret `name:"api-key" env:"CRIER_API_KEY" help:"Key to send with, with --url."`
	Rate     int              `help:"Notifications a second. 0: look for the highest that is sustained."`
	Duration time.Duration    `default:"10s" help:"How long each load lasts."`
	Users    int              `default:"100" help:"Users, with a stream each."`
	Payload  int              `default:"128" help:"Bytes of payload."`
	Senders  int              `default:"64" help:"Requests at the same time."`
	JSON     bool             `name:"json" help:"Print one JSON object."`
}

// Run is called by the parser.
func (c *benchPipelineCmd) Run(e *env) (err error) {
	target := bench.Target{URL: c.URL, APIKey: string(c.APIKey)}
	if c.URL == "" {
		stop, facts, err := e.temporary()
		if err != nil {
			return err
		}
		defer func() {
			if stopErr := stop(); err == nil {
				err = stopErr
			}
		}()
		target = bench.Target{URL: facts.HTTP, APIKey: facts.APIKey}
	}
	p, err := bench.NewPipeline(e.ctx, bench.PipelineConfig{Target: target, Users: c.Users, Rate: c.Rate, Duration: c.Duration, Payload: c.Payload, Senders: c.Senders})
	if err != nil {
		return err
	}
	defer p.Close()
	head := func() {
		if !c.JSON {
			e.printf("%10s %9s %9s %6s %8s %11s %9s %8s %8s %9s\n", "rate/s", "sent", "arrived", "lost", "doubled", "disordered", "reached", "p50 ms", "p99 ms", "max ms")
		}
	}
	row := func(r bench.Result) {
		if !c.JSON {
			e.printf("%10d %9d %9d %6d %8d %11d %9.0f %8.2f %8.2f %9.2f\n", r.Target, r.Sent, r.Arrived, r.Lost, r.Doubled, r.Disordered, r.Rate, r.P50, r.P99, r.Max)
		}
	}
	head()
	var result bench.Result
	if c.Rate > 0 {
		result, err = p.Load(e.ctx, c.Rate)
		row(result)
	} else {
		result, err = p.Highest(e.ctx, row)
	}
	if err != nil {
		return err
	}
	if c.JSON {
		b, err := json.Marshal(result)
		if err != nil {
			return fmt.Errorf("encoding the result: %w", err)
		}
		e.printf("%s\n", b)
	}
	return nil
}

// temporary runs an embedded Crier, without feeds, on free ports and in a
// folder that is removed by stop.
func (e *env) temporary() (stop func() error, facts runFacts, err error) {
	g, err := e.ground()
	if err != nil {
		return nil, facts, err
	}
	if err := g.run.startParts(g.host, g.keys, ""); err != nil {
		return nil, facts, errors.Join(err, g.stop())
	}
	facts, facts.APIKey = g.facts, string(g.run.APIKey)
	if gw, ok := g.host.parts[len(g.host.parts)-1].(interface{ URL() string }); ok {
		facts.HTTP = gw.URL()
	}
	return g.stop, facts, nil
}

// ground is an embedded broker and Postgres in a temporary folder, with topics
// and schema.
type ground struct {
	run   *runCmd
	host  *host
	keys  secrets
	facts runFacts
	dir   string
}

func (e *env) ground() (*ground, error) {
	dir, err := os.MkdirTemp("", "crier-bench-")
	if err == nil {
		err = os.Chmod(dir, 0o711) // Postgres may run as another user
	}
	if err != nil {
		return nil, fmt.Errorf("making a temporary folder: %w", err)
	}
	quiet, err := telemetry.NewLogger(e.Stderr, "warn", "text")
	if err != nil {
		return nil, err
	}
	own := &env{Program: e.Program, ctx: context.WithoutCancel(e.ctx), log: quiet, dataDir: dir}
	g := &ground{run: defaultRun(), host: &host{e: own}, dir: dir}
	if g.facts, g.keys, err = g.run.prepare(g.host); err != nil {
		return nil, errors.Join(err, g.stop())
	}
	return g, nil
}

func (g *ground) stop() error { return errors.Join(g.host.stop(nil), os.RemoveAll(g.dir)) }

// defaultRun is `crier run` with its defaults, but free ports and no feeds.
func defaultRun() *runCmd {
	c := &runCmd{KafkaAddr: "127.0.0.1:0", PostgresAddr: "127.0.0.1:0", MailSMTPAddr: "127.0.0.1:0", MailAddr: "127.0.0.1:0"}
	c.HTTPAddr, c.AdminAddr = "127.0.0.1:0", "127.0.0.1:0"
	c.AccessTTL, c.RefreshTTL, c.InboxRetention = time.Hour, 24*time.Hour, 24*time.Hour
	c.TicksRetention = retentionFlag{24 * time.Hour, 1 << 30}
	c.MailFrom = "Crier <alerts@localhost>"
	c.Feeds, c.Symbols, c.DatabaseMax = "none", []string{"BTCUSDT"}, 16
	return c
}
