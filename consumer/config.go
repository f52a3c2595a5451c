package consumer

import (
	"errors"
	"fmt"
	"math"
	"time"

	"crier/consumer/mail"
	"crier/consumer/webhook"
	"crier/internal/destination"
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
	// Webhooks says how items go to destinations.
	Webhooks WebhookConfig
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

// WebhookConfig is what an operator may change of deliveries to destinations.
type WebhookConfig struct {
	webhook.Config
	Allow     []string      // ranges that deliveries may reach although they are private
	Retention time.Duration // how long items and attempts are kept; 0: 720 h
}

// DefaultWebhookRetention is how long items and attempts are kept.
const DefaultWebhookRetention = 720 * time.Hour

// minWebhookRetention outlasts a delivery's last attempt.
const minWebhookRetention = 48 * time.Hour

// DefaultBatch is the Batch of a zero Config.
const DefaultBatch = 500

// Check finds everything that is wrong with a configuration.
func (c Config) Check() error { return c.normalise() }

func (c *Config) normalise() error {
	if c.Batch == 0 {
		c.Batch = DefaultBatch
	}
	if c.FailFunc == nil {
		c.FailFunc = func(string) {}
	}
	var errs []error
	if c.Batch < 1 || c.Batch > 10_000 {
		errs = append(errs, fmt.Errorf("CRIER_CONSUMER_BATCH \"%d\": must be 1 to 10000", c.Batch))
	}
	if c.InboxRetention < time.Minute {
		errs = append(errs, fmt.Errorf("CRIER_INBOX_RETENTION %q: must be at least 1m", c.InboxRetention))
	}
	if c.Webhooks.Retention == 0 {
		c.Webhooks.Retention = DefaultWebhookRetention
	}
	if c.Webhooks.Retention < minWebhookRetention {
		errs = append(errs, fmt.Errorf("CRIER_WEBHOOK_RETENTION %q: must be at least 48h: deliveries are tried for more than a day", c.Webhooks.Retention))
	}
	if c.Webhooks.FailFunc == nil {
		c.Webhooks.FailFunc = c.FailFunc
	}
	if c.Mail.SMTPURL != "" && c.Mail.PublicURL == "" {
		errs = append(errs, errors.New("CRIER_PUBLIC_URL: is required with CRIER_SMTP_URL, such as https://crier.example.org: mails have links to it"))
	}
	_, err := destination.NewGuard(c.Webhooks.Allow)
	errs = append(errs, err)
	if c.Mail.SMTPURL != "" {
		_, err := mail.NewSender(c.Mail.SMTPURL, c.Mail.PerSecond)
		errs = append(errs, err)
	}
	if !(c.Mail.PerSecond >= 0) || math.IsInf(c.Mail.PerSecond, 1) {
		errs = append(errs, fmt.Errorf("CRIER_MAIL_RATE \"%v\": must be 0 or more", c.Mail.PerSecond))
	}
	if c.Mail.From != "" {
		_, err := mail.NewComposer(c.Mail.From, c.Mail.PublicURL, c.Mail.Templates, nil)
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}
