// Package delivery runs the jobs that carry notifications out of the inbox: it
// sets up River's queues and their schedule, and inserts jobs in the transaction
// that stores their notifications.
//
// Postgres holds the jobs. Those of a process that died are taken over within
// a minute: after rescueAfter, at the next of River's sweeps, half a minute apart.
package delivery

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"

	"crier/consumer/mail"
	"crier/internal/lifecycle"
	"crier/internal/postgres"
)

// rescueAfter is when a job that is still running is taken for a dead
// process's; longer than any attempt may take.
const rescueAfter = 28 * time.Second

// jobTimeout bounds an attempt whose worker says nothing else.
const jobTimeout = 25 * time.Second

// mailWorkers is how many mails are prepared at once; they share a connection.
const mailWorkers = 4

// Queue inserts and works jobs. It is safe for concurrent use.
type Queue struct {
	river *river.Client[pgx.Tx]
}

// New sets up the queues; Start works them.
func New(db *postgres.DB, mails *mail.Worker, resets *mail.ResetWorker, confirmations *mail.ConfirmWorker, log *slog.Logger) (*Queue, error) {
	workers := river.NewWorkers()
	if err := errors.Join(river.AddWorkerSafely(workers, mails), river.AddWorkerSafely(workers, resets), river.AddWorkerSafely(workers, confirmations)); err != nil {
		return nil, fmt.Errorf("registering the mail workers: %w", err)
	}
	c, err := river.NewClient(riverpgxv5.New(db.Pool), &river.Config{
		Queues:               map[string]river.QueueConfig{mail.Queue: {MaxWorkers: mailWorkers}},
		Workers:              workers,
		RescueStuckJobsAfter: rescueAfter,
		// New jobs are announced (LISTEN); this is for announcements that were missed.
		FetchPollInterval: 5 * time.Second,
		JobTimeout:        jobTimeout,
		Logger:            slog.New(quiet{lifecycle.Rare(log.Handler())}),
	})
	if err != nil {
		return nil, fmt.Errorf("setting up the job queue: %w", err)
	}
	return &Queue{c}, nil
}

// quiet passes warnings and errors only: what the library finds worth an
// operator's eyes.
type quiet struct{ slog.Handler }

func (q quiet) WithAttrs(attrs []slog.Attr) slog.Handler { return quiet{q.Handler.WithAttrs(attrs)} }

func (q quiet) WithGroup(name string) slog.Handler { return quiet{q.Handler.WithGroup(name)} }

func (q quiet) Enabled(ctx context.Context, l slog.Level) bool {
	return l >= slog.LevelWarn && q.Handler.Enabled(ctx, l)
}

// Start works the queues.
func (q *Queue) Start(ctx context.Context) error {
	if err := q.river.Start(context.WithoutCancel(ctx)); err != nil {
		return fmt.Errorf("starting the job queue: %w", err)
	}
	return nil
}

// Stop lets running jobs finish as long as ctx lives, then cancels them; they
// are worked again.
func (q *Queue) Stop(ctx context.Context) error {
	soft, cancel := context.WithTimeout(ctx, 4*time.Second)
	defer cancel()
	if q.river.Stop(soft) == nil {
		return nil
	}
	if err := q.river.StopAndCancel(ctx); err != nil {
		return fmt.Errorf("stopping the job queue: %w", err)
	}
	return nil
}

// Resets inserts, within tx, the jobs of mails with links to new passwords.
func (q *Queue) Resets(ctx context.Context, tx pgx.Tx, ids []string) error {
	params := make([]river.InsertManyParams, len(ids))
	for i, id := range ids {
		params[i] = river.InsertManyParams{Args: mail.ResetArgs{ID: id}}
	}
	if _, err := q.river.InsertManyFastTx(ctx, tx, params); err != nil {
		return fmt.Errorf("inserting %d links to new passwords: %w", len(ids), err)
	}
	return nil
}

// Confirmations inserts, within tx, the jobs of confirmation mails to addresses.
func (q *Queue) Confirmations(ctx context.Context, tx pgx.Tx, addresses []string) error {
	params := make([]river.InsertManyParams, len(addresses))
	for i, address := range addresses {
		params[i] = river.InsertManyParams{Args: mail.ConfirmArgs{Address: address}}
	}
	if _, err := q.river.InsertManyFastTx(ctx, tx, params); err != nil {
		return fmt.Errorf("inserting %d confirmation mails: %w", len(addresses), err)
	}
	return nil
}

// Mails inserts the jobs of mails within tx.
func (q *Queue) Mails(ctx context.Context, tx pgx.Tx, list []mail.Args) error {
	params := make([]river.InsertManyParams, len(list))
	for i, a := range list {
		params[i] = river.InsertManyParams{Args: a}
	}
	if _, err := q.river.InsertManyFastTx(ctx, tx, params); err != nil {
		return fmt.Errorf("inserting %d mails: %w", len(list), err)
	}
	return nil
}
