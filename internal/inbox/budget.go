package inbox

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"crier/internal/event"
)

// Mails that a user's notifications may cause in a day (UTC), and that an address
// may get: many for an alert that fires again and again, few for a flood.
const (
	MailsPerUser      = 1000
	MailsPerRecipient = 1000
)

// SpendMails counts, within tx, the queued mails of the list against the day's
// budgets, and makes Suppressed those beyond them.
func SpendMails(ctx context.Context, tx pgx.Tx, list []Delivery, now time.Time) error {
	of := func(d *Delivery) [2]string {
		return [2]string{"user:" + string(d.UserID), "to:" + strings.ToLower(d.Address)}
	}
	counts := make(map[string]int32)
	for i := range list {
		if d := &list[i]; d.Channel == ByEmail && d.State == Queued {
			for _, s := range of(d) {
				counts[s]++
			}
		}
	}
	if len(counts) == 0 {
		return nil
	}
	before, err := spend(ctx, tx, counts, now.UTC().Truncate(24*time.Hour))
	if err != nil {
		return err
	}
	for i := range list {
		d := &list[i]
		if d.Channel != ByEmail || d.State != Queued {
			continue
		}
		names := of(d)
		before[names[0]]++
		before[names[1]]++
		switch {
		case before[names[0]] > MailsPerUser:
			d.State, d.Error = Suppressed, fmt.Sprintf("the user's notifications have caused %d mails today", MailsPerUser)
		case before[names[1]] > MailsPerRecipient:
			d.State, d.Error = Suppressed, fmt.Sprintf("the address has got %d mails today", MailsPerRecipient)
		}
	}
	return nil
}

// Mentions that one user's messages may cause in an hour, and of one other user.
const (
	MentionsPerSender    = 600
	MentionsPerRecipient = 60
)

// Mention is a notification of a user who is named in another's message.
type Mention struct{ From, To event.UserID }

// SpendMentions counts, within tx, mentions against their senders' budgets, and reports
// for each whether it is within them.
func SpendMentions(ctx context.Context, tx pgx.Tx, list []Mention, now time.Time) ([]bool, error) {
	of := func(m Mention) [2]string {
		return [2]string{"mentions by:" + string(m.From), "mentions by:" + string(m.From) + "\n" + string(m.To)}
	}
	counts := make(map[string]int32)
	for _, m := range list {
		for _, s := range of(m) {
			counts[s]++
		}
	}
	before, err := spend(ctx, tx, counts, now.UTC().Truncate(time.Hour))
	if err != nil {
		return nil, err
	}
	within := make([]bool, len(list))
	for i, m := range list {
		names := of(m)
		before[names[0]]++
		before[names[1]]++
		within[i] = before[names[0]] <= MentionsPerSender && before[names[1]] <= MentionsPerRecipient
	}
	return within, nil
}

// spend adds costs to what was spent in a period, and returns what was spent before.
func spend(ctx context.Context, tx pgx.Tx, costs map[string]int32, period time.Time) (map[string]int32, error) {
	// In order, so that two consumers do not wait for each other in a circle.
	subjects := slices.Sorted(maps.Keys(costs))
	amounts := make([]int32, len(subjects))
	for i, s := range subjects {
		amounts[i] = costs[s]
	}
	rows, err := tx.Query(ctx, `
		insert into budgets as b (subject, period, spent)
		select s, $3, n from unnest($1::text[], $2::integer[]) with ordinality as k(s, n, i) order by i
		on conflict (subject) do update set period = excluded.period,
			spent = excluded.spent + case when b.period = excluded.period then least(b.spent, 1000000000) else 0 end
		returning subject, spent`, subjects, amounts, period)
	if err != nil {
		return nil, fmt.Errorf("spending of budgets: %w", err)
	}
	before := make(map[string]int32, len(subjects))
	var subject string
	var n int32
	if _, err := pgx.ForEachRow(rows, []any{&subject, &n}, func() error { before[subject] = n - costs[subject]; return nil }); err != nil {
		return nil, fmt.Errorf("spending of budgets: %w", err)
	}
	return before, nil
}

// SweepBudgets removes what was spent in periods that are over.
func (s *Store) SweepBudgets(ctx context.Context, now time.Time) error {
	// Index budgets_age. No period is longer than a day.
	if _, err := s.db.Exec(ctx, `delete from budgets where period <= $1`, now.Add(-24*time.Hour)); err != nil {
		return fmt.Errorf("sweeping budgets: %w", err)
	}
	return nil
}
