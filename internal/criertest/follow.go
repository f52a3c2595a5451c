package criertest

import (
	"context"
	"encoding/json"
	"errors"
	"testing"
	"time"

	"crier/internal/client"
)

// Notification is what tests look at of one.
type Notification struct {
	ID      int64           `json:"id"`
	EventID string          `json:"event_id"`
	Kind    string          `json:"kind"`
	Title   string          `json:"title"`
	Payload json.RawMessage `json:"payload"`
	Unread  int             `json:"unread"`
}

var errEnough = errors.New("enough was seen")

// Follow reads the user's stream after a cursor until count notifications have
// come, in one connection; the test fails when they do not, or when their ids
// do not rise by one.
func (u *User) Follow(tb testing.TB, since string, count int) []Notification {
	tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	defer cancel()
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	var got []Notification
	err := u.Stream(ctx, client.StreamOptions{Since: since}, func(e client.Event) {
		if e.Type != "notification" || len(got) == count {
			return
		}
		var n Notification
		if err := json.Unmarshal(e.Data, &n); err != nil {
			stop(err)
			return
		}
		if len(got) > 0 && n.ID != got[len(got)-1].ID+1 {
			tb.Errorf("criertest: id %d came after %d", n.ID, got[len(got)-1].ID)
		}
		if got = append(got, n); len(got) == count {
			stop(errEnough)
		}
	})
	if !errors.Is(err, errEnough) {
		tb.Fatalf("criertest: following the stream: %v, after %d of %d notifications", err, len(got), count)
	}
	return got
}
