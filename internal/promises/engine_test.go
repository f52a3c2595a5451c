package promises

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"crier/internal/criertest"
	"crier/internal/decimal"
	"crier/internal/event"
)

// timedTicks produces ticks of a symbol from one source, each so many seconds after
// midnight by its own time, and returns their offsets.
func timedTicks(t *testing.T, p *criertest.Program, symbol, source string, ticks ...[2]string) []int64 {
	t.Helper()
	k := p.Kgo(t)
	var out []int64
	for _, x := range ticks {
		seconds, err := time.ParseDuration(x[0])
		if err != nil {
			t.Fatal(err)
		}
		rec := p.TickRecord(symbol, x[1])
		rec.Value = fmt.Appendf(nil, `{"symbol":%q,"price":%q,"source":%q,"time":%q}`, symbol, x[1], source, time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC).Add(seconds).Format(time.RFC3339Nano))
		if err := k.ProduceSync(t.Context(), rec).FirstErr(); err != nil {
			t.Fatal(err)
		}
		out = append(out, rec.Offset)
	}
	return out
}

// pick are some of the offsets.
func pick(all []int64, of ...int) []int64 {
	out := []int64{}
	for _, i := range of {
		out = append(out, all[i])
	}
	return out
}

// Every condition with what it may have, through the whole program: each fires on
// the ticks that docs/alerts.md draws, also when the program is killed in between
// and goes on from what it saved.
func TestEveryCondition(t *testing.T) {
	t.Parallel()
	p := criertest.Start(t)
	u := p.SignUp("ann")
	set := func(body string) int64 {
		t.Helper()
		var made struct{ ID int64 }
		if err := u.Do(t.Context(), "POST", "/alerts", json.RawMessage(body), &made); err != nil {
			t.Fatal(err)
		}
		return made.ID
	}
	first := timedTicks(t, p, "CROSS", "a", [2]string{"0s", "102"})
	crosses := set(`{"symbol":"CROSS","condition":"crosses_above","target":"100","repeat":"every","cooldown":"1s"}`)
	rise := set(`{"symbol":"RISE","condition":"percent_up","percent":"5","window":"1m"}`)
	enters := set(`{"symbol":"BAND","condition":"enters","low":"90","high":"110"}`)
	exits := set(`{"symbol":"BAND","condition":"exits","low":90,"high":110}`)
	trail := set(`{"symbol":"TRAIL","condition":"trailing_stop","percent":"10"}`)
	confirm := set(`{"symbol":"HOLD","condition":"above","target":"100","confirm":"10s"}`)
	ticks := set(`{"symbol":"HOLD","condition":"above","target":"100","confirm":"3 ticks"}`)
	apart := set(`{"symbol":"TWO","condition":"crosses_above","target":"100"}`)

	c := append(first, timedTicks(t, p, "CROSS", "a", [2]string{"1s", "101"}, [2]string{"2s", "99"})...)
	r := timedTicks(t, p, "RISE", "a", [2]string{"10s", "100"}, [2]string{"40s", "97"})
	b := timedTicks(t, p, "BAND", "a", [2]string{"0s", "85"}, [2]string{"1s", "115"})
	tr := timedTicks(t, p, "TRAIL", "a", [2]string{"0s", "110"}, [2]string{"1s", "105"}, [2]string{"2s", "120"})
	h := timedTicks(t, p, "HOLD", "a", [2]string{"0s", "101"}, [2]string{"4s", "102"}, [2]string{"6s", "99"}, [2]string{"9s", "100"})
	tw := timedTicks(t, p, "TWO", "a", [2]string{"0s", "101"})
	tw = append(tw, timedTicks(t, p, "TWO", "b", [2]string{"0s", "99"})...)
	tw = append(tw, timedTicks(t, p, "TWO", "a", [2]string{"1s", "102"})...)
	criertest.Eventually(t, time.Minute, "all is matched", func() bool { return p.GroupAt(t, "crier-matcher", "ticks") == p.EndOf(t, "ticks") })
	p.Kill()
	p.Start()
	u = p.SignUp("ann")
	c = append(c, timedTicks(t, p, "CROSS", "a", [2]string{"3s", "100"}, [2]string{"4s", "104"})...)
	r = append(r, timedTicks(t, p, "RISE", "a", [2]string{"65s", "101"}, [2]string{"80s", "102"})...)
	b = append(b, timedTicks(t, p, "BAND", "a", [2]string{"2s", "100"}, [2]string{"3s", "108"}, [2]string{"4s", "111"})...)
	tr = append(tr, timedTicks(t, p, "TRAIL", "a", [2]string{"3s", "112"}, [2]string{"4s", "108"})...)
	h = append(h, timedTicks(t, p, "HOLD", "a", [2]string{"13s", "103"}, [2]string{"16s", "101"}, [2]string{"20s", "102"})...)
	tw = append(tw, timedTicks(t, p, "TWO", "b", [2]string{"2s", "100"})...)
	requireOffsets(t, u, crosses, pick(c, 3))
	requireOffsets(t, u, rise, pick(r, 3))
	requireOffsets(t, u, enters, pick(b, 2))
	requireOffsets(t, u, exits, pick(b, 4))
	requireOffsets(t, u, trail, pick(tr, 4))
	requireOffsets(t, u, confirm, pick(h, 6))
	requireOffsets(t, u, ticks, pick(h, 5))
	requireOffsets(t, u, apart, pick(tw, 3))
	requireHistory(t, u, rise)
	requireCandles(t, u)
	requireDryRun(t, u, r)
}

