package webhook_test

import (
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"crier/consumer/webhook"
	"crier/internal/criertest"
	"crier/internal/destination"
)

// An ordered destination gets its items in order, one at a time; one that fails
// holds those behind it until it is delivered, and no other destination.
func TestAFailedHeadHoldsItsOwnDestinationOnly(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var tries, now atomic.Int32
	stubborn := criertest.NewReceiver(t, func(rw http.ResponseWriter, h criertest.Hook) {
		if now.Add(1) > 1 {
			t.Error("two requests at once")
		}
		defer now.Add(-1)
		if h.Body == "3" && tries.Add(1) < 3 {
			rw.WriteHeader(http.StatusInternalServerError)
		}
	})
	other := criertest.NewReceiver(t, nil)
	held, _ := w.destination(stubborn.URL, ordered)
	w.destination(other.URL, ordered)
	w.push(numbered(10)...)
	w.start(webhook.Config{Waits: []time.Duration{time.Second, time.Second}})
	for i, h := range other.Await(t, 10) {
		if h.Body != strconv.Itoa(i) {
			t.Errorf("the other destination's request %d is %s", i, h.Body)
		}
	}
	if n := len(stubborn.Hooks()); n > 5 {
		t.Errorf("the other waited for the destination that fails, which had %d requests", n)
	}
	var got []string
	for _, h := range stubborn.Await(t, 12) {
		got = append(got, h.Body)
	}
	if want := []string{"0", "1", "2", "3", "3", "3", "4", "5", "6", "7", "8", "9"}; !slices.Equal(got, want) {
		t.Errorf("came %v, want %v", got, want)
	}
	w.settled(held)
	var numbers []int
	for _, a := range w.attempts(held) {
		numbers = append(numbers, a.Attempt)
	}
	if want := []int{1, 1, 1, 1, 2, 3, 1, 1, 1, 1, 1, 1}; !slices.Equal(numbers, want) {
		t.Errorf("the log has attempts %v, want %v", numbers, want)
	}
}

// A destination that takes its time holds up no other, though it has all the
// requests at once that it may have.
func TestASlowDestinationHoldsUpNobody(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	release := make(chan struct{})
	var waiting atomic.Int32
	slow := criertest.NewReceiver(t, func(http.ResponseWriter, criertest.Hook) { waiting.Add(1); <-release })
	fast := criertest.NewReceiver(t, nil)
	w.destination(slow.URL, nil)
	w.destination(fast.URL, nil)
	w.start(webhook.Config{PerDestination: 4})
	w.push(numbered(500)...)
	fast.Await(t, 500)
	criertest.Eventually(t, patience, "four requests wait at the slow one", func() bool { return waiting.Load() >= 4 })
	if n := waiting.Load(); n != 4 {
		t.Errorf("%d requests wait at the slow one, want 4", n)
	}
	close(release)
	slow.Await(t, 500)
}

