package promises

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"math/big"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"crier/internal/criertest"
)

// plainTick is a tick as the plain loop reads it from a recording: nothing of
// Crier's is used for what it says.
type plainTick struct {
	symbol string
	text   string
	price  *big.Rat
}

func plainTicks(t *testing.T, path string) []plainTick {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var out []plainTick
	add := func(symbol, text string) {
		price, ok := new(big.Rat).SetString(text)
		if !ok {
			t.Fatalf("%s: %q is not a price", path, text)
		}
		out = append(out, plainTick{symbol, text, price})
	}
	sc := bufio.NewScanner(f)
	sc.Scan()
	minutes := strings.HasPrefix(sc.Text(), "close_time")
	for sc.Scan() {
		c := strings.Split(sc.Text(), ",")
		if !minutes { // time_ms,trade_id,symbol,side,price,quantity
			add(c[2], c[4])
			continue
		}
		// close_time,symbol,open,high,low,close,…
		open, _ := new(big.Rat).SetString(c[2])
		closed, _ := new(big.Rat).SetString(c[5])
		order := []int{2, 4, 3, 5}
		if closed.Cmp(open) < 0 {
			order = []int{2, 3, 4, 5}
		}
		for _, i := range order {
			add(c[1], c[i])
		}
	}
	return out
}

// wanted is an alert and where the plain loop says that it fires: the index of
// the tick, -1 for never.
type wanted struct {
	id        int64
	symbol    string
	condition string
	target    string
	tick      int
}

func plainFirst(ticks []plainTick, symbol, condition, target string) int {
	at, _ := new(big.Rat).SetString(target)
	for i, tick := range ticks {
		c := tick.price.Cmp(at)
		if tick.symbol == symbol && (condition == "above" && c >= 0 || condition == "below" && c <= 0) {
			return i
		}
	}
	return -1
}

// spread makes alerts from below the lowest to above the highest price, on and
// between the prices that occur.
func spread(ticks []plainTick, n int) []wanted {
	lo, hi := ticks[0].price, ticks[0].price
	for _, t := range ticks {
		if t.price.Cmp(lo) < 0 {
			lo = t.price
		}
		if t.price.Cmp(hi) > 0 {
			hi = t.price
		}
	}
	var out []wanted
	width := new(big.Rat).Sub(hi, lo)
	for i := range n {
		step := new(big.Rat).Mul(width, big.NewRat(int64(2*i-n/4), int64(2*n-n/2)))
		target := new(big.Rat).Add(lo, step).FloatString(2)
		if i%3 == 0 {
			target = ticks[(i*7919)%len(ticks)].text // exactly a price that occurs
		}
		for _, condition := range []string{"above", "below"} {
			out = append(out, wanted{symbol: ticks[0].symbol, condition: condition, target: target, tick: plainFirst(ticks, ticks[0].symbol, condition, target)})
		}
	}
	return out
}

func setAlerts(t *testing.T, u *criertest.User, list []wanted) {
	t.Helper()
	for i := range list {
		var made struct{ ID int64 }
		body := map[string]string{"symbol": list[i].symbol, "condition": list[i].condition, "target": list[i].target}
		if err := u.Do(t.Context(), "POST", "/alerts", body, &made); err != nil {
			t.Fatal(err)
		}
		list[i].id = made.ID
	}
}

