package command

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"crier/internal/event"
	"crier/internal/kafka"
	"crier/internal/schedule"
)

// sendCmd produces notifications to Kafka.
type sendCmd struct {
	kafkaFlags    `embed:""`
	databaseFlags `embed:""` // for --cancel

	User           []string `short:"u" help:"User the notification is for; may be given more than once."`
	Topic          string   `help:"Topic whose followers get it, instead."`
	Everyone       bool     `help:"Everybody with an inbox gets it, instead."`
	Title          string   `short:"t" help:"One line."`
	Body           string   `short:"b" help:"A few lines."`
	URL            string   `name:"url" help:"Where a click leads."`
	Payload        string   `short:"p" help:"Any JSON."`
	Kind           string   `help:"What kind it is; default message."`
	Priority       string   `help:"low, normal, high or urgent."`
	Channels       []string `help:"inbox, email, webhook; comma-separated. Default: inbox."`
	DeliverAt      string   `help:"When: a time (RFC 3339), or a duration from now such as 10m."`
	ExpiresAt      string   `help:"When it leaves the inbox: a time, or a duration from now."`
	CollapseKey    string   `help:"It replaces the unread one with the same key."`
	IdempotencyKey string   `help:"The same key from the same source is stored once."`
	Source         string   `default:"cli" help:"Who sends."`
	Cancel         string   `help:"Event id of a scheduled send of this source, which is cancelled instead."`
}

// Run is called by the parser. Without a target it reads JSON lines.
func (c *sendCmd) Run(e *env) error {
	if c.Cancel != "" {
		return c.cancel(e)
	}
	if err := e.findKafka(&c.kafkaFlags); err != nil {
		return err
	}
	k, err := c.kafkaFlags.open(e.log)
	if err != nil {
		return err
	}
	defer k.Close()
	if len(c.User) == 0 && c.Topic == "" && !c.Everyone {
		if c.Title != "" || c.Body != "" || c.Payload != "" {
			return errors.New("--user, --topic or --everyone is required with --title, --body or --payload")
		}
		return c.sendLines(e, k)
	}
	n, err := c.notification(time.Now())
	if err != nil {
		return err
	}
	recs, err := records(&n)
	if err != nil {
		return err
	}
	if err := k.Produce(e.ctx, recs...); err != nil {
		return err
	}
	for i := range recs {
		e.printPlace(&recs[i])
	}
	return nil
}

// notification is what the flags say.
func (c *sendCmd) notification(now time.Time) (event.Notification, error) {
	n := event.Notification{Topic: c.Topic, Everyone: c.Everyone, Title: c.Title, Body: c.Body, URL: c.URL, Kind: c.Kind, Priority: c.Priority, Channels: c.Channels,
		CollapseKey: c.CollapseKey, IdempotencyKey: c.IdempotencyKey, Source: c.Source, DeliverAt: instant(c.DeliverAt, now), ExpiresAt: instant(c.ExpiresAt, now)}
	if c.Payload != "" {
		if !json.Valid([]byte(c.Payload)) {
			return n, errors.New("payload: must be JSON")
		}
		n.Payload = json.RawMessage(c.Payload)
	}
	for _, u := range c.User {
		n.UserIDs = append(n.UserIDs, event.UserID(u))
	}
	if len(n.UserIDs) == 1 {
		n.UserID, n.UserIDs = n.UserIDs[0], nil
	}
	if err := n.Validate(); err != nil {
		return n, err
	}
	return n, n.CheckTimes(now)
}

// instant is a time as JSON: a duration counts from now; what is neither is for
// Validate to refuse.
func instant(s string, now time.Time) json.RawMessage {
	if s == "" {
		return nil
	}
	if d, err := time.ParseDuration(s); err == nil {
		s = now.Add(d).UTC().Format(time.RFC3339Nano)
	}
	b, _ := json.Marshal(s) // a string encodes
	return b
}

// records is one record a recipient, so that each user's order is that of the
// partition. Each has an event id, by which it can be cancelled.
func records(n *event.Notification) ([]kafka.Record, error) {
	targets := n.Recipients()
	if n.Everyone {
		targets = []event.UserID{schedule.Everyone}
	}
	recs := make([]kafka.Record, 0, len(targets))
	for _, to := range targets {
		one, key := *n, string(to)
		one.UserIDs = nil
		switch {
		case n.Topic != "":
			key = n.Topic
		case !n.Everyone:
			one.UserID = to
		}
		value, err := event.Marshal(one)
		if err != nil {
			return nil, fmt.Errorf("encoding a notification: %w", err)
		}
		id := event.NewID()
		if n.IdempotencyKey != "" {
			id = event.EventIDOf("source:"+n.Source, n.IdempotencyKey, to)
		}
		recs = append(recs, kafka.Record{Topic: kafka.Notifications, Key: []byte(key), Value: value, Headers: []kafka.Header{{Key: "event_id", Value: []byte(id)}}})
	}
	return recs, nil
}

func (e *env) printPlace(r *kafka.Record) {
	b, _ := json.Marshal(map[string]any{"to": string(r.Key), "event_id": r.Header("event_id"), "topic": r.Topic, "partition": r.Partition, "offset": r.Offset}) // plain values
	e.printf("%s\n", b)
}

