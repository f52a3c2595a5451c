package inbox

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
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
	// In order, so that two consumers do not wait for each other in a circle.
	subjects := slices.Sorted(maps.Keys(counts))
	mails := make([]int32, len(subjects))
	for i, s := range subjects {
		mails[i] = counts[s]
	}
	rows, err := tx.Query(ctx, `
		insert into mail_counts as m (subject, day, mails)
		select s, $3::date, n from unnest($1::text[], $2::integer[]) with ordinality as k(s, n, i) order by i
		on conflict (subject) do update set day = excluded.day,
			mails = excluded.mails + case when m.day = excluded.day then least(m.mails, 1000000000) else 0 end
		returning subject, mails`, subjects, mails, now.UTC())
	if err != nil {
		return fmt.Errorf("counting mails: %w", err)
	}
	before := make(map[string]int32, len(subjects))
	var subject string
	var n int32
	if _, err := pgx.ForEachRow(rows, []any{&subject, &n}, func() error { before[subject] = n - counts[subject]; return nil }); err != nil {
		return fmt.Errorf("counting mails: %w", err)
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

// SweepMailCounts removes the counts of days that are over.
func (s *Store) SweepMailCounts(ctx context.Context, now time.Time) error {
	if _, err := s.db.Exec(ctx, `delete from mail_counts where day < $1::date`, now.UTC()); err != nil {
		return fmt.Errorf("sweeping counts of mails: %w", err)
	}
	return nil
}
