package command

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"runtime/pprof"
	"time"

	"crier/internal/bench"
	"crier/internal/postgres"
	"crier/internal/telemetry"
)

// benchCmd is the load generator.
type benchCmd struct {
	Pipeline benchPipelineCmd `cmd:"" help:"From POST, or a record in Kafka, to the stream: send, store, deliver, and count what arrives. Without --url it runs its own embedded Crier in a temporary folder."`
	Gateway  benchGatewayCmd  `cmd:"" help:"A gateway alone, as a process of its own: CPU, memory and latency of many streams, beside the floor (Linux)."`
	Alerts   benchAlertsCmd   `cmd:"" help:"The index of alerts alone: load from Postgres, memory, ticks and firings a second on one core."`
	Summary  benchSummaryCmd  `cmd:"" help:"Every load of bench gateway one after the other, as a table beside what others reach (Linux, about four minutes)."`
	Floor    floorCmd         `cmd:"" hidden:"" help:"The floor's process."`
}

// benchPipelineCmd loads the whole path.
type benchPipelineCmd struct {
	URL      string           `name:"url" help:"Gateway to load. Default: an embedded Crier of its own."`
	APIKey   telemetry.Secret `name:"api-key" env:"CRIER_API_KEY" help:"Key to send with, with --url."`
	From     string           `enum:"post,kafka" default:"post" help:"post: by HTTP; kafka: produced to the topic notifications, as a backend's own producer would (without --url)."`
	Rate     int              `help:"Notifications a second. 0: look for the highest that is sustained."`
	Duration time.Duration    `default:"10s" help:"How long each load lasts."`
	Users    int              `default:"100" help:"Users, with a stream each."`
	Payload  int              `default:"128" help:"Bytes of payload."`
	Senders  int              `default:"64" help:"POSTs at the same time."`
	JSON     bool             `name:"json" help:"Print one JSON object."`
	Profile  string           `complete:"file" name:"cpu-profile" type:"path" help:"Write a CPU profile of this process, with all that is embedded, to a file."`
}

// pipelineReport is what --json prints.
type pipelineReport struct {
	bench.Result
	From     string               `json:"from"`
	Postgres *postgres.Durability `json:"postgres,omitempty"`
}

// Run is called by the parser.
func (c *benchPipelineCmd) Run(e *env) error {
	report, err := c.measure(e)
	if err != nil || !c.JSON {
		return err
	}
	b, err := json.Marshal(report)
	if err != nil {
		return fmt.Errorf("encoding the result: %w", err)
	}
	e.printf("%s\n", b)
	return nil
}

// measure puts on the load, printing the table unless JSON is asked for.
func (c *benchPipelineCmd) measure(e *env) (report pipelineReport, err error) {
	if c.URL != "" && c.From == "kafka" {
		return report, errors.New("--from kafka is for the embedded Crier; with --url notifications are POSTed")
	}
	cfg := bench.PipelineConfig{Target: bench.Target{URL: c.URL, APIKey: string(c.APIKey)}, Users: c.Users, Rate: c.Rate, Duration: c.Duration, Payload: c.Payload, Senders: c.Senders}
	report.From = c.From
	if c.URL == "" {
		g, facts, startErr := e.temporary()
		if startErr != nil {
			return report, startErr
		}
		defer func() { err = errors.Join(err, g.stop()) }()
		cfg.Target = bench.Target{URL: facts.HTTP, APIKey: facts.APIKey}
		kept, askErr := g.host.db.Durability(e.ctx)
		if askErr != nil {
			return report, askErr
		}
		report.Postgres, cfg.Backend = &kept, kept.Backend
		if c.From == "kafka" {
			// A client of its own: what the parts produce does not wait in its queue.
			if cfg.Producer, err = g.run.kafkaFlags.open(g.host.e.log); err != nil {
				return report, err
			}
			defer cfg.Producer.Close()
		}
	}
	p, err := bench.NewPipeline(e.ctx, cfg)
	if err != nil {
		return report, err
	}
	defer p.Close()
	if c.Profile != "" {
		stop, profileErr := profile(c.Profile)
		if profileErr != nil {
			return report, profileErr
		}
		defer func() { err = errors.Join(err, stop()) }()
	}
	report.Result, err = c.load(e, p, report.Postgres)
	return report, err
}

// load puts on the load that was asked for, and prints the table.
func (c *benchPipelineCmd) load(e *env, p *bench.Pipeline, kept *postgres.Durability) (bench.Result, error) {
	row := func(r bench.Result) {
		if !c.JSON {
			e.printf("%10d %9d %9d %6d %8d %11d %9.0f %8.2f %8.2f %9.2f %9.0f %9.0f\n", r.Target, r.Sent, r.Arrived, r.Lost, r.Doubled, r.Disordered, r.Rate, r.P50, r.P99, r.Max, r.ProgramCPU, r.PostgresCPU)
		}
	}
	if !c.JSON {
		if kept != nil {
			e.printf("Postgres %s: synchronous_commit %s, fsync %s, full_page_writes %s\n", kept.ServerVersion, kept.SynchronousCommit, kept.Fsync, kept.FullPageWrites)
		}
		e.printf("%10s %9s %9s %6s %8s %11s %9s %8s %8s %9s %9s %9s\n", "rate/s", "sent", "arrived", "lost", "doubled", "disordered", "reached", "p50 ms", "p99 ms", "max ms", "CPU s/M", "Pg s/M")
	}
	if c.Rate == 0 {
		return p.Highest(e.ctx, row)
	}
	r, err := p.Load(e.ctx, c.Rate)
	if err == nil {
		row(r)
	}
	return r, err
}

// profile writes a CPU profile until stop.
func profile(path string) (stop func() error, err error) {
	f, err := os.Create(path)
	if err != nil {
		return nil, fmt.Errorf("making the profile: %w", err)
	}
	if err := pprof.StartCPUProfile(f); err != nil {
		return nil, errors.Join(fmt.Errorf("starting the profile: %w", err), f.Close())
	}
	return func() error {
		pprof.StopCPUProfile()
		if err := f.Close(); err != nil {
			return fmt.Errorf("writing the profile: %w", err)
		}
		return nil
	}, nil
}

// temporary runs an embedded Crier, without feeds, on free ports and in a
// folder that is removed by its stop.
func (e *env) temporary() (g *ground, facts runFacts, err error) {
	if g, err = e.ground(); err != nil {
		return nil, facts, err
	}
	if err := g.run.startParts(g.host, g.keys, ""); err != nil {
		return nil, facts, errors.Join(err, g.stop())
	}
	facts, facts.APIKey = g.facts, string(g.run.APIKey)
	if gw, ok := g.host.parts[len(g.host.parts)-1].(interface{ URL() string }); ok {
		facts.HTTP = gw.URL()
	}
	return g, facts, nil
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
