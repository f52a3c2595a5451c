package inbox_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"crier/internal/criertest"
	"crier/internal/event"
	"crier/internal/inbox"
	"crier/internal/postgres"
)

// Put as the consumer calls it: batches of 500 records with 128 B of payload, a
// transaction each. The cluster of tests does not wait for the disk, so this is
// what the statements cost.
func BenchmarkPut(b *testing.B) {
	const batch = 500
	for _, c := range []struct {
		users int
		keyed bool // with an idempotency key each
	}{{100, false}, {100, true}, {10_000, false}} {
		users := c.users
		b.Run(fmt.Sprintf("users=%d/keyed=%v", users, c.keyed), func(b *testing.B) {
			db, err := postgres.Open(b.Context(), postgres.Config{URL: criertest.Postgres(b)})
			if err != nil {
				b.Fatal(err)
			}
			b.Cleanup(db.Close)
			if _, err := db.Migrate(b.Context()); err != nil {
				b.Fatal(err)
			}
			owners := make([]event.UserID, users)
			for i := range owners {
				owners[i] = event.UserID(fmt.Sprint(i))
			}
			if err := db.Tx(b.Context(), func(tx pgx.Tx) error { return inbox.OpenInboxes(b.Context(), tx, owners...) }); err != nil {
				b.Fatal(err)
			}
			payload := []byte(`{"x":"` + strings.Repeat("x", 120) + `"}`)
			items := make([]inbox.Item, batch)
			var offset int64
			b.ReportAllocs()
			b.ResetTimer()
			for b.Loop() {
				for i := range items {
					items[i] = item(owners[int(offset)%users], offset)
					items[i].Payload = payload
					if c.keyed {
						items[i].Sender, items[i].Key, items[i].Hash = "bench", fmt.Sprint(offset), payload[:16]
					}
					offset++
				}
				err := db.Tx(b.Context(), func(tx pgx.Tx) error {
					_, err := inbox.Put(b.Context(), tx, time.Now(), items)
					return err
				})
				if err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(offset)/b.Elapsed().Seconds(), "rows/s")
		})
	}
}
