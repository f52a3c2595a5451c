package presence_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"crier/gateway/presence"
	"crier/internal/event"
	"crier/internal/kafka"
	"crier/internal/room"
)

// world is the database and the topic of one gateway, in memory: what is asked
// of rooms is kept, and answered by the test.
type world struct {
	mu    sync.Mutex
	away  bool // the database
	lost  bool // another process thinks that the gateway is dead
	holds int
	taken map[event.UserID]room.Connection
	stale []event.RoomRequest
	asked []event.RoomRequest
	*presence.Presence
}

var errAway = errors.New("away")

func (w *world) do(fn func() error) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.away {
		return errAway
	}
	return fn()
}

func (w *world) Hold(context.Context, string) error {
	return w.do(func() error { w.holds++; w.lost = false; return nil })
}

func (w *world) Renew(context.Context, string) error {
	return w.do(func() error {
		if w.lost {
			return room.ErrLeaseLost
		}
		return nil
	})
}

func (w *world) Release(context.Context, string) error { return w.do(func() error { return nil }) }

func (w *world) Enter(_ context.Context, user event.UserID, c room.Connection) (ok bool, err error) {
	err = w.do(func() error {
		if _, there := w.taken[user]; !there {
			w.taken[user], ok = c, true
		}
		return nil
	})
	return ok, err
}

func (w *world) Leave(_ context.Context, c room.Connection) error {
	return w.do(func() error {
		for user, have := range w.taken {
			if have == c {
				delete(w.taken, user)
			}
		}
		return nil
	})
}

func (w *world) Stale(_ context.Context, _ string, have []string) (list []event.RoomRequest, err error) {
	err = w.do(func() error {
		for user, c := range w.taken {
			if !slices.Contains(have, c.ID) {
				delete(w.taken, user)
			}
		}
		list, w.stale = w.stale, nil
		return nil
	})
	return list, err
}

// Produce is Kafka: it is never away here.
func (w *world) Produce(_ context.Context, recs ...kafka.Record) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, r := range recs {
		q, err := event.ParseRoomRequest(r.Value)
		if err != nil {
			return err
		}
		w.asked = append(w.asked, q)
	}
	return nil
}

// requests are those since the last call, as TYPE ROOM.
func (w *world) requests() (out []string) {
	synctest.Wait()
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, q := range w.asked {
		out = append(out, q.Type+" "+q.Room)
	}
	w.asked = nil
	return out
}

// set changes what the world is like.
func (w *world) set(fn func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	fn()
}

// run makes a presence that lives until stop.
func run(t *testing.T) (w *world, stop func()) {
	w = &world{taken: make(map[event.UserID]room.Connection)}
	w.Presence = presence.New(w, w, slog.New(slog.DiscardHandler))
	ctx, cancel := context.WithCancel(t.Context())
	w.Begin(ctx)
	var wg sync.WaitGroup
	wg.Go(func() { _ = w.Run(ctx) })
	return w, func() { cancel(); wg.Wait() }
}

// ear is a connection: what it was told.
type ear struct {
	mu   sync.Mutex
	told []string
}

func (e *ear) hear(what string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.told = append(e.told, what)
}

func (e *ear) Welcome(d event.Directed) { e.hear("welcome " + d.Room) }
func (e *ear) Left(d event.Directed)    { e.hear("left " + d.Room) }
func (e *ear) Refused(d event.Directed) { e.hear("refused " + d.Room) }
func (e *ear) Lost()                    { e.hear("lost") }

func (e *ear) want(t *testing.T, want ...string) {
	t.Helper()
	synctest.Wait()
	e.mu.Lock()
	defer e.mu.Unlock()
	if !slices.Equal(e.told, want) {
		t.Errorf("told %v, want %v", e.told, want)
	}
	e.told = nil
}

func (w *world) want(t *testing.T, want ...string) {
	t.Helper()
	if got := w.requests(); !slices.Equal(got, want) {
		t.Errorf("asked %v, want %v", got, want)
	}
}

// connected is a connection with its ear, and its id as the database knows it.
func (w *world) connected(t *testing.T, user event.UserID, chatting bool) (*presence.Conn, *ear, func(kind, room string, place ...int64)) {
	t.Helper()
	e := &ear{}
	c, err := w.Connect(t.Context(), user, string(user), chatting, e)
	if err != nil {
		t.Fatal(err)
	}
	tell := func(kind, room string, place ...int64) {
		at := int64(1)
		if len(place) > 0 {
			at = place[0]
		}
		w.Directed(kind, c.ID(), fmt.Appendf(nil, `{"room":%q,"place":%d}`, room, at))
	}
	return c, e, tell
}

// What a connection asks for in one breath is answered in that order, whatever
// it has asked for since.
func TestInOneBreath(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w, stop := run(t)
		defer stop()
		c, e, tell := w.connected(t, "ann", true)
		ctx := t.Context()
		for _, step := range []struct {
			do   func() error
			want error
		}{
			{func() error { return c.Join(ctx, "den") }, nil},
			{func() error { return c.Join(ctx, "den") }, presence.ErrJoined},
			{func() error { return c.Say(ctx, event.RoomRequest{Type: event.RoomSay, Room: "den", Body: "x"}) }, nil},
			{func() error { return c.Part(ctx, "den") }, nil},
			{func() error { return c.Part(ctx, "den") }, presence.ErrNotJoined},
			{func() error { return c.Say(ctx, event.RoomRequest{Type: event.RoomSay, Room: "den", Body: "x"}) }, presence.ErrNotJoined},
			{func() error { return c.Join(ctx, "den") }, nil},
		} {
			if err := step.do(); !errors.Is(err, step.want) {
				t.Errorf("%v, want %v", err, step.want)
			}
		}
		w.want(t, "join den", "message den", "part den", "join den")
		tell(event.Welcome, "den", 1)
		tell(event.Welcome, "den", 1) // answered twice, told once
		e.want(t, "welcome den")
		tell(event.Left, "den", 2)
		tell(event.Welcome, "den", 3)
		tell(event.Welcome, "den", 3)
		e.want(t, "left den", "welcome den")
		tell(event.Left, "den", 4) // it has not asked: the room is closed
		tell(event.Left, "den", 4)
		e.want(t, "left den")
	})
}

