package promises

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/twmb/franz-go/pkg/kgo"

	"crier/internal/client"
	"crier/internal/criertest"
)

// sink is a receiver that notes which items it has had, and whether each came
// for the first time in order. It keeps no bodies: there may be many.
type sink struct {
	url   string
	delay time.Duration
	fails bool

	mu       sync.Mutex // guards what follows
	had      []bool
	first    int // items that came
	again    int // requests for items that had come
	last     int
	disorder int
	done     time.Time
}

func newSink(t *testing.T, n int, delay time.Duration, fails bool) *sink {
	s := &sink{had: make([]bool, n), delay: delay, fails: fails, last: -1}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var item struct{ N int }
		body, err := io.ReadAll(r.Body)
		if err != nil || json.Unmarshal(body, &item) != nil {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		if s.delay > 0 {
			select {
			case <-time.After(s.delay):
			case <-r.Context().Done():
				return
			}
		}
		s.note(item.N)
		if s.fails {
			w.WriteHeader(http.StatusInternalServerError)
		}
	}))
	t.Cleanup(func() {
		server.CloseClientConnections()
		server.Close()
	})
	s.url = server.URL
	return s
}

func (s *sink) note(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.had[n] {
		s.again++
		return
	}
	s.had[n] = true
	if s.first++; s.first == len(s.had) {
		s.done = time.Now()
	}
	if n < s.last {
		s.disorder++
	}
	s.last = n
}

func (s *sink) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.first
}

// repeats is how many requests were for items that had come.
func (s *sink) repeats() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.again
}

// firstFew says how many of the first n items came.
func (s *sink) firstFew(n int) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	got := 0
	for _, had := range s.had[:n] {
		if had {
			got++
		}
	}
	return got
}

// pusherScale is how many items are pushed: 1,000, or CRIER_TEST_ITEMS. At full
// size the slow destination answers in 10 s.
func pusherScale(t *testing.T) (items int, slow, patience time.Duration) {
	text := cmp.Or(os.Getenv("CRIER_TEST_ITEMS"), "1000")
	n, err := strconv.Atoi(text)
	if err != nil || n < 200 {
		t.Fatalf("CRIER_TEST_ITEMS must be 200 or more, not %q", text)
	}
	if n > 1000 {
		return n, 10 * time.Second, 40 * time.Minute
	}
	return n, time.Second, 4 * time.Minute
}

// Items go to ten destinations, of which one always fails and one is slow, while
// the consumer is killed five times: every other destination gets every item,
// in order where it is ordered, with its attempts in the log; none waits for the
// slow one, which gets its first two hundred, too.
func TestTenDestinations(t *testing.T) {
	t.Parallel()
	const slowItems, kills = 200, 5
	n, slow, patience := pusherScale(t)
	brokers := criertest.Broker(t)
	p := criertest.NewParts(t, brokers, "6")
	allow := "CRIER_WEBHOOK_ALLOW=127.0.0.0/8"
	gateway := p.Start("gateway", allow)
	consumer := p.Start("consumer", allow)

	sinks := make([]*sink, 10)
	for i := range sinks {
		switch i {
		case 8:
			sinks[i] = newSink(t, n, 0, true)
		case 9:
			sinks[i] = newSink(t, n, slow, false)
		default:
			sinks[i] = newSink(t, n, 0, false)
		}
	}
	account, destinations := makeAccount(t, p.Service(gateway), sinks)
	k := outsider(t, brokers)
	began := time.Now()
	for i := range n {
		k.Produce(t.Context(), &kgo.Record{Topic: p.Prefix + "incoming", Key: []byte(strconv.FormatInt(account, 10)),
			Value: fmt.Appendf(nil, `{"account_id":%d,"data":{"n":%d,"what":"an order was placed","by":"somebody"}}`, account, i)},
			func(_ *kgo.Record, err error) {
				if err != nil {
					t.Errorf("producing: %v", err)
				}
			})
	}
	if err := k.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	good := sinks[:8]
	least := func() int {
		all := make([]int, len(good))
		for i, s := range good {
			all[i] = s.count()
		}
		return slices.Min(all)
	}
	for kill := 1; kill <= kills; kill++ {
		at := n * kill / (kills + 1)
		criertest.Eventually(t, patience, fmt.Sprintf("%d items at every destination that answers", at), func() bool { return least() >= at })
		consumer.Kill()
		consumer.Start()
	}
	criertest.Eventually(t, patience, "every item at every destination that answers", func() bool { return least() == n })
	var last time.Time
	for _, s := range good {
		if s.done.After(last) {
			last = s.done
		}
	}
	took := last.Sub(began)
	held := sinks[9].count() < n // or else it would prove nothing
	criertest.Eventually(t, patience, "the slow destination's first items", func() bool { return sinks[9].firstFew(slowItems) == slowItems })
	again := 0
	for i, s := range good {
		again += s.again
		if i%2 == 0 && s.disorder > 0 {
			t.Errorf("the ordered destination %d had %d items out of order", i, s.disorder)
		}
	}
	t.Logf("%d items to %d destinations in %.1f s, the consumer killed %d times: %.0f items/s, %.0f deliveries/s, %d deliveries came again, the slow one had %d items when the others had all",
		n, len(sinks), took.Seconds(), kills, float64(n)/took.Seconds(), float64(n*len(good))/took.Seconds(), again, sinks[9].count())
	if !held && n >= 1000 {
		t.Error("the slow destination was as fast as the others")
	}
	requireLogged(t, p.Database, destinations, n, slowItems)
}

