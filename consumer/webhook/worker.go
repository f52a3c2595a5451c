package webhook

import (
	"context"
	"errors"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"crier/internal/destination"
	"crier/internal/lifecycle"
)

var (
	errLeaseLost = errors.New("the destination is not ours any more")
	errDrained   = errors.New("the part is being stopped")
)

// worker delivers to one destination while this process holds its lease. Its
// loop is one goroutine; each attempt is another. What it has taken up and not
// settled is at most PerDestination attempts and one Load.
type worker struct {
	d       *Dispatcher
	id      int64
	epoch   int64
	ctx     context.Context // of attempts; ends when the lease is lost or draining is over
	cancel  context.CancelCauseFunc
	slots   chan struct{}
	limiter *rate.Limiter
	began   time.Time

	mu      sync.Mutex     // guards what follows
	lease   time.Time      // when it was last renewed
	open    map[int64]bool // items that were taken up and are not settled
	changed chan struct{}  // one place: something was settled
	paused  bool           // the destination has said that it wants nothing more for now
}

func newWorker(d *Dispatcher, l destination.Lease, leased time.Time) *worker {
	ctx, cancel := context.WithCancelCause(context.Background())
	return &worker{d: d, id: l.DestinationID, epoch: l.Epoch, ctx: ctx, cancel: cancel, slots: make(chan struct{}, d.cfg.PerDestination), limiter: rate.NewLimiter(rate.Inf, 1), began: time.Now(),
		lease: leased, open: make(map[int64]bool), changed: make(chan struct{}, 1)}
}

// lose stops the worker, whose lease is or may be another's.
func (w *worker) lose(why error) {
	if w.held() {
		w.d.metrics.lost.Inc()
	}
	w.cancel(why)
}

func (w *worker) held() bool { return w.ctx.Err() == nil }

// checkLease says whether the lease is good for some time yet. It is asked before each
// attempt, because a process that was stopped for a while (a virtual machine that is
// moved, SIGSTOP) goes on where it was and hears of nothing.
func (w *worker) checkLease() bool {
	if time.Since(w.renewedAt()) > w.d.cfg.Lease*2/3 {
		w.lose(errLeaseLost)
	}
	return w.held()
}

func (w *worker) renewed(at time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.lease = at
}

func (w *worker) renewedAt() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.lease
}

// run works until nothing is due, its turn is over, or the part is stopped, and
// gives the lease back.
func (w *worker) run(ctx context.Context) {
	defer w.cancel(lifecycle.ErrStopped)
	// Attempts in flight may go on for a while when the part is stopped.
	defer context.AfterFunc(ctx, func() {
		timer := time.NewTimer(drainTime)
		defer timer.Stop()
		select {
		case <-timer.C:
			w.cancel(errDrained)
		case <-w.ctx.Done():
		}
	})()
	more := w.work(ctx)
	w.awaitSettled()
	release, cancel := context.WithTimeout(context.WithoutCancel(ctx), settleTimeout)
	defer cancel()
	if err := w.d.store.Release(release, w.d.me, w.id, more); err != nil {
		w.d.log.Warn("a destination's lease runs out by itself", "destination", w.id, "error", err)
	}
	if !more {
		w.d.Poke() // what became due meanwhile is claimed at once
	}
}

// work says whether it has left work to others.
func (w *worker) work(ctx context.Context) bool {
	var wait lifecycle.Backoff
	for ctx.Err() == nil && w.held() {
		target, jobs, err := w.d.store.Load(w.ctx, w.d.me, w.id, w.unsettled())
		if err != nil {
			if !w.held() {
				return true
			}
			w.d.log.Error("reading what is due", "destination", w.id, "error", err)
			if wait.Wait(ctx) != nil {
				return true
			}
			continue
		}
		wait.Reset()
		if len(jobs) == 0 {
			if len(w.unsettled()) == 0 {
				return false
			}
			w.awaitChange(ctx)
			continue
		}
		if target.Ordered {
			w.inTurn(ctx, target, jobs)
			w.awaitSettled() // the next Load must see a head that has failed
		} else {
			w.sideBySide(ctx, target, jobs)
		}
		if w.isPaused() || w.turnOver() {
			return true
		}
	}
	return true
}

// turnOver says whether other destinations shall have its place.
func (w *worker) turnOver() bool {
	return time.Since(w.began) > turnLength && w.d.othersWait()
}

func (w *worker) pause() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.paused = true
}

func (w *worker) isPaused() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.paused
}

// inTurn delivers one after the other, and stops at the first that fails.
func (w *worker) inTurn(ctx context.Context, t destination.Target, jobs []destination.Job) {
	for i := range jobs {
		if !w.take(ctx, t, &jobs[i]) {
			return
		}
		ok := w.attempt(t, jobs[i])
		<-w.slots
		if !ok && !jobs[i].Test {
			return
		}
	}
}