// requireHistory says that a firing tells the tick before it, what it was
// measured from, and the alert as it was, also once that is gone.
func requireHistory(t *testing.T, u *criertest.User, id int64) {
	t.Helper()
	if err := u.Do(t.Context(), "DELETE", fmt.Sprint("/alerts/", id), nil, nil); err != nil {
		t.Fatal(err)
	}
	var page struct {
		Results []struct {
			Price, Reference, Change string
			Before                   struct{ Price string }
			Alert                    struct{ Condition, Percent, Window string }
		}
	}
	if err := u.Do(t.Context(), "GET", fmt.Sprintf("/alerts/%d/firings", id), nil, &page); err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(page.Results); got != "[{102 97 +5.15 {101} {percent_up 5 1m0s}}]" {
		t.Errorf("the firing says %s", got)
	}
}

// requireCandles reads the candles of the rising symbol.
func requireCandles(t *testing.T, u *criertest.User) {
	t.Helper()
	want := "[{100 100 97 97 2} {101 102 101 102 2}]"
	got := ""
	criertest.Eventually(t, time.Minute, "the candles are written", func() bool {
		var page struct {
			Results []struct {
				Open, High, Low, Close string
				Ticks                  int
			}
		}
		err := u.Do(t.Context(), "GET", "/prices/RISE/candles?interval=1m&from=2026-01-01T00:00:00Z", nil, &page)
		got = fmt.Sprint(page.Results)
		return err == nil && (got == want)
	})
}

// requireDryRun tries the alert that rose on what was kept.
func requireDryRun(t *testing.T, u *criertest.User, ticks []int64) {
	t.Helper()
	var out struct {
		Ticks, Count int
		Firings      []struct {
			Price, Reference string
			Offset           *int64
		}
	}
	body := `{"symbol":"RISE","condition":"percent_up","percent":"5","window":"1m","over":%q}`
	if err := u.Do(t.Context(), "POST", "/alerts/dry-run", json.RawMessage(fmt.Sprintf(body, "ticks")), &out); err != nil {
		t.Fatal(err)
	}
	if out.Count != 1 || out.Ticks != 4 || *out.Firings[0].Offset != ticks[3] || out.Firings[0].Reference != "97" {
		t.Errorf("over ticks: %+v", out)
	}
	if err := u.Do(t.Context(), "POST", "/alerts/dry-run", json.RawMessage(fmt.Sprintf(body, "1s")), &out); err != nil || out.Count != 1 || out.Firings[0].Price != "102" {
		t.Errorf("over candles: %+v, %v", out, err)
	}
	err := u.Do(t.Context(), "POST", "/alerts/dry-run", json.RawMessage(`{"symbol":"RISE","condition":"percent_up","percent":"0","window":"10s","over":"moon"}`), nil)
	for _, field := range []string{"percent", "window"} {
		if err == nil || !strings.Contains(fmt.Sprint(err), field) {
			t.Errorf("a wrong one: %v, names no %s", err, field)
		}
	}
}

