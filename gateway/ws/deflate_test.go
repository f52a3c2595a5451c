package ws

import (
	"bytes"
	"compress/flate"
	"fmt"
	"io"
	"strings"
	"testing"

	"crier/gateway/hub"
)

// samples are messages as they go out: what permessage-deflate would get.
func samples() map[string][]byte {
	notification := func(body string) []byte {
		return encode(&hub.Event{Type: hub.Notification, ID: 48213, Data: fmt.Appendf(nil,
			`{"id":48213,"event_id":"01J9ZQ7S4M3T0V8D6KX2B5N1CE","user_id":"90210","kind":"message","title":"Build 4711 is green","body":%q,"url":"https://ci.example.org/4711","payload":{"branch":"main","commit":"9f1c2ab","duration_s":212},"priority":"normal","unread":3,"created_at":"2026-11-21T20:54:33.123456Z"}`, body)})
	}
	tick := func(symbol, price, id string) []byte {
		return encode(&hub.Event{Type: hub.Ticks, Data: fmt.Appendf(nil, `{"symbol":%q,"price":%q,"size":"0.01450000","time":"2026-11-21T20:54:33.123456Z","source":"binance","id":%q}`, symbol, price, id)})
	}
	alert := encode(&hub.Event{Type: hub.Notification, ID: 913, Data: []byte(
		`{"id":913,"event_id":"alert:1207:1","user_id":"90210","kind":"alert","title":"BTCUSDT rose to 70000.10","body":"BTCUSDT is at or above 70000: 70000.10 at 20:54:33 UTC (binance).","payload":{"alert_id":1207,"user_id":"90210","symbol":"BTCUSDT","condition":"above","target":"70000","price":"70000.10","time":"2026-11-21T20:54:33.123456Z","source":"binance","topic":"ticks","partition":0,"offset":88123456,"firing":1},"priority":"high","unread":4,"created_at":"2026-11-21T20:54:33.223456Z"}`)})
	round := strings.Join([]string{string(tick("BTCUSDT", "70000.10", "3456789012")), string(tick("ETHUSDT", "3512.44", "2456789013")), string(tick("SOLUSDT", "184.07", "1456789014")),
		string(tick("XRPUSDT", "1.1043", "956789015")), string(tick("DOGEUSDT", "0.39021", "756789016"))}, "")
	return map[string][]byte{
		"tick": tick("BTCUSDT", "70000.10", "3456789012"), "five ticks, were they one message": []byte(round),
		"notification": notification("All 1,204 tests passed in 3 min 32 s."), "alert": alert,
		"notification of 2 KB": notification(strings.Repeat("All 1,204 tests passed in 3 min 32 s; the slowest was TestKill, with 41 s. ", 24)),
	}
}

// deflated is a message as permessage-deflate has it (RFC 7692 section 7.2.1).
func deflated(w *flate.Writer, buf *bytes.Buffer, message []byte) []byte {
	buf.Reset()
	w.Reset(buf)
	_, _ = w.Write(message) // into memory
	_ = w.Flush()
	return bytes.TrimSuffix(buf.Bytes(), []byte{0, 0, 0xff, 0xff})
}

// What compression would save and cost, a message alone (no context takeover, so
// that a frame can be shared and no connection keeps a window), beside what the
// frame costs without. The decision from it is docs/adr-0010-no-permessage-deflate.md.
func BenchmarkDeflate(b *testing.B) {
	for name, message := range samples() {
		b.Run(fmt.Sprintf("%s/plain", name), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				_ = textFrame(message)
			}
			b.ReportMetric(float64(len(message)), "bytes")
		})
		for _, level := range []int{1, 6} {
			b.Run(fmt.Sprintf("%s/level=%d", name, level), func(b *testing.B) {
				var buf bytes.Buffer
				w, err := flate.NewWriter(&buf, level)
				if err != nil {
					b.Fatal(err)
				}
				b.ReportAllocs()
				n := 0
				for b.Loop() {
					n = len(deflated(w, &buf, message))
				}
				b.ReportMetric(float64(n), "bytes")
				b.ReportMetric(100-100*float64(n)/float64(len(message)), "%saved")
			})
		}
	}
}

// The same with a connection's own window, which a page of prices would gain most
// by: each message finds the one before it. It costs the compressor, and no frame
// is shared.
func BenchmarkDeflateWithContext(b *testing.B) {
	for name, message := range samples() {
		for _, level := range []int{1, 6} {
			b.Run(fmt.Sprintf("%s/level=%d", name, level), func(b *testing.B) {
				var buf bytes.Buffer
				w, err := flate.NewWriter(&buf, level)
				if err != nil {
					b.Fatal(err)
				}
				b.ReportAllocs()
				sent, count := 0, 0
				for b.Loop() {
					buf.Reset()
					// Prices and ids differ from message to message.
					_, _ = w.Write(bytes.Replace(message, []byte("33.123456Z"), fmt.Appendf(nil, "%02d.%06dZ", count%60, count*7919%1_000_000), 1))
					_ = w.Flush()
					sent += buf.Len() - 4
					count++
				}
				b.ReportMetric(float64(sent)/float64(count), "bytes")
			})
		}
	}
}

// BenchmarkDeflateMemory is what one compressor and one decompressor take, which
// each connection would keep with context takeover.
func BenchmarkDeflateMemory(b *testing.B) {
	for _, level := range []int{1, 6} {
		b.Run(fmt.Sprintf("level=%d", level), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				w, err := flate.NewWriter(io.Discard, level)
				if err != nil {
					b.Fatal(err)
				}
				_, _ = w.Write([]byte("x"))
				_ = w.Flush()
			}
		})
	}
	b.Run("inflate", func(b *testing.B) {
		var buf bytes.Buffer
		w, err := flate.NewWriter(&buf, 1)
		if err != nil {
			b.Fatal(err)
		}
		_, _ = w.Write([]byte("x"))
		_ = w.Close()
		b.ReportAllocs()
		for b.Loop() {
			_, _ = io.Copy(io.Discard, flate.NewReader(bytes.NewReader(buf.Bytes())))
		}
	})
}
