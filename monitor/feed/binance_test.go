package feed

import (
	"errors"
	"testing"
	"time"
)

// The exchange's messages have members that differ in the size of a letter only
// (e and E, m and M), which a decoder that does not care takes for one another.
func TestParseBinance(t *testing.T) {
	t.Parallel()
	// As documented: Spot, WebSocket Streams, Aggregate Trade Streams.
	const trade = `{"stream":"bnbbtc@aggTrade","data":{"e":"aggTrade","E":1672515782136,"s":"BNBBTC","a":12345,"p":"0.001","q":"100","f":100,"l":105,"T":1672515782135,"m":true,"M":true}}`
	tick, err := parseBinance([]byte(trade))
	if err != nil {
		t.Fatal(err)
	}
	if tick.Symbol != "BNBBTC" || tick.Price.String() != "0.001" || tick.Size.String() != "100" || tick.ID != "12345" || tick.Source != "binance" ||
		!tick.Time.Equal(time.UnixMilli(1672515782135)) {
		t.Errorf("got %+v", tick)
	}
	for _, text := range []string{`{"e":"serverShutdown","E":1672515782136}`, `{"stream":"x","data":{"e":"serverShutdown","E":1672515782136}}`} {
		if _, err := parseBinance([]byte(text)); !errors.Is(err, errShutdown) {
			t.Errorf("%s: %v", text, err)
		}
	}
	if tick, err := parseBinance([]byte(`{"result":null,"id":1}`)); tick != nil || err != nil {
		t.Errorf("an answer: %v, %v", tick, err)
	}
	if _, err := parseBinance([]byte(`{"data":{"e":"aggTrade","E":1,"s":"BNBBTC","a":1,"p":"much","q":"1","T":1}}`)); err == nil {
		t.Error("a price that is none was taken")
	}
}
