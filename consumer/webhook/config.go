package webhook

import (
	"net"
	"time"
)

// Config is how deliveries are made. The zero value of a field is its default.
type Config struct {
	// Timeout bounds one attempt, from the name's resolution to the end of the
	// answer. 15 s is what Standard Webhooks asks for at least.
	Timeout time.Duration
	// Waits are between attempts; after the last the delivery is given up. Each is
	// spread by a tenth, so that many that failed together do not come back together.
	Waits []time.Duration
	// PerDestination is how many requests one destination gets at once; one that is
	// ordered gets one.
	PerDestination int
	// Destinations is how many a process works at once; those beyond wait their turn.
	Destinations int
	// FailingLimit is how long a destination may know nothing but failures before
	// it is disabled.
	FailingLimit time.Duration
	// Lease is how long a destination stays with a process that says nothing more.
	Lease time.Duration
	// Resolver is who is asked for addresses; nil is the system's.
	Resolver *net.Resolver
	// FailFunc is called at named points; tests kill the process there.
	FailFunc func(point string)
}

// DefaultWaits are between the attempts at one delivery.
var DefaultWaits = []time.Duration{5 * time.Second, 5 * time.Minute, 30 * time.Minute, 2 * time.Hour, 5 * time.Hour, 10 * time.Hour, 10 * time.Hour}

// Times of the dispatcher.
const (
	pollEvery  = time.Second      // for work that another process has added
	turnLength = 10 * time.Second // of one destination, while others wait for their turn
	drainTime  = 4 * time.Second  // for attempts in flight when the part is stopped
)

func (c *Config) normalise() {
	if c.Timeout == 0 {
		c.Timeout = 15 * time.Second
	}
	if c.Waits == nil {
		c.Waits = DefaultWaits
	}
	if c.PerDestination == 0 {
		c.PerDestination = 16
	}
	if c.Destinations == 0 {
		c.Destinations = 128
	}
	if c.FailingLimit == 0 {
		c.FailingLimit = 5 * 24 * time.Hour
	}
	if c.Lease == 0 {
		c.Lease = 10 * time.Second // taken over well within 30 s
	}
	if c.FailFunc == nil {
		c.FailFunc = func(string) {}
	}
}
