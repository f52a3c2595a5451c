package consumer

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"crier/consumer/mail"
	"crier/internal/alert"
	"crier/internal/destination"
	"crier/internal/event"
	"crier/internal/inbox"
	"crier/internal/lifecycle"
	"crier/internal/user"
)

// carry inserts, in the transaction that stores a batch, the jobs that take its
// new notifications out by other ways than the inbox, and notes their fate to
// be.
func (c *Consumer) carry(ctx context.Context, tx pgx.Tx, now time.Time, units []unit, decisions *alert.Decisions) error {
	list, err := c.deliveries(ctx, tx, now, units, decisions)
	if err != nil {
		return err
	}
	unsent, err := c.carryWebhooks(ctx, tx, units, now)
	if list = append(list, unsent...); err != nil || len(list) == 0 {
		return err
	}
	if err := inbox.QueueDeliveries(ctx, tx, list, now); err != nil {
		return err
	}
	var mails []mail.Args
	for _, d := range list {
		if d.State == inbox.Queued {
			mails = append(mails, mail.Args{UserID: d.UserID, NotificationID: d.NotificationID, Address: d.Address})
		}
	}
	if len(mails) == 0 {
		return nil
	}
	return c.jobs.Mails(ctx, tx, mails)
}

// carryWebhooks queues new notifications for their users' own destinations; it
// returns those that have nowhere to go.
func (c *Consumer) carryWebhooks(ctx context.Context, tx pgx.Tx, units []unit, now time.Time) ([]inbox.Delivery, error) {
	var notices []destination.Notice
	var of []*event.Stored
	for i := range units {
		u := &units[i]
		if u.notify == nil || !slices.Contains(u.notify.Channels, inbox.ByWebhook) {
			continue
		}
		for j := range u.outcomes {
			if o := &u.outcomes[j]; o.Status == event.StatusStored && !o.Again {
				notices = append(notices, destination.Notice{Owner: o.Stored.UserID, EventID: o.Stored.EventID, Data: o.Stored.AppendJSON(nil)})
				of = append(of, &o.Stored)
			}
		}
	}
	counts, err := destination.PushNotices(ctx, tx, notices, now)
	if err != nil {
		return nil, err
	}
	var unsent []inbox.Delivery
	for i, n := range counts {
		if n == 0 {
			unsent = append(unsent, inbox.Delivery{UserID: of[i].UserID, NotificationID: of[i].ID, Channel: inbox.ByWebhook, State: inbox.Failed, Error: "the user has no destination that is enabled"})
		}
	}
	if len(notices) > 0 {
		c.pusher.Poke() // it looks again by itself when it was too early
	}
	return unsent, nil
}

// deliveries are those of the batch's new notifications: a fired alert's goes
// where the alert says, another's to its user's address. Only those are mailed whose
// address is confirmed, within the day's budgets.
func (c *Consumer) deliveries(ctx context.Context, tx pgx.Tx, now time.Time, units []unit, decisions *alert.Decisions) ([]inbox.Delivery, error) {
	var list []inbox.Delivery
	var ask []event.UserID
	for i := range units {
		u := &units[i]
		for j := range u.outcomes {
			o := &u.outcomes[j]
			if o.Status != event.StatusStored || o.Again {
				continue
			}
			d := inbox.Delivery{UserID: o.Stored.UserID, NotificationID: o.Stored.ID, Channel: inbox.ByEmail}
			switch {
			case u.trigger >= 0:
				if d.Address = decisions.List[u.trigger].Email; d.Address != "" {
					list = append(list, d)
				}
			case u.notify != nil && slices.Contains(u.notify.Channels, inbox.ByEmail):
				list, ask = append(list, d), append(ask, d.UserID)
			}
		}
	}
	if len(list) == 0 {
		return nil, nil
	}
	var addresses map[event.UserID]string
	if len(ask) > 0 {
		var err error
		if addresses, err = user.Emails(ctx, tx, ask); err != nil {
			return nil, err
		}
	}
	recipients := make([]user.Recipient, len(list))
	for i := range list {
		d := &list[i]
		if d.Address == "" {
			d.Address = addresses[d.UserID]
		}
		recipients[i] = user.Recipient{UserID: d.UserID, Address: d.Address}
	}
	confirmed, err := user.ConfirmedOf(ctx, tx, recipients)
	if err != nil {
		return nil, err
	}
	for i := range list {
		d := &list[i]
		switch {
		case d.Address == "":
			d.State, d.Error = inbox.Failed, "the user has no email address"
		case !confirmed[recipients[i]]:
			d.State, d.Error = inbox.Suppressed, "the address is not confirmed: its owner has not followed the link in the mail to it"
		case c.jobs == nil:
			d.State, d.Error = inbox.Failed, "no mail server is configured (CRIER_SMTP_URL)"
		default:
			d.State = inbox.Queued
		}
	}
	return list, inbox.SpendMails(ctx, tx, list, now)
}

// How requests for mails with links, which gateways write, are looked for.
const (
	linksEvery = time.Second
	linksBatch = 100
)

// queueLinks makes jobs of requests for new passwords and for confirmation mails.
func (c *Consumer) queueLinks(ctx context.Context) error {
	for lifecycle.Sleep(ctx, linksEvery) == nil {
		resets, confirmations, err := c.users.LinksWanted(ctx)
		if resets {
			err = errors.Join(err, c.db.Tx(ctx, func(tx pgx.Tx) error {
				ids, err := user.TakeResets(ctx, tx, time.Now(), linksBatch)
				if err != nil || len(ids) == 0 {
					return err
				}
				if c.jobs == nil {
					c.log.Warn("links to new passwords were asked for, and no mail server is configured (CRIER_SMTP_URL)", "requests", len(ids))
					return nil
				}
				return c.jobs.Resets(ctx, tx, ids)
			}))
		}
		if confirmations && c.jobs != nil { // without a mail server they wait for one
			err = errors.Join(err, c.db.Tx(ctx, func(tx pgx.Tx) error {
				addresses, err := user.TakeConfirmations(ctx, tx, linksBatch)
				if err != nil || len(addresses) == 0 {
					return err
				}
				return c.jobs.Confirmations(ctx, tx, addresses)
			}))
		}
		if ctx.Err() == nil {
			c.linksHealth.Report(err)
		}
	}
	return nil
}
