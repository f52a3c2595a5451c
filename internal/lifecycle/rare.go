package lifecycle

import (
	"context"
	"log/slog"
)

// rare is a handler that writes of each message the first line, and then one a minute.
type rare struct {
	slog.Handler
	repeats *Repeats
}

// Rare makes a handler for code that logs each failure, of a library or of a request: of
// each message, one line a minute at most passes to h, with how many were left out. What
// is no warning passes.
func Rare(h slog.Handler) slog.Handler { return rare{h, NewRepeats()} }

func (h rare) Handle(ctx context.Context, r slog.Record) error {
	if r.Level < slog.LevelWarn {
		return h.Handler.Handle(ctx, r)
	}
	write, skipped := h.repeats.Next(r.Message)
	if !write {
		return nil
	}
	if skipped > 0 {
		r = r.Clone()
		r.AddAttrs(slog.Int("repeated", skipped))
	}
	return h.Handler.Handle(ctx, r)
}

func (h rare) WithAttrs(attrs []slog.Attr) slog.Handler {
	return rare{h.Handler.WithAttrs(attrs), h.repeats}
}

func (h rare) WithGroup(name string) slog.Handler { return rare{h.Handler.WithGroup(name), h.repeats} }
