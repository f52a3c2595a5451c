package mail

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"time"

	"github.com/riverqueue/river"

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

// NextRetry is part of river.Worker: the waits of mails, each spread by a fifth.
func (w *ConfirmWorker) NextRetry(job *river.Job[ConfirmArgs]) time.Time {
	d := waits[min(max(job.Attempt, 1), len(waits))-1]
	return time.Now().Add(d*9/10 + rand.N(d/5+1))
}

// Work is part of river.Worker.
func (w *ConfirmWorker) Work(ctx context.Context, job *river.Job[ConfirmArgs]) error {
	err := w.send(ctx, job.Args.Address)
	if err != nil {
		w.log.Warn("sending a confirmation mail failed", "attempt", job.Attempt, "error", err)
	}
	if errors.Is(err, ErrRefused) {
		return river.JobCancel(err)
	}
	if err != nil {
		return fmt.Errorf("sending a confirmation mail: %w", err)
	}
	return nil
}

// send sends the mail, unless there is nothing to confirm or the address' owner wants
// no mail.
func (w *ConfirmWorker) send(ctx context.Context, address string) error {
	claims, err := w.users.Unconfirmed(ctx, address)
	if err != nil || len(claims) == 0 {
		return err
	}
	off, err := w.inbox.IsUnsubscribed(ctx, address)
	if err != nil || off {
		return err
	}
	known, err := w.users.HasAccount(ctx, address)
	if err != nil {
		return err
	}
	m, err := w.composer.ComposeConfirmation(address, w.signer.Token(address), known, time.Now())
	if err != nil {
		return err
	}
	return w.sender.Send(ctx, m)
}
