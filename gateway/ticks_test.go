package gateway_test

import (
	"encoding/json"
	"testing"
	"time"

	"crier/internal/criertest"
)

// How often ticks are sent is told to whoever asks, from what was reached.
func TestTickRateIsTold(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	criertest.Eventually(t, time.Minute, "ticks are sent ten times a second, or as often as this machine can", func() bool {
		var answer struct {
			TickRate float64 `json:"tick_rate"`
		}
		status, _, text := w.ask("GET", "/api/v1/status", "")
		return status == 200 && json.Unmarshal([]byte(text), &answer) == nil && answer.TickRate >= 0.5 && answer.TickRate <= 10.5
	})
}
