package mail_test

import (
	"errors"
	"log/slog"
	"testing"
	"time"

	"github.com/emersion/go-smtp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertype"

	"crier/consumer/mail"
	"crier/internal/criertest"
	"crier/internal/inbox"
	"crier/internal/postgres"
)

// mailWorld is one notification that is to be mailed, and a mail server.
type mailWorld struct {
	t      *testing.T
	db     *postgres.DB
	peer   *peer
	worker *mail.Worker
}

func newMailWorld(t *testing.T) *mailWorld {
	t.Helper()
	db := criertest.Database(t, 0)
	p, addr := startPeer(t, nil, false)
	c, err := mail.NewComposer("Crier <alerts@example.org>", "https://crier.example.org/", "", func(a string) string { return "T-" + a })
	if err != nil {
		t.Fatal(err)
	}
	w := &mailWorld{t, db, p, mail.NewWorker(sender(t, "smtp+plain://"+addr), c, inbox.New(db), slog.New(slog.DiscardHandler), prometheus.NewRegistry())}
	w.exec(`insert into inboxes (user_id, last_id, unread) values ('1', 1, 1)`)
	w.exec(`insert into notifications (user_id, id, event_id, kind, title, body, url, payload, priority, unread, created_at, origin_topic, origin_partition, origin_offset)
		values ('1', 1, 'e-1', 'message', 'T', '', '', '', 1, 1, now(), gen_random_uuid(), 0, 0)`)
	w.exec(`insert into deliveries (user_id, notification_id, channel, address, state, created_at, updated_at) values ('1', 1, 'email', 'ann@example.org', 'queued', now(), now())`)
	return w
}

func (w *mailWorld) exec(sql string) {
	w.t.Helper()
	if _, err := w.db.Exec(w.t.Context(), sql); err != nil {
		w.t.Fatal(err)
	}
}

// run runs the job once, after errors of earlier runs.
func (w *mailWorld) run(errs ...string) error {
	row := &rivertype.JobRow{ID: 1, Attempt: len(errs) + 1, MaxAttempts: 1000}
	for _, e := range errs {
		row.Errors = append(row.Errors, rivertype.AttemptError{Error: e})
	}
	return w.worker.Work(w.t.Context(), &river.Job[mail.Args]{JobRow: row, Args: mail.Args{UserID: "1", NotificationID: 1, Address: "ann@example.org"}})
}

// now is the delivery as it stands, and how many mails the server took.
func (w *mailWorld) now() (state string, attempts, mails int) {
	w.t.Helper()
	if err := w.db.QueryRow(w.t.Context(), `select state, attempts from deliveries`).Scan(&state, &attempts); err != nil {
		w.t.Fatal(err)
	}
	sent, _ := w.peer.seen()
	return state, attempts, len(sent)
}

func (w *mailWorld) want(state string, attempts, mails int) {
	w.t.Helper()
	if s, a, m := w.now(); s != state || a != attempts || m != mails {
		w.t.Errorf("the delivery is %s after %d attempts, and the server has %d mails; want %s, %d, %d", s, a, m, state, attempts, mails)
	}
}

func wantSnooze(t *testing.T, err error) {
	t.Helper()
	var snooze *rivertype.JobSnoozeError
	if !errors.As(err, &snooze) || snooze.Duration > 5*time.Second {
		t.Errorf("%v, want to be run again within seconds", err)
	}
}

// A mail that was sent while the database was away is not sent again: how it went is
// recorded later, for a mail that was taken and for one that was refused.
func TestMailIsRecordedLater(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name     string
		answer   error
		state    string
		mails    int
		canceled bool
	}{
		{"taken", nil, inbox.Sent, 1, false},
		{"refused", &smtp.SMTPError{Code: 550, Message: "no such user"}, inbox.Failed, 0, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := newMailWorld(t)
			w.peer.set(func() { w.peer.onRcpt = c.answer })
			w.exec(`alter table deliveries rename to deliveries_away`)
			wantSnooze(t, w.run())
			wantSnooze(t, w.run())
			w.exec(`alter table deliveries_away rename to deliveries`)
			err := w.run()
			if canceled := errors.As(err, new(*rivertype.JobCancelError)); canceled != c.canceled || !canceled && err != nil {
				t.Errorf("%v", err)
			}
			w.want(c.state, 1, c.mails)
			w.peer.mu.Lock()
			defer w.peer.mu.Unlock()
			if len(w.peer.to) != 1 {
				t.Errorf("the server was asked %d times", len(w.peer.to))
			}
		})
	}
}

// Faults of our own database are no attempts, and waited out for seconds.
func TestDatabaseFaultIsNoAttempt(t *testing.T) {
	t.Parallel()
	w := newMailWorld(t)
	w.exec(`alter table unsubscribed rename to unsubscribed_away`)
	for range 3 {
		wantSnooze(t, w.run())
	}
	w.want(inbox.Queued, 0, 0)
	w.exec(`alter table unsubscribed_away rename to unsubscribed`)
	if err := w.run(); err != nil {
		t.Error(err)
	}
	w.want(inbox.Sent, 1, 1)
}

// A mail is given up after its last wait, counted by what the mail server failed: runs
// that ended with their process are none, and are run again at once.
func TestMailAttempts(t *testing.T) {
	t.Parallel()
	w := newMailWorld(t)
	w.peer.set(func() { w.peer.onRcpt = &smtp.SMTPError{Code: 450, Message: "later"} })
	died := "Stuck job rescued by JobRescuer"
	if err := w.run("451 later", died, died, "451 later"); err == nil || errors.As(err, new(*rivertype.JobCancelError)) {
		t.Errorf("%v", err)
	}
	w.want(inbox.Retrying, 3, 0)
	failed := make([]string, 0, 30)
	for range 10 {
		failed = append(failed, died, died, "451 later")
	}
	if err := w.run(failed...); !errors.As(err, new(*rivertype.JobCancelError)) {
		t.Errorf("%v", err)
	}
	w.want(inbox.Failed, 11, 0)

	began := time.Now()
	for _, c := range []struct {
		errs     []string
		ago      time.Duration
		min, max time.Duration
	}{
		{nil, time.Second, 4 * time.Second, 6 * time.Second},
		{[]string{"451", died, "451"}, time.Second, 100 * time.Second, 140 * time.Second},
		{[]string{"451", died, "451"}, 30 * time.Second, 0, time.Second}, // it died
		{failed, time.Second, 10 * time.Hour, 14 * time.Hour},
	} {
		at := began.Add(-c.ago)
		row := &rivertype.JobRow{Attempt: len(c.errs) + 1, AttemptedAt: &at}
		for _, e := range c.errs {
			row.Errors = append(row.Errors, rivertype.AttemptError{Error: e})
		}
		if wait := w.worker.NextRetry(&river.Job[mail.Args]{JobRow: row}).Sub(began); wait < c.min || wait > c.max+time.Minute {
			t.Errorf("after %d runs, the last %v ago: run again in %v", len(c.errs), c.ago, wait)
		}
	}
}
