package api

import (
	"context"
	"errors"
	"net/http"
	"net/netip"
	"slices"
	"sync"
	"time"

	"crier/internal/problem"
)

// Work is how much a route asks of Postgres and of this process, and so how many of its
// requests run at once.
type Work uint8

// The kinds of work.
const (
	Light    Work = iota // a row or a page by its key: not bounded
	Heavy                // reads or counts many rows
	Trial                // a dry run: seconds of a processor
	Transfer             // an export: sent page by page, for as long as its reader takes
	Locked               // a change under the lock of the user's inbox or alerts: others of theirs wait for it, each with a connection
)

// gate bounds how many requests run at once, in all and of one subject (a user, a
// service, or an address). Others wait for their turn: of one subject up to queue, no
// longer than maxWait; further requests are refused at once. A free slot goes to the
// request that has waited longest among the subjects below their limit, so one subject's
// queue does not block another's. It is safe for concurrent use.
type gate struct {
	most, perSubject, queue int
	limit                   time.Duration // of one request; 0: none

	mu      sync.Mutex // guards the rest
	running int
	of      map[string]*turns
	waiting []*waiter
}

// turns are one subject's requests; it is forgotten with the last.
type turns struct{ running, waiting int }

type waiter struct {
	subject string
	ready   chan struct{} // closed when it has a slot
}

// maxWait is how long a request waits for a slot; maxQueue bounds all that wait.
const (
	maxWait  = 10 * time.Second
	maxQueue = 2048
)

var errCrowded = errors.New("too many requests of one subject wait, or for too long")

func newGate(most, perSubject, queue int, limit time.Duration) *gate {
	return &gate{most: most, perSubject: perSubject, queue: queue, limit: limit, of: make(map[string]*turns)}
}

// enter waits for a slot; leave gives it back, once.
func (g *gate) enter(ctx context.Context, subject string) (leave func(), err error) {
	w, err := g.line(subject)
	if err != nil {
		return nil, err
	}
	leave = sync.OnceFunc(func() { g.leave(subject) })
	if w == nil {
		return leave, nil
	}
	timer := time.NewTimer(maxWait)
	defer timer.Stop()
	select {
	case <-w.ready:
		return leave, nil
	case <-timer.C:
		err = errCrowded
	case <-ctx.Done():
		err = context.Cause(ctx)
	}
	if !g.giveUp(w) { // it got a slot at the same moment
		leave()
	}
	return nil, err
}

// line takes a slot, or a place in the queue, which it returns.
func (g *gate) line(subject string) (*waiter, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	t := g.of[subject]
	if t == nil {
		t = &turns{}
		g.of[subject] = t
	}
	if g.running < g.most && t.running < g.perSubject {
		g.running++
		t.running++
		return nil, nil
	}
	if t.waiting >= g.queue || len(g.waiting) >= maxQueue {
		g.forget(subject, t)
		return nil, errCrowded
	}
	t.waiting++
	w := &waiter{subject, make(chan struct{})}
	g.waiting = append(g.waiting, w)
	return w, nil
}

func (g *gate) leave(subject string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	t := g.of[subject]
	g.running--
	t.running--
	g.forget(subject, t)
	for g.running < g.most {
		next := slices.IndexFunc(g.waiting, func(w *waiter) bool { return g.of[w.subject].running < g.perSubject })
		if next < 0 {
			return
		}
		w := g.waiting[next]
		g.waiting = slices.Delete(g.waiting, next, next+1)
		g.running++
		g.of[w.subject].running++
		g.of[w.subject].waiting--
		close(w.ready)
	}
}

// giveUp takes a waiter out of the queue; false: it has a slot.
func (g *gate) giveUp(w *waiter) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	i := slices.Index(g.waiting, w)
	if i < 0 {
		return false
	}
	g.waiting = slices.Delete(g.waiting, i, i+1)
	t := g.of[w.subject]
	t.waiting--
	g.forget(w.subject, t)
	return true
}

func (g *gate) forget(subject string, t *turns) {
	if t.running == 0 && t.waiting == 0 {
		delete(g.of, subject)
	}
}

