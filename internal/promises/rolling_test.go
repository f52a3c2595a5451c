package promises

import (
	"fmt"
	"testing"

	"crier/internal/criertest"
)

// Two gateways are restarted one after the other while notifications flow:
// every reader, at either, has everything, once and in order.
func TestRollingRestart(t *testing.T) {
	t.Parallel()
	p := criertest.NewParts(t, criertest.Broker(t), "3")
	gateways := []*criertest.Program{p.Start("gateway"), p.Start("gateway")}
	p.Start("consumer")
	var users []*criertest.User
	var followers []*follower
	for i := range 5 {
		u := gateways[0].SignUp(fmt.Sprint("user", i))
		users = append(users, u)
		followers = append(followers, follow(t, at(u, gateways[0])), follow(t, at(u, gateways[1])))
	}
	const rounds = 60
	for i := range rounds {
		if i == rounds/3 || i == 2*rounds/3 {
			g := gateways[i*3/rounds-1]
			g.Stop()
			g.Start()
		}
		ids := make([]string, len(users))
		for j, u := range users {
			ids[j] = u.ID
		}
		if err := p.Service(gateways[0]).Do(t.Context(), "POST", "/notifications", map[string]any{"user_ids": ids, "title": fmt.Sprint("n", i)}, nil); err != nil {
			t.Fatal(err)
		}
	}
	for _, f := range followers {
		f.requireSequence(t, rounds)
	}
}
