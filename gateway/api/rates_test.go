package api

import (
	"errors"
	"testing"
	"time"

	"crier/internal/event"
	"crier/internal/problem"
)

// A service may send to the most recipients that one send has, whatever its rate; users
// have a burst of their own and one of their address; 0 is no limit.
func TestRates(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	wait := func(err error) time.Duration {
		t.Helper()
		var p *problem.Problem
		if err == nil {
			return 0
		}
		if !errors.As(err, &p) || p.Code != problem.TooMany {
			t.Fatal(err)
		}
		return p.RetryAfter
	}
	r := newRates(&Config{SignupLimit: 2, SendLimitUser: 1, SendLimitKey: 2, Embedded: true})
	shop, bank := Principal{Service: "shop"}, Principal{Service: "bank"}
	user := func(id, address string) Principal { return Principal{UserID: event.UserID(id), Address: address} }
	for i, c := range []struct {
		err  error
		want time.Duration
	}{
		{r.send(shop, 10_000, now), 0},
		{r.send(shop, 1, now), time.Second / 2},
		{r.send(bank, 1, now), 0},
		{r.send(shop, 1, now.Add(time.Second)), 0},
		{r.push("account:1", now), 0},
		{r.send(user("1", "198.51.100.7"), 10, now), 0},
		{r.send(user("1", "198.51.100.8"), 1, now), time.Second},
		{r.send(user("2", "198.51.100.9"), 20, now), 0}, // more than a burst count as one
		{r.send(user("2", "198.51.100.9"), 1, now), time.Second},
		{r.signUp(user("", "198.51.100.7"), now), 0},
		{r.signUp(user("", "198.51.100.7"), now), 0},
		{r.signUp(user("", "198.51.100.7"), now), 30 * time.Minute},
		{r.signUp(user("", "127.0.0.1"), now), 0},
		{r.signUp(shop, now), 0},
		{rates{}.send(user("1", ""), 1000, now), 0},
		{rates{}.send(shop, 1_000_000, now), 0},
		{rates{}.signUp(user("1", ""), now), 0},
	} {
		if got := wait(c.err); got != c.want {
			t.Errorf("%d: wait %v, want %v", i, got, c.want)
		}
	}
	for i := range 10 {
		if got := wait(r.send(user("a"+string(rune('0'+i)), "203.0.113.1"), 10, now)); got != 0 {
			t.Errorf("user %d of an address waits %v", i, got)
		}
	}
	if got := wait(r.send(user("b", "203.0.113.1"), 1, now)); got != time.Second/10 {
		t.Errorf("one more of the address waits %v, want 100ms", got)
	}
}
