package webhook

import (
	"context"
	"crypto/rand"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"crier/internal/destination"
	"crier/internal/lifecycle"
)

// Store is what the dispatcher needs of it; see there.
type Store interface {
	Claim(ctx context.Context, me string, lease time.Duration, limit int) (leases []destination.Lease, more bool, err error)
	Renew(ctx context.Context, me string, lease time.Duration, ids []int64) ([]int64, error)
	Load(ctx context.Context, me string, id int64, exclude []int64) (destination.Target, []destination.Job, error)
	Settle(ctx context.Context, results []destination.Result, failingLimit time.Duration) (map[string]int64, error)
	Release(ctx context.Context, me string, id int64, more bool) error
	Untold(ctx context.Context, limit int) ([]destination.Destination, error)
	Told(ctx context.Context, id int64) error
}

// Dispatcher works the destinations that this process holds. It owns one
// goroutine that claims them, one that renews leases, one that settles results,
// one that tells owners, one for each destination (Config.Destinations at most)
// and one for each attempt (Config.PerDestination for each). Stop waits for all.
type Dispatcher struct {
	cfg    Config
	store  Store
	sender *Sender
	tell   func(ctx context.Context, d destination.Destination) error
	log    *slog.Logger
	// claiming, renewing, settling and telling are how the loops fare.
	claiming, renewing, settling, telling *lifecycle.Health

	metrics *metrics
	me      string
	poke    chan struct{} // one place: that there is new work is said once

	results  chan settled
	workers  *lifecycle.Group // claims, leases, destinations and attempts
	settlers *lifecycle.Group // outlives them

	mu     sync.Mutex // guards active
	active map[int64]*worker
	full   bool // at the last claim, more destinations wanted a place than there were
}

// settled is a result on its way to the store, and who waits for it.
type settled struct {
	destination.Result
	by *worker
}

// resultsWaiting is how many results wait to be settled before attempts wait to
// be ended.
const resultsWaiting = 4096

// New makes a dispatcher; it does no I/O. tell tells the owner of a destination
// that it was disabled; it may be called again for the same one.
func New(cfg Config, store Store, g *destination.Guard, tell func(context.Context, destination.Destination) error, log *slog.Logger, reg prometheus.Registerer) *Dispatcher {
	cfg.normalise()
	return &Dispatcher{cfg: cfg, store: store, sender: NewSender(g, cfg.Timeout, cfg.PerDestination, cfg.Resolver), tell: tell, log: log,
		claiming: lifecycle.NewHealth(log, "claiming destinations"), renewing: lifecycle.NewHealth(log, "renewing destinations' leases"),
		settling: lifecycle.NewHealth(log, "recording delivery attempts"), telling: lifecycle.NewHealth(log, "notifying owners of disabled destinations"),
		metrics: newMetrics(reg),
		me:      rand.Text(), poke: make(chan struct{}, 1), results: make(chan settled, resultsWaiting), active: make(map[int64]*worker)}
}

// Start begins to work.
func (d *Dispatcher) Start(ctx context.Context) {
	d.settlers = lifecycle.NewGroup(context.WithoutCancel(ctx))
	d.settlers.Go("settling deliveries", d.settle)
	d.workers = lifecycle.NewGroup(context.WithoutCancel(ctx))
	d.workers.Go("claiming destinations", d.claim)
	d.workers.Go("renewing leases", d.renew)
	d.workers.Go("telling owners", d.tellOwners)
}

// Poke says that there is new work. It never blocks.
func (d *Dispatcher) Poke() {
	select {
	case d.poke <- struct{}{}:
	default:
	}
}

// Stop lets attempts in flight end for a while, settles what has ended, and gives
// the leases back.
func (d *Dispatcher) Stop(ctx context.Context) error {
	if d.workers == nil {
		return nil
	}
	err := d.workers.Stop(ctx)
	err = errors.Join(err, d.settlers.Stop(ctx))
	d.sender.Close()
	return err
}

// Failed is closed when a goroutine has ended by itself, by a panic.
func (d *Dispatcher) Failed() <-chan struct{} { return d.workers.Context().Done() }

// Ready says which of the loops fails, and why.
func (d *Dispatcher) Ready(ctx context.Context) error {
	return errors.Join(d.claiming.Ready(ctx), d.renewing.Ready(ctx), d.settling.Ready(ctx), d.telling.Ready(ctx))
}

// Err is why a goroutine has ended by itself.
func (d *Dispatcher) Err() error { return d.workers.Err() }

// claim takes on destinations whose work is due.
func (d *Dispatcher) claim(ctx context.Context) error {
	var wait lifecycle.Backoff
	timer := time.NewTicker(pollEvery)
	defer timer.Stop()
	for {
		if err := d.claimOnce(ctx); err != nil && ctx.Err() == nil {
			d.claiming.Report(err)
			if wait.Wait(ctx) != nil {
				return nil
			}
			continue
		}
		d.claiming.Report(nil)
		wait.Reset()
		select {
		case <-ctx.Done():
			return nil
		case <-d.poke:
		case <-timer.C:
		}
	}
}

