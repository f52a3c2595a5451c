package command

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"crier/internal/event"
	"crier/internal/kafka"
)

// sendCmd produces notifications to Kafka.
type sendCmd struct {
	kafkaFlags `embed:""`

	User           []string `short:"u" help:"User the notification is for; may be given more than once."`
	Title          string   `short:"t" help:"One line."`
	Body           string   `short:"b" help:"A few lines."`
	URL            string   `name:"url" help:"Where a click leads."`
	Payload        string   `short:"p" help:"Any JSON."`
	Kind           string   `help:"What kind it is; default message."`
	Priority       string   `help:"low, normal, high or urgent."`
	IdempotencyKey string   `help:"The same key from the same source is stored once."`
	Source         string   `default:"cli" help:"Who sends."`
}

// Run is called by the parser. Without --user it reads JSON lines.
func (c *sendCmd) Run(e *env) error {
	if err := e.findKafka(&c.kafkaFlags); err != nil {
		return err
	}
	k, err := c.open(e.log)
	if err != nil {
		return err
	}
	defer k.Close()
	if len(c.User) == 0 {
		if c.Title != "" || c.Body != "" || c.Payload != "" {
			return errors.New("--user is required with --title, --body or --payload")
		}
		return c.sendLines(e, k)
	}
	n := event.Notification{Title: c.Title, Body: c.Body, URL: c.URL, Kind: c.Kind, Priority: c.Priority, IdempotencyKey: c.IdempotencyKey, Source: c.Source}
	if c.Payload != "" {
		if !json.Valid([]byte(c.Payload)) {
			return errors.New("payload: must be JSON")
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
		return err
	}
	recs, err := records(n)
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

// records is one record a recipient, so that each user's order is that of the
// partition.
func records(n event.Notification) ([]kafka.Record, error) {
	var recs []kafka.Record
	for _, u := range n.Recipients() {
		one := n
		one.UserID, one.UserIDs = u, nil
		value, err := json.Marshal(one)
		if err != nil {
			return nil, fmt.Errorf("encoding a notification: %w", err)
		}
		recs = append(recs, kafka.Record{Topic: kafka.Notifications, Key: []byte(u), Value: value})
	}
	return recs, nil
}

func (e *env) printPlace(r *kafka.Record) {
	b, _ := json.Marshal(map[string]any{"user_id": string(r.Key), "topic": r.Topic, "partition": r.Partition, "offset": r.Offset}) // plain values
	e.printf("%s\n", b)
}

// maxLine is the longest line of JSON lines: the largest payload and its frame.
const maxLine = 1 << 20

// maxOpen bounds the lines that Kafka has not yet acknowledged.
const maxOpen = 1000

// sendLines sends each line of standard input; what breaks a rule is named with
// its line, and the others are sent all the same.
func (c *sendCmd) sendLines(e *env, k *kafka.Client) error {
	lines := bufio.NewScanner(e.Stdin)
	lines.Buffer(make([]byte, 64<<10), maxLine)
	progress := isTerminal(e.Stderr) && e.Stdin != os.Stdin
	var sent, bad, line int
	var open []kafka.Record
	flush := func() error {
		if err := k.Produce(e.ctx, open...); err != nil {
			return fmt.Errorf("after %d notifications: %w", sent, err)
		}
		sent += len(open)
		open = open[:0]
		if progress {
			fmt.Fprintf(e.Stderr, "\r%d sent", sent)
		}
		return nil
	}
	for lines.Scan() {
		line++
		if len(lines.Bytes()) == 0 {
			continue
		}
		n, err := event.ParseNotification(lines.Bytes())
		if err != nil {
			bad++
			fmt.Fprintf(e.Stderr, "crier: line %d: %v\n", line, err)
			continue
		}
		if n.Source == "" {
			n.Source = c.Source
		}
		recs, err := records(n)
		if err != nil {
			return err
		}
		if open = append(open, recs...); len(open) >= maxOpen {
			if err := flush(); err != nil {
				return err
			}
		}
	}
	if err := lines.Err(); err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("reading standard input, line %d: %w", line+1, err)
	}
	if err := flush(); err != nil {
		return err
	}
	e.printf("{\"sent\":%d,\"refused\":%d}\n", sent, bad)
	if bad > 0 {
		return fmt.Errorf("%d lines were refused", bad)
	}
	return context.Cause(e.ctx)
}
