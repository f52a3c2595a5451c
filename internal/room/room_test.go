package room_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"crier/internal/criertest"
	"crier/internal/event"
	"crier/internal/postgres"
	"crier/internal/room"
)

type world struct {
	t  *testing.T
	db *postgres.DB
	*room.Store
}

func newWorld(t *testing.T) *world {
	t.Helper()
	db := criertest.Database(t, 0)
	w := &world{t, db, room.New(db)}
	w.must(w.Hold(t.Context(), id("g", 1)))
	for _, name := range []string{"den", "attic"} {
		if made, err := w.Ensure(t.Context(), name, time.Now()); err != nil || !made {
			t.Fatalf("%v %v", made, err)
		}
	}
	return w
}

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

// id is a UUID of gateways (g) or connections (c).
func id(kind string, n int) string {
	return fmt.Sprintf("%08d-0000-4000-8000-%012d", map[string]int{"g": 1, "c": 2}[kind], n)
}

func ask(what, name string, user, connection int) *event.RoomRequest {
	return &event.RoomRequest{Type: what, Room: name, UserID: event.UserID(fmt.Sprint("u", user)), Username: fmt.Sprint("U", user), Connection: id("c", connection), Gateway: id("g", 1)}
}

// do decides requests in one transaction, as the consumer does, with 10 as the
// room's place after each.
func (w *world) do(requests ...*event.RoomRequest) []room.Decision {
	w.t.Helper()
	var d *room.Decisions
	w.must(w.db.Tx(w.t.Context(), func(tx pgx.Tx) (err error) {
		if d, err = room.Decide(w.t.Context(), tx, requests); err != nil {
			return err
		}
		places := make([]int64, len(requests))
		for i := range places {
			places[i] = 10
		}
		return d.Record(w.t.Context(), tx, places)
	}))
	return d.List
}

func names(users []event.RoomUser) (out []string) {
	for _, u := range users {
		out = append(out, u.Username)
	}
	return out
}

// A person is in a room while one of their connections is; each connection is
// told what became of its request, again where it asks again.
func TestDecide(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	type want struct {
		verdict  room.Verdict
		code     string
		welcomes bool
		users    []string
		leaves   int
	}
	for i, c := range []struct {
		ask  *event.RoomRequest
		want want
	}{
		{ask(event.RoomJoin, "den", 1, 1), want{room.Place, "", true, []string{"U1"}, 0}},
		{ask(event.RoomJoin, "den", 1, 1), want{room.Nothing, "", true, []string{"U1"}, 0}},
		{ask(event.RoomJoin, "den", 1, 2), want{room.Nothing, "", true, []string{"U1"}, 0}},
		{ask(event.RoomJoin, "den", 2, 3), want{room.Place, "", true, []string{"U1", "U2"}, 0}},
		{ask(event.RoomJoin, "nowhere", 2, 3), want{room.Refuse, room.CodeInvalid, false, nil, 0}},
		{ask(event.RoomSay, "nowhere", 2, 3), want{room.Refuse, room.CodeInvalid, false, nil, 0}},
		{ask(event.RoomPart, "nowhere", 2, 3), want{room.Nothing, "", false, nil, 0}},
		{ask(event.RoomSay, "den", 9, 9), want{room.Place, "", false, nil, 0}},
		{ask(event.RoomPart, "den", 1, 1), want{room.Nothing, "", false, nil, 1}},
		{ask(event.RoomPart, "den", 1, 1), want{room.Nothing, "", false, nil, 1}},
		{ask(event.RoomPart, "den", 1, 2), want{room.Place, "", false, nil, 1}},
		{ask(event.RoomPart, "attic", 2, 3), want{room.Nothing, "", false, nil, 1}},
		{&event.RoomRequest{Type: event.RoomJoin, Room: "den", UserID: "u4", Connection: id("c", 4), Gateway: id("g", 7)}, want{room.Ignore, "", false, nil, 0}},
		{ask(event.RoomClose, "den", 0, 0), want{room.Place, "", false, nil, 1}},
		{ask(event.RoomSay, "den", 2, 3), want{room.Refuse, room.CodeInvalid, false, nil, 0}},
	} {
		got := w.do(c.ask)[0]
		if got.Verdict != c.want.verdict || got.Code != c.want.code || got.Welcomes != c.want.welcomes || !slices.Equal(names(got.Users), c.want.users) || len(got.Leaves) != c.want.leaves {
			t.Errorf("%d, %s of %s by %s: %+v, want %+v", i, c.ask.Type, c.ask.Room, c.ask.Connection, got, c.want)
		}
	}
}

