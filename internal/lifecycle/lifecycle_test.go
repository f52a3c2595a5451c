package lifecycle

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestGroupStopsAllWhenOneFails(t *testing.T) {
	g := NewGroup(context.Background())
	boom := errors.New("boom")
	g.Go("waiter", func(ctx context.Context) error { <-ctx.Done(); return context.Cause(ctx) })
	g.Go("failer", func(context.Context) error { return boom })
	if err := g.Wait(context.Background()); err != nil {
		t.Fatal(err)
	}
	if err := g.Err(); !errors.Is(err, boom) || !strings.Contains(err.Error(), "failer") {
		t.Errorf("got %v", err)
	}
}

func TestGroupTurnsPanicIntoError(t *testing.T) {
	g := NewGroup(context.Background())
	g.Go("clumsy", func(context.Context) error { panic("oh") })
	_ = g.Wait(context.Background())
	if err := g.Err(); err == nil || !strings.Contains(err.Error(), "clumsy: panic: oh") {
		t.Errorf("got %v", err)
	}
}

func TestGroupStopNamesWhoIsLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := NewGroup(context.Background())
		release := make(chan struct{})
		g.Go("slowpoke", func(context.Context) error { <-release; return nil })
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		if err := g.Stop(ctx); err == nil || !strings.Contains(err.Error(), "slowpoke ×1") {
			t.Errorf("got %v", err)
		}
		close(release)
		if err := g.Stop(context.Background()); err != nil || g.Err() != nil {
			t.Errorf("after the end: %v, %v", err, g.Err())
		}
	})
}

func TestStackStopsInOppositeOrderAndJoinsErrors(t *testing.T) {
	var s Stack
	var order []string
	for _, name := range []string{"first", "second", "third"} {
		s.Push(name, func(context.Context) error { order = append(order, name); return errors.New("no " + name) })
	}
	err := s.Stop(context.Background())
	if !slices.Equal(order, []string{"third", "second", "first"}) || !strings.Contains(err.Error(), "stopping second: no second") {
		t.Errorf("order %v, error %v", order, err)
	}
	if s.Stop(context.Background()) != nil {
		t.Error("the second Stop did something")
	}
}

func TestBackoffGrowsWithinItsBounds(t *testing.T) {
	b := Backoff{Min: time.Second, Max: 8 * time.Second}
	for i, top := range []time.Duration{1, 2, 4, 8, 8, 8} {
		if d := b.Next(); d < top*time.Second/2 || d > top*time.Second {
			t.Errorf("try %d waits %v", i, d)
		}
	}
	for range 100 {
		b.Next()
	}
	b.Reset()
	if d := b.Next(); d > time.Second {
		t.Errorf("after a reset it waits %v", d)
	}
}