// makeAccount makes an account and its destinations, every second of them
// ordered, as a stranger does.
func makeAccount(t *testing.T, c *client.Client, sinks []*sink) (account int64, destinations []int64) {
	t.Helper()
	var made struct{ ID int64 }
	if err := c.Do(t.Context(), "POST", "/accounts", map[string]string{"account_name": "Shop", "email": "shop@example.org"}, &made); err != nil {
		t.Fatal(err)
	}
	account = made.ID
	for i, s := range sinks {
		if err := c.Do(t.Context(), "POST", fmt.Sprintf("/accounts/%d/destinations", account), map[string]any{"url": s.url, "ordered": i%2 == 0 && i < 8}, &made); err != nil {
			t.Fatal(err)
		}
		destinations = append(destinations, made.ID)
	}
	return account, destinations
}

// requireLogged says that the log has an attempt that went well for every item
// at every destination that answers, attempts that failed for every item at the
// one that fails, and the slow one's.
func requireLogged(t *testing.T, database string, destinations []int64, n, slowItems int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	conn, err := pgx.Connect(ctx, database)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(ctx)
	count := func(query string, args ...any) (c int) {
		if err := conn.QueryRow(ctx, query, args...).Scan(&c); err != nil {
			t.Fatal(err)
		}
		return c
	}
	for i, d := range destinations[:8] {
		criertest.Eventually(t, time.Minute, fmt.Sprintf("%d attempts of destination %d in the log", n, i), func() bool {
			return count(`select count(distinct item_id) from push_attempts where destination_id = $1 and status = 200 and error = '' and request like 'POST http://127.0.0.1:%'`, d) == n
		})
		if left := count(`select count(*) from pushes where destination_id = $1`, d); left != 0 {
			t.Errorf("%d deliveries of destination %d are not settled", left, i)
		}
	}
	criertest.Eventually(t, 10*time.Minute, "every item was tried at the destination that fails, and waits", func() bool {
		return count(`select count(distinct item_id) from push_attempts where destination_id = $1 and status = 500 and error <> ''`, destinations[8]) == n &&
			count(`select count(*) from pushes where destination_id = $1 and due_at is not null and attempts > 0`, destinations[8]) == n
	})
	criertest.Eventually(t, time.Minute, "the slow destination's attempts in the log", func() bool {
		return count(`select count(distinct item_id) from push_attempts where destination_id = $1 and status = 200`, destinations[9]) >= slowItems
	})
}

