package promises

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"crier/internal/client"
	"crier/internal/criertest"
)

// arrivals notes when each alert's notification came to its user's stream.
type arrivals struct {
	mu sync.Mutex
	at map[int64]time.Time
}

func (a *arrivals) follow(ctx context.Context, u *criertest.User) {
	_ = u.Stream(ctx, client.StreamOptions{Since: "0", Reconnect: true}, func(e client.Event) {
		var n struct {
			Payload struct {
				AlertID int64 `json:"alert_id"`
			}
		}
		if e.Type == "notification" && json.Unmarshal(e.Data, &n) == nil {
			a.mu.Lock()
			a.at[n.Payload.AlertID] = time.Now()
			a.mu.Unlock()
		}
	}) // it ends with the test, by its context
}

func (a *arrivals) of(id int64) (time.Time, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	at, ok := a.at[id]
	return at, ok
}

// flood produces ticks that meet nothing, so many a second, until ctx ends.
func flood(ctx context.Context, p *criertest.Program, k *kgo.Client, rate int) {
	every := time.NewTicker(10 * time.Millisecond)
	defer every.Stop()
	for i := 0; ; {
		select {
		case <-ctx.Done():
			return
		case <-every.C:
		}
		for range rate / 100 {
			i++
			k.Produce(ctx, p.TickRecord([]string{"BTCUSDT", "ETHUSDT", "SOLUSDT"}[i%3], strconv.Itoa(1000+i%100)), nil)
		}
	}
}

func percentile(list []time.Duration, p float64) time.Duration {
	slices.Sort(list)
	return list[min(len(list)-1, int(p*float64(len(list))))].Round(100 * time.Microsecond)
}

// Ten thousand ticks a second, everything on one machine: how long from a tick
// that meets an alert, being produced, to its notification on an open stream; and
// how long from a request that makes an alert which holds already to the same. A
// measurement, run where CRIER_TEST_LOAD says for how many of each.
func TestTickToStreamLatency(t *testing.T) {
	n, _ := strconv.Atoi(os.Getenv("CRIER_TEST_LOAD"))
	if n == 0 {
		t.Skip("a measurement: CRIER_TEST_LOAD says how many")
	}
	p := criertest.Start(t)
	u := p.SignUp("ann")
	ctx, cancel := context.WithCancel(t.Context())
	var wait sync.WaitGroup
	t.Cleanup(func() { cancel(); wait.Wait() })
	seen := &arrivals{at: make(map[int64]time.Time)}
	wait.Go(func() { seen.follow(ctx, u) })
	ids := make([]int64, n)
	for i := range n {
		ids[i] = setOn(t, u, "MEET", fmt.Sprintf(`{"condition":"above","target":"%d"}`, i+1))
	}
	k := p.Kgo(t)
	wait.Go(func() { flood(ctx, p, k, 10_000) })
	every := time.NewTicker(50 * time.Millisecond)
	defer every.Stop()
	sent := make([]time.Time, n)
	for i := range n {
		<-every.C
		sent[i] = time.Now()
		k.Produce(ctx, p.TickRecord("MEET", strconv.Itoa(i+1)), nil)
	}
	var toStream, effective []time.Duration
	for i, id := range ids {
		criertest.Eventually(t, patience, "the notification comes", func() bool { _, ok := seen.of(id); return ok })
		at, _ := seen.of(id)
		toStream = append(toStream, at.Sub(sent[i]))
	}
	for range n {
		<-every.C
		began := time.Now()
		id := setOn(t, u, "MEET", `{"condition":"above","target":"1"}`)
		criertest.Eventually(t, patience, "it fires at once", func() bool { _, ok := seen.of(id); return ok })
		at, _ := seen.of(id)
		effective = append(effective, at.Sub(began))
	}
	t.Logf("%d ticks in all; tick to stream: p50 %v p99 %v max %v; request to stream: p50 %v p99 %v max %v", p.EndOf(t, "ticks"),
		percentile(toStream, 0.5), percentile(toStream, 0.99), slices.Max(toStream), percentile(effective, 0.5), percentile(effective, 0.99), slices.Max(effective))
}
