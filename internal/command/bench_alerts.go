package command

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"crier/internal/postgres"
	"crier/monitor"
)

// benchAlertsCmd measures the index of alerts alone.
type benchAlertsCmd struct {
	Alerts   int           `default:"1000000" help:"Alerts that stand."`
	Duration time.Duration `default:"5s" help:"How long ticks are matched."`
	JSON     bool          `name:"json" help:"Print one JSON object."`
}

// Run is called by the parser.
func (c *benchAlertsCmd) Run(e *env) (err error) {
	if c.Alerts < 1000 {
		return errors.New("--alerts: must be at least 1000")
	}
	g, err := e.ground()
	if err != nil {
		return err
	}
	defer func() {
		if stopErr := g.stop(); err == nil {
			err = stopErr
		}
	}()
	db, err := postgres.Open(e.ctx, postgres.Config{URL: g.facts.Postgres})
	if err != nil {
		return err
	}
	defer db.Close()
	r, err := monitor.Bench(e.ctx, db, c.Alerts, c.Duration, func(at string) {
		if !c.JSON {
			e.printf("%s\n", at)
		}
	})
	if err != nil {
		return err
	}
	if c.JSON {
		b, err := json.Marshal(r)
		if err != nil {
			return fmt.Errorf("encoding the result: %w", err)
		}
		e.printf("%s\n", b)
		return nil
	}
	e.printf("%14s %14s %14s %10s\n", "ticks/s", "firings/s", "bytes/alert", "load s")
	e.printf("%14.0f %14.0f %14.1f %10.1f\n", r.TicksPerSecond, r.FiringsPerSecond, r.BytesPerAlert, r.LoadSeconds)
	return nil
}
