package promises

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"crier/internal/client"
	"crier/internal/criertest"
	"crier/internal/kafka"
)

// at is the same user at another gateway.
func at(u *criertest.User, gateway *criertest.Program) *criertest.User {
	other := *u
	other.Client = &client.Client{Base: gateway.Facts().HTTP, Token: u.Token}
	return &other
}

// outsider is a Kafka client that knows nothing of Crier.
func outsider(t *testing.T, brokers string, opts ...kgo.Opt) *kgo.Client {
	t.Helper()
	c, err := kgo.NewClient(append([]kgo.Opt{kgo.SeedBrokers(brokers), kgo.ProducerBatchMaxBytes(16 << 20), kgo.FetchIsolationLevel(kgo.ReadCommitted())}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func mustProduce(t *testing.T, c *kgo.Client, recs ...*kgo.Record) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if err := c.ProduceSync(ctx, recs...).FirstErr(); err != nil {
		t.Fatal(err)
	}
}

// read collects records of a topic from its start until enough says so.
func read(t *testing.T, brokers, topic string, enough func([]*kgo.Record) bool) []*kgo.Record {
	t.Helper()
	c := outsider(t, brokers, kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.FetchMaxPartitionBytes(32<<20))
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	var got []*kgo.Record
	for !enough(got) {
		f := c.PollFetches(ctx)
		if ctx.Err() != nil {
			t.Fatalf("only %d records of %s came", len(got), topic)
		}
		f.EachRecord(func(r *kgo.Record) { got = append(got, r) })
	}
	return got
}

func header(r *kgo.Record, key string) string {
	for _, h := range r.Headers {
		if h.Key == key {
			return string(h.Value)
		}
	}
	return ""
}

// An outside producer's records: what cannot be read or breaks a rule lands in
// dead-letters and results with its reason, up to 10 MB, and what is behind it
// is delivered; headers are echoed.
func TestPoisonBlocksNothing(t *testing.T) {
	t.Parallel()
	criertest.Kafkas(t, func(t *testing.T, brokers string) {
		p := criertest.NewParts(t, brokers, "3")
		gateway := p.Start("gateway")
		p.Start("consumer")
		u := gateway.SignUp("ann")
		f := follow(t, u)
		out := outsider(t, brokers)
		bad := map[string]struct{ value, reason string }{
			"not JSON":     {"hello", "JSON"},
			"empty":        {"", "empty"},
			"no user":      {`{"payload":1}`, "user_id"},
			"unknown user": {`{"user_id":"9999999","payload":1}`, "no such user"},
			"10 MB":        {`{"user_id":` + u.ID + `,"payload":"` + strings.Repeat("x", 10<<20) + `"}`, "payload"},
			"bad UTF-8":    {"{\"user_id\":" + u.ID + ",\"title\":\"\xff\"}", "UTF-8"},
			"NUL":          {`{"user_id":` + u.ID + `,"title":"a\u0000b"}`, "title"},
		}
		topic := p.Prefix + "notifications"
		for name, b := range bad {
			mustProduce(t, out, &kgo.Record{Topic: topic, Key: []byte(u.ID), Value: []byte(b.value), Headers: []kgo.RecordHeader{{Key: "case", Value: []byte(name)}}})
		}
		mustProduce(t, out,
			&kgo.Record{Topic: topic, Key: []byte(u.ID), Value: []byte(`{"user_id":` + u.ID + `,"payload":{"n":1}}`), Headers: []kgo.RecordHeader{{Key: "case", Value: []byte("good")}}},
			&kgo.Record{Topic: topic, Value: []byte(`{"user_id":"` + u.ID + `","title":"no key"}`)})
		f.requireSequence(t, 2)

		dead := read(t, brokers, p.Prefix+"dead-letters", func(r []*kgo.Record) bool { return len(r) >= len(bad) })
		for _, r := range dead {
			b, ok := bad[header(r, "case")]
			if !ok || !strings.Contains(header(r, "reason"), b.reason) || header(r, "code") == "" || header(r, "origin_topic") != "notifications" || header(r, "origin_offset") == "" || !bytes.Equal(r.Value, []byte(b.value)) {
				t.Errorf("dead letter of %q: headers %v, %d bytes", header(r, "case"), r.Headers, len(r.Value))
			}
		}
		for _, r := range read(t, brokers, p.Prefix+"results", func(r []*kgo.Record) bool { return len(r) >= len(bad)+2 }) {
			var res struct {
				Status string
				ID     int64
				Error  string
			}
			if err := json.Unmarshal(r.Value, &res); err != nil {
				t.Fatal(err)
			}
			_, isBad := bad[header(r, "case")]
			if isBad != (res.Status == "rejected") || isBad != (res.Error != "") || isBad == (res.ID > 0) {
				t.Errorf("result of %q: %s", header(r, "case"), r.Value)
			}
		}
	})
}

// A tick that another partitioner put elsewhere, or that has no key, is moved to
// its symbol's partition and counts there, once.
func TestMisplacedTicksCountOnce(t *testing.T) {
	t.Parallel()
	criertest.Kafkas(t, func(t *testing.T, brokers string) {
		p := criertest.NewParts(t, brokers, "3")
		gateway := p.Start("gateway")
		p.Start("consumer")
		p.Start("monitor", "CRIER_INSTANCE=a")
		u := gateway.SignUp("ann")
		once, every := mustAlertBody(t, u, map[string]string{"symbol": "ODD", "condition": "above", "target": "10"}),
			mustAlertBody(t, u, map[string]string{"symbol": "ODD", "condition": "above", "target": "10", "repeat": "every", "cooldown": "1s"})
		home := kafka.Partition([]byte("ODD"), 3)
		out := outsider(t, brokers, kgo.RecordPartitioner(kgo.ManualPartitioner()))
		began := time.Now().Add(-time.Hour)
		for i := range 9 {
			// Records an hour old, two seconds apart: cooldown goes by their timestamps.
			r := &kgo.Record{Topic: p.Prefix + "ticks", Partition: int32(i % 3), Timestamp: began.Add(time.Duration(2*i) * time.Second),
				Value: fmt.Appendf(nil, `{"symbol":"ODD","price":"%d","source":"me","id":"%d"}`, 20+i, i)}
			if i%2 == 0 {
				r.Key = []byte("some other key")
			}
			mustProduce(t, out, r)
		}
		// Which order the moved ones take in their partition is Kafka's to say; each
		// counts once there.
		var recs []*kgo.Record
		criertest.Eventually(t, 60*time.Second, "nine ticks stand in their symbol's partition", func() bool {
			recs = recs[:0]
			c := outsider(t, brokers, kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{p.Prefix + "ticks": {home: kgo.NewOffset().AtStart()}}))
			ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
			defer cancel()
			for len(recs) < 9 && ctx.Err() == nil {
				c.PollFetches(ctx).EachRecord(func(r *kgo.Record) { recs = append(recs, r) })
			}
			return len(recs) >= 9
		})
		seen := make(map[string]int)
		for _, r := range recs {
			var tick struct{ ID string }
			if err := json.Unmarshal(r.Value, &tick); err != nil {
				t.Fatal(err)
			}
			seen[tick.ID]++
		}
		for id, n := range seen {
			if n != 1 {
				t.Errorf("tick %s stands %d times in its partition", id, n)
			}
		}
		// What must have fired can be recomputed from the partition: the first, and
		// every one at least a second behind the last that fired.
		var wantEvery []int64
		last := time.Time{}
		for _, r := range recs {
			if len(wantEvery) == 0 || !r.Timestamp.Before(last.Add(time.Second)) {
				wantEvery, last = append(wantEvery, r.Offset), r.Timestamp
			}
		}
		requireOffsets(t, u, once, wantEvery[:1])
		requireOffsets(t, u, every, wantEvery)
	})
}

func mustAlertBody(t *testing.T, u *criertest.User, body map[string]string) int64 {
	t.Helper()
	var made struct{ ID int64 }
	if err := u.Do(t.Context(), "POST", "/alerts", body, &made); err != nil {
		t.Fatal(err)
	}
	return made.ID
}

// requireOffsets says on which ticks an alert has fired, in order.
func requireOffsets(t *testing.T, u *criertest.User, id int64, want []int64) {
	t.Helper()
	var got []int64
	check := func() bool {
		var page struct{ Results []struct{ Offset int64 } }
		if err := u.Do(t.Context(), "GET", fmt.Sprintf("/alerts/%d/firings?limit=200", id), nil, &page); err != nil {
			return false
		}
		got = got[:0]
		for i := len(page.Results) - 1; i >= 0; i-- {
			got = append(got, page.Results[i].Offset)
		}
		return fmt.Sprint(got) == fmt.Sprint(want)
	}
	deadline := time.Now().Add(2 * time.Minute) // see requireSequence
	for !check() {
		if time.Now().After(deadline) {
			t.Fatalf("alert %d fired on the ticks at %v, want %v", id, got, want)
		}
		criertest.Pause()
	}
}

// Two of each part: streams at both gateways bring everything once and in
// order, while a consumer, a monitor and a gateway are killed.
func TestTwoOfEachPart(t *testing.T) {
	t.Parallel()
	criertest.Kafkas(t, func(t *testing.T, brokers string) {
		p := criertest.NewParts(t, brokers, "3")
		gateways := []*criertest.Program{p.Start("gateway"), p.Start("gateway")}
		consumers := []*criertest.Program{p.Start("consumer"), p.Start("consumer")}
		monitors := []*criertest.Program{p.Start("monitor", "CRIER_INSTANCE=a"), p.Start("monitor", "CRIER_INSTANCE=b")}
		u := gateways[0].SignUp("ann")
		followers := []*follower{follow(t, u), follow(t, at(u, gateways[1]))}
		out := outsider(t, brokers)
		alerts := 0
		for i := range 60 {
			switch i {
			case 20:
				consumers[0].Kill()
			case 25:
				monitors[0].Kill()
			case 40:
				gateways[1].Kill()
				gateways[1].Start()
			}
			body := map[string]any{"user_id": u.ID, "title": fmt.Sprint("n", i), "idempotency_key": fmt.Sprint("k", i)}
			if err := p.Service(gateways[0]).Do(t.Context(), "POST", "/notifications", body, nil); err != nil {
				t.Fatal(err)
			}
			symbol := fmt.Sprint("S", i%7)
			mustAlertBody(t, u, map[string]string{"symbol": symbol, "condition": "above", "target": fmt.Sprint(1000 + i)})
			alerts++
			mustProduce(t, out, &kgo.Record{Topic: p.Prefix + "ticks", Key: []byte(symbol), Value: fmt.Appendf(nil, `{"symbol":%q,"price":"%d","source":"me"}`, symbol, 1000+i)})
		}
		for _, f := range followers {
			f.requireSequence(t, 60+alerts)
		}
		requireOnce(t, u, 60)
	})
}
