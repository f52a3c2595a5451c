package gateway

import (
	"context"
	"encoding/json"
	"iter"
	"slices"
	"strconv"
	"time"

	"crier/gateway/hub"
	"crier/internal/event"
	"crier/internal/inbox"
	"crier/internal/kafka"
	"crier/internal/lifecycle"
	"crier/internal/user"
)

// follow reads one tail until the gateway stops.
func (g *Gateway) follow(ctx context.Context, t *kafka.Tail, health *lifecycle.Health, each func(*kafka.Record)) error {
	var wait lifecycle.Backoff
	writes := g.pool.Batch()
	batch := func(recs iter.Seq[*kafka.Record]) {
		writes.Do(func() {
			for r := range recs {
				each(r)
			}
		})
	}
	for {
		lost, err := t.Poll(ctx, batch)
		if ctx.Err() != nil {
			return nil
		}
		if slices.Contains(lost, kafka.Deliveries) {
			g.metrics.lost.Inc()
			g.log.Warn("the tail of deliveries lost its place; connected users' inboxes are read again")
			if err := g.untilDone(ctx, g.hub.Lost); err != nil {
				return nil
			}
		}
		if slices.Contains(lost, kafka.Ticks) {
			g.log.Warn("the tail of ticks missed records; last prices are read again")
			g.hub.TicksLost()
			if err := g.untilDone(ctx, g.loadPrices); err != nil {
				return nil
			}
		}
		health.Report(err)
		if err != nil {
			if wait.Wait(ctx) != nil {
				return nil
			}
			continue
		}
		wait.Reset()
	}
}

// untilDone tries until it succeeds; its error says that ctx ended first.
func (g *Gateway) untilDone(ctx context.Context, fn func(context.Context) error) error {
	var wait lifecycle.Backoff
	for {
		err := fn(ctx)
		if err == nil {
			g.rereading.Report(nil)
			return nil
		}
		g.rereading.Report(err)
		if err := wait.Wait(ctx); err != nil {
			return err
		}
	}
}

// event brings a record of `deliveries` or `signals` to the hub.
func (g *Gateway) event(r *kafka.Record) {
	if r.Topic == kafka.Signals {
		g.signal(r)
		return
	}
	var owner, topic, kind, author, connection []byte
	id := int64(0)
	for _, h := range r.Headers {
		switch h.Key {
		case "user":
			owner = h.Value
		case "topic":
			topic = h.Value
		case "id":
			var err error
			if id, err = strconv.ParseInt(string(h.Value), 10, 64); err != nil {
				id = 0
			}
		case "kind":
			kind = h.Value
		case "author":
			author = h.Value
		case "connection":
			connection = h.Value
		}
	}
	if len(connection) > 0 {
		g.presence.Directed(string(kind), string(connection), r.Value)
		return
	}
	d := hub.Stored{ID: id, Data: r.Value}
	if len(topic) > 0 {
		owner = []byte(event.TopicOwner(string(topic)))
		d.Kind, d.Author = string(kind), string(author)
	}
	if len(owner) == 0 || id <= 0 {
		g.metrics.foreign.Inc()
		return
	}
	g.hub.Deliver(owner, d)
}

func (g *Gateway) signal(r *kafka.Record) {
	var s event.Signal
	if err := json.Unmarshal(r.Value, &s); err != nil || s.UserID == "" {
		g.metrics.foreign.Inc()
		return
	}
	switch {
	case s.Type == event.SignalCounts && s.Counts != nil:
		g.hub.Counts(s.UserID, *s.Counts)
	case s.Type == event.SignalSessionEnded:
		if s.Session == "" { // all of the user's sessions: perhaps the account was closed
			g.api.ForgetUser(s.UserID)
		}
		g.hub.EndSession(s.UserID, s.Session, hub.LoggedOut)
	}
}

// tick brings a record of `ticks` to the hub.
func (g *Gateway) tick(r *kafka.Record) {
	if t, ok := g.tickOf(r); ok {
		g.hub.Tick(t, r.Time)
	}
}

// checkEvery bounds what a lost signal can cost.
const checkEvery = 25 * time.Second

func (g *Gateway) check(ctx context.Context) error {
	for lifecycle.Sleep(ctx, checkEvery) == nil {
		if err := g.hub.Check(ctx); ctx.Err() == nil {
			g.checking.Report(err)
		}
		if n, err := g.kafka.Partitions(ctx, kafka.Ticks); err == nil {
			g.tickPartitions.Store(n)
		}
	}
	return nil
}

// source is the inboxes as the hub sees them.
type source struct {
	inbox *inbox.Store
	users *user.Store
	ttl   time.Duration // of a session without use
}

// After is part of hub.Source.
func (s source) After(ctx context.Context, uid event.UserID, after int64, limit int) ([]*hub.Event, error) {
	list, err := s.inbox.After(ctx, uid, after, limit)
	if err != nil {
		return nil, err
	}
	out := make([]*hub.Event, len(list))
	for i := range list {
		d := hub.Stored{ID: list[i].ID, Data: list[i].AppendJSON(nil), Kind: list[i].Kind, Author: list[i].Author}
		out[i] = d.Event(uid)
	}
	return out, nil
}

// Heads is part of hub.Source.
func (s source) Heads(ctx context.Context, users []event.UserID) (map[event.UserID]hub.Head, error) {
	heads, err := s.inbox.Heads(ctx, users)
	if err != nil {
		return nil, err
	}
	out := make(map[event.UserID]hub.Head, len(heads))
	for u, h := range heads {
		out[u] = hub.Head{Last: h.LastID, Counts: h.Counts}
	}
	return out, nil
}

// Ended is part of hub.Source. An open stream is a use of its session.
func (s source) Ended(ctx context.Context, sessions []string) ([]string, error) {
	now := time.Now()
	if err := s.users.Prolong(ctx, sessions, now, s.ttl); err != nil {
		return nil, err
	}
	return s.users.Ended(ctx, sessions, now)
}
