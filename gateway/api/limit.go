package api

import (
	"sync"
	"time"

	"crier/internal/event"
)

// Failed logins allowed in a window, by name and by address: enough for
// somebody who has forgotten, too few for who guesses.
const (
	failureWindow     = 15 * time.Minute
	failuresByName    = 20
	failuresByAddress = 200
	maxFailureKeys    = 100_000 // beyond it, the oldest window is forgotten
)

// failures counts failed logins in fixed windows. It is safe for concurrent use.
type failures struct {
	mu      sync.Mutex
	counts  map[string]int
	started time.Time
}

func newFailures() *failures { return &failures{counts: make(map[string]int)} }

// turn begins a new window when the present one is over, or too full.
func (f *failures) turn(now time.Time) {
	if now.Sub(f.started) > failureWindow || len(f.counts) > maxFailureKeys {
		f.counts, f.started = make(map[string]int), now
	}
}

// wait is how long a login by name from address must wait, 0 if it need not.
func (f *failures) wait(name, address string, now time.Time) time.Duration {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.turn(now)
	if f.counts["n:"+name] >= failuresByName || f.counts["a:"+address] >= failuresByAddress {
		return f.started.Add(failureWindow).Sub(now)
	}
	return 0
}

// failed notes a failed login.
func (f *failures) failed(name, address string, now time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.turn(now)
	f.counts["n:"+name]++
	f.counts["a:"+address]++
}

// cuts remembers for a while why streams were cut, so that their readers can be
// told when they come back: a full socket takes no goodbye.
type cuts struct {
	mu      sync.Mutex
	reasons map[string]string // by user and session
	older   map[string]string
	turned  time.Time
}

const (
	cutsWindow = 5 * time.Minute
	maxCuts    = 50_000
)

func newCuts() *cuts {
	return &cuts{reasons: make(map[string]string), older: make(map[string]string)}
}

func (c *cuts) note(user event.UserID, session, reason string) {
	if user == "" {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if now := time.Now(); now.Sub(c.turned) > cutsWindow || len(c.reasons) >= maxCuts {
		c.older, c.reasons, c.turned = c.reasons, make(map[string]string), now
	}
	c.reasons[string(user)+"\x00"+session] = reason
}

// take is why the last stream of a session was cut, once.
func (c *cuts) take(user event.UserID, session string) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	key := string(user) + "\x00" + session
	for _, m := range []map[string]string{c.reasons, c.older} {
		if r, ok := m[key]; ok {
			delete(m, key)
			return r
		}
	}
	return ""
}
