package consumer

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"crier/internal/event"
	"crier/internal/inbox"
	"crier/internal/kafka"
	"crier/internal/lifecycle"
	"crier/internal/postgres"
	"crier/internal/schedule"
)

// sendOf is a notification as it is kept until it is due.
func sendOf(rec *kafka.Record, n *event.Notification, now time.Time) *schedule.Send {
	s := &schedule.Send{Sender: senderOf(rec, n), EventID: rec.Header(HeaderEventID), Hash: n.ContentHash(), Record: *rec, DueAt: n.DueAt()}
	if s.DueAt.Before(now) {
		s.DueAt = now
	}
	switch {
	case n.Everyone:
		s.Target = schedule.Everyone
	case n.Topic != "":
		s.Target = n.Topic
	default:
		s.Target = string(n.UserID)
	}
	switch {
	case s.EventID != "":
	case n.IdempotencyKey != "":
		s.EventID = event.EventIDOf(s.Sender, n.IdempotencyKey, event.UserID(s.Target))
	default:
		s.EventID = rec.Origin().EventID("")
	}
	return s
}

// keepLater keeps a batch's sends that are not delivered now.
func keepLater(ctx context.Context, tx pgx.Tx, units []unit, now time.Time) error {
	var sends []*schedule.Send
	var of []*unit
	for i := range units {
		if units[i].later != nil {
			sends, of = append(sends, units[i].later), append(of, &units[i])
		}
	}
	if len(sends) == 0 {
		return nil
	}
	kept, err := schedule.Keep(ctx, tx, sends, now)
	for i := range kept {
		of[i].kept = kept[i]
	}
	return err
}

// keptLater answers the producer of a send that was kept, and wakes who delivers
// it if it is due.
func (c *Consumer) keptLater(u *unit) []kafka.Record {
	r := event.Result{Status: event.StatusScheduled, EventID: u.later.EventID, UserID: u.notify.UserID, To: u.notify.Topic,
		Topic: u.rec.Topic, Partition: u.rec.Partition, Offset: u.rec.Offset}
	if u.notify.Everyone {
		r.To = schedule.Everyone
	}
	var out []kafka.Record
	switch u.kept {
	case schedule.Duplicate:
		r.Status = event.StatusDuplicate
	case schedule.Reused:
		r.Status, r.Code = event.StatusRejected, "idempotency_key_reused"
		r.Error = "idempotency_key: was used for another notification, with other content"
		out = append(out, kafka.DeadLetter(u.rec, r.Code, r.Error))
	default:
		select {
		case c.due <- struct{}{}:
		default:
		}
	}
	c.metrics.records.WithLabelValues(u.rec.Topic, r.Status).Inc()
	return append(out, resultRecord(u.rec, r))
}

// How sends that are due are looked for.
const (
	dueAgain = time.Second           // how often it is asked when the next is due: others keep sends, too
	dueLeast = 20 * time.Millisecond // between two questions: another process may be at what is due
	dueBatch = 100
)

// deliverDue delivers what was kept, as long as ctx lives. While nothing is due it asks
// one question a second.
func (c *Consumer) deliverDue(ctx context.Context) error {
	failing := lifecycle.Backoff{Max: 500 * time.Millisecond}
	for ctx.Err() == nil {
		taken := 0
		next, err := c.schedule.NextDue(ctx, time.Now().Add(dueAgain))
		if err == nil && !next.After(time.Now()) {
			taken, err = c.deliverDueOnce(ctx)
		}
		if ctx.Err() == nil {
			c.dueHealth.Report(err)
		}
		if err != nil {
			_ = failing.Wait(ctx)
			continue
		}
		failing.Reset()
		if taken == 0 {
			c.awaitDue(ctx, max(time.Until(next), dueLeast))
		}
	}
	return nil
}

// awaitDue waits, unless this process keeps a send meanwhile.
func (c *Consumer) awaitDue(ctx context.Context, wait time.Duration) {
	clock := time.NewTimer(wait)
	defer clock.Stop()
	select {
	case <-ctx.Done():
	case <-clock.C:
	case <-c.due:
	}
}

// deliverDueOnce takes what is due and delivers it; what it could not deliver is
// taken again after its lease.
func (c *Consumer) deliverDueOnce(ctx context.Context) (int, error) {
	sends, err := c.schedule.Take(ctx, time.Now(), dueBatch)
	if err != nil {
		return 0, err
	}
	work, cancel := lifecycle.Draining(ctx, drainTime)
	defer cancel()
	var errs []error
	for i := range sends {
		if ctx.Err() != nil {
			break // somebody else, or we after the start, when the lease is over
		}
		errs = append(errs, c.deliverSend(work, ctx, &sends[i]))
	}
	return len(sends), errors.Join(errs...)
}

