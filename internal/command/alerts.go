package command

import (
	"bufio"
	"bytes"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"crier/internal/client"
	"crier/internal/event"
	"crier/internal/telemetry"
	"crier/internal/token"
)

// alertsCmd moves alerts in and out.
type alertsCmd struct {
	Import alertsImportCmd `cmd:"" help:"Make alerts from a file, or from standard input: CSV whose first line names the columns, or JSON lines."`
	Export alertsExportCmd `cmd:"" help:"Write all of a user's alerts to standard output."`
}

// personFlags say who asks, and where.
type personFlags struct {
	URL       string           `name:"url" env:"CRIER_URL" help:"Base URL of a gateway. Default: the embedded run of this data dir."`
	User      string           `short:"u" help:"User whose alerts; a token is minted with CRIER_JWT_SECRET, or the data dir's."`
	Token     telemetry.Secret `env:"CRIER_TOKEN" help:"A token of the user instead."`
	mintFlags `embed:""`
}

func (f *personFlags) client(e *env) (*client.Client, error) {
	url, text := f.URL, string(f.Token)
	if url == "" {
		facts, err := e.readRunFile()
		if err != nil {
			return nil, errors.Join(errors.New("--url is not given"), err)
		}
		url = facts.HTTP
	}
	if text == "" {
		if f.User == "" {
			return nil, errors.New("--user or --token is required")
		}
		var err error
		if text, err = e.mint(f.mintFlags, token.Identity{UserID: event.UserID(f.User)}, time.Hour); err != nil {
			return nil, err
		}
	}
	return &client.Client{Base: url, Token: text}, nil
}

type alertsImportCmd struct {
	personFlags `embed:""`
	File        string `complete:"file" arg:"" optional:"" help:"The file; - or nothing is standard input."`
	Format      string `enum:"auto,csv,jsonl" default:"auto" help:"csv or jsonl. auto: by the first character, a brace or not."`
}

// importPart is how many lines go into one request, and maxImportBytes how long
// they may be together: what the gateway takes.
const (
	importPart     = 1000
	maxImportBytes = 900 << 10
)

// Run is called by the parser. Lines that break a rule are named, the others are
// made all the same.
func (c *alertsImportCmd) Run(e *env) error {
	cl, err := c.client(e)
	if err != nil {
		return err
	}
	in, size, err := openInput(e, c.File)
	if err != nil {
		return err
	}
	defer in.Close()
	counted := &counter{r: in}
	text := bufio.NewReaderSize(counted, 1<<20)
	p := &importer{e: e, client: cl, read: counted, size: size, terminal: isTerminal(e.Stderr)}
	first, _ := text.Peek(1)
	if c.Format == "jsonl" || c.Format == "auto" && len(first) == 1 && first[0] == '{' {
		err = p.jsonLines(text)
	} else {
		err = p.csv(text)
	}
	if p.terminal && p.created+p.refused > 0 {
		fmt.Fprintln(e.Stderr)
	}
	e.printf("{\"created\":%d,\"refused\":%d}\n", p.created, p.refused)
	if err == nil && p.refused > 0 {
		err = fmt.Errorf("%d lines were refused", p.refused)
	}
	return err
}

// openInput opens a file, or standard input for - or "", and its size where it is
// known.
func openInput(e *env, file string) (io.ReadCloser, int64, error) {
	if file == "" || file == "-" {
		return io.NopCloser(e.Stdin), 0, nil
	}
	f, err := os.Open(file)
	if err != nil {
		return nil, 0, fmt.Errorf("opening what to import: %w", err)
	}
	size := int64(0)
	if info, err := f.Stat(); err == nil {
		size = info.Size()
	}
	return f, size, nil
}

// counter counts what was read.
type counter struct {
	r io.Reader
	n int64
}

func (c *counter) Read(b []byte) (int, error) {
	n, err := c.r.Read(b)
	c.n += int64(n)
	return n, err
}

// importer sends parts of a file and shows how far it is.
type importer struct {
	e                *env
	client           *client.Client
	read             *counter
	size             int64
	terminal         bool
	created, refused int
}

