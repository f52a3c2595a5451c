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

	User           []string      `short:"u" help:"User the notification is for; may be given more than once."`
	Topic          string        `help:"Topic whose followers get it, instead."`
	Everyone       bool          `help:"Everybody with an inbox gets it, instead."`
	Title          string        `short:"t" help:"One line."`
	Body           string        `short:"b" help:"A few lines."`
	URL            string        `name:"url" help:"Where a click leads."`
	Payload        string        `short:"p" help:"Any JSON."`
	Kind           string        `help:"What kind it is; default message."`
	Priority       string        `help:"low, normal, high or urgent."`
	Channels       []string      `help:"inbox, email, webhook; comma-separated. Default: inbox."`
	DeliverAt      instantFlag   `help:"When: a time (RFC 3339), or a duration from now such as 10m."`
	ExpiresAt      instantFlag   `help:"When it leaves the inbox: a time, or a duration from now."`
	CollapseKey    string        `help:"It replaces the unread one with the same key."`
	IdempotencyKey string        `help:"The same key from the same source is stored once."`
	Source         string        `default:"cli" help:"Who sends."`
	Wait           time.Duration `default:"10s" help:"How long to wait for the result of each: stored, or rejected with a reason and exit code 1. 0: Kafka's acknowledgement is enough, which is faster."`
	Cancel         string        `help:"Event id of a scheduled send of this source, which is cancelled instead."`
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
	var follow *results
	if c.Wait > 0 {
		if follow, err = followResults(e.ctx, k, c.Wait); err != nil {
			return err
		}
	}
	defer follow.close()
	if len(c.User) == 0 && c.Topic == "" && !c.Everyone {
		if c.Title != "" || c.Body != "" || c.Payload != "" {
			return errors.New("--user, --topic or --everyone is required with --title, --body or --payload")
		}
		return c.sendLines(e, k, follow)
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
	var found []event.Result
	if follow != nil {
		found, err = follow.of(e.ctx, recs)
	}
	var refused []error
	for i := range recs {
		var res *event.Result
		if len(found) > 0 {
			res = &found[i]
			if why := refusal(res); why != nil {
				refused = append(refused, fmt.Errorf("%s: %w", recs[i].Key, why))
			}
		}
		e.printSent(&recs[i], res)
	}
	return errors.Join(append(refused, err)...)
}

// notification is what the flags say.
func (c *sendCmd) notification(now time.Time) (event.Notification, error) {
	n := event.Notification{Topic: c.Topic, Everyone: c.Everyone, Title: c.Title, Body: c.Body, URL: c.URL, Kind: c.Kind, Priority: c.Priority, Channels: c.Channels,
		CollapseKey: c.CollapseKey, IdempotencyKey: c.IdempotencyKey, Source: c.Source, DeliverAt: c.DeliverAt.at(now), ExpiresAt: c.ExpiresAt.at(now)}
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

// instantFlag is a time, or a duration from now; empty: none.
type instantFlag string

// UnmarshalText is called by the flag parser.
func (f *instantFlag) UnmarshalText(b []byte) error {
	_, notDuration := time.ParseDuration(string(b))
	_, notTime := event.ParseTime(string(b))
	if len(b) > 0 && notDuration != nil && notTime != nil {
		return errors.New("must be a time (RFC 3339) such as 2026-11-21T18:00:00Z, or a duration from now such as 10m")
	}
	*f = instantFlag(b)
	return nil
}

// at is the time as JSON.
func (f instantFlag) at(now time.Time) json.RawMessage {
	s := string(f)
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

// printSent prints where a record is, and what became of it where that is known.
func (e *env) printSent(r *kafka.Record, res *event.Result) {
	line := map[string]any{"to": string(r.Key), "event_id": r.Header("event_id"), "topic": r.Topic, "partition": r.Partition, "offset": r.Offset}
	if res != nil {
		line["status"] = res.Status
		if res.ID > 0 {
			line["id"] = res.ID
		}
	}
	b, _ := json.Marshal(line) // plain values
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
	cmd    *sendCmd
	env    *env
	to     *kafka.Client
	in     *bufio.Reader
	show   *progress
	follow *results // nil: Kafka's acknowledgement is enough

	sent, bad, line int
	read            int64
	open            []kafka.Record
	from            []int // the line of each open record
}

// sendLines sends each line of standard input; what breaks a rule is named with
// its line, and the others are sent all the same.
func (c *sendCmd) sendLines(e *env, k *kafka.Client, follow *results) error {
	l := &lines{cmd: c, env: e, to: k, follow: follow, in: bufio.NewReaderSize(e.Stdin, 64<<10), show: newProgress(e.Stderr, e.Stdin)}
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
		l.refuse(l.line, err)
		return nil
	}
	if n.Source == "" {
		n.Source = l.cmd.Source
	}
	recs, err := records(&n)
	if err != nil {
		return err
	}
	for range recs {
		l.from = append(l.from, l.line)
	}
	if l.open = append(l.open, recs...); len(l.open) >= maxOpen {
		return l.flush()
	}
	return nil
}

// refuse names a line that was not sent, or not stored.
func (l *lines) refuse(line int, why error) {
	l.bad++
	l.show.clear()
	fmt.Fprintf(l.env.Stderr, "crier: line %d: %v\n", line, why)
}

func (l *lines) flush() error {
	if len(l.open) == 0 {
		return nil
	}
	if err := l.to.Produce(l.env.ctx, l.open...); err != nil {
		return fmt.Errorf("after %d notifications: %w", l.sent, err)
	}
	l.sent += len(l.open)
	if l.follow != nil {
		found, err := l.follow.of(l.env.ctx, l.open)
		if err != nil {
			return fmt.Errorf("after %d notifications: %w", l.sent, err)
		}
		for i := range found {
			if why := refusal(&found[i]); why != nil {
				l.refuse(l.from[i], why)
				l.sent--
			}
		}
	}
	l.open, l.from = l.open[:0], l.from[:0]
	l.show.at(l.sent, l.bad, l.read)
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

// at shows how many were sent and refused, and what part of the input was read.
func (p *progress) at(sent, refused int, read int64) {
	if p.out == nil {
		return
	}
	p.shown = true
	fmt.Fprintf(p.out, "\r%s", progressLine(sent, refused, read, p.total, time.Since(p.began)))
}

func progressLine(sent, refused int, read, total int64, took time.Duration) string {
	rate := float64(sent) / max(took.Seconds(), 0.001)
	if total <= 0 {
		return fmt.Sprintf("%d sent, %.0f/s%s", sent, rate, refusedText(refused))
	}
	done := min(1, float64(read)/float64(total))
	full := int(done * barWidth)
	return fmt.Sprintf("[%s%s] %3.0f%%  %d sent, %.0f/s%s", strings.Repeat("=", full), strings.Repeat(" ", barWidth-full), done*100, sent, rate, refusedText(refused))
}

func refusedText(n int) string {
	if n == 0 {
		return ""
	}
	return fmt.Sprintf(", %d refused", n)
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
