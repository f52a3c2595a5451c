package command

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"crier/gateway"
	"crier/internal/event"
	"crier/internal/problem"
)

// importCmd brings in what another system has kept, for its users to go on with.
type importCmd struct {
	databaseFlags `embed:""`
	kafkaFlags    `embed:""`
	userFlags     `embed:""`
	webhookFlags  `embed:""`
	File          string `complete:"file" arg:"" optional:"" help:"The file; - or nothing is standard input. Each line is a JSON object whose type is user, room, account, destination or alert."`
}

// maxImportLine bounds one line.
const maxImportLine = 1 << 20

// Run is called by the parser. Lines that are refused are named, the others are
// imported all the same.
func (c *importCmd) Run(e *env) error {
	external, err := c.external()
	if err != nil {
		return err
	}
	in, _, err := openInput(e, c.File)
	if err != nil {
		return err
	}
	defer in.Close()
	db, err := e.openDatabase(c.databaseFlags)
	if err != nil {
		return err
	}
	defer db.Close()
	if err := e.findKafka(&c.kafkaFlags); err != nil {
		return err
	}
	k, err := c.kafkaFlags.open(e.log)
	if err != nil {
		return err
	}
	defer k.Close()
	// The handlers check and store; nothing is served.
	cfg := gateway.Config{Addr: "127.0.0.1:0", AccessTTL: time.Minute, RefreshTTL: time.Hour, ExternalUsers: external, WebhookAllow: c.allowed()}
	g, err := gateway.New(cfg, db, k, nil, slog.New(slog.DiscardHandler), prometheus.NewRegistry())
	if err != nil {
		return err
	}
	return importLines(e.ctx, g.API().NewImport(), in, e.out, e.Stderr)
}

// lineImporter imports one line, and reports whether it is new.
type lineImporter interface {
	Line(ctx context.Context, line []byte) (isNew bool, err error)
}

// importLines imports each line, and reports what became of them.
func importLines(ctx context.Context, to lineImporter, in io.Reader, stdout, stderr io.Writer) error {
	lines := bufio.NewScanner(in)
	lines.Buffer(make([]byte, 64<<10), maxImportLine)
	var made, present, refused int
	report := func() {
		fmt.Fprintf(stdout, "{\"imported\":%d,\"present\":%d,\"refused\":%d}\n", made, present, refused)
	}
	n := 0
	for lines.Scan() {
		n++
		line := bytes.TrimSpace(lines.Bytes())
		if len(line) == 0 {
			continue
		}
		isNew, err := to.Line(ctx, line)
		switch p := problem.Of(err); {
		case err == nil && isNew:
			made++
		case err == nil:
			present++
		case problem.Catalogue[p.Code].Status >= 500:
			report()
			return fmt.Errorf("line %d: %w", n, err)
		default:
			refused++
			why := p.Detail
			if len(p.Errors) > 0 {
				why = event.Invalid(p.Errors).Error()
			}
			fmt.Fprintf(stderr, "crier: line %d: %s\n", n, why)
		}
	}
	report()
	if err := lines.Err(); err != nil {
		return fmt.Errorf("reading line %d: %w", n+1, err)
	}
	if refused > 0 {
		return fmt.Errorf("lines refused: %d", refused)
	}
	return nil
}