// A delivery that fails is tried by the schedule, with the same id, and given up
// after it; then it is replayed, alone or with all that was given up.
func TestGivenUpAndReplayed(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var well atomic.Bool
	hook := criertest.NewReceiver(t, func(rw http.ResponseWriter, h criertest.Hook) {
		if !well.Load() {
			rw.WriteHeader(http.StatusTeapot)
			_, _ = rw.Write([]byte("no, " + h.Body))
		}
	})
	d, _ := w.destination(hook.URL+"/a?b=c", nil)
	before := time.Now().Add(-time.Minute)
	w.start(webhook.Config{})
	w.push("1", "2")
	all := w.awaitAttempts(d, 6)
	criertest.Eventually(t, patience, "both are given up", func() bool { return w.now(d).Failed == 2 && w.now(d).Waiting == 0 })
	ids := make(map[string]int)
	for _, h := range hook.Hooks() {
		ids[h.Body+" "+h.Header.Get("Webhook-Id")]++
	}
	if len(ids) != 2 || ids[fmt.Sprintf("1 evt-1_%d", d.ID)] != 3 {
		t.Errorf("the requests were %v", ids)
	}
	a := all[5]
	if a.Status != 418 || a.Error != "answered 418" || a.Answer != "no, "+string(a.Data) || a.Request != "POST "+hook.URL+"/a?b=c" || a.Delivery != "failed" || a.Attempt != 3 || a.At.Before(before) {
		t.Errorf("the last attempt is %+v", a)
	}
	well.Store(true)
	if err := w.store.Replay(t.Context(), w.now(d), all[0].ID); err != nil {
		t.Fatal(err)
	}
	if again := hook.Await(t, 7)[6]; again.Header.Get("Webhook-Id") != "evt-"+again.Body+"_"+strconv.FormatInt(d.ID, 10) {
		t.Errorf("replayed as %v", again.Header)
	}
	criertest.Eventually(t, patience, "one is left", func() bool { return w.now(d).Failed == 1 && w.now(d).Waiting == 0 })
	if n, err := w.store.ReplayFailed(t.Context(), w.now(d), time.Now().Add(time.Hour)); n != 0 || err != nil {
		t.Errorf("since tomorrow %d failed, %v", n, err)
	}
	if n, err := w.store.ReplayFailed(t.Context(), w.now(d), before); n != 1 || err != nil {
		t.Errorf("since the beginning %d failed, %v", n, err)
	}
	hook.Await(t, 8)
	criertest.Eventually(t, patience, "none is left", func() bool { return w.now(d).Failed == 0 && w.now(d).Waiting == 0 })
	// What was delivered can be replayed, too.
	if err := w.store.Replay(t.Context(), w.now(d), w.attempts(d)[7].ID); err != nil {
		t.Fatal(err)
	}
	hook.Await(t, 9)
}

// The owner's headers go along, and none of them takes the place of ours.
func TestHeaders(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	hook := criertest.NewReceiver(t, nil)
	w.destination(hook.URL, func(d *destination.Destination) {
		d.Method, d.Headers = http.MethodPatch, map[string]string{"X-Mine": "1", "Content-Type": "application/vnd.mine+json", "User-Agent": "mine"}
	})
	w.push(`{"a":1}`)
	w.start(webhook.Config{})
	h := hook.Await(t, 1)[0]
	if h.Method != "PATCH" || h.Header.Get("X-Mine") != "1" || h.Header.Get("Content-Type") != "application/vnd.mine+json" || h.Header.Get("User-Agent") != "mine" {
		t.Errorf("got %+v", h)
	}
	sent, err := strconv.ParseInt(h.Header.Get("Webhook-Timestamp"), 10, 64)
	if err != nil || time.Since(time.Unix(sent, 0)).Abs() > time.Minute || !strings.HasPrefix(h.Header.Get("Webhook-Signature"), "v1,") {
		t.Errorf("got %v", h.Header)
	}
}

// 410 disables at once, and days of nothing but failures do at the next one;
// the owner is told once. What comes meanwhile waits, and goes on when it is
// enabled again.
func TestDisabled(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var well atomic.Bool
	answer := func(status int) func(http.ResponseWriter, criertest.Hook) {
		return func(rw http.ResponseWriter, _ criertest.Hook) {
			if !well.Load() {
				rw.WriteHeader(status)
			}
		}
	}
	goneHook, failHook := criertest.NewReceiver(t, answer(http.StatusGone)), criertest.NewReceiver(t, answer(http.StatusBadGateway))
	gone, _ := w.destination(goneHook.URL, nil)
	failing, _ := w.destination(failHook.URL, nil)
	w.start(webhook.Config{Waits: []time.Duration{time.Second, time.Second, time.Second, time.Second}})
	w.push("1")
	criertest.Eventually(t, patience, "the one that is gone is disabled", func() bool { d := w.now(gone); return !d.Enabled && d.DisabledReason == destination.Gone })
	w.awaitAttempts(failing, 1)
	if d := w.now(failing); !d.Enabled || d.FailingSince == nil {
		t.Errorf("after one failure the other is %+v", d)
	}
	w.exec(`update destinations set failing_since = now() - interval '5 days' where id = $1`, failing.ID)
	criertest.Eventually(t, patience, "the one that fails is disabled", func() bool { d := w.now(failing); return !d.Enabled && d.DisabledReason == destination.Failing })
	criertest.Eventually(t, patience, "the owner is told of both", func() bool {
		w.mu.Lock()
		defer w.mu.Unlock()
		return len(w.told) == 2
	})
	had := len(goneHook.Hooks())
	w.push("2")
	if _, err := w.store.Test(t.Context(), w.now(gone), "evt-test", []byte("{}"), time.Now()); err == nil {
		t.Error("a disabled destination was tried")
	}
	if err := w.store.Replay(t.Context(), w.now(gone), w.attempts(gone)[0].ID); err == nil {
		t.Error("a disabled destination was replayed to")
	}
	if d := w.now(gone); d.Waiting != 2 || len(goneHook.Hooks()) != had {
		t.Errorf("while disabled %d wait, and %d requests came", d.Waiting, len(goneHook.Hooks())-had)
	}
	well.Store(true)
	yes := true
	for _, d := range []destination.Destination{gone, failing} {
		if d, err := w.store.Update(t.Context(), d.ID, destination.Change{Enabled: &yes}); err != nil || !d.Enabled || d.DisabledReason != "" || d.FailingSince != nil {
			t.Fatalf("enabled again it is %+v, %v", d, err)
		}
		w.settled(d)
	}
	if len(w.told) != 2 {
		t.Errorf("the owner was told %d times", len(w.told))
	}
}

