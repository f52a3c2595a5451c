package user_test

import (
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"crier/internal/event"
	"crier/internal/user"
)

const (
	ann event.UserID = "1"
	ttl              = time.Hour
)

func (w *world) start(u event.UserID, agent string) (id, refresh string) {
	w.t.Helper()
	id, refresh, _, err := w.StartSession(w.t.Context(), u, user.Rotating, agent, now, ttl)
	if err != nil {
		w.t.Fatal(err)
	}
	return id, refresh
}

func (w *world) live(session string, at time.Time) bool {
	w.t.Helper()
	live, err := w.LiveOf(w.t.Context(), []string{session}, at)
	if err != nil {
		w.t.Fatal(err)
	}
	_, ok := live[session]
	return ok
}

// Refresh tokens rotate: each is good once, moves the session's end on, and a
// second use of any ends the session and all its tokens.
func TestRefreshRotation(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	id, first := w.start(ann, "test")
	tokens := []string{first}
	at := now
	for range 5 {
		at = at.Add(ttl - time.Minute)
		u, session, next, err := w.Refresh(t.Context(), tokens[len(tokens)-1], at, ttl)
		if err != nil || u != ann || session != id || slices.Contains(tokens, next) {
			t.Fatalf("%s %s, %v", u, session, err)
		}
		tokens = append(tokens, next)
		if !w.live(id, at.Add(ttl-time.Second)) || w.live(id, at.Add(ttl)) {
			t.Error("the session's end did not move to ttl from now")
		}
	}
	other, otherToken := w.start(ann, "other")
	u, session, next, err := w.Refresh(t.Context(), tokens[2], at, ttl)
	if !errors.Is(err, user.ErrRefreshReused) || u != ann || session != id || next != "" {
		t.Errorf("an old token: %s %s %q, %v", u, session, next, err)
	}
	if w.live(id, at) {
		t.Error("the session goes on")
	}
	for i, tok := range tokens {
		if _, _, _, err := w.Refresh(t.Context(), tok, at, ttl); !errors.Is(err, user.ErrRefresh) {
			t.Errorf("token %d of the ended session: %v", i, err)
		}
	}
	if _, _, _, err := w.Refresh(t.Context(), otherToken, now, ttl); err != nil || !w.live(other, now) {
		t.Errorf("another session: %v", err)
	}
	for _, bad := range []string{"", "x", strings.Repeat("x", 5000), "\x00"} {
		if _, _, _, err := w.Refresh(t.Context(), bad, now, ttl); !errors.Is(err, user.ErrRefresh) {
			t.Errorf("%.10q: %v", bad, err)
		}
	}
}

// A lasting session keeps its refresh token, also when several use it at once, and
// its end moves on with every use; it ends as any other.
func TestLastingSession(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	id, token, _, err := w.StartSession(t.Context(), ann, user.Lasting, "bot", now, ttl)
	if err != nil {
		t.Fatal(err)
	}
	rotating, _ := w.start(ann, "")
	ids := []string{id, rotating}
	at := now
	for range 3 {
		at = at.Add(ttl - time.Minute)
		var wg sync.WaitGroup
		for range 5 {
			wg.Go(func() {
				if u, session, next, err := w.Refresh(t.Context(), token, at, ttl); err != nil || u != ann || session != id || next != token {
					t.Errorf("refreshing: %s %s %q, %v", u, session, next, err)
				}
			})
		}
		wg.Wait()
		if !w.live(id, at.Add(ttl-time.Second)) || w.live(id, at.Add(ttl)) {
			t.Error("the session's end did not move to ttl from now")
		}
	}
	for _, c := range []struct {
		after time.Duration
		due   bool
	}{{time.Second, false}, {ttl / 30, false}, {ttl/30 + time.Second, true}, {ttl - time.Second, true}} {
		used := at.Add(c.after)
		list, err := w.LiveOf(t.Context(), ids, used)
		if err != nil || list[id].Due(used, ttl) != c.due || list[rotating].Due(used, ttl) {
			t.Errorf("%v after its end was moved: %+v, %v, want due %v", c.after, list, err, c.due)
		}
		if err := w.Prolong(t.Context(), ids, used, ttl); err != nil {
			t.Fatal(err)
		}
		if list, err = w.LiveOf(t.Context(), ids, used); err != nil || list[id].ExpiresAt.Equal(used.Add(ttl)) != c.due {
			t.Errorf("%v after, prolonged: %+v, %v", c.after, list, err)
		}
		if c.due {
			at = used
		}
	}
	// A ticket of a token without an end has none either.
	ticket, err := w.MakeTicket(t.Context(), user.Ticket{UserID: ann, Session: id}, at)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := w.UseTicket(t.Context(), ticket, at); err != nil || !got.TokenEnds.IsZero() {
		t.Errorf("the ticket: %+v, %v", got, err)
	}
	if err := w.Prolong(t.Context(), ids, at.Add(ttl), ttl); err != nil {
		t.Fatal(err)
	}
	if w.live(id, at.Add(ttl)) || w.live(rotating, now.Add(ttl)) {
		t.Error("a session that had ended, or a rotating one, was prolonged")
	}
	if err := w.End(t.Context(), ann, id, at); err != nil {
		t.Fatal(err)
	}
	if _, _, _, err := w.Refresh(t.Context(), token, at, ttl); !errors.Is(err, user.ErrRefresh) || w.live(id, at) {
		t.Errorf("after its end: %v", err)
	}
}

