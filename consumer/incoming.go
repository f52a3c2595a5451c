package consumer

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"crier/internal/destination"
	"crier/internal/event"
	"crier/internal/kafka"
	"crier/internal/postgres"
	"crier/internal/problem"
)

// watchPusher ends the part when deliveries have ended by themselves.
func (c *Consumer) watchPusher(ctx context.Context) error {
	select {
	case <-c.pusher.Failed():
		return c.pusher.Err()
	case <-ctx.Done():
		return nil
	}
}

// takeIn stores records of `incoming` with the deliveries that follow from them;
// what cannot be read or breaks a rule goes to dead letters. It is a storeFunc.
func (c *Consumer) takeIn(ctx context.Context, recs []kafka.Record) (tell func(context.Context) error, err error) {
	items := make([]destination.Item, 0, len(recs))
	from := make([]*kafka.Record, 0, len(recs))
	var dead []kafka.Record
	reject := func(rec *kafka.Record, code, reason string) {
		c.metrics.records.WithLabelValues(kafka.Incoming, event.StatusRejected).Inc()
		c.logRejected(rec, code, reason)
		dead = append(dead, kafka.DeadLetter(rec, code, reason))
	}
	for i := range recs {
		in, err := event.ParseIncoming(recs[i].Value)
		if err != nil {
			reject(&recs[i], string(problem.Of(err).Code), err.Error())
			continue
		}
		items, from = append(items, itemOf(&recs[i], &in)), append(from, &recs[i])
	}
	c.cfg.FailFunc("incoming.before-store")
	taken, err := c.storeItems(ctx, items)
	if err != nil {
		return nil, err
	}
	c.cfg.FailFunc("incoming.after-store")
	for i := range taken {
		t := &taken[i]
		if t.Status == event.StatusRejected {
			reject(from[i], t.Code, t.Reason)
			continue
		}
		c.metrics.records.WithLabelValues(kafka.Incoming, t.Status).Inc()
	}
	c.pusher.Poke()
	return func(ctx context.Context) error { return c.kafka.Produce(ctx, dead...) }, nil
}

// storeItems is one transaction. When Postgres refuses the data, halves are
// tried on their own, down to the one item.
func (c *Consumer) storeItems(ctx context.Context, items []destination.Item) (taken []destination.Taken, err error) {
	now := time.Now()
	err = c.db.Tx(ctx, func(tx pgx.Tx) (err error) {
		taken, err = destination.Take(ctx, tx, items, now)
		return err
	})
	switch {
	case !postgres.DataFault(err):
		return taken, err
	case len(items) == 1:
		return []destination.Taken{{Status: event.StatusRejected, Code: "refused", Reason: "the database refuses this record: " + err.Error()}}, nil
	}
	half := len(items) / 2
	first, err := c.storeItems(ctx, items[:half])
	if err != nil {
		return nil, err
	}
	second, err := c.storeItems(ctx, items[half:])
	return append(first, second...), err
}

func itemOf(rec *kafka.Record, in *event.Incoming) destination.Item {
	it := destination.Item{AccountID: in.AccountID, EventID: in.EventID, Data: in.Data, Key: in.IdempotencyKey, Origin: rec.Origin()}
	if it.Key != "" {
		h := sha256.Sum256(in.Data)
		it.Hash = h[:]
	}
	if it.EventID == "" {
		it.EventID = rec.Origin().EventID("")
	}
	return it
}

// tellOwner puts into the inbox of a disabled destination's owner, and by mail
// to them, that it was disabled. Nobody can be told of an account that is
// nobody's; the log has said it.
func (c *Consumer) tellOwner(ctx context.Context, d destination.Destination) error {
	owner, err := c.targets.OwnerOf(ctx, d.AccountID)
	if err != nil || owner == "" {
		return err
	}
	why := "It answered 410 Gone: it wants no more."
	since := d.CreatedAt
	if d.DisabledReason == destination.Failing {
		why = "Nothing but failures have come from it for days."
	}
	if d.FailingSince != nil {
		since = *d.FailingSince
	}
	n := event.Notification{
		UserID: owner, Kind: "destination_disabled", Title: "A destination was disabled",
		Body: fmt.Sprintf("%s\n%s Nothing is lost: what comes for it waits until you enable it.", d.URL, why),
		URL:  fmt.Sprintf("/destinations/%d", d.ID), Priority: "high", Channels: []string{"inbox", "email"}, Source: "crier",
		// Told twice after a crash, it is one notification.
		IdempotencyKey: fmt.Sprintf("destination-%d-disabled-%s-%d", d.ID, d.DisabledReason, since.UnixMicro()),
	}
	if n.Payload, err = json.Marshal(map[string]any{"destination_id": d.ID, "account_id": d.AccountID, "reason": d.DisabledReason}); err != nil {
		return err
	}
	value, err := event.Marshal(n)
	if err != nil {
		return err
	}
	return c.kafka.Produce(ctx, kafka.Record{Topic: kafka.Notifications, Key: []byte(owner), Value: value})
}

// prunePushes removes items and attempts by their age, and what is left of
// destinations that are gone.
func (c *Consumer) prunePushes(ctx context.Context, now time.Time) error {
	for {
		n, err := c.targets.Prune(ctx, now.Add(-c.cfg.Webhooks.Retention), 5000)
		if err != nil || n == 0 {
			return err
		}
	}
}
