package api

import (
	"sync"
	"time"

	"crier/internal/event"
)

// Failed logins allowed in a window: enough for a user who has forgotten it, too
// few for who guesses. A name is limited at each address, so that who fails on
// purpose does not lock its owner out, and more widely at all of them together;
// a device that has signed in to the account before has a count of its own.
const (
	failureWindow     = 15 * time.Minute
	failuresByPair    = 20 // of a name at an address, or of a known device
	failuresByAddress = 200
	failuresByName    = 1000
	maxFailureKeys    = 300_000 // beyond it, the oldest window is forgotten
)

// failures counts failed logins in fixed windows. It is safe for concurrent use.
type failures struct {
	mu      sync.Mutex
	counts  map[string]int
	started time.Time
}

func newFailures() *failures { return &failures{counts: make(map[string]int)} }

// counter is one count of failures, and its limit.
type counter struct {
	key   string
	limit int
}

// countersOf are the counts of a login by name from address; device is the
// session by which the account knows the device, "" if it does not.
func countersOf(name, address, device string) []counter {
	if device != "" {
		return []counter{{"d:" + device, failuresByPair}}
	}
	address = network(address)
	return []counter{{"p:" + name + "\x00" + address, failuresByPair}, {"a:" + address, failuresByAddress}, {"n:" + name, failuresByName}}
}

// begin counts a login as failed before its password is looked at, so that many
// at once do not all pass; succeeded takes that back. It returns how long the
// login must wait, and then has counted nothing; 0 if it need not.
func (f *failures) begin(of []counter, now time.Time) time.Duration {
	f.mu.Lock()
	defer f.mu.Unlock()
	if now.Sub(f.started) > failureWindow || len(f.counts) > maxFailureKeys {
		f.counts, f.started = make(map[string]int), now
	}
	for _, c := range of {
		if f.counts[c.key] >= c.limit {
			return f.started.Add(failureWindow).Sub(now)
		}
	}
	for _, c := range of {
		f.counts[c.key]++
	}
	return 0
}

// succeeded takes back what begin has counted.
func (f *failures) succeeded(of []counter) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, c := range of {
		if f.counts[c.key] > 1 {
			f.counts[c.key]--
		} else {
			delete(f.counts, c.key) // a new window may have begun since
		}
	}
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
