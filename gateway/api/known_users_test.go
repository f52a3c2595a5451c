package api

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"crier/internal/event"
)

// directory is the users that exist, and counts what is asked.
type directory struct {
	users   map[event.UserID]bool
	queries int
	asked   int
	err     error
}

func (d *directory) find(_ context.Context, users []event.UserID) (map[event.UserID]struct{}, error) {
	d.queries++
	d.asked += len(users)
	found := make(map[event.UserID]struct{})
	for _, u := range users {
		if d.users[u] {
			found[u] = struct{}{}
		}
	}
	return found, d.err
}

// A user that was found is not looked up again within a minute; one that was not
// is looked up each time; a closed account is noticed at once.
func TestKnownUsers(t *testing.T) {
	d := &directory{users: map[event.UserID]bool{"1": true, "2": true}}
	k := newKnownUsers(d.find)
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	check := func(step string, wantQueries int, wantMissing []event.UserID, users ...event.UserID) {
		t.Helper()
		before := d.queries
		missing, err := k.missing(t.Context(), users, now)
		if err != nil || !slices.Equal(missing, wantMissing) || d.queries-before != wantQueries {
			t.Errorf("%s: missing %v with %d queries, %v; want %v with %d", step, missing, d.queries-before, err, wantMissing, wantQueries)
		}
	}
	check("first", 1, nil, "1")
	check("remembered", 0, nil, "1")
	check("many, one of them remembered", 1, []event.UserID{"4", "3"}, "4", "1", "3", "2")
	check("absence is not remembered", 1, []event.UserID{"3"}, "3")
	d.users["3"] = true
	check("signed up meanwhile", 1, nil, "3")
	check("all remembered", 0, nil, "1", "2", "3")

	delete(d.users, "1")
	k.forget("1")
	check("closed", 1, []event.UserID{"1"}, "1")

	now = now.Add(knownPeriod)
	check("in the next period", 0, nil, "2")
	now = now.Add(knownPeriod)
	check("a period later", 1, nil, "2")
	now = now.Add(10 * knownPeriod)
	check("after a long pause", 1, nil, "2")

	d.err = errors.New("no database")
	if _, err := k.missing(t.Context(), []event.UserID{"9"}, now); !errors.Is(err, d.err) {
		t.Errorf("a failed lookup: %v", err)
	}
	if _, err := k.missing(t.Context(), []event.UserID{"8", "9"}, now); !errors.Is(err, d.err) {
		t.Errorf("a failed lookup of two: %v", err)
	}
	d.err = nil
	check("failures are not remembered", 1, []event.UserID{"9"}, "9")
}

// However many users are found, at most two periods of them are kept.
func TestKnownUsersAreBounded(t *testing.T) {
	d := &directory{users: map[event.UserID]bool{}}
	k := newKnownUsers(d.find)
	now := time.Now()
	for batch := range 40 {
		users := make([]event.UserID, 5000)
		for i := range users {
			users[i] = event.UserID(fmt.Sprint(batch, "-", i))
			d.users[users[i]] = true
		}
		if missing, err := k.missing(t.Context(), users, now); err != nil || len(missing) > 0 {
			t.Fatal(missing, err)
		}
		if n := len(k.recent) + len(k.before); n > 2*knownMost {
			t.Fatalf("%d users are kept, at most %d may be", n, 2*knownMost)
		}
	}
	if missing, err := k.missing(t.Context(), []event.UserID{"39-4999"}, now); err != nil || len(missing) > 0 || d.asked != 40*5000 {
		t.Errorf("the newest: missing %v, %v, %d users asked for", missing, err, d.asked)
	}
}
