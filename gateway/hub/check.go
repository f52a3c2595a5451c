package hub

import (
	"context"
	"encoding/json"
	"time"

	"crier/internal/event"
)

// checkBatch is how many users are asked after at once.
const checkBatch = 1000

// countsEvery is the least time between two counts of a user: at most 4 a second.
const countsEvery = 250 * time.Millisecond

// Check compares every connected user with Postgres: places that were committed
// and never heard of, counts, sessions that have ended. It bounds what a lost
// hint can cost.
func (h *Hub) Check(ctx context.Context) error {
	if err := h.check(ctx, true); err != nil {
		return err
	}
	sessions := make(map[string]event.UserID)
	for i := range h.shards {
		sh := &h.shards[i]
		sh.mu.Lock()
		for user, a := range sh.users {
			for _, m := range a.subs {
				if s := m.stream; s.session != "" && m == &s.inbox {
					sessions[s.session] = user
				}
			}
		}
		sh.mu.Unlock()
	}
	batch := make([]string, 0, checkBatch)
	flush := func() error {
		ended, err := h.source.Ended(ctx, batch)
		for _, session := range ended {
			h.EndSession(sessions[session], session, LoggedOut)
		}
		batch = batch[:0]
		return err
	}
	for session := range sessions {
		if batch = append(batch, session); len(batch) == checkBatch {
			if err := flush(); err != nil {
				return err
			}
		}
	}
	if len(batch) == 0 {
		return nil
	}
	return flush()
}

func (h *Hub) check(ctx context.Context, counts bool) error {
	for i := range h.shards {
		sh := &h.shards[i]
		sh.mu.Lock()
		users := make([]event.UserID, 0, len(sh.users))
		for u, a := range sh.users {
			switch {
			case len(a.subs) > 0:
				users = append(users, u)
			case time.Since(a.left) > lingering:
				delete(sh.users, u)
				sh.without--
			}
		}
		sh.mu.Unlock()
		for len(users) > 0 {
			n := min(len(users), checkBatch)
			heads, err := h.source.Heads(ctx, users[:n])
			if err != nil {
				return err
			}
			for u, head := range heads {
				h.reconcile(sh, u, head, counts)
			}
			users = users[n:]
		}
	}
	return nil
}

func (h *Hub) reconcile(sh *shard, user event.UserID, head Head, counts bool) {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	a := sh.users[user]
	if a == nil {
		return
	}
	a.highest = max(a.highest, head.Last)
	for _, m := range a.subs {
		if m.state == live && m.last < a.highest {
			h.holes.Add(1)
			m.fallBehind()
		}
	}
	if counts && head.Counts.Version > a.counts.Version {
		a.counts = head.Counts
		h.sendCounts(a, time.Now())
	}
}

// Counts brings a user's counts after a change. Older ones than those known are
// passed over; newer ones are sent at once, or a quarter of a second after the
// last.
func (h *Hub) Counts(user event.UserID, c event.Counts) {
	sh := h.shard(user)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	a := sh.users[user]
	if a == nil {
		return
	}
	// What was marked or deleted is not as it was delivered.
	a.newest = noSlot
	if c.Version <= a.counts.Version {
		return
	}
	a.counts = c
	h.sendCounts(a, time.Now())
}

func (h *Hub) sendCounts(a *audience, now time.Time) {
	if now.Sub(a.countsSent) < countsEvery {
		if !a.countsDue {
			a.countsDue = true
			h.ticks.counts(a.user)
		}
		return
	}
	a.countsDue, a.countsSent = false, now
	data, _ := json.Marshal(a.counts) // three numbers
	ev := &Event{Type: CountsType, Data: data}
	for _, m := range a.subs {
		s := m.stream
		// One that is behind, or refuses, is told when it has caught up.
		if m.state == live && s.counts < a.counts.Version && s.sink.Send(ev) {
			s.counts = a.counts.Version
		}
	}
}

// dueCounts sends counts that waited; false: they wait longer.
func (h *Hub) dueCounts(user event.UserID, now time.Time) bool {
	sh := h.shard(user)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	a := sh.users[user]
	if a == nil || !a.countsDue {
		return true
	}
	if now.Sub(a.countsSent) < countsEvery {
		return false
	}
	h.sendCounts(a, now)
	return true
}
