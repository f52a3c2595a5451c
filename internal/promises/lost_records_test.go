package promises

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"crier/internal/criertest"
	"crier/internal/kafka"
)

// cut removes the end of a topic's log while the program is dead, as a power cut
// does with what was acknowledged and not yet flushed. It returns how many bytes
// are left.
func cut(t *testing.T, p *criertest.Program, topic string, keep float64) {
	t.Helper()
	log := filepath.Join(p.Dir, "kafka", "log", "partitions", topic+"-0", "0.dat")
	info, err := os.Stat(log)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(log, int64(float64(info.Size())*keep)); err != nil {
		t.Fatal(err)
	}
}

// After a power cut the broker gives the offsets of records that it has lost to
// others. None of those is taken for a repeat: each notification, and each item of
// whichever account, that was acknowledged since is stored, in order, with an id of
// its own; what was stored before stays.
func TestNothingNewIsTakenForWhatWasLost(t *testing.T) {
	t.Parallel()
	p := criertest.NewProgram(t)
	p.Start()
	ann, bob := p.SignUp("ann"), p.SignUp("bob")
	receiver := criertest.NewReceiver(t, nil)
	account := func(u *criertest.User, email string) (id int64) {
		var made struct {
			ID int64 `json:"id"`
		}
		mustDo(t, u.Client, "POST", "/accounts", map[string]string{"account_name": "A", "email": email}, &made)
		mustDo(t, u.Client, "POST", fmt.Sprintf("/accounts/%d/destinations", made.ID), map[string]any{"url": receiver.URL, "ordered": true}, nil)
		return made.ID
	}
	first, second := account(ann, "a@example.org"), account(bob, "b@example.org")
	send := func(title string) {
		mustSend(t, p.Service(), map[string]any{"user_id": ann.ID, "title": title})
	}
	push := func(u *criertest.User, account int64, data string) {
		mustDo(t, u.Client, "POST", "/incoming", map[string]any{"account_id": account, "data": data}, nil)
	}
	for i := range 30 {
		send(fmt.Sprint("before ", i))
		push(ann, first, fmt.Sprint("before ", i))
	}
	ann.Follow(t, "0", 30)
	receiver.Await(t, 30)
	p.Kill()
	for _, topic := range []string{kafka.Notifications, kafka.Incoming} {
		cut(t, p, topic, 0.6)
	}
	p.Start()
	ann.Base, bob.Base = p.Facts().HTTP, p.Facts().HTTP
	for i := range 15 {
		send(fmt.Sprint("after ", i))
		push(bob, second, fmt.Sprint("after ", i))
	}
	got := ann.Follow(t, "0", 45)
	for i, n := range got {
		want := fmt.Sprint("before ", i)
		if i >= 30 {
			want = fmt.Sprint("after ", i-30)
		}
		if n.Title != want || n.ID != int64(i+1) {
			t.Errorf("notification %d: id %d, %q, want %q", i, n.ID, n.Title, want)
		}
	}
	for i, h := range receiver.Await(t, 45)[30:] {
		if want := fmt.Sprintf("%q", fmt.Sprint("after ", i)); h.Body != want {
			t.Errorf("item %d: %s, want %s", i, h.Body, want)
		}
	}
	if p.Metric("crier_kafka_truncations_total") == 0 {
		t.Error("the loss is not counted")
	}
}

// A matcher whose progress is beyond the end of `ticks` (records were lost that it had
// matched) goes back, says so and counts it, and fires on what comes then.
func TestMatcherProgressBeyondTheEnd(t *testing.T) {
	t.Parallel()
	p := criertest.NewParts(t, criertest.Broker(t), "1", "CRIER_FEEDS=none")
	gateway := p.Start("gateway")
	p.Start("consumer")
	ann := gateway.SignUp("ann")
	id := mustAlertBody(t, ann, map[string]string{"symbol": "X", "condition": "above", "target": "10"})
	out := outsider(t, p.Brokers)
	topics, err := kadm.NewClient(out).ListTopics(t.Context(), p.Prefix+kafka.Ticks)
	if err != nil {
		t.Fatal(err)
	}
	db, err := pgx.Connect(t.Context(), p.Database)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close(t.Context()) }()
	if _, err := db.Exec(t.Context(), `insert into matcher_progress (partition, topic_id, next, owner) values (0, $1, 1000, gen_random_uuid())`, [16]byte(topics[p.Prefix+kafka.Ticks].ID)); err != nil {
		t.Fatal(err)
	}
	monitor := p.Start("monitor")
	mustProduce(t, out, &kgo.Record{Topic: p.Prefix + kafka.Ticks, Key: []byte("X"), Value: []byte(`{"symbol":"X","price":"11","source":"me"}`)})
	criertest.Eventually(t, patience, "the alert fires", func() bool {
		var firings struct{ Count int }
		return ann.Do(t.Context(), "GET", fmt.Sprintf("/alerts/%d/firings", id), nil, &firings) == nil && firings.Count == 1
	})
	if !strings.Contains(monitor.Log(), "ACKNOWLEDGED RECORDS WERE LOST") {
		t.Errorf("the loss was not said:\n%s", monitor.Log())
	}
}
