package consumer

import (
	"errors"
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
	// FailFunc is called at named points of a batch; tests kill the process
	// there. nil does nothing.
	FailFunc func(point string)
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
	return errors.Join(errs...)
}
