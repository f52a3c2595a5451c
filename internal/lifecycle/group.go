// Package lifecycle starts goroutines that somebody owns and waits for. It is
// the only place in Crier where a bare go statement stands.
package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
)

// ErrStopped is the cause of a group's context after Stop.
var ErrStopped = errors.New("stopped")

// Group owns named goroutines. When one fails, or panics, the context of all
// is cancelled with its error; Stop cancels it and waits. Methods are safe for
// concurrent use.
type Group struct {
	ctx    context.Context
	cancel context.CancelCauseFunc

	mu      sync.Mutex // guards running and err
	running map[string]int
	err     error
	wg      sync.WaitGroup
}

// NewGroup makes a group whose goroutines end with ctx at the latest.
func NewGroup(ctx context.Context) *Group {
	ctx, cancel := context.WithCancelCause(ctx)
	return &Group{ctx: ctx, cancel: cancel, running: make(map[string]int)}
}

// Context ends when the group stops or one of its goroutines fails; its cause
// says which.
func (g *Group) Context() context.Context { return g.ctx }

// Go runs fn as a goroutine of this group. An error that only says that the
// group was stopped is no failure.
func (g *Group) Go(name string, fn func(ctx context.Context) error) {
	g.mu.Lock()
	g.running[name]++
	g.mu.Unlock()
	g.wg.Add(1)
	go func() {
		defer g.wg.Done()
		err := g.run(name, fn)
		g.mu.Lock()
		if g.running[name]--; g.running[name] == 0 {
			delete(g.running, name)
		}
		if err != nil && g.err == nil && g.ctx.Err() == nil {
			g.err = fmt.Errorf("%s: %w", name, err)
			g.cancel(g.err)
		}
		g.mu.Unlock()
	}()
}

func (g *Group) run(name string, fn func(ctx context.Context) error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
		}
	}()
	return fn(g.ctx)
}

// Err is the first failure, nil while there is none.
func (g *Group) Err() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.err
}

// Stop cancels the goroutines and waits until all have ended or ctx is done;
// then the error names those that are late. It may be called again.
func (g *Group) Stop(ctx context.Context) error {
	g.cancel(ErrStopped)
	return g.Wait(ctx)
}

// Wait waits without cancelling.
func (g *Group) Wait(ctx context.Context) error {
	done := make(chan struct{})
	go func() {
		g.wg.Wait()
		close(done)
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		g.mu.Lock()
		defer g.mu.Unlock()
		var late []string
		for name, n := range g.running {
			late = append(late, fmt.Sprintf("%s ×%d", name, n))
		}
		slices.Sort(late)
		return fmt.Errorf("still running after %w: %s", context.Cause(ctx), strings.Join(late, ", "))
	}
}