// Of many uses of one refresh token at once a single one succeeds, and then the
// session is ended: somebody has a copy.
func TestRefreshUnderConcurrency(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	id, token := w.start(ann, "")
	var mu sync.Mutex
	good := 0
	var wg sync.WaitGroup
	for range 15 {
		wg.Go(func() {
			_, _, _, err := w.Refresh(t.Context(), token, now, ttl)
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				good++
			} else if !errors.Is(err, user.ErrRefreshReused) && !errors.Is(err, user.ErrRefresh) {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if good != 1 || w.live(id, now) {
		t.Errorf("%d succeeded, the session lives: %v", good, w.live(id, now))
	}
}

// A ticket opens one stream, once, on whichever gateway it is shown first, and
// for 30 s.
func TestTickets(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	session, _ := w.start(ann, "")
	for _, c := range []struct {
		name    string
		session string
		at      time.Time
		want    int
	}{
		{"at once", session, now, 1}, {"just in time", "", now.Add(user.TicketTTL - time.Millisecond), 1}, {"too late", session, now.Add(user.TicketTTL), 0},
	} {
		ticket, err := w.MakeTicket(t.Context(), user.Ticket{UserID: ann, Session: c.session, TokenEnds: now.Add(ttl)}, now)
		if err != nil {
			t.Fatal(err)
		}
		var mu sync.Mutex
		good := 0
		var wg sync.WaitGroup
		for range 15 {
			wg.Go(func() {
				got, err := w.UseTicket(t.Context(), ticket, c.at)
				mu.Lock()
				defer mu.Unlock()
				switch {
				case err == nil && got.UserID == ann && got.Session == c.session && got.TokenEnds.Equal(now.Add(ttl)):
					good++
				case !errors.Is(err, user.ErrTicket):
					t.Errorf("%s: %+v, %v", c.name, got, err)
				}
			})
		}
		wg.Wait()
		if good != c.want {
			t.Errorf("%s: good %d times, want %d", c.name, good, c.want)
		}
	}
}

// Sessions are listed while they live, and end one by one or all at once; ending
// another's, or what is no session, does nothing.
func TestSessions(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	agent := strings.Repeat("é", 299) + "\x00\x1b[31m\xff"
	one, _ := w.start(ann, agent)
	two, _ := w.start(ann, "")
	three, _ := w.start(ann, "")
	bobs, _ := w.start("2", "")
	list, err := w.Sessions(t.Context(), ann, now)
	if err != nil || len(list) != 3 || strings.ContainsAny(list[0].UserAgent+list[1].UserAgent+list[2].UserAgent, "\x00\x1b\ufffd") {
		t.Fatalf("%+v, %v", list, err)
	}
	for _, c := range []struct {
		name, session string
		want          error
	}{
		{"another's", bobs, user.ErrNoSession}, {"none", "00000000-0000-4000-8000-000000000000", user.ErrNoSession}, {"no id", "x", user.ErrNoSession}, {"NUL", "\x00", user.ErrNoSession},
		{"one", one, nil}, {"the same again", one, user.ErrNoSession}, {"all", "", nil}, {"all again", "", nil},
	} {
		if err := w.End(t.Context(), ann, c.session, now); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
	}
	for _, c := range []struct {
		session string
		live    bool
	}{{one, false}, {two, false}, {three, false}, {bobs, true}, {"", false}, {"x", false}, {"00000000-0000-4000-8000-000000000000", false}} {
		if got := w.live(c.session, now); got != c.live {
			t.Errorf("session %q lives: %v", c.session, got)
		}
	}
	ended, err := w.Ended(t.Context(), []string{one, bobs, "00000000-0000-4000-8000-000000000000"}, now)
	if err != nil || !slices.Equal(ended, []string{one, "00000000-0000-4000-8000-000000000000"}) {
		t.Errorf("ended %v, %v", ended, err)
	}
	if ended, err = w.Ended(t.Context(), []string{bobs}, now.Add(ttl)); err != nil || len(ended) != 1 {
		t.Errorf("expired %v, %v", ended, err)
	}
}

// A send's key gives the first answer again for a day, to the same content only.
func TestIdempotentSends(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a, b := []byte("a"), []byte("b")
	for i, c := range []struct {
		sender string
		hash   []byte
		after  time.Duration
		end    string
		want   string
		err    error
	}{
		{"s", a, 0, "", "", nil},            // the first, which Kafka never acknowledged
		{"s", a, 0, "one", "", nil},         // so it is done again
		{"s", a, time.Hour, "", "one", nil}, // and from now on answered
		{"s", b, time.Hour, "", "", user.ErrKeyReused},
		{"other", b, time.Hour, "", "", nil},
		{"s", a, user.IdempotencyTTL, "", "one", nil},
		{"s", b, user.IdempotencyTTL + time.Second, "two", "", nil}, // forgotten
		{"s", b, user.IdempotencyTTL + time.Hour, "", "two", nil},
		{"s", a, user.IdempotencyTTL + time.Hour, "", "", user.ErrKeyReused},
	} {
		got, err := w.BeginSend(t.Context(), c.sender, "k", c.hash, now.Add(c.after))
		if got != c.want || !errors.Is(err, c.err) {
			t.Errorf("step %d: %q, %v; want %q, %v", i, got, err, c.want, c.err)
		}
		if c.end != "" {
			if err := w.EndSend(t.Context(), c.sender, "k", c.end); err != nil {
				t.Error(err)
			}
		}
	}
}

// What has expired is swept, and nothing else.
func TestSweep(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	live, token := w.start(ann, "")
	if _, err := w.MakeTicket(t.Context(), user.Ticket{UserID: ann, TokenEnds: now}, now); err != nil {
		t.Fatal(err)
	}
	if _, err := w.BeginSend(t.Context(), "s", "k", []byte("a"), now); err != nil {
		t.Fatal(err)
	}
	rows := func() (n int) {
		err := w.db.QueryRow(t.Context(), `select (select count(*) from sessions) + (select count(*) from refresh_tokens) + (select count(*) from stream_tickets) + (select count(*) from idempotent_sends)`).Scan(&n)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	for _, c := range []struct {
		at   time.Time
		want int
	}{{now, 4}, {now.Add(user.TicketTTL + time.Second), 3}, {now.Add(25 * time.Hour), 2}, {now.Add(20 * 24 * time.Hour), 2}, {now.Add(40 * 24 * time.Hour), 0}} {
		if err := w.Sweep(t.Context(), c.at); err != nil {
			t.Fatal(err)
		}
		if got := rows(); got != c.want {
			t.Errorf("at %v: %d rows, want %d", c.at.Sub(now), got, c.want)
		}
	}
	if _, _, _, err := w.Refresh(t.Context(), token, now, ttl); !errors.Is(err, user.ErrRefresh) || w.live(live, now) {
		t.Errorf("a swept session: %v", err)
	}
}

// A user has MaxSessions sessions at most, also when they begin at once; the one that
// would end first ends.
func TestSessionsOfOneUser(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	if _, err := w.db.Exec(t.Context(), `
		insert into sessions (id, user_id, user_agent, created_at, expires_at)
		select gen_random_uuid(), '1', 'old', $1, $1::timestamptz + n * interval '1 minute' from generate_series(1, $2) n`, now, user.MaxSessions-5); err != nil {
		t.Fatal(err)
	}
	first := w.ids(`select id::text from sessions order by expires_at limit 15`)
	var all sync.WaitGroup
	ended := make([][]string, 20)
	for i := range ended {
		all.Go(func() {
			var err error
			if _, _, ended[i], err = w.StartSession(t.Context(), "1", user.Rotating, "new", now, 100*time.Hour); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	got := slices.Concat(ended...)
	slices.Sort(got)
	slices.Sort(first)
	if n := w.count(`select count(*) from sessions where ended_at is null`); n != user.MaxSessions || !slices.Equal(got, first) {
		t.Errorf("%d sessions live, want %d; ended %d, want the 15 that would have ended first", n, user.MaxSessions, len(got))
	}
}

func (w *world) ids(query string) []string {
	w.t.Helper()
	rows, err := w.db.Query(w.t.Context(), query)
	if err != nil {
		w.t.Fatal(err)
	}
	list, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		w.t.Fatal(err)
	}
	return list
}

// A user who asks for tickets and uses none has the newest of them.
func TestTicketsOfOneUser(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var tickets []string
	for i := range user.MaxTickets + 5 {
		text, err := w.MakeTicket(t.Context(), user.Ticket{UserID: "1", TokenEnds: now.Add(time.Hour)}, now.Add(time.Duration(i)*time.Millisecond))
		if err != nil {
			t.Fatal(err)
		}
		tickets = append(tickets, text)
	}
	if _, err := w.MakeTicket(t.Context(), user.Ticket{UserID: "2", TokenEnds: now.Add(time.Hour)}, now); err != nil {
		t.Fatal(err)
	}
	if n := w.count(`select count(*) from stream_tickets`); n != user.MaxTickets+1 {
		t.Errorf("%d tickets are kept", n)
	}
	for i, text := range tickets {
		if _, err := w.UseTicket(t.Context(), text, now); (err == nil) != (i >= 5) {
			t.Errorf("ticket %d: %v", i, err)
		}
	}
}
