package feed

import (
	"bytes"
	"strings"
	"testing"

	"crier/internal/event"
)

// Whatever the exchange sends, what is taken for a trade can be produced and
// read again as the same tick.
func FuzzParseBinance(f *testing.F) {
	for _, s := range []string{
		`{"stream":"btcusdt@aggTrade","data":{"e":"aggTrade","E":1700000000000,"s":"BTCUSDT","a":26129,"p":"0.01633102","q":"4.70443515","f":27781,"l":27781,"T":1700000000123,"m":true,"M":true}}`,
		`{"e":"serverShutdown","E":1700000000000}`, `{"data":{"e":"kline"}}`, `{}`, `null`, `[]`, `{"data":{"e":"aggTrade","s":"","p":null}}`, `{"data":{"e":"aggTrade","s":"A","a":1,"p":1e400,"q":"NaN","T":9223372036854775807}}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		tick, err := parseBinance(data)
		if err != nil || tick == nil {
			return
		}
		again, err := event.ParseTick(tick.AppendJSON(nil), tick.Time)
		if err != nil {
			if y := tick.Time.Year(); y < 1970 || y > 9999 {
				return
			}
			t.Fatalf("%s is no tick: %v", tick.AppendJSON(nil), err)
		}
		if !bytes.Equal(again.AppendJSON(nil), tick.AppendJSON(nil)) {
			t.Errorf("%s is read as %s", tick.AppendJSON(nil), again.AppendJSON(nil))
		}
	})
}

// Whatever a file holds, reading it ends, with ticks or an error.
func FuzzReadRecording(f *testing.F) {
	for _, s := range []string{
		"time_ms,trade_id,symbol,side,price,quantity\n1700000000123,7,BTCUSDT,buy,35000.10,0.5\n",
		"close_time,symbol,open,high,low,close,volume,trades\n2026-05-01 12:00:59.999+00:00,BTCUSDT,1,4,0.5,2,10,3\n",
		"", "a\n", "time_ms,trade_id,symbol,price,quantity\n\"", "time_ms,trade_id,symbol,price,quantity\n1,2,3\n",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		count := 0
		_ = ReadRecording(strings.NewReader(s), "replay:x", func(event.Tick) error { count++; return nil })
		if count > 4*strings.Count(s, "\n")+4 {
			t.Errorf("%d ticks of %d lines", count, strings.Count(s, "\n"))
		}
	})
}
