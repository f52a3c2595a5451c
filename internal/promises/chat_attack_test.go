package promises

import (
	"fmt"
	"testing"
	"time"

	"crier/internal/criertest"
)

// Whoever names somebody again and again fills the room, and not the other's inbox.
func TestAttackMentions(t *testing.T) {
	t.Parallel()
	p := criertest.Start(t)
	ann := p.SignUp("ann")
	for try := 0; ; try++ {
		began, stored, dropped := time.Now().Truncate(time.Hour), count(t, ann, "kind=mention"), p.Metric("crier_consumer_mentions_dropped_total")
		mallory := p.SignUp(fmt.Sprint("mallory", try))
		for i := range 80 {
			mustDo(t, mallory.Client, "POST", "/rooms/friends/messages", map[string]string{"body": fmt.Sprint("@ann ", i)}, nil)
		}
		var room struct{ Results []struct{ Body string } }
		criertest.Eventually(t, patience, "all messages are stored", func() bool {
			mustDo(t, ann.Client, "GET", "/rooms/friends/messages?limit=200", nil, &room)
			return len(room.Results) == min(200, 80*(try+1))
		})
		if !time.Now().Truncate(time.Hour).Equal(began) {
			continue // the budget is an hour's, and another one has begun
		}
		stored, dropped = count(t, ann, "kind=mention")-stored, p.Metric("crier_consumer_mentions_dropped_total")-dropped
		if stored != 60 || dropped != 20 {
			t.Errorf("%d mentions, %v dropped; want 60 and 20", stored, dropped)
		}
		return
	}
}

func count(t *testing.T, u *criertest.User, filter string) int {
	t.Helper()
	var inbox struct{ Count int }
	mustDo(t, u.Client, "GET", "/notifications?"+filter, nil, &inbox)
	return inbox.Count
}
