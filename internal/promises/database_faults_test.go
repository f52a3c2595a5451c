package promises

import (
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"crier/internal/client"
	"crier/internal/criertest"
)

// databaseFault is something that happens to Postgres under running parts, and ends.
type databaseFault struct {
	name       string
	begin, end func(w *databaseWorld)
	notReady   bool // the parts say so meanwhile
}

var databaseFaults = []databaseFault{
	{name: "all connections are ended", begin: (*databaseWorld).disconnect, end: func(*databaseWorld) {}},
	{name: "it is away", begin: func(w *databaseWorld) { w.relay.Cut() }, end: func(w *databaseWorld) { w.relay.Restore() }, notReady: true},
	{name: "it is stopped, and goes on", begin: func(w *databaseWorld) { w.relay.Hold() }, end: func(w *databaseWorld) { w.relay.Release() }, notReady: true},
	{name: "it takes no connections", begin: func(w *databaseWorld) {
		w.set("allow_connections false")
		w.disconnect()
	}, end: func(w *databaseWorld) { w.set("allow_connections true") }, notReady: true},
	// As behind an address that led to a standby for a while. Connections of that time
	// live on.
	{name: "it is read-only", begin: func(w *databaseWorld) {
		w.set("set default_transaction_read_only = on")
		w.disconnect()
	}, end: func(w *databaseWorld) { w.set("reset default_transaction_read_only") }, notReady: true},
}

// databaseWorld is Crier's parts with everything that waits for Postgres in use.
type databaseWorld struct {
	t        *testing.T
	relay    *criertest.Relay
	database string // its name
	outside  string // URL of another database of the same server
	parts    []*criertest.Program
	out      *kgo.Client
	prefix   string

	ann      *criertest.User
	mails    *criertest.SMTPPeer
	receiver *criertest.Receiver
	account  int64
	alert    int64
}

func newDatabaseWorld(t *testing.T) *databaseWorld {
	brokers, smtp := criertest.Broker(t), criertest.FreeAddr(t)
	w := &databaseWorld{t: t, outside: criertest.Postgres(t), mails: criertest.SMTP(t, smtp), receiver: criertest.NewReceiver(t, nil)}
	database := criertest.Postgres(t)
	through, err := url.Parse(database)
	if err != nil {
		t.Fatal(err)
	}
	w.relay = criertest.NewRelay(t, through.Host)
	w.database, through.Host = strings.TrimPrefix(through.Path, "/"), w.relay.Addr
	p := criertest.NewParts(t, brokers, "1", "CRIER_DATABASE_URL="+through.String(), "CRIER_FEEDS=none", "CRIER_WEBHOOK_ALLOW=127.0.0.0/8",
		"CRIER_SMTP_URL=smtp+plain://"+smtp, "CRIER_PUBLIC_URL=http://crier.example.org")
	gateway := p.Start("gateway")
	w.parts, w.prefix, w.out = []*criertest.Program{gateway, p.Start("consumer"), p.Start("monitor")}, p.Prefix, outsider(t, brokers)
	w.ann = gateway.SignUpWith("ann", "ann@example.org")
	mustExec(t, database, `
		insert into mail_consents (user_id, address, created_at, confirmed_at) values ($1, 'ann@example.org', now(), now())
		on conflict (user_id, address) do update set confirmed_at = now()`, w.ann.ID)
	var account struct {
		ID int64 `json:"id"`
	}
	mustDo(t, w.ann.Client, "POST", "/accounts", map[string]string{"account_name": "A", "email": "a@example.org"}, &account)
	w.account = account.ID
	mustDo(t, w.ann.Client, "POST", fmt.Sprintf("/accounts/%d/destinations", w.account), map[string]any{"url": w.receiver.URL}, nil)
	w.alert = mustAlertBody(t, w.ann, map[string]string{"symbol": "X", "condition": "above", "target": "10", "repeat": "every", "cooldown": "1s"})
	return w
}

// set alters the database.
func (w *databaseWorld) set(what string) {
	w.t.Helper()
	mustExec(w.t, w.outside, "alter database "+w.database+" "+what)
}

func (w *databaseWorld) disconnect() {
	w.t.Helper()
	mustExec(w.t, w.outside, `select pg_terminate_backend(pid) from pg_stat_activity where datname = $1`, w.database)
}