// A request that is not answered is made again; a room that is closed, or was
// never there, is left.
func TestAskedAgain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w, stop := run(t)
		defer stop()
		c, e, tell := w.connected(t, "ann", false)
		if err := errors.Join(c.Join(t.Context(), "den"), c.Join(t.Context(), "nowhere")); err != nil {
			t.Fatal(err)
		}
		w.want(t, "join den", "join nowhere")
		tell(event.Refused, "nowhere")
		e.want(t, "refused nowhere")
		time.Sleep(7 * time.Second)
		w.want(t, "join den")
		tell(event.Welcome, "den")
		time.Sleep(20 * time.Second)
		w.want(t)
		e.want(t, "welcome den")
		if err := c.Part(t.Context(), "den"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(7 * time.Second)
		w.want(t, "part den", "part den")
		tell(event.Left, "den")
		e.want(t, "left den")
		if c.InRoom("den") || c.Parting("den") || w.Directed(event.Welcome, "another's", nil) {
			t.Error("it is still there")
		}
	})
}

// A connection that ends leaves its rooms and gives its place back: a chat's at
// once, a stream's after a while. What fails is mended.
func TestLeave(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w, stop := run(t)
		defer stop()
		chat, _, _ := w.connected(t, "ann", true)
		if _, err := w.Connect(t.Context(), "ann", "ann", true, &ear{}); !errors.Is(err, presence.ErrChatting) {
			t.Errorf("a second one: %v", err)
		}
		stream, _, _ := w.connected(t, "bob", false)
		if err := errors.Join(chat.Join(t.Context(), "den"), stream.Join(t.Context(), "den")); err != nil {
			t.Fatal(err)
		}
		w.requests()
		stream.Leave(true)
		chat.Leave(false)
		chat.Leave(false)
		w.want(t, "part den")
		w.mu.Lock()
		if len(w.taken) != 0 {
			t.Errorf("the place is kept: %v", w.taken)
		}
		w.mu.Unlock()
		time.Sleep(presence.Grace - time.Second)
		w.want(t)
		time.Sleep(2 * time.Second)
		w.want(t, "part den")

		again, _, _ := w.connected(t, "ann", true)
		w.set(func() { w.away = true })
		again.Leave(false)
		synctest.Wait()
		w.set(func() {
			w.away = false
			if len(w.taken) != 1 {
				t.Errorf("the place was given back while the database was away")
			}
			w.stale = []event.RoomRequest{{Type: event.RoomPart, Room: "attic", UserID: "ann", Connection: again.ID()}}
		})
		time.Sleep(3 * time.Second)
		w.want(t, "part attic")
		w.mu.Lock()
		if len(w.taken) != 0 {
			t.Errorf("the place was not given back: %v", w.taken)
		}
		w.mu.Unlock()
	})
}

// A gateway that cannot renew its lease tells everybody before the lease ends,
// and begins another when it can.
func TestLeaseLost(t *testing.T) {
	t.Parallel()
	for name, lose := range map[string]func(w *world){
		"database away":  func(w *world) { w.away = true },
		"taken for dead": func(w *world) { w.lost = true },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				w, stop := run(t)
				defer stop()
				time.Sleep(time.Minute)
				c, e, tell := w.connected(t, "ann", true)
				began := time.Now()
				w.set(func() { lose(w) })
				for len(e.heard()) == 0 && time.Since(began) < time.Minute {
					time.Sleep(100 * time.Millisecond)
				}
				if took := time.Since(began); took >= room.LeaseTime {
					t.Errorf("told after %v", took)
				}
				e.want(t, "lost")
				tell(event.Welcome, "den")
				e.want(t)
				if err := c.Join(t.Context(), "den"); !errors.Is(err, presence.ErrJoined) {
					t.Errorf("a lost connection joins: %v", err)
				}
				w.set(func() { w.away = false; clear(w.taken) })
				time.Sleep(3 * time.Second)
				if _, err := w.Connect(t.Context(), "ann", "ann", true, &ear{}); err != nil {
					t.Errorf("after it: %v", err)
				}
				w.mu.Lock()
				if w.holds != 2 {
					t.Errorf("%d leases", w.holds)
				}
				w.mu.Unlock()
			})
		})
	}
}

func (e *ear) heard() []string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.Clone(e.told)
}

// Without a lease nobody is let in.
func TestNoLease(t *testing.T) {
	t.Parallel()
	w := &world{away: true, taken: make(map[event.UserID]room.Connection)}
	w.Presence = presence.New(w, w, slog.New(slog.DiscardHandler))
	w.Begin(t.Context())
	if _, err := w.Connect(t.Context(), "ann", "ann", true, &ear{}); !errors.Is(err, presence.ErrNoLease) {
		t.Errorf("%v", err)
	}
}