// Within a batch each request sees what those before it have done.
func TestDecideBatch(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	list := w.do(ask(event.RoomJoin, "den", 1, 1), ask(event.RoomJoin, "den", 2, 2), ask(event.RoomPart, "den", 1, 1), ask(event.RoomJoin, "den", 3, 3),
		ask(event.RoomClose, "den", 0, 0), ask(event.RoomJoin, "den", 1, 1))
	if got := names(list[1].Users); !slices.Equal(got, []string{"U1", "U2"}) {
		t.Errorf("at the second join %v", got)
	}
	if got := names(list[3].Users); !slices.Equal(got, []string{"U2", "U3"}) {
		t.Errorf("after the part %v", got)
	}
	if len(list[4].Leaves) != 2 || list[5].Verdict != room.Refuse {
		t.Errorf("closed: %+v, and after it %+v", list[4], list[5])
	}
	var crowd []*event.RoomRequest
	for i := range event.MaxPresent + 50 {
		crowd = append(crowd, ask(event.RoomJoin, "attic", 100+i, 100+i))
	}
	list = w.do(crowd...)
	last := list[len(list)-1]
	if n := len(last.Users); n > event.MaxPresent || !slices.Contains(names(last.Users), fmt.Sprint("U", 100+event.MaxPresent+49)) {
		t.Errorf("the last of many is shown %d, and not among them", n)
	}
}

// A person has one place in the chat as long as the gateway that holds it lives;
// what a dead gateway leaves behind is handed out until it was parted.
func TestLeases(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx := t.Context()
	enter := func(user event.UserID, connection, gateway int, want bool) {
		t.Helper()
		if ok, err := w.Enter(ctx, user, room.Connection{ID: id("c", connection), Gateway: id("g", gateway)}); err != nil || ok != want {
			t.Errorf("%s by %d: %v %v, want %v", user, connection, ok, err, want)
		}
	}
	w.must(w.Hold(ctx, id("g", 2)))
	enter("u1", 1, 1, true)
	enter("u1", 2, 2, false)
	w.must(w.Leave(ctx, room.Connection{ID: id("c", 2), Gateway: id("g", 2)})) // not its own
	enter("u1", 2, 2, false)
	w.must(w.Leave(ctx, room.Connection{ID: id("c", 1), Gateway: id("g", 1)}))
	enter("u1", 3, 1, true)
	w.do(ask(event.RoomJoin, "den", 1, 3), ask(event.RoomJoin, "attic", 1, 3), ask(event.RoomJoin, "den", 5, 5))
	orphans := func(want int) []event.RoomRequest {
		t.Helper()
		list, err := w.Orphans(ctx, 100)
		if err != nil || len(list) != want {
			t.Errorf("%d orphans, want %d: %v", len(list), want, err)
		}
		return list
	}
	orphans(0)
	stale, err := w.Stale(ctx, id("g", 1), []string{id("c", 3)})
	if err != nil || len(stale) != 1 || stale[0].Connection != id("c", 5) {
		t.Errorf("stale %+v %v", stale, err)
	}
	w.must(w.Renew(ctx, id("g", 1)))
	w.must(w.Release(ctx, id("g", 1)))
	if err := w.Renew(ctx, id("g", 1)); !errors.Is(err, room.ErrLeaseLost) {
		t.Errorf("renewed after its end: %v", err)
	}
	enter("u1", 4, 2, true)
	list := orphans(3)
	orphans(3) // until they have parted
	for i := range list {
		if err := list[i].Validate(); err != nil {
			t.Error(err)
		}
		w.do(&list[i])
	}
	orphans(0)
	if got := w.do(ask(event.RoomJoin, "den", 1, 3))[0]; got.Verdict != room.Ignore {
		t.Errorf("a join of the dead gateway: %+v", got)
	}
	if members, err := w.Members(ctx, "den"); err != nil || len(members) != 0 {
		t.Errorf("members %v %v", members, err)
	}
}
