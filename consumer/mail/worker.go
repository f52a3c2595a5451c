package mail

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/riverqueue/river"
	"golang.org/x/time/rate"

	"crier/internal/event"
	"crier/internal/inbox"
)

// Args are a mail's job: which notification goes where. Its content is read when
// it is sent.
type Args struct {
	UserID         event.UserID `json:"user_id"`
	NotificationID int64        `json:"notification_id"`
	Address        string       `json:"address"`
}

// Kind is part of river.JobArgs.
func (Args) Kind() string { return "mail" }

// Queue is the name of the mails' queue.
const Queue = "mail"

// waits are between attempts; after the last the mail is given up. Together
// they outlast a mail server's bad day.
var waits = []time.Duration{5 * time.Second, 30 * time.Second, 2 * time.Minute, 10 * time.Minute, 30 * time.Minute, time.Hour, 2 * time.Hour, 4 * time.Hour, 8 * time.Hour, 12 * time.Hour}

// Priorities in the queue: somebody waits in front of the screen for a mail with a
// link, which must not stand behind a thousand alerts.
const (
	urgent   = 1
	ordinary = 3
)

// InsertOpts is part of river.JobArgsWithInsertOpts.
func (Args) InsertOpts() river.InsertOpts {
	return river.InsertOpts{Queue: Queue, Priority: ordinary, MaxAttempts: len(waits) + 1}
}

// Per recipient, in a minute; what is more waits.
const perRecipient = 60

// jobTimeout bounds one attempt. It is below the time after which the jobs of a
// dead process are taken over.
const jobTimeout = 25 * time.Second

// Worker sends the mails of jobs. It is safe for concurrent use.
type Worker struct {
	river.WorkerDefaults[Args]
	sender   *Sender
	composer *Composer
	inbox    *inbox.Store
	log      *slog.Logger
	sent     *prometheus.CounterVec

	mu         sync.Mutex // guards recipients
	recipients map[string]*rate.Limiter
}

// NewWorker makes a worker.
func NewWorker(s *Sender, c *Composer, i *inbox.Store, log *slog.Logger, reg prometheus.Registerer) *Worker {
	w := &Worker{sender: s, composer: c, inbox: i, log: log, recipients: make(map[string]*rate.Limiter),
		sent: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "crier_mail_attempts_total", Help: "Attempts at mails, by outcome."}, []string{"outcome"})}
	reg.MustRegister(w.sent)
	return w
}

// Timeout is part of river.Worker.
func (w *Worker) Timeout(*river.Job[Args]) time.Duration { return jobTimeout }

// NextRetry is part of river.Worker: the waits, each spread by a fifth.
func (w *Worker) NextRetry(job *river.Job[Args]) time.Time {
	d := waits[min(max(job.Attempt, 1), len(waits))-1]
	return time.Now().Add(d*9/10 + rand.N(d/5+1))
}

// Work is part of river.Worker.
func (w *Worker) Work(ctx context.Context, job *river.Job[Args]) error {
	d := inbox.Delivery{UserID: job.Args.UserID, NotificationID: job.Args.NotificationID, Channel: inbox.ByEmail, Address: job.Args.Address, Attempts: job.Attempt}
	if wait := w.recipientWait(job.Args.Address); wait > 0 {
		return river.JobSnooze(wait)
	}
	err := w.send(ctx, job.Args, &d)
	switch {
	case err == nil:
	case errors.Is(err, ErrRefused):
		d.State, d.Error = inbox.Failed, err.Error()
	case job.Attempt >= job.MaxAttempts:
		d.State, d.Error = inbox.Failed, fmt.Sprintf("given up after %d attempts: %v", job.Attempt, err)
	default:
		d.State, d.Error = inbox.Retrying, err.Error()
	}
	w.sent.WithLabelValues(d.State).Inc()
	if err != nil {
		w.log.Warn("a mail was not sent", "notification", d.NotificationID, "attempt", d.Attempts, "state", d.State, "error", err)
	}
	// What was sent is noted even when the part is being stopped.
	note, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	if noteErr := w.inbox.NoteAttempt(note, d, time.Now()); noteErr != nil {
		w.log.Error("the fate of a mail was not noted", "error", noteErr)
	}
	if errors.Is(err, ErrRefused) {
		return river.JobCancel(err)
	}
	return err
}

// send sends the mail, or finds that its reader wants none.
func (w *Worker) send(ctx context.Context, a Args, d *inbox.Delivery) error {
	off, err := w.inbox.IsUnsubscribed(ctx, a.Address)
	if err != nil {
		return err
	}
	if off {
		d.State = inbox.Suppressed
		return nil
	}
	n, err := w.inbox.Get(ctx, a.UserID, a.NotificationID)
	if errors.Is(err, inbox.ErrNotFound) {
		return fmt.Errorf("%w: the notification is gone", ErrRefused)
	}
	if err != nil {
		return err
	}
	m, err := w.composer.Compose(n, a.Address, time.Now())
	if err != nil {
		return err
	}
	if err := w.sender.Send(ctx, m); err != nil {
		return err
	}
	d.State = inbox.Sent
	return nil
}

// maxRecipients bounds how many addresses' rates are remembered; beyond it all
// begin anew.
const maxRecipients = 100_000

// recipientWait is how long a mail to an address must wait, 0 if it need not.
func (w *Worker) recipientWait(address string) time.Duration {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.recipients) > maxRecipients {
		clear(w.recipients)
	}
	l := w.recipients[address]
	if l == nil {
		l = rate.NewLimiter(rate.Every(time.Minute/perRecipient), perRecipient)
		w.recipients[address] = l
	}
	r := l.Reserve()
	if wait := r.Delay(); wait > 0 {
		r.Cancel()
		return wait
	}
	return 0
}
