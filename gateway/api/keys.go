package api

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"crier/internal/problem"
	"crier/internal/user"
)

// How often the use of a key is recorded, how long before its end the log warns of a
// key in use, and how often.
const (
	keyUseInterval = 5 * time.Minute
	keyWarnAhead   = 7 * 24 * time.Hour
	keyWarnEvery   = 24 * time.Hour
	maxKeyUses     = 10_000 // beyond it, what was noted is forgotten: a few writes and warnings more
)

// keyUses is when the keys' use was recorded and warned of last, by their ids. It is
// safe for concurrent use.
type keyUses struct {
	mu             sync.Mutex
	recorded, told map[int64]time.Time
}

// due reports whether a key's use is to be recorded, and whether to warn of its end.
// What is due counts as done.
func (u *keyUses) due(k user.Key, now time.Time) (record, warn bool) {
	if k.Expired(now) {
		return false, false
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.recorded == nil || len(u.recorded)+len(u.told) > maxKeyUses {
		u.recorded, u.told = make(map[int64]time.Time), make(map[int64]time.Time)
	}
	record = (k.LastUsedAt == nil || now.Sub(*k.LastUsedAt) >= keyUseInterval) && now.Sub(u.recorded[k.ID]) >= keyUseInterval
	if record {
		u.recorded[k.ID] = now
	}
	warn = k.ExpiresAt != nil && k.ExpiresAt.Sub(now) <= keyWarnAhead && now.Sub(u.told[k.ID]) >= keyWarnEvery
	if warn {
		u.told[k.ID] = now
	}
	return record, warn
}

// lookUpKeys finds keys by their secrets. Their use is recorded here, where many
// requests share a query, so that it costs a request nothing most of the time.
func (a *API) lookUpKeys(ctx context.Context, secrets []string) (map[string]user.Key, error) {
	found, err := a.Users.KeysOf(ctx, secrets)
	if err != nil {
		return nil, err
	}
	now := time.Now()
	var used []int64
	for _, k := range found {
		record, warn := a.keyUses.due(k, now)
		if record {
			used = append(used, k.ID)
		}
		if warn {
			a.Log.Warn("an API key in use expires soon", "service", k.Owner, "key", k.ID, slog.Time("expires", k.ExpiresAt.UTC()), "replaced", k.ReplacedAt != nil)
		}
	}
	if len(used) > 0 {
		if err := a.Users.NoteKeysUsed(ctx, used, now); err != nil {
			a.Log.Warn("recording the use of API keys failed", "error", err) // the next interval does it
		}
	}
	return found, nil
}

// expiredKey is the refusal of a key whose time is over.
func expiredKey(k user.Key) error {
	return problem.New(problem.KeyExpired, fmt.Sprintf("This API key (%d of %s) expired at %s.", k.ID, k.Owner, k.ExpiresAt.UTC().Format(time.RFC3339)))
}