// send makes the alerts of one part; lineOf are their lines in the file.
func (p *importer) send(kind string, part []byte, lineOf []int) error {
	raw, err := p.client.Raw(p.e.ctx, "POST", "/alerts/import", kind, bytes.NewReader(part))
	if err != nil {
		return fmt.Errorf("after %d alerts: %w", p.created, err)
	}
	var answer struct {
		Created, Refused int
		Results          []struct {
			Errors []event.FieldError
		}
	}
	if err := json.Unmarshal(raw, &answer); err != nil {
		return fmt.Errorf("reading the answer: %w", err)
	}
	p.created, p.refused = p.created+answer.Created, p.refused+answer.Refused
	for i, r := range answer.Results {
		if len(r.Errors) > 0 && i < len(lineOf) {
			if p.terminal {
				fmt.Fprint(p.e.Stderr, "\r\033[K")
			}
			fmt.Fprintf(p.e.Stderr, "crier: line %d: %v\n", lineOf[i], event.Invalid(r.Errors))
		}
	}
	p.progress()
	return nil
}

// progress draws a bar where somebody looks.
func (p *importer) progress() {
	if !p.terminal {
		return
	}
	if p.size <= 0 {
		fmt.Fprintf(p.e.Stderr, "\r%d made, %d refused", p.created, p.refused)
		return
	}
	const width = 30
	share := min(1, float64(p.read.n)/float64(p.size))
	done := int(share * width)
	fmt.Fprintf(p.e.Stderr, "\r[%s%s] %3.0f %%  %d made, %d refused", strings.Repeat("#", done), strings.Repeat("-", width-done), share*100, p.created, p.refused)
}

func (p *importer) jsonLines(r io.Reader) error {
	lines := bufio.NewScanner(r)
	lines.Buffer(make([]byte, 64<<10), maxImportBytes)
	var part bytes.Buffer
	var of []int
	flush := func() error {
		if len(of) == 0 {
			return nil
		}
		err := p.send("application/x-ndjson", part.Bytes(), of)
		part.Reset()
		of = of[:0]
		return err
	}
	line := 0
	for lines.Scan() {
		if line++; len(bytes.TrimSpace(lines.Bytes())) == 0 {
			continue
		}
		if len(of) == importPart || part.Len()+len(lines.Bytes()) > maxImportBytes {
			if err := flush(); err != nil {
				return err
			}
		}
		part.Write(lines.Bytes())
		part.WriteByte('\n')
		of = append(of, line)
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("reading line %d: %w", line+1, err)
	}
	return flush()
}

func (p *importer) csv(r io.Reader) error {
	rows := csv.NewReader(r)
	rows.FieldsPerRecord = -1
	header, err := rows.Read()
	if err != nil {
		return fmt.Errorf("reading the line that names the columns: %w", err)
	}
	var part bytes.Buffer
	out := csv.NewWriter(&part)
	var of []int
	begin := func() { part.Reset(); of = of[:0]; _ = out.Write(header) } // to memory
	flush := func() error {
		out.Flush()
		if len(of) == 0 {
			return nil
		}
		err := p.send("text/csv", part.Bytes(), of)
		begin()
		return err
	}
	begin()
	for {
		row, err := rows.Read()
		if errors.Is(err, io.EOF) {
			return flush()
		}
		if err != nil {
			return errors.Join(flush(), fmt.Errorf("reading the file: %w", err))
		}
		line, _ := rows.FieldPos(0)
		_ = out.Write(row)
		of = append(of, line)
		if out.Flush(); len(of) == importPart || part.Len() > maxImportBytes-64<<10 {
			if err := flush(); err != nil {
				return err
			}
		}
	}
}

type alertsExportCmd struct {
	personFlags `embed:""`
	Format      string `enum:"csv,jsonl" default:"csv" help:"csv or jsonl."`
}

// Run is called by the parser.
func (c *alertsExportCmd) Run(e *env) error {
	cl, err := c.client(e)
	if err != nil {
		return err
	}
	out, err := cl.Raw(e.ctx, "GET", "/alerts/export?format="+c.Format, "", nil)
	if err == nil {
		_, err = e.out.Write(out)
	}
	return err
}