// deliverSend stores one send, tells of it and notes that it is done. It may
// stop between pages when stopping ends.
func (c *Consumer) deliverSend(ctx, stopping context.Context, s *schedule.Send) error {
	n, err := event.ParseNotification(s.Record.Value)
	if err != nil {
		return fmt.Errorf("reading a scheduled send back: %w", err)
	}
	if s.Target == schedule.Everyone {
		if err := c.deliverEveryone(ctx, stopping, s, &n); err != nil {
			return err
		}
		if stopping.Err() != nil {
			return nil
		}
	} else if err := c.deliverItems(ctx, s, &unit{rec: &s.Record, notify: &n, trigger: -1, items: itemsOf(&s.Record, &n)}); err != nil {
		return err
	}
	return c.schedule.Done(ctx, s, time.Now())
}

// deliverItems stores and tells of one send, or of one page of it.
func (c *Consumer) deliverItems(ctx context.Context, s *schedule.Send, u *unit) error {
	c.cfg.FailFunc("consumer.due-before-store")
	units := []unit{*u}
	err := c.storeWith(ctx, units, nil, func(tx pgx.Tx, now time.Time) error { return schedule.Begun(ctx, tx, s, now) })
	switch {
	case err == nil:
	case errors.Is(err, schedule.ErrTooLate):
		return nil // cancelled since it was taken
	case postgres.DataFault(err):
		units[0].refuse(err)
	default:
		return fmt.Errorf("storing a scheduled send: %w", err)
	}
	c.cfg.FailFunc("consumer.due-after-store")
	return c.produce(ctx, units)
}

// everyonePage is how many users get a send to everyone in one transaction.
const everyonePage = 1000

// deliverEveryone puts a send into every inbox, page by page in order of user
// id. A page that was stored and not noted is found stored.
func (c *Consumer) deliverEveryone(ctx, stopping context.Context, s *schedule.Send, n *event.Notification) error {
	for stopping.Err() == nil {
		users, err := c.inbox.Owners(ctx, s.Reached, everyonePage)
		if err != nil {
			return err
		}
		if len(users) == 0 {
			break
		}
		to := *n
		to.Everyone, to.UserIDs = false, users
		u := &unit{rec: &s.Record, notify: &to, trigger: -1, page: true, items: itemsOf(&s.Record, &to)}
		for i := range u.items {
			// One event for all: its readers can tell that they got the same.
			u.items[i].EventID = s.EventID
		}
		if err := c.deliverItems(ctx, s, u); err != nil {
			return err
		}
		s.Reached = users[len(users)-1]
		if err := c.schedule.Reach(ctx, s, s.Reached, time.Now()); err != nil {
			return err
		}
	}
	if stopping.Err() != nil {
		return nil
	}
	return c.kafka.Produce(ctx, resultRecord(&s.Record, event.Result{Status: event.StatusStored, EventID: s.EventID, To: schedule.Everyone, Payload: n.Payload,
		Topic: s.Record.Topic, Partition: s.Record.Partition, Offset: s.Record.Offset}))
}

// expireEvery is how often what has expired leaves the counts; readers do not
// see it from its very end on.
const expireEvery = time.Second

// expireBatch is how many users' inboxes are expired at once.
const expireBatch = 200

// expire is the life of the goroutine that ends what has expired.
func (c *Consumer) expire(ctx context.Context) error {
	for lifecycle.Sleep(ctx, expireEvery) == nil {
		for {
			changed, err := c.inbox.Expire(ctx, time.Now(), expireBatch)
			c.tellCounts(ctx, changed)
			if ctx.Err() == nil {
				c.expiryHealth.Report(err)
			}
			if err != nil || len(changed) < expireBatch {
				break
			}
		}
	}
	return nil
}

// tellCounts tells gateways of counts that changed. It is a hint: when it is
// lost, they see it within 30 s.
func (c *Consumer) tellCounts(ctx context.Context, changed []inbox.Changed) {
	recs := make([]kafka.Record, 0, len(changed))
	for i := range changed {
		if _, topic := changed[i].UserID.Topic(); topic {
			continue
		}
		recs = append(recs, kafka.SignalRecord(event.Signal{Type: event.SignalCounts, UserID: changed[i].UserID, Counts: &changed[i].Counts}))
	}
	if len(recs) == 0 {
		return
	}
	if err := c.kafka.Produce(ctx, recs...); err != nil && ctx.Err() == nil {
		c.log.Warn("a signal to the gateways was lost", "type", event.SignalCounts, "error", err)
	}
}
