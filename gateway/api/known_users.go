package api

import (
	"context"
	"sync"
	"time"

	"crier/internal/event"
)

// knownUsers answers which users do not exist. Users that were found are
// remembered for up to a minute, so that a sender of many notifications does not
// ask Postgres for each; lookups of others that come at the same time share a
// query. Absence is never remembered: a user can be sent to as soon as they have
// signed up. An account that closes is forgotten here and by a signal on the
// other gateways; a signal that is lost costs nothing but a rejection that comes
// later, in the consumer, which checks again in its transaction. It is safe for
// concurrent use.
type knownUsers struct {
	lookup *coalescer[event.UserID, struct{}]
	find   findUsers

	mu      sync.Mutex
	recent  map[event.UserID]struct{} // found in the present period
	before  map[event.UserID]struct{} // found in the period before it
	started time.Time                 // of the present period
}

// findUsers returns those of the users that exist.
type findUsers func(ctx context.Context, users []event.UserID) (map[event.UserID]struct{}, error)

// A period of knownUsers ends with its time or when it is full, whichever comes
// first: two periods of 50,000 ids are some 10 MB at most.
const (
	knownPeriod = 30 * time.Second
	knownMost   = 50_000
)

func newKnownUsers(find findUsers) *knownUsers {
	return &knownUsers{lookup: newCoalescer(find), find: find, recent: make(map[event.UserID]struct{})}
}

// missing returns those of the users that do not exist, in their order.
func (k *knownUsers) missing(ctx context.Context, users []event.UserID, now time.Time) ([]event.UserID, error) {
	unknown := k.unknown(users, now)
	if len(unknown) == 0 {
		return nil, nil
	}
	found := make(map[event.UserID]struct{}, len(unknown))
	if len(unknown) == 1 {
		_, exists, err := k.lookup.get(ctx, unknown[0])
		if err != nil {
			return nil, err
		}
		if exists {
			found[unknown[0]] = struct{}{}
		}
	} else {
		var err error
		if found, err = k.find(ctx, unknown); err != nil {
			return nil, err
		}
	}
	k.remember(found, now)
	var missing []event.UserID
	for _, u := range unknown {
		if _, exists := found[u]; !exists {
			missing = append(missing, u)
		}
	}
	return missing, nil
}

// unknown returns the users that are not remembered.
func (k *knownUsers) unknown(users []event.UserID, now time.Time) []event.UserID {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.turn(now)
	var unknown []event.UserID
	for _, u := range users {
		if _, ok := k.recent[u]; ok {
			continue
		}
		if _, ok := k.before[u]; !ok {
			unknown = append(unknown, u)
		}
	}
	return unknown
}

func (k *knownUsers) remember(users map[event.UserID]struct{}, now time.Time) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for u := range users {
		k.turn(now)
		k.recent[u] = struct{}{}
	}
}

// turn begins a new period when the present one has ended or is full. The caller
// holds the lock.
func (k *knownUsers) turn(now time.Time) {
	age := now.Sub(k.started)
	if age < knownPeriod && len(k.recent) < knownMost {
		return
	}
	k.before = k.recent
	if age >= 2*knownPeriod {
		k.before = nil
	}
	k.recent, k.started = make(map[event.UserID]struct{}), now
}

// forget removes a user whose account was closed.
func (k *knownUsers) forget(u event.UserID) {
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.recent, u)
	delete(k.before, u)
}
