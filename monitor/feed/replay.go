package feed

import (
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"crier/internal/decimal"
	"crier/internal/event"
	"crier/internal/lifecycle"
)

const replayPrefix = "replay:"

// ReplayFeed emits the ticks of a recorded CSV file, in one of two forms, told
// by its first line:
//
//	time_ms,trade_id,symbol,side,price,quantity           one tick a line
//	close_time,symbol,open,high,low,close,volume,trades   a minute: four ticks a line
//
// A minute's ticks come in the order open, low, high, close when it rose
// (close ≥ open), else open, high, low, close; they are 15 s apart, the last at
// its close.
//
// Each tick carries an id of its place in the file. After a restart the replay
// goes on behind the last tick of each symbol that is in `ticks`, so that each
// is produced once.
type ReplayFeed struct {
	Path  string
	Speed float64 // times real time; 0: as fast as it goes

	resume func(ctx context.Context, source, symbol string) (string, error)
	log    *slog.Logger
}

// Name is `replay:` and the file's name.
func (f *ReplayFeed) Name() string { return replayPrefix + filepath.Base(f.Path) }

// Run emits the file's ticks and returns at its end.
func (f *ReplayFeed) Run(ctx context.Context, emit func(event.Tick) error) error {
	file, err := os.Open(f.Path)
	if err != nil {
		return fmt.Errorf("opening the recording: %w", err)
	}
	defer file.Close()
	skip := make(map[string]string) // by symbol: the id still to be passed, "" once it is
	var began time.Time             // on the wall
	var first time.Time             // in the file
	count := 0
	err = ReadRecording(file, f.Name(), func(t event.Tick) error {
		last, asked := skip[t.Symbol]
		if !asked && f.resume != nil {
			var err error
			if last, err = f.resume(ctx, f.Name(), t.Symbol); err != nil {
				return fmt.Errorf("looking for where the replay stopped: %w", err)
			}
			skip[t.Symbol] = last
		}
		if last != "" {
			if t.ID == last {
				skip[t.Symbol] = ""
			}
			return nil
		}
		if f.Speed > 0 {
			if began.IsZero() {
				began, first = time.Now(), t.Time
			}
			due := began.Add(time.Duration(float64(t.Time.Sub(first)) / f.Speed))
			if err := lifecycle.Sleep(ctx, time.Until(due)); err != nil {
				return err
			}
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		count++
		return emit(t)
	})
	if ctx.Err() != nil {
		return nil
	}
	if err != nil {
		return fmt.Errorf("replaying %s: %w", f.Path, err)
	}
	if f.log != nil {
		for symbol, id := range skip {
			if id != "" {
				f.log.Error("the recording does not hold the tick that its replay stopped at: nothing of the symbol was replayed (another file of the same name?)",
					"source", f.Name(), "symbol", symbol, "id", id)
			}
		}
		f.log.Info("replay ended", "source", f.Name(), "ticks", count)
	}
	return nil
}

// ReadRecording calls fn with each tick of a recording in one of the two forms.
func ReadRecording(r io.Reader, source string, fn func(event.Tick) error) error {
	c := csv.NewReader(r)
	c.ReuseRecord = true
	header, err := c.Read()
	if err != nil {
		return fmt.Errorf("reading the first line: %w", err)
	}
	column := make(map[string]int, len(header))
	for i, name := range header {
		column[name] = i
	}
	has := func(names ...string) bool {
		for _, n := range names {
			if _, ok := column[n]; !ok {
				return false
			}
		}
		return true
	}
	var read func([]string) ([]event.Tick, error)
	switch {
	case has("time_ms", "trade_id", "symbol", "price", "quantity"):
		read = func(row []string) ([]event.Tick, error) { return tradeTicks(row, column, source) }
	case has("close_time", "symbol", "open", "high", "low", "close"):
		read = func(row []string) ([]event.Tick, error) { return minuteTicks(row, column, source) }
	default:
		return fmt.Errorf("unknown form: the first line is %q", header)
	}
	for line := 2; ; line++ {
		row, err := c.Read()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("reading line %d: %w", line, err)
		}
		ticks, err := read(row)
		if err != nil {
			return fmt.Errorf("reading line %d: %w", line, err)
		}
		for _, t := range ticks {
			if err := fn(t); err != nil {
				return err
			}
		}
	}
}

func tradeTicks(row []string, column map[string]int, source string) ([]event.Tick, error) {
	ms, err := strconv.ParseInt(row[column["time_ms"]], 10, 64)
	if err != nil {
		return nil, fmt.Errorf("time_ms: %w", err)
	}
	price, err := decimal.Parse(row[column["price"]])
	if err != nil {
		return nil, fmt.Errorf("price: %w", err)
	}
	size, err := decimal.Parse(row[column["quantity"]])
	if err != nil {
		return nil, fmt.Errorf("quantity: %w", err)
	}
	return []event.Tick{{Symbol: row[column["symbol"]], Price: price, Size: &size, Time: time.UnixMilli(ms).UTC(), Source: source, ID: row[column["trade_id"]]}}, nil
}

// minuteLayout is the time's form in the minute file.
const minuteLayout = "2006-01-02 15:04:05.999999999-07:00"

func minuteTicks(row []string, column map[string]int, source string) ([]event.Tick, error) {
	closed, err := time.Parse(minuteLayout, row[column["close_time"]])
	if err != nil {
		return nil, fmt.Errorf("close_time: %w", err)
	}
	prices := make(map[string]decimal.Decimal, 4)
	for _, name := range []string{"open", "high", "low", "close"} {
		if prices[name], err = decimal.Parse(row[column[name]]); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
	}
	order := [4]string{"open", "low", "high", "close"}
	if prices["close"].Cmp(prices["open"]) < 0 {
		order = [4]string{"open", "high", "low", "close"}
	}
	ticks := make([]event.Tick, 4)
	for i, name := range order {
		at := closed.Add(-time.Duration(3-i) * 15 * time.Second).UTC()
		ticks[i] = event.Tick{Symbol: row[column["symbol"]], Price: prices[name], Time: at, Source: source, ID: closed.UTC().Format(time.RFC3339) + "/" + name}
	}
	return ticks, nil
}
