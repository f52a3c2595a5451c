package mail

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/riverqueue/river"

	"crier/internal/user"
)

// ResetArgs are the job of a mail with a link to a new password.
type ResetArgs struct {
	ID string `json:"id"` // of the request
}

// Kind is part of river.JobArgs.
func (ResetArgs) Kind() string { return "password_reset" }

// InsertOpts is part of river.JobArgsWithInsertOpts. The link is good for an
// hour: so long it is tried.
func (ResetArgs) InsertOpts() river.InsertOpts {
	return river.InsertOpts{Queue: Queue, Priority: urgent, MaxAttempts: 7}
}

// ResetWorker sends links to new passwords. It is safe for concurrent use.
type ResetWorker struct {
	river.WorkerDefaults[ResetArgs]
	sender   *Sender
	composer *Composer
	users    *user.Store
	signer   *user.Signer
	log      *slog.Logger
}

// NewResetWorker makes a worker.
func NewResetWorker(s *Sender, c *Composer, users *user.Store, signer *user.Signer, log *slog.Logger) *ResetWorker {
	return &ResetWorker{sender: s, composer: c, users: users, signer: signer, log: log}
}

// Timeout is part of river.Worker.
func (w *ResetWorker) Timeout(*river.Job[ResetArgs]) time.Duration { return jobTimeout }

// NextRetry is part of river.Worker: the waits of mails, each spread by a fifth.
func (w *ResetWorker) NextRetry(job *river.Job[ResetArgs]) time.Time {
	return nextRetry(job.JobRow)
}

// Work is part of river.Worker.
func (w *ResetWorker) Work(ctx context.Context, job *river.Job[ResetArgs]) error {
	now := time.Now()
	r, err := w.users.Reset(ctx, job.Args.ID, now)
	if errors.Is(err, user.ErrNoReset) {
		return nil // used or over: a link would lead nowhere
	}
	if err != nil {
		w.log.Warn("a link to a new password waits for the database", "error", err)
		return river.JobSnooze(databaseWait)
	}
	m, err := w.composer.ComposeReset(r, w.signer.Token(r.ID), now)
	if err == nil {
		err = w.sender.Send(ctx, m)
	}
	if err != nil {
		w.log.Warn("a link to a new password was not mailed", "user", r.UserID, "attempt", job.Attempt, "error", err)
	}
	if errors.Is(err, ErrRefused) {
		return river.JobCancel(err)
	}
	if err != nil {
		return fmt.Errorf("mailing a link to a new password: %w", err)
	}
	return nil
}
