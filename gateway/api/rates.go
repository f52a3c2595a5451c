package api

import (
	"context"
	"time"

	"golang.org/x/time/rate"

	"crier/internal/event"
	"crier/internal/problem"
)

// Who may sign up.
const (
	SignupOpen   = "open"
	SignupInvite = "invite"
	SignupClosed = "closed"
)

// Bursts of the limits on sending, in seconds of their rate, and how many users of one
// address may send as much as one may.
const (
	sendBurst    = 10
	addressUsers = 10
	minKeyBurst  = 10_000 // the most recipients of one send
)

// rates bounds sign-ups by address, and sends by user, address and service; nil: any
// number. Each gateway counts for itself.
type rates struct {
	signups, users, addresses, keys *talkers
	loopbackFree                    bool // the embedded default: no limit on this machine's own sign-ups
}

func newRates(c *Config) rates {
	r := rates{loopbackFree: c.Embedded}
	if n := c.SignupLimit; n > 0 {
		r.signups = newTalkers(rate.Limit(n)/3600, n)
	}
	if n := c.SendLimitUser; n > 0 {
		r.users = newTalkers(rate.Limit(n), n*sendBurst)
		r.addresses = newTalkers(rate.Limit(n*addressUsers), n*sendBurst*addressUsers)
	}
	if n := c.SendLimitKey; n > 0 {
		r.keys = newTalkers(rate.Limit(n), max(n, minKeyBurst))
	}
	return r
}

// send counts n notifications of one sender.
func (r rates) send(who Principal, n int, now time.Time) error {
	if who.Service != "" {
		return limited(r.keys, who.Sender(), n, now, "Too many notifications of this service; slow down.")
	}
	if err := limited(r.users, who.Sender(), n, now, "Too many notifications of yours; slow down."); err != nil {
		return err
	}
	return limited(r.addresses, network(who.Address), n, now, "Too many notifications from your address; slow down.")
}

// push counts an item that is pushed in for an account.
func (r rates) push(account string, now time.Time) error {
	return limited(r.keys, account, 1, now, "Too many items for this account; slow down.")
}

func (r rates) signUp(who Principal, now time.Time) error {
	if who.Service != "" || r.loopbackFree && isLoopback(who.Address) {
		return nil
	}
	return limited(r.signups, network(who.Address), 1, now, "Too many sign-ups from your address.")
}

func limited(t *talkers, subject string, n int, now time.Time, detail string) error {
	if t == nil {
		return nil
	}
	if wait := t.waitFor(event.UserID(subject), n, now); wait > 0 {
		return &problem.Problem{Code: problem.TooMany, Detail: detail, RetryAfter: wait}
	}
	return nil
}

// maySignUp refuses sign-ups that the operator does not allow. A service may always make
// accounts.
func (a *API) maySignUp(ctx context.Context, invite string) error {
	who, _ := ctx.Value(principalKey{}).(Principal)
	if who.Lacks != nil {
		return who.Lacks
	}
	if err := a.rates.signUp(who, time.Now()); err != nil || who.Service != "" {
		return err
	}
	switch {
	case a.SignupMode == SignupClosed:
		return problem.New(problem.Forbidden, "Nobody can sign up here: the operator makes the accounts.")
	case a.SignupMode == SignupInvite && invite == "":
		return &problem.Problem{Code: problem.Forbidden, Detail: "Signing up needs an invitation here.",
			Errors: []event.FieldError{{Field: "invite", Rule: "required", Message: "is required"}}}
	}
	return nil
}
