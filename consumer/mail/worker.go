package mail

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertype"
	gomail "github.com/wneessen/go-mail"
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

// Priorities in the queue: a user waits for a mail with a link, which must not queue
// behind a thousand alerts.
const (
	urgent   = 1
	ordinary = 3
)

// maxRuns is how often a job is run at most. It is far above the attempts at a mail
// server, which the worker counts itself: a run that ended with its process, or on
// which the database was away, is none.
const maxRuns = 1000

// InsertOpts is part of river.JobArgsWithInsertOpts.
func (Args) InsertOpts() river.InsertOpts {
	return river.InsertOpts{Queue: Queue, Priority: ordinary, MaxAttempts: maxRuns}
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

	mu         sync.Mutex // guards the rest
	recipients map[string]*rate.Limiter
	unrecorded map[int64]inbox.Delivery // by job: results that could not be stored yet
}

// NewWorker makes a worker.
func NewWorker(s *Sender, c *Composer, i *inbox.Store, log *slog.Logger, reg prometheus.Registerer) *Worker {
	w := &Worker{sender: s, composer: c, inbox: i, log: log, recipients: make(map[string]*rate.Limiter), unrecorded: make(map[int64]inbox.Delivery),
		sent: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "crier_mail_attempts_total", Help: "Attempts at mails, by outcome."}, []string{"outcome"})}
	for _, outcome := range []string{inbox.Sent, inbox.Retrying, inbox.Failed, inbox.Suppressed} {
		w.sent.WithLabelValues(outcome)
	}
	reg.MustRegister(w.sent)
	return w
}

// Timeout is part of river.Worker.
func (w *Worker) Timeout(*river.Job[Args]) time.Duration { return jobTimeout }

// NextRetry is part of river.Worker.
func (w *Worker) NextRetry(job *river.Job[Args]) time.Time { return nextRetry(job.JobRow) }

// rescued is what the library notes of a run whose process has died.
const rescued = "Stuck job rescued"

// failures is how many attempts at the mail server have failed before this one.
func failures(job *rivertype.JobRow) int {
	n := 0
	for _, e := range job.Errors {
		if !strings.HasPrefix(e.Error, rescued) {
			n++
		}
	}
	return n
}

// nextRetry is when a job is run again: after its wait, spread by a fifth, where the
// mail server failed; at once where the run ended with its process, which the library
// finds out when no run can still be under way.
func nextRetry(job *rivertype.JobRow) time.Time {
	if job.AttemptedAt != nil && time.Since(*job.AttemptedAt) > jobTimeout+recordTimeout {
		return time.Now()
	}
	d := waits[min(failures(job), len(waits)-1)]
	return time.Now().Add(d*9/10 + rand.N(d/5+1))
}

// databaseWait is how soon a job is run again that our own database has failed. It is
// no attempt.
const databaseWait = 2 * time.Second

// Work is part of river.Worker.
func (w *Worker) Work(ctx context.Context, job *river.Job[Args]) error {
	failed := failures(job.JobRow)
	d := inbox.Delivery{UserID: job.Args.UserID, NotificationID: job.Args.NotificationID, Channel: inbox.ByEmail, Address: job.Args.Address, Attempts: failed + 1}
	if before, ok := w.takeUnrecorded(job.ID); ok { // sent, and only this is missing
		return w.record(ctx, job.ID, before, nil)
	}
	if wait := w.recipientWait(job.Args.Address); wait > 0 {
		return river.JobSnooze(wait)
	}
	m, err := w.prepare(ctx, job.Args, &d)
	switch {
	case err != nil && !errors.Is(err, ErrRefused) && !errors.Is(err, errCompose):
		w.log.Warn("a mail waits for the database", "notification", d.NotificationID, "error", err)
		return river.JobSnooze(databaseWait)
	case err == nil && d.State != inbox.Suppressed:
		if err = w.sender.Send(ctx, m); err != nil && errors.Is(ctx.Err(), context.Canceled) {
			return river.JobSnooze(databaseWait) // we were stopped: this says nothing of the server
		}
	}
	switch {
	case err == nil && d.State == inbox.Suppressed:
	case err == nil:
		d.State = inbox.Sent
	case errors.Is(err, ErrRefused):
		d.State, d.Error = inbox.Failed, err.Error()
	case failed >= len(waits):
		d.State, d.Error = inbox.Failed, fmt.Sprintf("given up after %d attempts: %v", d.Attempts, err)
	default:
		d.State, d.Error = inbox.Retrying, err.Error()
	}
	w.sent.WithLabelValues(d.State).Inc()
	if err != nil {
		w.log.Warn("a mail was not sent", "notification", d.NotificationID, "attempt", d.Attempts, "state", d.State, "error", err)
	}
	return w.record(ctx, job.ID, d, err)
}

// record stores the result of an attempt and returns the job's. A result that cannot be
// stored is stored by the job's next run, which makes no attempt.
func (w *Worker) record(ctx context.Context, job int64, d inbox.Delivery, err error) error {
	// Also while the part is being stopped.
	store, cancel := context.WithTimeout(context.WithoutCancel(ctx), recordTimeout)
	defer cancel()
	storeErr := w.inbox.NoteAttempt(store, d, time.Now())
	switch {
	case storeErr != nil && d.State != inbox.Retrying:
		w.log.Error("the result of a mail was not stored yet", "notification", d.NotificationID, "state", d.State, "error", storeErr)
		w.mu.Lock()
		w.unrecorded[job] = d
		w.mu.Unlock()
		return river.JobSnooze(databaseWait)
	case storeErr != nil: // its next attempt says more
		w.log.Error("the result of a mail was not stored", "notification", d.NotificationID, "state", d.State, "error", storeErr)
	}
	if d.State == inbox.Failed {
		return river.JobCancel(cmp.Or(err, errors.New(d.Error)))
	}
	return err
}

// recordTimeout bounds the recording of an attempt. With jobTimeout it is below the time
// after which jobs are taken over, so that no job is run twice at once.
const recordTimeout = 2 * time.Second

func (w *Worker) takeUnrecorded(job int64) (inbox.Delivery, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	d, ok := w.unrecorded[job]
	delete(w.unrecorded, job)
	return d, ok
}

// errCompose says that no mail can be made of a notification, however often it is
// tried.
var errCompose = errors.New("making the mail")

// prepare makes the mail, or finds that its reader wants none. An error that is
// neither ErrRefused nor errCompose is the database's.
func (w *Worker) prepare(ctx context.Context, a Args, d *inbox.Delivery) (*gomail.Msg, error) {
	off, err := w.inbox.IsUnsubscribed(ctx, a.Address)
	if err != nil {
		return nil, err
	}
	if off {
		d.State = inbox.Suppressed
		return nil, nil
	}
	n, err := w.inbox.Get(ctx, a.UserID, a.NotificationID)
	if errors.Is(err, inbox.ErrNotFound) {
		return nil, fmt.Errorf("%w: the notification is gone", ErrRefused)
	}
	if err != nil {
		return nil, err
	}
	m, err := w.composer.Compose(n, a.Address, time.Now())
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errCompose, err)
	}
	return m, nil
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