func (w *worker) sideBySide(ctx context.Context, t destination.Target, jobs []destination.Job) {
	for i := range jobs {
		if !w.take(ctx, t, &jobs[i]) {
			return
		}
		w.d.workers.Go("an attempt", func(context.Context) error {
			defer func() { <-w.slots }()
			w.attempt(t, jobs[i])
			return nil
		})
	}
}

// take waits for the destination's rate and for one of its slots; false: nothing
// more is to be begun.
func (w *worker) take(ctx context.Context, t destination.Target, j *destination.Job) bool {
	var due <-chan time.Time
	if t.Rate > 0 {
		w.limiter.SetLimit(rate.Limit(t.Rate))
		timer := time.NewTimer(w.limiter.Reserve().Delay())
		defer timer.Stop()
		due = timer.C
	}
	slots, look := w.slots, time.NewTicker(pollEvery)
	defer look.Stop()
	if due != nil {
		slots = nil // first the rate
	}
	for {
		if ctx.Err() != nil || !w.checkLease() || w.isPaused() || w.turnOver() {
			return false
		}
		select {
		case <-due:
			due, slots = nil, w.slots
		case slots <- struct{}{}:
			w.mu.Lock()
			w.open[j.ItemID] = true
			w.mu.Unlock()
			return true
		case <-look.C:
		case <-ctx.Done():
		case <-w.ctx.Done():
		}
	}
}

// attempt makes one attempt and has it settled; it says whether it went well.
func (w *worker) attempt(t destination.Target, j destination.Job) bool {
	w.d.cfg.FailFunc("webhook.before-attempt")
	if !w.checkLease() {
		w.settledOne(j.ItemID)
		return false
	}
	w.d.metrics.inFlight.Inc()
	a, err := w.d.sender.Send(w.ctx, t, Message{ID: webhookID(j.EventID, w.id), Data: j.Data})
	w.d.metrics.inFlight.Dec()
	if err != nil && !w.held() {
		// It was cut off by us and says nothing of the destination.
		w.settledOne(j.ItemID)
		return false
	}
	r := w.d.cfg.result(a, err, j)
	r.DestinationID, r.Epoch = w.id, w.epoch
	w.d.cfg.FailFunc("webhook.after-attempt")
	if r.Gone || r.Hold > 0 {
		w.pause()
	}
	w.d.metrics.took.Observe(a.Took.Seconds())
	w.d.metrics.attempts.WithLabelValues([]string{"delivered", "again", "given_up"}[r.Fate]).Inc()
	w.d.results <- settled{r, w}
	return err == nil
}

// result is what an answer means for the delivery.
func (c *Config) result(a Answer, err error, j destination.Job) destination.Result {
	r := destination.Result{ItemID: j.ItemID, Attempt: j.Attempts + 1, Request: text([]byte(a.Request)), Status: a.Status, Answer: a.Body, Began: a.Began, Took: a.Took, Test: j.Test}
	if err == nil {
		r.Fate = destination.Delivered
		return r
	}
	r.Error = text([]byte(clip(err.Error(), keptAnswer)))
	switch a.Status {
	case 410: // Gone
		r.Gone = true
	case 429, 503: // Too Many Requests, Service Unavailable
		r.Hold = a.RetryAfter
	}
	if j.Attempts >= len(c.Waits) {
		r.Fate = destination.GivenUp
		return r
	}
	r.Fate = destination.Again
	d := c.Waits[j.Attempts]
	r.Wait = max(d*9/10+rand.N(d/5+1), a.RetryAfter)
	return r
}

// settledOne says that an item is not the worker's any more.
func (w *worker) settledOne(item int64) {
	w.mu.Lock()
	delete(w.open, item)
	w.mu.Unlock()
	select {
	case w.changed <- struct{}{}:
	default:
	}
}

func (w *worker) unsettled() []int64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.AppendSeq(make([]int64, 0, len(w.open)), maps.Keys(w.open))
}

func (w *worker) awaitChange(ctx context.Context) {
	// What becomes due meanwhile must not wait for an attempt that is slow.
	timer := time.NewTimer(pollEvery)
	defer timer.Stop()
	select {
	case <-w.changed:
	case <-timer.C:
	case <-ctx.Done():
	case <-w.ctx.Done():
	}
}

// awaitSettled waits until nothing is open. Attempts end by their timeout at the
// latest, and results are settled or dropped.
func (w *worker) awaitSettled() {
	for len(w.unsettled()) > 0 {
		<-w.changed
	}
}
