package consumer

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"crier/consumer/delivery"
	"crier/consumer/mail"
	"crier/consumer/webhook"
	"crier/internal/destination"
	"crier/internal/inbox"
	"crier/internal/kafka"
	"crier/internal/lifecycle"
	"crier/internal/postgres"
	"crier/internal/room"
	"crier/internal/schedule"
	"crier/internal/user"
)

// Consumer is the running part. New makes it, Start joins its groups, Stop
// finishes the batches in flight. It owns the two lines of batches, the pruner, those
// that deliver what is due, end what has expired, part whom dead gateways have
// left behind and queue mails with links to new passwords, and through its
// queues the workers.
type Consumer struct {
	cfg     Config
	db      *postgres.DB
	kafka   *kafka.Client
	inbox   *inbox.Store
	users   *user.Store
	targets *destination.Store
	log     *slog.Logger
	metrics *metrics

	schedule *schedule.Store
	rooms    *room.Store
	due      chan struct{} // something may be due: look at once

	reg        prometheus.Registerer
	group      *kafka.Group
	incoming   *kafka.Group
	pusher     *webhook.Dispatcher
	sender     *mail.Sender
	jobs       *delivery.Queue // nil without a mail server
	goroutines *lifecycle.Group

	repeats                                             *lifecycle.Repeats
	health                                              []*lifecycle.Health // of all loops
	dueHealth, expiryHealth, orphansHealth, linksHealth *lifecycle.Health
}

// New checks the configuration; it does no I/O.
func New(cfg Config, db *postgres.DB, k *kafka.Client, log *slog.Logger, reg prometheus.Registerer) (*Consumer, error) {
	if err := cfg.normalise(); err != nil {
		return nil, err
	}
	guard, err := destination.NewGuard(cfg.Webhooks.Allow)
	if err != nil {
		return nil, err
	}
	c := &Consumer{
		cfg: cfg, db: db, kafka: k, inbox: inbox.New(db), users: user.New(db), targets: destination.New(db), schedule: schedule.New(db), rooms: room.New(db),
		due: make(chan struct{}, 1), repeats: lifecycle.NewRepeats(), log: log.With("part", "consumer"), metrics: newMetrics(reg), reg: reg,
	}
	c.pusher = webhook.New(cfg.Webhooks.Config, c.targets, guard, c.tellOwner, c.log, reg)
	return c, nil
}

// Topics are those that the part reads or writes.
var Topics = []string{kafka.Notifications, kafka.Triggers, kafka.Rooms, kafka.Deliveries, kafka.Results, kafka.DeadLetters, kafka.Incoming}

// Start joins the group and begins to read. Failed reports a later end.
func (c *Consumer) Start(ctx context.Context) error {
	if err := c.kafka.CheckTopics(ctx, Topics...); err != nil {
		return fmt.Errorf("starting the consumer: %w", err)
	}
	if err := c.startJobs(ctx); err != nil {
		return fmt.Errorf("starting the consumer: %w", err)
	}
	var err error
	c.group, err = c.kafka.Group(kafka.GroupConfig{Name: kafka.ConsumerGroup, Topics: []string{kafka.Notifications, kafka.Triggers, kafka.Rooms}})
	if err != nil {
		return fmt.Errorf("starting the consumer: %w", err)
	}
	if c.incoming, err = c.kafka.Group(kafka.GroupConfig{Name: kafka.IncomingGroup, Topics: []string{kafka.Incoming}}); err != nil {
		return fmt.Errorf("starting the consumer: %w", err)
	}
	c.pusher.Start(ctx)
	c.goroutines = lifecycle.NewGroup(context.WithoutCancel(ctx))
	records, items := c.newPipelineHealth("notifications"), c.newPipelineHealth("incoming items")
	c.dueHealth, c.expiryHealth, c.orphansHealth, c.linksHealth = c.watched("delivering scheduled sends"), c.watched("expiring notifications"), c.watched("removing room members of dead gateways"), c.watched("queueing password reset and confirmation mails")
	c.goroutines.Go("consumer batches", func(ctx context.Context) error { return c.run(ctx, c.group, c.settle, records) })
	c.goroutines.Go("incoming batches", func(ctx context.Context) error { return c.run(ctx, c.incoming, c.takeIn, items) })
	c.goroutines.Go("watching deliveries", c.watchPusher)
	c.goroutines.Go("consumer pruner", c.prune)
	c.goroutines.Go("scheduled sends", c.deliverDue)
	c.goroutines.Go("expiry", c.expire)
	c.goroutines.Go("mails with links", c.queueLinks)
	c.goroutines.Go("orphans of gateways", c.partOrphans)
	c.log.Info("consumer started", "group", kafka.ConsumerGroup)
	return nil
}

