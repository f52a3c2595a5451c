package consumer

import (
	"context"
	"time"

	"crier/internal/kafka"
	"crier/internal/lifecycle"
)

// storeFunc is the first half of what is done with records: it stores them, all
// or none, and returns the second half, which tells Kafka what follows from that.
// Both may be called again with the same records, and change nothing then.
type storeFunc func(ctx context.Context, recs []kafka.Record) (tell func(context.Context) error, err error)

// maxHeld is how long rebalances wait for a line that does not run empty by
// itself: long beside a batch, short beside a session (10 s).
const maxHeld = 500 * time.Millisecond

// line is the way of one group's records: poll, store, tell, commit. Two batches
// are in it at most: while one is told of and committed, the next one is read and
// stored, so that Postgres and Kafka work at the same time. A batch is told of
// only when the one before it was told of and committed. So deliveries are
// produced in the order of their places, offsets never pass anything that is
// undone, and whatever fails is tried again before anything behind it goes on.
//
// It is used by the goroutine that runs it, which starts another for each batch's
// second half and waits for it before it starts the next.
type line struct {
	c       *Consumer
	group   *kafka.Group
	store   storeFunc
	work    context.Context // ends drainTime after the part's
	health  pipelineHealth
	tellers *lifecycle.Group
	told    chan bool // of the batch that is being told of: whether that was done; nil: there is none
	held    time.Time // since when rebalances wait
}

// pipelineHealth is how the steps of one group's pipeline fare.
type pipelineHealth struct{ read, store, publish *lifecycle.Health }

func (c *Consumer) newPipelineHealth(of string) pipelineHealth {
	return pipelineHealth{c.watched("reading " + of), c.watched("storing " + of), c.watched("publishing what follows from " + of)}
}

// run reads one group's records and takes them through a line. The two groups
// have one each, so that a flood of one does not delay the other.
func (c *Consumer) run(ctx context.Context, group *kafka.Group, store storeFunc, health pipelineHealth) error {
	work, cancel := lifecycle.Draining(ctx, drainTime)
	defer cancel()
	l := &line{c: c, group: group, store: store, work: work, health: health, tellers: lifecycle.NewGroup(work)}
	defer group.Release()
	var wait lifecycle.Backoff
	for ctx.Err() == nil {
		batch, err := l.poll(ctx)
		if ctx.Err() != nil || l.work.Err() != nil || l.tellers.Err() != nil {
			break // what was polled is read again, by whoever has it then
		}
		if err != nil {
			health.read.Report(err)
			if !l.await() {
				break
			}
			group.Release()
			if wait.Wait(ctx) != nil {
				break
			}
			continue
		}
		wait.Reset()
		health.read.Report(nil)
		if !l.take(ctx, batch.Records) {
			break
		}
	}
	l.await()
	_ = l.tellers.Wait(context.WithoutCancel(ctx))
	return l.tellers.Err()
}

// poll brings the next records: those that are there, while a batch is being told
// of; whatever comes first, when the line is empty. In between rebalances go on.
func (l *line) poll(ctx context.Context) (kafka.Batch, error) {
	if l.told != nil && time.Since(l.held) < maxHeld {
		batch, err := l.group.PollNow(l.c.cfg.Batch)
		if err != nil || len(batch.Records) > 0 {
			return batch, err
		}
	}
	if !l.await() {
		return kafka.Batch{}, nil
	}
	l.group.Release()
	batch, err := l.group.Poll(ctx, l.c.cfg.Batch)
	l.held = time.Now()
	return batch, err
}

// take stores records, in parts that one transaction can bear, and has each told
// of. false: the part was stopped, and what is left will be read again.
func (l *line) take(ctx context.Context, recs []kafka.Record) bool {
	for len(recs) > 0 {
		n := bearable(recs)
		var tell func(context.Context) error
		err := l.until(l.work, l.health.store, n, func(ctx context.Context) (err error) {
			tell, err = l.store(ctx, recs[:n])
			return err
		})
		if err != nil || !l.hand(recs[:n], tell) || ctx.Err() != nil {
			return false
		}
		recs = recs[n:]
	}
	return true
}

// hand has stored records told of and committed, behind those before them.
func (l *line) hand(recs []kafka.Record, tell func(context.Context) error) bool {
	if !l.await() {
		return false
	}
	told := make(chan bool, 1)
	l.told = told
	l.tellers.Go("telling of a batch", func(ctx context.Context) error {
		defer close(told) // should it panic
		start := time.Now()
		if l.until(ctx, l.health.publish, len(recs), tell) != nil {
			return nil
		}
		l.c.metrics.tell.Observe(time.Since(start).Seconds())
		err := l.group.Commit(ctx, kafka.Batch{Records: recs})
		l.c.cfg.FailFunc("consumer.after-commit")
		if err != nil && ctx.Err() == nil {
			// The group has moved on without us, or Kafka is away: the records are
			// read again, by whoever has them now, and found stored.
			l.c.log.Warn("committing a batch", "error", err)
		}
		told <- true
		return nil
	})
	return true
}

// await waits until nothing is being told of; false: what was, was given up.
func (l *line) await() bool {
	if l.told == nil {
		return true
	}
	done := <-l.told
	if done {
		l.told = nil
	}
	return done
}

// until does a step again and again until it succeeds, or ctx ends.
func (l *line) until(ctx context.Context, health *lifecycle.Health, records int, step func(context.Context) error) error {
	var wait lifecycle.Backoff
	for {
		err := step(ctx)
		if err == nil {
			health.Report(nil)
			return nil
		}
		if ctx.Err() != nil {
			return err
		}
		l.c.metrics.retries.Inc()
		health.Report(err, "records", records)
		if err := wait.Wait(ctx); err != nil {
			return err
		}
	}
}
