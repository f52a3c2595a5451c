package event_test

import (
	"testing"
	"time"

	"crier/internal/event"
)

func BenchmarkParse(b *testing.B) {
	b.Run("notification", func(b *testing.B) {
		value := []byte(`{"user_id":"12","title":"Build 4711 is green","body":"All tests passed.","url":"https://ci.example.org/4711","payload":{"branch":"main","took":[1,2,3]}}`)
		b.ReportAllocs()
		for b.Loop() {
			if _, err := event.ParseNotification(value); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("tick", func(b *testing.B) {
		value := []byte(`{"symbol":"BTCUSDT","price":"70000.50","size":"0.0123","time":"2026-01-02T03:04:05.678Z","source":"binance","id":"123456789"}`)
		now := time.Now()
		b.ReportAllocs()
		for b.Loop() {
			if _, err := event.ParseTick(value, now); err != nil {
				b.Fatal(err)
			}
		}
	})
}