// While the monitor is dead ten minutes of ticks flow, by their own times. When it
// is back every alert that was met meanwhile has fired once, on the right tick:
// also those that were met and left again, that confirm, cross, look at a window
// or follow a best price.
func TestTenMinutesWithoutAMonitor(t *testing.T) {
	t.Parallel()
	criertest.Kafkas(t, func(t *testing.T, brokers string) {
		p := criertest.NewParts(t, brokers, "3", "CRIER_FEEDS=none")
		gateway, monitor := p.Start("gateway"), p.Start("monitor")
		p.Start("consumer")
		u := gateway.SignUp("ann")
		out := outsider(t, brokers)
		produced := []*event.Tick{}
		var offsets []int64
		tick := func(second, price int) {
			t.Helper()
			tick := &event.Tick{Symbol: "GAP", Price: decimal.FromUnits(int64(price), 0), Source: "a", Time: time.Date(2026, 1, 1, 0, 0, second, 0, time.UTC)}
			rec := &kgo.Record{Topic: p.Prefix + "ticks", Key: []byte("GAP"), Value: tick.AppendJSON(nil)}
			mustProduce(t, out, rec)
			produced, offsets = append(produced, tick), append(offsets, rec.Offset)
		}
		tick(0, 100)
		bodies := []string{
			`{"condition":"above","target":"150"}`, `{"condition":"below","target":"60"}`, `{"condition":"crosses_below","target":"99"}`,
			`{"condition":"above","target":"120","confirm":"70s"}`, `{"condition":"below","target":"90","confirm":"4 ticks"}`,
			`{"condition":"percent_down","percent":"30","window":"2m"}`, `{"condition":"trailing_stop","percent":"25"}`,
			`{"condition":"above","target":"140","hysteresis":"30"}`, `{"condition":"exits","low":"70","high":"140"}`, `{"condition":"above","target":"1000"}`,
		}
		ids := make([]int64, len(bodies))
		for i, body := range bodies {
			ids[i] = setOn(t, u, "GAP", body)
		}
		tick(10, 101)
		awaitOffset(t, out, p.Prefix, offsets[1])
		monitor.Kill()
		for i := 2; i <= 62; i++ { // up to 160, down to 50 and back, three times
			tick(i*10, []int{100, 110, 120, 130, 145, 160, 155, 150, 140, 130, 125, 110, 90, 70, 55, 50, 60, 80, 95, 100}[i%20])
		}
		p.Start("monitor")
		for i, body := range bodies {
			requireOffsets(t, u, ids[i], watched(t, body, produced, offsets))
		}
	})
}

// watched is what one look at all the ticks says that an alert fires on.
func watched(t *testing.T, body string, ticks []*event.Tick, offsets []int64) []int64 {
	t.Helper()
	var in struct {
		Condition, Window, Confirm string
		Target, Percent, Low, High *decimal.Decimal
		Hysteresis                 decimal.Decimal
	}
	if err := json.Unmarshal([]byte(body), &in); err != nil {
		t.Fatal(err)
	}
	w := event.Watch{Rule: event.Rule{Condition: event.Condition(in.Condition), Hysteresis: in.Hysteresis}}
	for _, d := range []*decimal.Decimal{in.Target, in.Percent, in.Low} {
		if d != nil {
			w.Rule.Target = *d
		}
	}
	if in.High != nil {
		w.Rule.High = *in.High
	}
	w.Rule.Window, _ = time.ParseDuration(in.Window)
	if _, err := fmt.Sscanf(in.Confirm, "%d ticks", &w.Rule.Confirm.Ticks); err != nil {
		w.Rule.Confirm = event.Confirm{}
		w.Rule.Confirm.For, _ = time.ParseDuration(in.Confirm)
	}
	fired := []int64{}
	for i, tick := range ticks {
		if fires, _ := w.Tick(tick, tick.Time); fires {
			fired = append(fired, offsets[i])
		}
	}
	return fired
}

func setOn(t *testing.T, u *criertest.User, symbol, body string) int64 {
	t.Helper()
	var made struct{ ID int64 }
	if err := u.Do(t.Context(), "POST", "/alerts", json.RawMessage(`{"symbol":"`+symbol+`",`+body[1:]), &made); err != nil {
		t.Fatal(err)
	}
	return made.ID
}

