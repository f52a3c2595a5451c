package destination_test

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"crier/internal/criertest"
	"crier/internal/destination"
	"crier/internal/event"
	"crier/internal/postgres"
)

func TestMain(m *testing.M) { criertest.Main(m) }

type world struct {
	t     *testing.T
	db    *postgres.DB
	store *destination.Store
}

func newWorld(t *testing.T) *world {
	t.Helper()
	db := criertest.Database(t, 0)
	return &world{t, db, destination.New(db)}
}

func (w *world) account(name string) destination.Account {
	w.t.Helper()
	a, _, err := w.store.CreateAccount(w.t.Context(), destination.Account{Name: name, Email: name + "@example.org", Owner: event.UserID(name)}, time.Now())
	if err != nil {
		w.t.Fatal(err)
	}
	return a
}

func (w *world) destination(a destination.Account) destination.Destination {
	w.t.Helper()
	d, _, err := w.store.Create(w.t.Context(), destination.Destination{AccountID: a.ID, URL: "http://127.0.0.1:1", Method: http.MethodPost, Headers: map[string]string{}}, time.Now())
	if err != nil {
		w.t.Fatal(err)
	}
	return d
}

func (w *world) take(items ...destination.Item) []destination.Taken {
	w.t.Helper()
	var out []destination.Taken
	err := w.db.Tx(w.t.Context(), func(tx pgx.Tx) (err error) {
		out, err = destination.Take(w.t.Context(), tx, items, time.Now())
		return err
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return out
}

func (w *world) count(query string, args ...any) (n int) {
	w.t.Helper()
	if err := w.db.QueryRow(w.t.Context(), query, args...).Scan(&n); err != nil {
		w.t.Fatal(err)
	}
	return n
}

func item(a destination.Account, offset int64, key, data string) destination.Item {
	return destination.Item{AccountID: a.ID, EventID: fmt.Sprint("evt-", offset), Data: []byte(data), Key: key, Hash: []byte(data),
		Origin: event.Origin{TopicID: "6b1b36cb-9b2b-4b5c-8f43-b8d0cd6a3b0a", Partition: 1, Offset: offset}}
}

// An item is taken once: known by its place, or by its key and data; with other
// data the key is refused, and so is an account that is not there.
func TestTakeOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a, other := w.account("ann"), w.account("bob")
	w.destination(a)
	w.destination(a)
	batch := []destination.Item{item(a, 1, "", "1"), item(a, 2, "k", "2"), item(a, 3, "k", "2"), item(a, 4, "k", "3"), item(other, 5, "k", "3"),
		item(destination.Account{ID: 999}, 6, "", "4"), item(a, 1, "", "1")}
	want := []destination.Taken{{Status: "stored"}, {Status: "stored"}, {Status: "duplicate", Again: true}, {Status: "rejected", Code: "idempotency_key_reused"},
		{Status: "stored"}, {Status: "rejected", Code: "account_not_found"}, {Status: "stored", Again: true}}
	got := w.take(batch...)
	again := w.take(batch...)
	for i := range want {
		got[i].Reason, again[i].Reason = "", ""
		if got[i] != want[i] {
			t.Errorf("item %d: %+v, want %+v", i, got[i], want[i])
		}
		if again[i].Status != want[i].Status || want[i].Status == "stored" && !again[i].Again {
			t.Errorf("item %d again: %+v", i, again[i])
		}
	}
	if n := w.count(`select count(*) from pushes`); n != 4 {
		t.Errorf("%d deliveries are queued, want two items to two destinations", n)
	}
}

// Another item at an offset that was lost is taken, of the same account and of
// another; one that was taken before fingerprints were kept stands for any.
func TestTakeAfterLostRecords(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a, other := w.account("ann"), w.account("bob")
	printed := func(account destination.Account, offset, fingerprint int64) destination.Item {
		it := item(account, offset, "", fmt.Sprint(fingerprint))
		it.Origin.Fingerprint = fingerprint
		return it
	}
	first, second, third, old := printed(a, 1, 7), printed(other, 1, 8), printed(a, 1, 9), printed(a, 2, 0)
	for i, c := range []struct {
		item  destination.Item
		again bool
	}{{first, false}, {second, false}, {third, false}, {first, true}, {second, true}, {third, true}, {old, false}, {printed(a, 2, 7), true}} {
		if got := w.take(c.item)[0]; got.Status != "stored" || got.Again != c.again {
			t.Errorf("%d: %+v", i, got)
		}
	}
}

// Work that is added while a worker finds nothing more to do is not overlooked:
// the release waits for the transaction that adds it.
func TestReleaseSeesWorkThatIsBeingAdded(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a := w.account("ann")
	d := w.destination(a)
	w.take(item(a, 1, "", "1"))
	if leases, _, err := w.store.Claim(t.Context(), "me", time.Minute, 10); err != nil || !slices.Equal(leases, []destination.Lease{{DestinationID: d.ID, Epoch: 1}}) {
		t.Fatal(leases, err)
	}
	_, jobs, err := w.store.Load(t.Context(), "me", d.ID, nil)
	if err != nil || len(jobs) != 1 {
		t.Fatal(jobs, err)
	}
	if _, err := w.store.Settle(t.Context(), []destination.Result{{DestinationID: d.ID, ItemID: jobs[0].ItemID, Attempt: 1, Status: 200, Began: time.Now()}}, time.Hour); err != nil {
		t.Fatal(err)
	}
	tx, err := w.db.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := destination.Take(t.Context(), tx, []destination.Item{item(a, 2, "", "2")}, time.Now()); err != nil {
		t.Fatal(err)
	}
	released := make(chan error, 1)
	criertest.Go(t, func() { released <- w.store.Release(t.Context(), "me", d.ID, false) })
	criertest.Eventually(t, 30*time.Second, "the release waits", func() bool {
		return w.count(`select count(*) from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database()`) == 1
	})
	// A lease is renewed without waiting.
	if kept, err := w.store.Renew(t.Context(), "me", time.Minute, []int64{d.ID}); err != nil || len(kept) != 1 {
		t.Errorf("renewed %v, %v", kept, err)
	}
	if err := tx.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := <-released; err != nil {
		t.Fatal(err)
	}
	if leases, _, err := w.store.Claim(t.Context(), "you", time.Minute, 10); err != nil || !slices.Equal(leases, []destination.Lease{{DestinationID: d.ID, Epoch: 2}}) {
		t.Errorf("then %v was claimed, %v", leases, err)
	}
}

// A lease is one process's; another gets it when it has run out, and then the
// first can neither renew it nor load nor release.
func TestLease(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a := w.account("ann")
	d := w.destination(a)
	w.take(item(a, 1, "", "1"))
	claim := func(who string, want int) {
		t.Helper()
		if ids, _, err := w.store.Claim(t.Context(), who, time.Minute, 10); err != nil || len(ids) != want {
			t.Fatalf("%s claimed %v, %v", who, ids, err)
		}
	}
	claim("me", 1)
	claim("you", 0)
	if _, err := w.db.Exec(t.Context(), `update destinations set leased_until = now()`); err != nil {
		t.Fatal(err)
	}
	if _, jobs, err := w.store.Load(t.Context(), "me", d.ID, nil); err != nil || len(jobs) != 0 {
		t.Errorf("without a lease %d jobs, %v", len(jobs), err)
	}
	claim("you", 1)
	if kept, err := w.store.Renew(t.Context(), "me", time.Minute, []int64{d.ID}); err != nil || len(kept) != 0 {
		t.Errorf("renewed %v, %v", kept, err)
	}
	if err := w.store.Release(t.Context(), "me", d.ID, true); err != nil {
		t.Fatal(err)
	}
	claim("she", 0)
}

// What a holder reports whose lease somebody else has claimed since changes nothing but
// the log: the item's next attempt and the destination's state are the new holder's. What
// was delivered is done all the same; and a lease that ran out and was claimed by nobody
// is still its holder's.
func TestSettleUnderALostLease(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a := w.account("ann")
	d := w.destination(a)
	w.take(item(a, 1, "", "1"), item(a, 2, "", "2"), item(a, 3, "", "3"))
	claim := func(who string) destination.Lease {
		t.Helper()
		leases, _, err := w.store.Claim(t.Context(), who, time.Minute, 10)
		if err != nil || len(leases) != 1 {
			t.Fatalf("%s claimed %v, %v", who, leases, err)
		}
		return leases[0]
	}
	expire := func() {
		t.Helper()
		if _, err := w.db.Exec(t.Context(), `update destinations set leased_until = now()`); err != nil {
			t.Fatal(err)
		}
	}
	old := claim("me")
	_, jobs, err := w.store.Load(t.Context(), "me", d.ID, nil)
	if err != nil || len(jobs) != 3 {
		t.Fatal(jobs, err)
	}
	settle := func(l destination.Lease, job int, fate destination.Fate, text string) {
		t.Helper()
		_, err := w.store.Settle(t.Context(), []destination.Result{{DestinationID: d.ID, Epoch: l.Epoch, ItemID: jobs[job].ItemID, Attempt: 1, Fate: fate, Error: text, Wait: time.Hour, Gone: text == "gone", Began: time.Now()}}, time.Hour)
		if err != nil {
			t.Fatal(err)
		}
	}
	expire()
	settle(old, 0, destination.Again, "failed") // nobody has claimed it
	if n := w.count(`select count(*) from pushes where due_at > now() + interval '30 minutes' and attempts = 1`); n != 1 {
		t.Errorf("%d items wait, not 1", n)
	}
	for _, who := range []string{"you", "me"} { // claimed by another, and by the same process again
		now := claim(who)
		settle(old, 1, destination.Again, "failed")
		settle(old, 1, destination.GivenUp, "gone")
		settle(old, 2, destination.Delivered, "")
		if n := w.count(`select count(*) from pushes where item_id = $1 and due_at <= now() and attempts = 0`, jobs[1].ItemID); n != 1 {
			t.Errorf("the item that was reported to have failed is not as it was")
		}
		if n := w.count(`select count(*) from destinations where enabled and lease_epoch = $1`, now.Epoch); n != 1 {
			t.Errorf("the destination is not as it was")
		}
		if n := w.count(`select count(*) from pushes where item_id = $1`, jobs[2].ItemID); n != 0 {
			t.Errorf("what was delivered still waits")
		}
		expire()
	}
	if n := w.count(`select count(*) from push_attempts`); n != 7 {
		t.Errorf("%d attempts in the log", n)
	}
}

// One load is bounded by number and by bytes, and leaves out what is taken up.
func TestLoadIsBounded(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a := w.account("ann")
	d := w.destination(a)
	large := make([]byte, 64<<10)
	for i := range large {
		large[i] = '1'
	}
	var items []destination.Item
	for i := range int64(40) {
		items = append(items, item(a, i, "", string(large)))
	}
	for i := range int64(300) {
		items = append(items, item(a, 100+i, "", "1"))
	}
	w.take(items...)
	if _, _, err := w.store.Claim(t.Context(), "me", time.Minute, 1); err != nil {
		t.Fatal(err)
	}
	_, first, err := w.store.Load(t.Context(), "me", d.ID, nil)
	if err != nil || len(first) != 16 {
		t.Fatalf("%d jobs of 64 KiB, %v", len(first), err)
	}
	var ids []int64
	for _, j := range first {
		ids = append(ids, j.ItemID)
	}
	if _, second, err := w.store.Load(t.Context(), "me", d.ID, ids); err != nil || slices.Contains(ids, second[0].ItemID) {
		t.Errorf("again %d, %v", second[0].ItemID, err)
	}
	if _, err := w.db.Exec(t.Context(), `delete from pushes p using incoming_items i where i.id = p.item_id and length(i.data) > 1`); err != nil {
		t.Fatal(err)
	}
	if _, rest, err := w.store.Load(t.Context(), "me", d.ID, nil); err != nil || len(rest) != 256 {
		t.Errorf("%d small jobs, %v", len(rest), err)
	}
}

// What is old goes: items, attempts, and what still waited; and so does what a
// destination has left that was deleted.
func TestPrune(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a := w.account("ann")
	d, e := w.destination(a), w.destination(a)
	w.take(item(a, 1, "", "1"), item(a, 2, "", "2"))
	if err := w.store.Delete(t.Context(), e.ID); err != nil {
		t.Fatal(err)
	}
	prune := func(before time.Time) {
		t.Helper()
		for {
			n, err := w.store.Prune(t.Context(), before, 1)
			if err != nil {
				t.Fatal(err)
			}
			if n == 0 {
				return
			}
		}
	}
	prune(time.Now().Add(-time.Hour))
	if n := w.count(`select count(*) from pushes`); n != 2 || w.now(d).Waiting != 2 || w.count(`select count(*) from removed_destinations`) != 0 {
		t.Errorf("%d deliveries are left", n)
	}
	prune(time.Now().Add(time.Hour))
	if n := w.count(`select (select count(*) from pushes) + (select count(*) from incoming_items) + (select count(*) from push_attempts)`); n != 0 {
		t.Errorf("%d rows are left", n)
	}
}

func (w *world) now(d destination.Destination) destination.Destination {
	w.t.Helper()
	found, err := w.store.ByID(w.t.Context(), d.ID)
	if err != nil {
		w.t.Fatal(err)
	}
	return found
}

// An account has a bounded number of destinations, and one address is one
// account's; a user who leaves takes theirs along.
func TestAccounts(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a, b := w.account("ann"), w.account("bob")
	for range destination.MaxDestinations {
		w.destination(a)
	}
	if _, _, err := w.store.Create(t.Context(), destination.Destination{AccountID: a.ID, URL: "http://x", Method: "POST"}, time.Now()); !errors.Is(err, destination.ErrLimit) {
		t.Errorf("one too many: %v", err)
	}
	taken := "ANN@example.org"
	if _, err := w.store.UpdateAccount(t.Context(), b.ID, destination.AccountChange{Email: &taken}); !errors.Is(err, destination.ErrEmailTaken) {
		t.Errorf("a taken address: %v", err)
	}
	if own, count, _, err := w.store.Accounts(t.Context(), "ann", 0, 10); err != nil || count != 1 || own[0].ID != a.ID {
		t.Errorf("ann owns %v, %v", own, err)
	}
	if err := w.db.Tx(t.Context(), func(tx pgx.Tx) error { return destination.Forget(t.Context(), tx, "ann") }); err != nil {
		t.Fatal(err)
	}
	if n := w.count(`select count(*) from destinations`); n != 0 || w.count(`select count(*) from removed_destinations`) != destination.MaxDestinations {
		t.Errorf("%d destinations are left", n)
	}
	if _, err := w.store.Account(t.Context(), a.ID); !errors.Is(err, destination.ErrNotFound) {
		t.Errorf("her account: %v", err)
	}
}

// Slots are shared between owners: who has more destinations that are due gets no more
// than half of them, and whoever comes later finds one free.
func TestClaimIsFair(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	n := int64(0)
	due := func(a destination.Account, destinations int) {
		t.Helper()
		for range destinations {
			w.destination(a)
		}
		n++
		w.take(item(a, n, "", "1"))
	}
	anonymous := func(name string) destination.Account {
		t.Helper()
		a, _, err := w.store.CreateAccount(t.Context(), destination.Account{Name: name, Email: name + "@example.org", Anonymous: true}, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	held := 0
	claim := func(want int, wantMore bool) {
		t.Helper()
		ids, more, err := w.store.Claim(t.Context(), "me", time.Minute, 16-held)
		if err != nil || len(ids) != want || more != wantMore {
			t.Fatalf("with %d held %d were claimed, more %v, %v; want %d, %v", held, len(ids), more, err, want, wantMore)
		}
		held += want
	}
	mallory := w.account("mallory")
	due(mallory, 20)
	claim(8, true) // as many as are left free
	claim(0, true)
	for _, name := range []string{"x", "y", "z"} {
		due(anonymous(name), 4)
	}
	claim(4, true) // of all anonymous accounts together: 4 are left
	claim(0, true)
	due(w.account("ann"), 1)
	claim(1, true)
	due(w.account("bob"), 2)
	claim(2, true)
	due(w.account("carl"), 2)
	claim(1, true)
	if ids, _, err := w.store.Claim(t.Context(), "another", time.Minute, 16); err != nil || len(ids) == 0 {
		t.Errorf("another process claimed %d, %v", len(ids), err)
	}
}

// A user has MaxAccounts accounts, also when they are made at once.
func TestAccountsOfOneUser(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var all sync.WaitGroup
	errs := make([]error, 3*destination.MaxAccounts)
	for i := range errs {
		all.Go(func() {
			_, _, errs[i] = w.store.CreateAccount(t.Context(), destination.Account{Owner: "7", Name: "a", Email: fmt.Sprintf("a%d@example.org", i)}, time.Now())
		})
	}
	all.Wait()
	made := 0
	for _, err := range errs {
		if err == nil {
			made++
		} else if !errors.Is(err, destination.ErrAccountLimit) {
			t.Error(err)
		}
	}
	if made != destination.MaxAccounts {
		t.Errorf("%d accounts, want %d", made, destination.MaxAccounts)
	}
	w.account("ann")
}