// Retry-After is kept: by the delivery, and after 429 by the whole destination.
func TestRetryAfter(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var first sync.Once
	hook := criertest.NewReceiver(t, func(rw http.ResponseWriter, _ criertest.Hook) {
		first.Do(func() {
			rw.Header().Set("Retry-After", "2")
			rw.WriteHeader(http.StatusTooManyRequests)
		})
	})
	d, _ := w.destination(hook.URL, ordered)
	w.start(webhook.Config{})
	w.push("1")
	w.awaitAttempts(d, 1)
	w.push("2")
	hooks := hook.Await(t, 3)
	if wait := hooks[1].At.Sub(hooks[0].At); wait < 1900*time.Millisecond {
		t.Errorf("the next request came after %v, want 2s", wait)
	}
	w.settled(d)
}

// A destination's rate is kept.
func TestRate(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	hook := criertest.NewReceiver(t, nil)
	w.destination(hook.URL, func(d *destination.Destination) { d.Rate = 20 })
	w.push(numbered(21)...)
	w.start(webhook.Config{})
	hooks := hook.Await(t, 21)
	if took := hooks[20].At.Sub(hooks[0].At); took < 900*time.Millisecond {
		t.Errorf("21 at 20 a second took %v", took)
	}
}

// A test is delivered once and out of turn, and says nothing of the queue.
func TestTestFire(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	hook := criertest.NewReceiver(t, func(rw http.ResponseWriter, _ criertest.Hook) { rw.WriteHeader(http.StatusNotFound) })
	d, _ := w.destination(hook.URL, ordered)
	w.start(webhook.Config{Waits: []time.Duration{time.Hour}})
	w.push("1", "2")
	w.awaitAttempts(d, 1) // the head waits for an hour
	if _, err := w.store.Test(t.Context(), w.now(d), "evt-test", []byte(`{"test":true}`), time.Now()); err != nil {
		t.Fatal(err)
	}
	all := w.awaitAttempts(d, 2)
	if string(all[1].Data) != `{"test":true}` || all[1].Status != 404 || all[1].Delivery != "done" {
		t.Errorf("the test's attempt is %+v", all[1])
	}
	if now := w.now(d); now.Waiting != 2 || now.Failed != 0 {
		t.Errorf("after the test %d wait, %d failed", now.Waiting, now.Failed)
	}
}