// awaitOffset waits until the matcher has committed beyond an offset.
func awaitOffset(t *testing.T, c *kgo.Client, prefix string, offset int64) {
	t.Helper()
	criertest.Eventually(t, time.Minute, "the ticks are matched", func() bool {
		got, err := kadm.NewClient(c).FetchOffsets(t.Context(), prefix+"crier-matcher")
		matched := false
		got.Each(func(o kadm.OffsetResponse) { matched = matched || o.At > offset })
		return err == nil && matched
	})
}

// Alerts go in and out as CSV and JSON lines, by the command line too; lines that
// break a rule are named; many are changed at once; a fired one is snoozed from
// its notification.
func TestAlertsInBulk(t *testing.T) {
	t.Parallel()
	p := criertest.Start(t)
	u := p.SignUp("ann")
	file := "symbol,condition,target,percent,window,repeat,cooldown,note\n" +
		"GOLD,above,5,,,,,\"a, b\"\nGOLD,percent_up,,2.5,1h,every,10m,\nGOLD,above,,,,,,\nGOLD,moon,5,,,,,\n"
	out, errOut, err := p.Run(t.Context(), file, "alerts", "import", "--user", u.ID)
	if err == nil || !strings.Contains(out, `{"created":2,"refused":2}`) || !strings.Contains(errOut, "line 4: target") || !strings.Contains(errOut, "line 5: condition") {
		t.Fatalf("import: %v\n%s\n%s", err, out, errOut)
	}
	for _, format := range []string{"csv", "jsonl"} {
		exported, errOut, err := p.Run(t.Context(), "", "alerts", "export", "--user", u.ID, "--format", format)
		if err != nil || strings.Count(exported, "GOLD") == 0 {
			t.Fatalf("export: %v %s %s", err, exported, errOut)
		}
		again, errOut, err := p.Run(t.Context(), exported, "alerts", "import", "--user", u.ID)
		if err != nil || !strings.Contains(again, `"refused":0`) {
			t.Errorf("%s read again: %v %s %s\n%s", format, err, again, errOut, exported)
		}
	}
	var page struct {
		Results []struct {
			ID      int64
			State   string
			Snoozed string `json:"snoozed_until"`
		}
	}
	list := func() []int64 {
		t.Helper()
		if err := u.Do(t.Context(), "GET", "/alerts", nil, &page); err != nil {
			t.Fatal(err)
		}
		var ids []int64
		for _, a := range page.Results {
			ids = append(ids, a.ID)
		}
		return ids
	}
	ids := list()
	if len(ids) != 8 {
		t.Fatalf("%d alerts, want 8", len(ids))
	}
	var answer struct{ Changed, Refused int }
	if err := u.Do(t.Context(), "POST", "/alerts/bulk", map[string]any{"ids": append(ids, 999), "action": "pause"}, &answer); err != nil || answer.Changed != 8 || answer.Refused != 1 {
		t.Errorf("paused %+v, %v", answer, err)
	}
	tick(t, p, "GOLD", "6")
	first := ids[len(ids)-1]
	if err := u.Do(t.Context(), "POST", fmt.Sprintf("/alerts/%d/resume", first), nil, nil); err != nil {
		t.Fatal(err)
	}
	requireOffsets(t, u, first, []int64{0})
	n := u.Follow(t, "0", 1)[0]
	if err := u.Do(t.Context(), "POST", fmt.Sprintf("/notifications/%d/snooze", n.ID), map[string]string{"for": "1h"}, nil); err != nil {
		t.Fatal(err)
	}
	if list(); page.Results[len(ids)-1].State != "created" || page.Results[len(ids)-1].Snoozed == "" {
		t.Errorf("snoozed: %+v", page.Results[len(ids)-1])
	}
	tick(t, p, "GOLD", "7")
	criertest.Eventually(t, time.Minute, "the tick is matched", func() bool { return p.GroupAt(t, "crier-matcher", "ticks") == 2 })
	requireOffsets(t, u, first, []int64{0})
	if err := u.Do(t.Context(), "POST", "/alerts/bulk", map[string]any{"ids": ids, "action": "delete"}, &answer); err != nil || answer.Changed != 8 || len(list()) != 0 {
		t.Errorf("deleted %+v, %v", answer, err)
	}
}
