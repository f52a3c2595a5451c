package promises

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"crier/internal/criertest"
	"crier/internal/decimal"
	"crier/internal/event"
)

// Monitors come and go while ticks flow: a second one takes partitions over, the
// first leaves in order, another comes, and one is killed. Symbols move with what
// their alerts remember: each fires once, on the tick that one look at all of them
// says.
func TestRebalanceMovesAlerts(t *testing.T) {
	t.Parallel()
	criertest.Kafkas(t, rebalance)
}

func rebalance(t *testing.T, brokers string) {
	p := criertest.NewParts(t, brokers, "3", "CRIER_FEEDS=none")
	gateway, first := p.Start("gateway"), p.Start("monitor")
	p.Start("consumer")
	u := gateway.SignUp("ann")
	out := outsider(t, p.Brokers)
	bodies := []string{
		`{"condition":"above","target":"150"}`, `{"condition":"crosses_below","target":"99"}`, `{"condition":"above","target":"120","confirm":"70s"}`,
		`{"condition":"percent_down","percent":"45","window":"2m"}`, `{"condition":"trailing_stop","percent":"60"}`, `{"condition":"crosses_above","target":"140","hysteresis":"60"}`,
	}
	const symbols = 8
	ids := make([][]int64, symbols)
	ticks, offsets := make([][]*event.Tick, symbols), make([][]int64, symbols)
	name := func(s int) string { return fmt.Sprint("MOVE", s) }
	wave := []int{100, 110, 120, 130, 145, 160, 155, 150, 140, 130, 125, 110, 90, 70, 55, 50, 60, 80, 95, 100}
	tick := func(i int) {
		recs := make([]*kgo.Record, symbols)
		for s := range symbols {
			x := &event.Tick{Symbol: name(s), Price: decimal.FromUnits(int64(wave[(i+3*s)%20]), 0), Source: "a", Time: time.Date(2026, 1, 1, 0, 0, i*10, 0, time.UTC)}
			recs[s] = &kgo.Record{Topic: p.Prefix + "ticks", Key: []byte(x.Symbol), Value: x.AppendJSON(nil)}
			ticks[s] = append(ticks[s], x)
		}
		mustProduce(t, out, recs...)
		for s := range symbols {
			offsets[s] = append(offsets[s], recs[s].Offset)
		}
	}
	tick(0)
	for s := range symbols {
		for _, body := range bodies {
			ids[s] = append(ids[s], setOn(t, u, name(s), body))
		}
	}
	var second, third *criertest.Program
	for i := 1; i <= 60; i++ {
		tick(i)
		switch i {
		case 12:
			second = p.Start("monitor", "CRIER_INSTANCE=2")
		case 25:
			first.Stop()
		case 35:
			third = p.Start("monitor", "CRIER_INSTANCE=3")
		case 48:
			second.Kill()
		}
	}
	_ = third
	for s := range symbols {
		for i, body := range bodies {
			requireOffsets(t, u, ids[s][i], watched(t, body, ticks[s], offsets[s]))
		}
	}
}

// A monitor that has no partition yet does nothing when alerts change, instead of
// polling in a busy loop: it waits for the member that holds the partition, which
// may be for ever.
func TestStandbyMonitorIsIdle(t *testing.T) {
	t.Parallel()
	p := criertest.NewParts(t, criertest.Broker(t), "1", "CRIER_FEEDS=none")
	gateway := p.Start("gateway")
	p.Start("monitor")
	standby := p.Start("monitor")
	mustAlertBody(t, gateway.SignUp("ann"), map[string]string{"symbol": "X", "condition": "above", "target": "10"})
	if strings.Contains(standby.Log(), "msg=matching") {
		t.Fatalf("the second monitor took the partition:\n%s", standby.Log())
	}
	const window = 3 * time.Second
	before := standby.Metric("process_cpu_seconds_total")
	<-time.After(window)
	if used := standby.Metric("process_cpu_seconds_total") - before; used > window.Seconds()/4 {
		t.Errorf("a monitor without partitions used %.2f s of processor time in %v", used, window)
	}
}
