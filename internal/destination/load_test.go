package destination_test

import (
	"testing"
	"time"

	"crier/internal/criertest"
	"crier/internal/destination"
)

// What was pushed in after a destination was changed is loaded with the change: it must
// not go to the address of before.
func TestLoadSeesChangesThatItsJobsCameAfter(t *testing.T) {
	t.Parallel()
	for name, ordered := range map[string]bool{"side by side": false, "in order": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			a := w.account("ann")
			d := w.destination(a)
			if _, err := w.db.Exec(t.Context(), `update destinations set ordered = $2, leased_by = 'me', leased_until = now() + interval '1 minute' where id = $1`, d.ID, ordered); err != nil {
				t.Fatal(err)
			}
			tx, err := w.db.Begin(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = tx.Rollback(t.Context()) }() // after the commit it is nothing
			if _, err := tx.Exec(t.Context(), `lock table pushes in access exclusive mode`); err != nil {
				t.Fatal(err)
			}
			type loaded struct {
				target destination.Target
				jobs   []destination.Job
				err    error
			}
			result := make(chan loaded, 1)
			all := criertest.Go(t, func() {
				var l loaded
				l.target, l.jobs, l.err = w.store.Load(t.Context(), "me", d.ID, nil)
				result <- l
			})
			criertest.Eventually(t, time.Minute, "it is reading", func() bool {
				var waits bool
				return w.db.QueryRow(t.Context(), `select exists (select from pg_locks where not granted and relation = 'pushes'::regclass)`).Scan(&waits) == nil && waits
			})
			for _, statement := range []string{
				`update destinations set url = 'http://127.0.0.1:2' where id = $1`,
				`with i as (insert into incoming_items (account_id, event_id, data, created_at) select account_id, 'e', '{}', now() from destinations where id = $1 returning id)
					insert into pushes (destination_id, item_id, attempts, due_at) select $1, id, 0, now() from i`,
			} {
				if _, err := tx.Exec(t.Context(), statement, d.ID); err != nil {
					t.Fatal(err)
				}
			}
			if err := tx.Commit(t.Context()); err != nil {
				t.Fatal(err)
			}
			all.Wait()
			got := <-result
			if got.err != nil || len(got.jobs) > 0 && got.target.URL != "http://127.0.0.1:2" {
				t.Errorf("%d jobs for %s: %v", len(got.jobs), got.target.URL, got.err)
			}
			if target, jobs, err := w.store.Load(t.Context(), "me", d.ID, nil); err != nil || len(jobs) != 1 || target.URL != "http://127.0.0.1:2" || target.Ordered != ordered {
				t.Errorf("then %d jobs for %+v: %v", len(jobs), target, err)
			}
		})
	}
}
