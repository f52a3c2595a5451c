package lifecycle

import (
	"context"
	"errors"
	"time"
)

// Draining returns a context that outlives ctx by limit, so that work which was
// begun can be finished after a stop, and ends then whatever its peers do. The
// function frees what the context holds.
func Draining(ctx context.Context, limit time.Duration) (context.Context, context.CancelFunc) {
	work, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() {
		timer := time.NewTimer(limit)
		defer timer.Stop()
		select {
		case <-timer.C:
			cancel(errors.New("draining took longer than " + limit.String()))
		case <-work.Done():
		}
	})
	return work, func() {
		stop()
		cancel(ErrStopped)
	}
}
