package consumer

import (
	"errors"
	"net/url"
	"time"
)

// Config is what an operator may change.
type Config struct {
	// Batch is the most records stored in one transaction. Larger batches cost
	// latency only when there is a backlog; 500 is where Postgres stopped
	// gaining when measured (docs/performance.md).
	Batch int
	// ExternalUsers says that any `sub` is a user, whose inbox begins with its
	// first notification.
	ExternalUsers bool
	// InboxRetention is how long notifications are kept.
	InboxRetention time.Duration
	// Mail says how notifications go out by email.
	Mail MailConfig
	// FailFunc is called at named points of a batch; tests kill the process
	// there. nil does nothing.
	FailFunc func(point string)
}

// MailConfig is what an operator may change of mails.
type MailConfig struct {
	SMTPURL   string  // "": no mail is sent, and deliveries by email say so
	From      string  // sender
	PublicURL string  // of the gateway, for links
	Templates string  // folder; "": the built-in ones
	PerSecond float64 // mails to the server; 0: as fast as it takes them
}

// Group is the name of the consumer group.
const Group = "crier-consumer"

// DefaultBatch is the Batch of a zero Config.
const DefaultBatch = 500

func (c *Config) normalise() error {
	if c.Batch == 0 {
		c.Batch = DefaultBatch
	}
	if c.FailFunc == nil {
		c.FailFunc = func(string) {}
	}
	var errs []error
	if c.Batch < 1 || c.Batch > 10_000 {
		errs = append(errs, errors.New("CRIER_CONSUMER_BATCH: must be 1 to 10000"))
	}
	if c.InboxRetention < time.Minute {
		errs = append(errs, errors.New("CRIER_INBOX_RETENTION: must be at least 1m"))
	}
	if u, err := url.Parse(c.Mail.PublicURL); c.Mail.SMTPURL != "" && (err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https") {
		errs = append(errs, errors.New("CRIER_PUBLIC_URL: is required with CRIER_SMTP_URL, such as https://crier.example.org: mails have links to it"))
	}
	return errors.Join(errs...)
}