// cancel ends a scheduled send of this source.
func (c *sendCmd) cancel(e *env) error {
	if !event.IsUUID(c.Cancel) {
		return errors.New("--cancel: must be an event id")
	}
	db, err := e.openDatabase(c.databaseFlags)
	if err != nil {
		return err
	}
	defer db.Close()
	st, err := schedule.New(db).Cancel(e.ctx, "source:"+c.Source, c.Cancel, time.Now())
	if err != nil {
		return err
	}
	e.printf("{\"event_id\":%q,\"state\":%q}\n", st.EventID, st.State)
	return nil
}

// maxLine is the longest line of JSON lines: the largest payload and its frame.
const maxLine = 1 << 20

// maxOpen bounds the records that Kafka has not yet acknowledged.
const maxOpen = 1000

// lines is the work on standard input.
type lines struct {
	cmd  *sendCmd
	env  *env
	to   *kafka.Client
	in   *bufio.Reader
	show *progress

	sent, bad, line int
	read            int64
	open            []kafka.Record
}

// sendLines sends each line of standard input; what breaks a rule is named with
// its line, and the others are sent all the same.
func (c *sendCmd) sendLines(e *env, k *kafka.Client) error {
	l := &lines{cmd: c, env: e, to: k, in: bufio.NewReaderSize(e.Stdin, 64<<10), show: newProgress(e.Stderr, e.Stdin)}
	defer l.show.end()
	for e.ctx.Err() == nil {
		text, err := l.next()
		if err != nil && !errors.Is(err, io.EOF) {
			return fmt.Errorf("reading standard input, line %d: %w", l.line+1, err)
		}
		if err != nil && len(text) == 0 {
			break
		}
		if err := l.take(text); err != nil {
			return err
		}
	}
	if err := l.flush(); err != nil {
		return err
	}
	l.show.end()
	e.printf("{\"sent\":%d,\"refused\":%d}\n", l.sent, l.bad)
	if l.bad > 0 {
		return fmt.Errorf("%d lines were refused", l.bad)
	}
	return context.Cause(e.ctx)
}

// next reads a line; of one that is too long only as much as shows that it is.
func (l *lines) next() ([]byte, error) {
	var text []byte
	for {
		piece, err := l.in.ReadSlice('\n')
		l.read += int64(len(piece))
		if len(text) <= maxLine {
			text = append(text, piece...)
		}
		if !errors.Is(err, bufio.ErrBufferFull) {
			return text, err
		}
	}
}

func (l *lines) take(text []byte) error {
	l.line++
	if len(strings.TrimSpace(string(text[:min(len(text), 100)]))) == 0 {
		return nil
	}
	var n event.Notification
	err := fmt.Errorf("must be at most %d bytes long", maxLine)
	if len(text) <= maxLine {
		n, err = event.ParseNotification(text)
	}
	if err == nil {
		err = n.CheckTimes(time.Now())
	}
	if err != nil {
		l.bad++
		l.show.clear()
		fmt.Fprintf(l.env.Stderr, "crier: line %d: %v\n", l.line, err)
		return nil
	}
	if n.Source == "" {
		n.Source = l.cmd.Source
	}
	recs, err := records(&n)
	if err != nil {
		return err
	}
	if l.open = append(l.open, recs...); len(l.open) >= maxOpen {
		return l.flush()
	}
	return nil
}

func (l *lines) flush() error {
	if err := l.to.Produce(l.env.ctx, l.open...); err != nil {
		return fmt.Errorf("after %d notifications: %w", l.sent, err)
	}
	l.sent += len(l.open)
	l.open = l.open[:0]
	l.show.at(l.sent, l.read)
	return nil
}

// progress is a bar on a terminal; nothing where there is none.
type progress struct {
	out   io.Writer // nil: not a terminal
	total int64     // bytes to be read; 0: not known
	began time.Time
	shown bool
}

// barWidth is how many characters a full bar has.
const barWidth = 30

func newProgress(out io.Writer, in io.Reader) *progress {
	p := &progress{began: time.Now()}
	if isTerminal(out) && !isTerminalReader(in) {
		p.out = out
	}
	if f, ok := in.(*os.File); ok {
		if info, err := f.Stat(); err == nil && info.Mode().IsRegular() {
			p.total = info.Size()
		}
	}
	return p
}

func isTerminalReader(in io.Reader) bool {
	f, ok := in.(*os.File)
	return ok && isTerminal(f)
}

// at shows how many were sent, and what part of the input was read.
func (p *progress) at(sent int, read int64) {
	if p.out == nil {
		return
	}
	p.shown = true
	fmt.Fprintf(p.out, "\r%s", progressLine(sent, read, p.total, time.Since(p.began)))
}

func progressLine(sent int, read, total int64, took time.Duration) string {
	rate := float64(sent) / max(took.Seconds(), 0.001)
	if total <= 0 {
		return fmt.Sprintf("%d sent, %.0f/s", sent, rate)
	}
	done := min(1, float64(read)/float64(total))
	full := int(done * barWidth)
	return fmt.Sprintf("[%s%s] %3.0f%%  %d sent, %.0f/s", strings.Repeat("=", full), strings.Repeat(" ", barWidth-full), done*100, sent, rate)
}

// clear takes the bar away for a line of text.
func (p *progress) clear() {
	if p.shown {
		fmt.Fprint(p.out, "\r\x1b[K")
		p.shown = false
	}
}

func (p *progress) end() {
	if p.shown {
		fmt.Fprintln(p.out)
		p.shown = false
	}
}
