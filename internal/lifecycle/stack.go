package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"sync"
)

// Stack is what has been started, to be stopped in the opposite order. It is
// used by one goroutine at a time for Push; Stop may be called from any and
// more than once.
type Stack struct {
	mu    sync.Mutex
	names []string
	stops []func(context.Context) error
}

// Push notes how to stop what was just started.
func (s *Stack) Push(name string, stop func(context.Context) error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.names = append(s.names, name)
	s.stops = append(s.stops, stop)
}

// Stop stops all, last started first, going on after errors, which are joined.
func (s *Stack) Stop(ctx context.Context) error {
	s.mu.Lock()
	names, stops := s.names, s.stops
	s.names, s.stops = nil, nil
	s.mu.Unlock()
	var errs []error
	for i := len(stops) - 1; i >= 0; i-- {
		if err := stops[i](ctx); err != nil {
			errs = append(errs, fmt.Errorf("stopping %s: %w", names[i], err))
		}
	}
	return errors.Join(errs...)
}