// startJobs starts what carries notifications out of the inbox.
func (c *Consumer) startJobs(ctx context.Context) error {
	m := c.cfg.Mail
	if m.SMTPURL == "" {
		c.log.Warn("CRIER_SMTP_URL is not set: no mail is sent")
		return nil
	}
	signer, err := c.users.Signer(ctx, user.Unsubscribing)
	if err != nil {
		return err
	}
	resets, err := c.users.Signer(ctx, user.Resetting)
	if err != nil {
		return err
	}
	confirms, err := c.users.Signer(ctx, user.Confirming)
	if err != nil {
		return err
	}
	composer, err := mail.NewComposer(m.From, m.PublicURL, m.Templates, signer.Token)
	if err != nil {
		return err
	}
	if c.sender, err = mail.NewSender(m.SMTPURL, m.PerSecond); err != nil {
		return err
	}
	c.jobs, err = delivery.New(c.db, mail.NewWorker(c.sender, composer, c.inbox, c.log, c.reg), mail.NewResetWorker(c.sender, composer, c.users, resets, c.log),
		mail.NewConfirmWorker(c.sender, composer, c.users, c.inbox, confirms, c.log), c.log)
	if err != nil {
		return err
	}
	return c.jobs.Start(ctx)
}

// Failed is closed when the part has ended by itself; Err says why.
func (c *Consumer) Failed() <-chan struct{} { return c.goroutines.Context().Done() }

// Err is why the part has ended by itself.
func (c *Consumer) Err() error { return c.goroutines.Err() }

// Ready says which of the part's loops fails, and why.
func (c *Consumer) Ready(ctx context.Context) error {
	errs := []error{c.pusher.Ready(ctx)}
	for _, h := range c.health {
		errs = append(errs, h.Ready(ctx))
	}
	return errors.Join(errs...)
}

// watched makes the health of one of the part's loops. It is called before the loop
// is started.
func (c *Consumer) watched(what string) *lifecycle.Health {
	h := lifecycle.NewHealth(c.log, what)
	c.health = append(c.health, h)
	return h
}

// Stop stops polling, lets the batches in flight be stored, produced and
// committed, and leaves the groups. It returns when all that is done, or ctx.
func (c *Consumer) Stop(ctx context.Context) error {
	if c.goroutines == nil {
		return nil
	}
	err := c.goroutines.Stop(ctx)
	leaving := lifecycle.NewGroup(context.WithoutCancel(ctx))
	for _, g := range []*kafka.Group{c.group, c.incoming} {
		leaving.Go("leaving a group", func(context.Context) error { g.Close(); return nil })
	}
	err = errors.Join(err, leaving.Wait(ctx))
	err = errors.Join(err, c.pusher.Stop(ctx))
	if c.jobs != nil {
		err = errors.Join(err, c.jobs.Stop(ctx))
		c.sender.Close()
	}
	return err
}

// drainTime is how long a batch in flight may take after Stop. With the time that
// leaving the groups takes while Kafka is away it is within the 10 s that the whole
// program has.
const drainTime = 5 * time.Second

// What happens in rooms besides messages is kept only for gateways that have
// missed it; and is pruned so many at once.
const (
	passingKept = time.Hour
	pruneBatch  = 10_000
)

// pruneEvery is how often old notifications and expired sessions are removed.
const pruneEvery = 10 * time.Minute

func (c *Consumer) prune(ctx context.Context) error {
	for {
		if err := c.pruneOnce(ctx); err != nil && ctx.Err() == nil {
			c.log.Error("pruning failed, retrying", "in", pruneEvery, "error", err)
		}
		if lifecycle.Sleep(ctx, pruneEvery) != nil {
			return nil
		}
	}
}

func (c *Consumer) pruneOnce(ctx context.Context) error {
	now := time.Now()
	for {
		n, err := c.inbox.PrunePassing(ctx, now.Add(-passingKept), pruneBatch)
		if err != nil {
			return err
		}
		if n < pruneBatch {
			break
		}
	}
	for {
		n, err := c.inbox.Prune(ctx, now.Add(-c.cfg.InboxRetention), 100)
		c.metrics.pruned.Add(float64(n))
		if err != nil {
			return err
		}
		if n == 0 {
			break
		}
	}
	if err := c.prunePushes(ctx, now); err != nil {
		return err
	}
	return errors.Join(c.users.Sweep(ctx, now), c.inbox.SweepBudgets(ctx, now), c.schedule.Prune(ctx, now))
}
