package mail

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/riverqueue/river"
	gomail "github.com/wneessen/go-mail"

	"crier/internal/inbox"
	"crier/internal/user"
)

// ConfirmArgs are the job of a mail with the link that confirms an address.
type ConfirmArgs struct {
	Address string `json:"address"`
}

// Kind is part of river.JobArgs.
func (ConfirmArgs) Kind() string { return "confirm_address" }

// InsertOpts is part of river.JobArgsWithInsertOpts. The address gets no other mail
// for a day: so long it is tried.
func (ConfirmArgs) InsertOpts() river.InsertOpts {
	return river.InsertOpts{Queue: Queue, Priority: urgent, MaxAttempts: len(waits)}
}

// ConfirmWorker sends confirmation mails. It is safe for concurrent use.
type ConfirmWorker struct {
	river.WorkerDefaults[ConfirmArgs]
	sender   *Sender
	composer *Composer
	users    *user.Store
	inbox    *inbox.Store
	signer   *user.Signer
	log      *slog.Logger
}

// NewConfirmWorker makes a worker.
func NewConfirmWorker(s *Sender, c *Composer, users *user.Store, i *inbox.Store, signer *user.Signer, log *slog.Logger) *ConfirmWorker {
	return &ConfirmWorker{sender: s, composer: c, users: users, inbox: i, signer: signer, log: log}
}

// Timeout is part of river.Worker.
func (w *ConfirmWorker) Timeout(*river.Job[ConfirmArgs]) time.Duration { return jobTimeout }

// NextRetry is part of river.Worker.
func (w *ConfirmWorker) NextRetry(job *river.Job[ConfirmArgs]) time.Time {
	return nextRetry(job.JobRow)
}

// Work is part of river.Worker.
func (w *ConfirmWorker) Work(ctx context.Context, job *river.Job[ConfirmArgs]) error {
	m, err := w.prepare(ctx, job.Args.Address)
	if err != nil {
		w.log.Warn("a confirmation mail waits for the database", "error", err)
		return river.JobSnooze(databaseWait)
	}
	if m == nil {
		return nil
	}
	if err = w.sender.Send(ctx, m); err == nil {
		return nil
	}
	w.log.Warn("sending a confirmation mail failed", "attempt", failures(job.JobRow)+1, "error", err)
	if errors.Is(err, ErrRefused) {
		return river.JobCancel(err)
	}
	return fmt.Errorf("sending a confirmation mail: %w", err)
}

// prepare makes the mail; nil: there is nothing to confirm, or the address' owner wants
// no mail.
func (w *ConfirmWorker) prepare(ctx context.Context, address string) (*gomail.Msg, error) {
	claims, err := w.users.Unconfirmed(ctx, address)
	if err != nil || len(claims) == 0 {
		return nil, err
	}
	off, err := w.inbox.IsUnsubscribed(ctx, address)
	if err != nil || off {
		return nil, err
	}
	known, err := w.users.HasAccount(ctx, address)
	if err != nil {
		return nil, err
	}
	return w.composer.ComposeConfirmation(address, w.signer.Token(address), known, time.Now())
}