// produce sends by Kafka, which takes it whatever Postgres does.
func (w *databaseWorld) produce(title string, at time.Time) {
	w.t.Helper()
	mustProduce(w.t, w.out, &kgo.Record{Topic: w.prefix + "notifications", Key: []byte(w.ann.ID),
		Value: fmt.Appendf(nil, `{"user_id":%q,"title":%q,"deliver_at":%q}`, w.ann.ID, title, at.Format(time.RFC3339Nano))})
}

// works waits until everything that is done for a user works.
func (w *databaseWorld) works(name string) {
	w.t.Helper()
	until := func(what string, fn func() bool) {
		w.t.Helper()
		criertest.Eventually(w.t, patience, name+": "+what, fn)
	}
	for i, part := range w.parts {
		until(fmt.Sprintf("part %d is ready", i), part.IsReady)
	}
	mails, hooks := w.mails.Count(), len(w.receiver.Hooks())
	until("a send is taken", func() bool {
		return w.ann.Do(w.t.Context(), "POST", "/notifications", map[string]any{"user_id": w.ann.ID, "title": name, "channels": []string{"inbox", "email"}}, nil) == nil
	})
	until("its mail goes out", func() bool { return w.mails.Count() > mails })
	until("an item is taken", func() bool {
		return w.ann.Do(w.t.Context(), "POST", "/incoming", map[string]any{"account_id": w.account, "data": name}, nil) == nil
	})
	until("it is delivered", func() bool { return len(w.receiver.Hooks()) > hooks })
	var before, now struct{ Count int }
	until("firings are listed", func() bool {
		return w.ann.Do(w.t.Context(), "GET", fmt.Sprintf("/alerts/%d/firings", w.alert), nil, &before) == nil
	})
	until("an alert fires", func() bool {
		mustProduce(w.t, w.out, &kgo.Record{Topic: w.prefix + "ticks", Key: []byte("X"), Value: []byte(`{"symbol":"X","price":"9","source":"me"}`)},
			&kgo.Record{Topic: w.prefix + "ticks", Key: []byte("X"), Value: []byte(`{"symbol":"X","price":"11","source":"me"}`)})
		return w.ann.Do(w.t.Context(), "GET", fmt.Sprintf("/alerts/%d/firings", w.alert), nil, &now) == nil && now.Count > before.Count
	})
}

// Whatever happens to Postgres, every part says that it is not ready while it cannot do
// its work, logs no flood, and does all of it within seconds of the fault's end, with
// nothing restarted; what Kafka took meanwhile is stored once.
func TestEveryPartOutlivesEveryDatabaseFault(t *testing.T) {
	t.Parallel()
	w := newDatabaseWorld(t)
	w.works("before")
	for _, fault := range databaseFaults {
		lines := make([]int, len(w.parts))
		for i, part := range w.parts {
			lines[i] = strings.Count(part.Log(), "\n")
		}
		began := time.Now()
		fault.begin(w)
		w.produce(fault.name, began)
		w.produce("later: "+fault.name, began.Add(3*time.Second))
		for i, part := range w.parts {
			if fault.notReady {
				criertest.Eventually(t, patience, fmt.Sprintf("%s: part %d is not ready", fault.name, i), func() bool { return !part.IsReady() })
			}
		}
		if fault.notReady {
			criertest.Eventually(t, patience, "the fault lasts", func() bool { return time.Since(began) > 8*time.Second })
		}
		fault.end(w)
		ended := time.Now()
		w.works(fault.name)
		for i, part := range w.parts {
			if n := strings.Count(part.Log(), "\n") - lines[i]; n > 60 {
				t.Errorf("%s: part %d logged %d lines in %v", fault.name, i, n, time.Since(began))
			}
		}
		t.Logf("%s: everything worked %v after its end", fault.name, time.Since(ended).Round(time.Millisecond))
	}
	s := openStream(t, w.ann, client.StreamOptions{Since: "0"})
	for _, fault := range databaseFaults {
		for _, title := range []string{fault.name, "later: " + fault.name} {
			criertest.Eventually(t, patience, title+" is streamed", func() bool { return len(titled(s, title)) > 0 })
		}
		if n := len(titled(s, "later: "+fault.name)); n != 1 {
			t.Errorf("what was scheduled while %s came %d times", fault.name, n)
		}
	}
}

func titled(s *stream, title string) []client.Event {
	var out []client.Event
	for _, e := range s.of("notification") {
		if strings.Contains(string(e.Data), `"title":"`+title+`"`) {
			out = append(out, e)
		}
	}
	return out
}