func (d *Dispatcher) claimOnce(ctx context.Context) error {
	d.mu.Lock()
	free := d.cfg.Destinations - len(d.active)
	d.mu.Unlock()
	if free <= 0 {
		d.setFull(true)
		return nil
	}
	began := time.Now()
	leases, more, err := d.store.Claim(ctx, d.me, d.cfg.Lease, free)
	if err != nil {
		return err
	}
	d.setFull(more)
	for _, l := range leases {
		w := newWorker(d, l, began)
		d.mu.Lock()
		if d.active[w.id] != nil { // its lease ran out and came back to us before it has ended
			d.mu.Unlock()
			continue
		}
		d.active[w.id] = w
		d.mu.Unlock()
		d.metrics.destinations.Inc()
		d.workers.Go("a destination", func(ctx context.Context) error {
			defer d.ended(w)
			w.run(ctx)
			return nil
		})
	}
	return nil
}

func (d *Dispatcher) setFull(full bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.full = full
}

func (d *Dispatcher) othersWait() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.full
}

func (d *Dispatcher) ended(w *worker) {
	d.mu.Lock()
	delete(d.active, w.id)
	full := d.full
	d.mu.Unlock()
	d.metrics.destinations.Dec()
	if full {
		d.Poke()
	}
}

// renew keeps the leases, and stops whom it could not keep one for, before it
// runs out.
func (d *Dispatcher) renew(ctx context.Context) error {
	// Workers have leases until they have ended, which they do when ctx has.
	work := context.WithoutCancel(ctx)
	for {
		if lifecycle.Sleep(ctx, d.cfg.Lease/4) != nil {
			return nil
		}
		d.renewOnce(work)
	}
}

func (d *Dispatcher) renewOnce(ctx context.Context) {
	d.mu.Lock()
	workers := make(map[int64]*worker, len(d.active))
	ids := make([]int64, 0, len(d.active))
	for id, w := range d.active {
		workers[id], ids = w, append(ids, id)
	}
	d.mu.Unlock()
	if len(ids) == 0 {
		return
	}
	began := time.Now()
	ctx, cancel := context.WithTimeout(ctx, d.cfg.Lease/4)
	defer cancel()
	kept, err := d.store.Renew(ctx, d.me, d.cfg.Lease, ids)
	d.renewing.Report(err)
	if err != nil {
		for _, w := range workers {
			w.checkLease()
		}
		return
	}
	for _, id := range kept {
		workers[id].renewed(began)
		delete(workers, id)
	}
	for _, w := range workers {
		w.lose(errLeaseLost)
	}
}

// settleAtOnce is how many results go into one transaction at most.
const settleAtOnce = 1000

// settle writes results, as many at once as have come while the last were
// written. It ends when all workers have, and nothing is left.
func (d *Dispatcher) settle(ctx context.Context) error {
	for {
		var first settled
		select {
		case first = <-d.results:
		case <-ctx.Done():
			select {
			case first = <-d.results:
			default:
				return nil
			}
		}
		batch := []settled{first}
		for more := true; more && len(batch) < settleAtOnce; {
			select {
			case r := <-d.results:
				batch = append(batch, r)
			default:
				more = false
			}
		}
		d.settleBatch(batch)
	}
}

// settleTimeout bounds one try at settling.
const settleTimeout = 10 * time.Second

// settleBatch tries until it is done, or every worker has lost its lease for
// it: then others deliver it again.
func (d *Dispatcher) settleBatch(batch []settled) {
	results := make([]destination.Result, len(batch))
	for i := range batch {
		results[i] = batch[i].Result
	}
	d.cfg.FailFunc("webhook.before-settle")
	var wait lifecycle.Backoff
	for {
		ctx, cancel := context.WithTimeout(context.Background(), settleTimeout)
		disabled, err := d.store.Settle(ctx, results, d.cfg.FailingLimit)
		cancel()
		if err == nil {
			d.settling.Report(nil)
			for reason, n := range disabled {
				d.metrics.disabled.WithLabelValues(reason).Add(float64(n))
			}
			break
		}
		d.settling.Report(err, "attempts", len(results))
		if !d.anyHeld(batch) || wait.Wait(d.settlers.Context()) != nil {
			break
		}
	}
	d.cfg.FailFunc("webhook.after-settle")
	for _, r := range batch {
		r.by.settledOne(r.ItemID)
	}
}

func (d *Dispatcher) anyHeld(batch []settled) bool {
	for _, r := range batch {
		if r.by.held() {
			return true
		}
	}
	return false
}

// tellEvery is how often owners of disabled destinations are looked for.
const tellEvery = 2 * time.Second

func (d *Dispatcher) tellOwners(ctx context.Context) error {
	for {
		if err := d.tellOnce(ctx); ctx.Err() == nil {
			d.telling.Report(err)
		}
		if lifecycle.Sleep(ctx, tellEvery) != nil {
			return nil
		}
	}
}

// tellOnce tells, then notes that it did: who is told twice gets it once, by its
// idempotency key.
func (d *Dispatcher) tellOnce(ctx context.Context) error {
	list, err := d.store.Untold(ctx, 100)
	if err != nil {
		return err
	}
	for _, to := range list {
		d.log.Warn("a destination is disabled", "destination", to.ID, "account", int64(to.AccountID), "reason", to.DisabledReason)
		if err := d.tell(ctx, to); err != nil {
			return err
		}
		if err := d.store.Told(ctx, to.ID); err != nil {
			return err
		}
	}
	return nil
}