// The program kills itself at each line between an effect of a delivery and what
// follows it, and is started again: every item arrives, in order.
func TestPusherKilledAtEachPoint(t *testing.T) {
	t.Parallel()
	for _, point := range []string{"incoming.before-store:1", "incoming.after-store:2", "webhook.before-attempt:3", "webhook.after-attempt:3", "webhook.before-settle:1", "webhook.before-settle:4", "webhook.after-settle:2"} {
		t.Run(point, func(t *testing.T) {
			t.Parallel()
			const n = 40
			p := criertest.Start(t)
			s := newSink(t, n, 5*time.Millisecond, false)
			account, destinations := makeAccount(t, p.Service(), []*sink{s})
			c := &client.Client{Base: p.Facts().HTTP, APIKey: p.Facts().APIKey} // both stay over lives
			p.Stop()
			p.Launch("CRIER_TEST_FAIL_AT=" + point)
			life := sync.WaitGroup{}
			life.Go(func() {
				p.Died()
				p.Start()
			})
			for i := range n {
				body := map[string]any{"account_id": account, "data": map[string]int{"n": i}, "idempotency_key": fmt.Sprint("key-", i)}
				criertest.Eventually(t, 60*time.Second, "an item is accepted", func() bool { return c.Do(t.Context(), "POST", "/incoming", body, nil) == nil })
			}
			life.Wait()
			criertest.Eventually(t, 60*time.Second, "every item arrives", func() bool { return s.count() == n })
			if s.disorder > 0 {
				t.Errorf("%d items came out of order", s.disorder)
			}
			criertest.Eventually(t, 30*time.Second, "nothing waits", func() bool {
				var d struct{ Waiting int }
				mustDo(t, c, "GET", fmt.Sprintf("/accounts/%d/destinations/%d", account, destinations[0]), nil, &d)
				return d.Waiting == 0
			})
		})
	}
}

// A consumer is stopped at each line of a delivery for longer than its lease, as a
// virtual machine that is moved is, and goes on when another has taken its destinations
// over: it repeats nothing, and all arrives in order.
func TestPusherStoppedAtEachPoint(t *testing.T) {
	t.Parallel()
	brokers := criertest.Broker(t)
	for _, point := range []string{"webhook.before-attempt:9", "webhook.after-attempt:9", "webhook.before-settle:5", "webhook.after-settle:5"} {
		t.Run(point, func(t *testing.T) {
			t.Parallel()
			const n, more = 300, 20
			p := criertest.NewParts(t, brokers, "1", "CRIER_WEBHOOK_ALLOW=127.0.0.0/8")
			gateway := p.Start("gateway")
			stopped := p.Start("consumer", "CRIER_TEST_STOP_AT="+point)
			s := newSink(t, n+more, time.Millisecond, false)
			service := p.Service(gateway)
			account, destinations := makeAccount(t, service, []*sink{s})
			push := func(from, to int) {
				for i := from; i < to; i++ {
					mustDo(t, service, "POST", "/incoming", map[string]any{"account_id": account, "data": map[string]int{"n": i}}, nil)
				}
			}
			push(0, n)
			stopped.Halted()
			p.Start("consumer")
			nothingWaits := func() bool {
				var d struct{ Waiting int }
				mustDo(t, service, "GET", fmt.Sprintf("/accounts/%d/destinations/%d", account, destinations[0]), nil, &d)
				return d.Waiting == 0
			}
			criertest.Eventually(t, 60*time.Second, "another consumer delivers the rest", func() bool { return s.count() == n })
			// It repeats what the first has delivered and not recorded.
			criertest.Eventually(t, time.Minute, "all is recorded", nothingWaits)
			before := s.repeats()
			stopped.Continue()
			push(n, n+more)
			criertest.Eventually(t, 60*time.Second, "what comes then arrives", func() bool { return s.count() == n+more })
			criertest.Eventually(t, time.Minute, "nothing waits", nothingWaits)
			if s.disorder > 0 {
				t.Errorf("%d items came out of order", s.disorder)
			}
			if again := s.repeats() - before; again > 0 {
				t.Errorf("%d items were repeated by the one that went on", again)
			}
		})
	}
}