// requireFirings compares what fired, with the tick that met it, with the plain
// loop: the alerts' firings, and the notifications in the inbox, once each.
func requireFirings(t *testing.T, u *criertest.User, list []wanted, ticks []plainTick) {
	t.Helper()
	fires := 0
	for _, w := range list {
		if w.tick >= 0 {
			fires++
		}
	}
	notified := make(map[int64]int)
	for _, n := range u.Follow(t, "0", fires) {
		var trigger struct {
			AlertID int64  `json:"alert_id"`
			Price   string `json:"price"`
			Offset  int    `json:"offset"`
			Firing  int    `json:"firing"`
		}
		if err := json.Unmarshal(n.Payload, &trigger); err != nil || n.Kind != "alert" || trigger.Firing != 1 {
			t.Fatalf("notification %+v: %v", n, err)
		}
		notified[trigger.AlertID]++
	}
	for _, w := range list {
		var got struct {
			Count   int
			Results []struct {
				Price  string
				Offset int
			}
		}
		if err := u.Do(t.Context(), "GET", fmt.Sprintf("/alerts/%d/firings", w.id), nil, &got); err != nil {
			t.Fatal(err)
		}
		switch {
		case w.tick < 0 && (got.Count != 0 || notified[w.id] != 0):
			t.Errorf("%s %s fired %+v, should not have", w.condition, w.target, got.Results)
		case w.tick >= 0 && (got.Count != 1 || notified[w.id] != 1):
			t.Errorf("%s %s fired %d times, notified %d times; want once on tick %d", w.condition, w.target, got.Count, notified[w.id], w.tick)
		case w.tick >= 0 && (got.Results[0].Offset != w.tick || got.Results[0].Price != ticks[w.tick].text):
			t.Errorf("%s %s fired on tick %d at %s, want %d at %s", w.condition, w.target, got.Results[0].Offset, got.Results[0].Price, w.tick, ticks[w.tick].text)
		}
	}
	var inbox struct{ Count int }
	if err := u.Do(t.Context(), "GET", "/notifications?limit=1", nil, &inbox); err != nil || inbox.Count != fires {
		t.Errorf("%d notifications in the inbox, want %d: %v", inbox.Count, fires, err)
	}
}

// awaitMatched waits until every tick of the recording is committed as matched
// and every trigger decided.
func awaitMatched(t *testing.T, p *criertest.Program, ticks int) {
	t.Helper()
	criertest.Eventually(t, 60*time.Second, "every tick is matched and every trigger decided", func() bool {
		return p.GroupAt(t, "crier-matcher", "ticks") >= int64(ticks) && p.GroupAt(t, "crier-consumer", "triggers") >= p.EndOf(t, "triggers")
	})
}

// The recorded trades and minutes, replayed through the whole program, fire
// exactly the alerts that a plain loop over the file says, each on the same
// tick, once.
func TestReplayFiresWhatAPlainLoopSays(t *testing.T) {
	t.Parallel()
	for _, file := range []string{"ethusdt-trades-2023-02-02.csv", "btcusdt-1m-2024-12-01.csv"} {
		t.Run(file, func(t *testing.T) {
			t.Parallel()
			path, err := filepath.Abs(filepath.Join("testdata", file))
			if err != nil {
				t.Fatal(err)
			}
			ticks := plainTicks(t, path)
			list := spread(ticks, 40)
			p := criertest.Start(t)
			setAlerts(t, p.SignUp("trader"), list)
			p.Stop()
			p.Start("CRIER_FEEDS=replay:" + path + "@max")
			awaitMatched(t, p, len(ticks))
			requireFirings(t, p.SignUp("trader"), list, ticks)
		})
	}
}

// replaySpeed takes the recording of 207 s through in about eight.
const replaySpeed = "25"

// The same when the whole program is killed with signal 9 at ten random moments
// of the replay, and started again each time.
func TestReplayThroughKills(t *testing.T) {
	t.Parallel()
	path, err := filepath.Abs(filepath.Join("testdata", "ethusdt-trades-2023-02-02.csv"))
	if err != nil {
		t.Fatal(err)
	}
	ticks := plainTicks(t, path)
	list := spread(ticks, 40)
	p := criertest.Start(t)
	setAlerts(t, p.SignUp("trader"), list)
	p.Stop()
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	for range 10 {
		p.Launch("CRIER_FEEDS=replay:" + path + "@" + replaySpeed)
		// From before anything has started to well into the matching.
		wait, cancel := context.WithTimeout(t.Context(), time.Duration(300+rng.IntN(2500))*time.Millisecond)
		<-wait.Done()
		cancel()
		p.Kill()
	}
	p.Start("CRIER_FEEDS=replay:" + path + "@max")
	awaitMatched(t, p, len(ticks))
	if end := p.EndOf(t, "ticks"); end != int64(len(ticks)) {
		t.Errorf("%d ticks were produced of a recording of %d", end, len(ticks))
	}
	requireFirings(t, p.SignUp("trader"), list, ticks)
}