// Bounds of the gates. Of the connections to Postgres heavy requests get three eighths,
// and changes that wait for each other a quarter; the rest is for looking up sessions,
// users and keys, for sending, and where all parts share them for the other parts.
const (
	heavyQueue    = 32
	heavyTime     = 20 * time.Second
	lockedQueue   = 256
	trialQueue    = 4
	transferQueue = 4
	transfers     = 4
	transferWrite = 20 * time.Second // for one page to be taken
)

// newGates makes the gates of a gateway with so many connections and processors.
func newGates(conns, processors int) map[Work]*gate {
	heavy, locked := max(2, conns*3/8), max(1, conns/4)
	return map[Work]*gate{
		Heavy:    newGate(heavy, max(1, heavy/2), heavyQueue, heavyTime),
		Locked:   newGate(locked, max(1, locked/2), lockedQueue, heavyTime),
		Trial:    newGate(max(1, processors/2), 1, trialQueue, maxDryTime+time.Second),
		Transfer: newGate(transfers, 1, transferQueue, 0),
	}
}

// Admit waits for the request's turn. The answer is to be written to what it returns,
// and done called when the request has ended.
func (a *API) Admit(w http.ResponseWriter, r *http.Request, who Principal, work Work) (http.ResponseWriter, *http.Request, func(), error) {
	g := a.gates[work]
	if g == nil {
		return w, r, func() {}, nil
	}
	leave, err := g.enter(r.Context(), subjectOf(who))
	if errors.Is(err, errCrowded) {
		return w, r, nil, &problem.Problem{Code: problem.TooMany, Detail: "Too many such requests of yours at once; send them one after the other.", RetryAfter: time.Second}
	}
	if err != nil {
		return w, r, nil, err
	}
	if work == Transfer {
		return &pacedWriter{w}, r, leave, nil
	}
	ctx, cancel := context.WithTimeoutCause(r.Context(), g.limit, &problem.Problem{Code: problem.Unavailable, RetryAfter: time.Second,
		Detail: "This took more than " + g.limit.String() + "; ask for less."})
	return &releasingWriter{w, leave}, r.WithContext(ctx), func() { cancel(); leave() }, nil
}

// TookTooLong makes the error of a request that was ended by its gate's limit the
// problem that it is.
func TookTooLong(r *http.Request, err error) error {
	var p *problem.Problem
	if err != nil && errors.As(context.Cause(r.Context()), &p) {
		return p
	}
	return err
}

// subjectOf is whose requests a limit counts: a user's or a service's, else an address'.
func subjectOf(who Principal) string {
	if who.UserID != "" || who.Service != "" {
		return who.Sender()
	}
	return "address:" + network(who.Address)
}

// network is an address as limits count it: who has one IPv6 address has all of its
// network's.
func network(address string) string {
	if ip, err := netip.ParseAddr(address); err == nil && ip.Is6() && !ip.Is4In6() {
		if network, err := ip.Prefix(64); err == nil {
			return network.String()
		}
	}
	return address
}

// releasingWriter gives the slot back when the answer begins: what it takes of Postgres
// is done, and a reader that is slow must not hold it.
type releasingWriter struct {
	http.ResponseWriter
	leave func()
}

// WriteHeader is part of http.ResponseWriter.
func (w *releasingWriter) WriteHeader(status int) {
	w.leave()
	w.ResponseWriter.WriteHeader(status)
}

// Write is part of http.ResponseWriter.
func (w *releasingWriter) Write(b []byte) (int, error) {
	w.leave()
	return w.ResponseWriter.Write(b)
}

// Unwrap is for http.ResponseController.
func (w *releasingWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// pacedWriter ends an answer whose reader does not take a page in time: it holds a slot.
type pacedWriter struct{ http.ResponseWriter }

// Write is part of http.ResponseWriter.
func (w *pacedWriter) Write(b []byte) (int, error) {
	_ = http.NewResponseController(w.ResponseWriter).SetWriteDeadline(time.Now().Add(transferWrite)) // HTTP/1 and 2 have one
	return w.ResponseWriter.Write(b)
}

// Unwrap is for http.ResponseController.
func (w *pacedWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }
