package user_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"crier/internal/user"
)

// A storm of logins waits in a bounded queue: beyond it, an answer comes at once,
// and who gives up leaves a place.
func TestAttackStormOfPasswords(t *testing.T) {
	t.Parallel()
	h := user.NewHasher()
	release := h.Occupy()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	_, limit := h.Queue()
	var waiting sync.WaitGroup
	for range limit {
		waiting.Go(func() {
			if _, err := h.Verify(ctx, "wrong", ""); !errors.Is(err, context.Canceled) {
				t.Errorf("a login that gave up: %v", err)
			}
		})
	}
	deadline := time.Now().Add(30 * time.Second)
	for n, _ := h.Queue(); n < limit; n, _ = h.Queue() {
		if time.Now().After(deadline) {
			t.Fatalf("%d of %d wait", n, limit)
		}
		time.Sleep(time.Millisecond)
	}
	if _, err := h.Verify(t.Context(), "wrong", ""); !errors.Is(err, user.ErrBusy) {
		t.Errorf("one more login: %v", err)
	}
	if _, err := h.Hash(t.Context(), "correct horse"); !errors.Is(err, user.ErrBusy) {
		t.Errorf("one more sign-up: %v", err)
	}
	cancel()
	waiting.Wait()
	release()
	if _, err := h.Hash(t.Context(), "correct horse"); err != nil {
		t.Errorf("afterwards: %v", err)
	}
	if n, _ := h.Queue(); n != 0 {
		t.Errorf("%d slots are left taken", n)
	}
}
