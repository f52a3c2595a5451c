package promises

import (
	"fmt"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"crier/internal/client"
	"crier/internal/criertest"
	"crier/internal/kafka"
)

// A gateway that has just started shows the last price that is in the topic, whether the
// matcher has stored it or not, and the stored one where the topic has nothing newer.
func TestLastPricesAtTheStart(t *testing.T) {
	t.Parallel()
	criertest.Kafkas(t, func(t *testing.T, brokers string) {
		t.Parallel()
		p := criertest.NewParts(t, brokers, "2")
		out := outsider(t, brokers)
		put := func(symbol, price string) {
			t.Helper()
			r := &kgo.Record{Topic: p.Prefix + kafka.Ticks, Key: []byte(symbol), Value: fmt.Appendf(nil, `{"symbol":%q,"price":%q,"source":"me"}`, symbol, price)}
			if err := out.ProduceSync(t.Context(), r).FirstErr(); err != nil {
				t.Fatal(err)
			}
		}
		put("STORED", "1")
		put("NEWER", "1")
		put("UNSTORED", "1")
		topics, err := kadm.NewClient(out).ListTopics(t.Context(), p.Prefix+kafka.Ticks)
		if err != nil {
			t.Fatal(err)
		}
		ends, err := kadm.NewClient(out).ListEndOffsets(t.Context(), p.Prefix+kafka.Ticks)
		if err != nil {
			t.Fatal(err)
		}
		db, err := pgx.Connect(t.Context(), p.Database)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = db.Close(t.Context()) }()
		id := [16]byte(topics[p.Prefix+kafka.Ticks].ID)
		for n, end := range ends[p.Prefix+kafka.Ticks] {
			if _, err := db.Exec(t.Context(), `insert into matcher_progress (partition, topic_id, next, owner) values ($1, $2, $3, gen_random_uuid())`, n, id, end.Offset); err != nil {
				t.Fatal(err)
			}
		}
		for _, symbol := range []string{"STORED", "NEWER"} {
			if _, err := db.Exec(t.Context(), `insert into prices (symbol, price, tick_time, source, tick_id, topic_id, partition, place, recorded_at, ticks)
				values ($1, 7, now(), 'me', '', $2, 0, 0, now() - interval '1 second', 1)`, symbol, id); err != nil {
				t.Fatal(err)
			}
		}
		put("NEWER", "8")
		put("UNSTORED", "2")
		put("UNSTORED", "3")
		gateway := p.Start("gateway")
		var answer struct {
			Results []struct{ Symbol, Price string }
		}
		mustDo(t, &client.Client{Base: p.Service(gateway).Base}, "GET", "/prices", nil, &answer)
		got := make(map[string]string)
		for _, r := range answer.Results {
			got[r.Symbol] = r.Price
		}
		if len(got) != 3 || got["STORED"] != "7" || got["NEWER"] != "8" || got["UNSTORED"] != "3" {
			t.Errorf("prices %v", got)
		}
	})
}