// A dead process's destinations are taken over when their leases run out; a
// process that is stopped gives them back at once.
func TestTakeover(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	hook := criertest.NewReceiver(t, nil)
	d, _ := w.destination(hook.URL, ordered)
	w.push("1", "2")
	dead, _, err := w.store.Claim(t.Context(), "a process that is dead", 2*time.Second, 10)
	if err != nil || len(dead) != 1 || dead[0].DestinationID != d.ID {
		t.Fatalf("claimed %v, %v", dead, err)
	}
	began := time.Now()
	stop := w.start(webhook.Config{})
	hooks := hook.Await(t, 2)
	if waited := hooks[0].At.Sub(began); waited < time.Second || hooks[1].Body != "2" {
		t.Errorf("taken over after %v: %v", waited, hooks)
	}
	w.settled(d)
	stop()
	w.push("3")
	again, _, err := w.store.Claim(t.Context(), "the next", time.Minute, 10)
	if err != nil || len(again) != 1 || again[0].DestinationID != d.ID {
		t.Errorf("after a stop claimed %v, %v", again, err)
	}
}

// A worker whose lease is another's now makes no further attempt, and cuts off
// those in flight.
func TestALostLeaseStopsItsWorker(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	release := make(chan struct{})
	hook := criertest.NewReceiver(t, func(http.ResponseWriter, criertest.Hook) { <-release })
	t.Cleanup(func() { close(release) }) // before the receiver waits for it
	d, _ := w.destination(hook.URL, ordered)
	w.push("1", "2")
	stop := w.start(webhook.Config{Lease: 2 * time.Second})
	hook.Await(t, 1)
	w.exec(`update destinations set leased_by = 'another', leased_until = now() + interval '1 hour' where id = $1`, d.ID)
	stop() // returns although the receiver never answers
	if n := len(hook.Hooks()); n != 1 || len(w.attempts(d)) != 0 || w.now(d).Waiting != 2 {
		t.Errorf("%d requests, %d in the log, %d wait", n, len(w.attempts(d)), w.now(d).Waiting)
	}
}

// Where more destinations have work than a process takes on, each has its turn.
func TestDestinationsTakeTurns(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	hook := criertest.NewReceiver(t, nil)
	for range 12 {
		w.destination(hook.URL, nil)
	}
	w.start(webhook.Config{Destinations: 2})
	for i := range 5 {
		w.push(numbered(20)...)
		hook.Await(t, 12*20*(i+1))
	}
}

// Start and Stop at any moment lose nothing and leave no goroutine.
func TestStartStop(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	hook := criertest.NewReceiver(t, nil)
	d, _ := w.destination(hook.URL, ordered)
	e, _ := w.destination(hook.URL, nil)
	w.push(numbered(300)...)
	for i := range 6 {
		stop := w.start(webhook.Config{})
		hook.Await(t, 40*(i+1))
		stop()
	}
	w.start(webhook.Config{})
	w.settled(d)
	w.settled(e)
	last := -1
	seen := make(map[string]bool)
	for _, h := range hook.Hooks() {
		id := h.Header.Get("Webhook-Id")
		n, err := strconv.Atoi(h.Body)
		if err != nil || !strings.HasSuffix(id, fmt.Sprintf("_%d", d.ID)) || seen[id] {
			continue
		}
		seen[id] = true
		if n != last+1 {
			t.Fatalf("%d came after %d", n, last)
		}
		last = n
	}
	if last != 299 {
		t.Errorf("the last is %d", last)
	}
}

// An account whose destinations do not answer, however many, does not keep another's
// from being delivered.
func TestAttackAccountTakesAllSlots(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	release := make(chan struct{})
	silent := criertest.NewReceiver(t, func(http.ResponseWriter, criertest.Hook) { <-release })
	defer close(release)
	for range 20 {
		w.destination(silent.URL, nil)
	}
	w.start(webhook.Config{Destinations: 8, PerDestination: 2, Timeout: time.Hour})
	w.push(numbered(4)...)
	criertest.Eventually(t, patience, "its share of the slots is taken", func() bool { return len(silent.Hooks()) == 8 })
	acc, _, err := w.store.CreateAccount(t.Context(), destination.Account{Name: "Other", Email: "other@example.org"}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	w.account = acc.ID
	hook := criertest.NewReceiver(t, nil)
	w.destination(hook.URL, nil)
	w.push(numbered(10)...)
	hook.Await(t, 10)
	if n := len(silent.Hooks()); n != 8 {
		t.Errorf("%d requests wait for the one that does not answer, want 8", n)
	}
}
