package bench

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"crier/internal/kafka"
	"crier/internal/lifecycle"
)

// ReturnConfig says what readers come back to: notifications, or a topic's
// messages, that are stored, so that a gateway has to find them.
type ReturnConfig struct {
	GatewayConfig
	Missed int // of each reader
	// Store produces to `notifications` and waits until a consumer has stored all.
	StoreFunc func(ctx context.Context, recs []kafka.Record) error
	// RestartFunc ends the gateway and starts it again, at the same address.
	RestartFunc func() (pid int, err error)
}

// pageBuffer is what a reader of many events at once reads with.
const pageBuffer = 32 << 10

// profiledReturn is how long a return is profiled.
const profiledReturn = 3 * time.Second

// RunReturn has everybody connect and leave, stores what they miss, restarts the
// gateway, and measures until everybody who comes back has everything.
func RunReturn(ctx context.Context, cfg ReturnConfig) (GatewayResult, error) {
	var out GatewayResult
	topic, buffer := "", 0
	if cfg.Mode == Resume {
		topic, buffer = benchTopic, pageBuffer
	}
	tokens := make([]string, cfg.Connections)
	cursors := make([]string, cfg.Connections)
	open := func(ctx context.Context, i int) (*stream, error) {
		return openStream(ctx, i, ask{addr: cfg.Addr, ws: cfg.WebSocket, tls: cfg.TLS, topic: topic, since: cursors[i], token: tokens[i], payload: cfg.Payload, buffer: buffer})
	}
	// Whoever was never there has no inbox yet: the first visit is one's place.
	err := eachOf(ctx, cfg.Connections, func(ctx context.Context, i int) (err error) {
		if tokens[i], err = cfg.TokenFunc(benchUser(i)); err != nil {
			return err
		}
		s, err := open(ctx, i)
		if err != nil {
			return err
		}
		cursors[i] = s.cursor
		return s.conn.Close()
	})
	if err != nil {
		return out, err
	}
	if err := cfg.StoreFunc(ctx, cfg.missed(topic)); err != nil {
		return out, err
	}
	if cfg.PID, err = cfg.RestartFunc(); err != nil {
		return out, err
	}
	before, err := cpuTime(cfg.PID)
	if err != nil {
		return out, err
	}
	profiled := cfg.Profile.take(ctx, profiledReturn)
	var arrived, doubled, disordered atomic.Int64
	list := make([]*stream, cfg.Connections)
	began := time.Now()
	readers := lifecycle.NewGroup(ctx)
	err = eachOf(ctx, cfg.Connections, func(ctx context.Context, i int) (err error) {
		if list[i], err = open(ctx, i); err != nil {
			return err
		}
		readers.Go("reader", func(context.Context) error {
			return readBack(list[i], cfg.Missed, topic, &arrived, &doubled, &disordered)
		})
		return nil
	})
	out.ConnectRate = float64(cfg.Connections) / time.Since(began).Seconds()
	err = errors.Join(err, readers.Wait(ctx), readers.Err())
	out.CaughtUp = time.Since(began).Seconds()
	after, cpuErr := cpuTime(cfg.PID)
	if err == nil {
		err = cpuErr
	}
	out.RSS, cpuErr = residentMB(cfg.PID)
	if err == nil {
		err = cpuErr
	}
	// What comes twice may come after everything has come once.
	_ = lifecycle.Sleep(ctx, time.Second)
	for _, s := range list {
		if s == nil {
			continue
		}
		_ = s.conn.SetReadDeadline(time.Now().Add(100 * time.Microsecond))
		for {
			_, data, err := s.next()
			if err != nil {
				break
			}
			if _, ok := stamped(data); ok {
				doubled.Add(1)
			}
		}
		_ = s.conn.Close()
	}
	out.Sent, out.Arrived, out.Doubled, out.Disordered = int64(cfg.Missed*cfg.Connections), arrived.Load(), doubled.Load(), disordered.Load()
	out.Lost = max(0, out.Sent-out.Arrived)
	out.CPUSeconds = (after - before).Seconds()
	out.CPU = out.CPUSeconds / (float64(max(1, out.Arrived)) / 1e6)
	out.Rate = float64(out.Arrived) / out.CaughtUp
	return out, errors.Join(err, profiled())
}

// missed are the records of what everybody misses.
func (c *ReturnConfig) missed(topic string) []kafka.Record {
	filler := strings.Repeat("x", max(0, c.Payload-40))
	var recs []kafka.Record
	add := func(to, key string) {
		value := fmt.Sprintf(`{%s,"source":"bench","payload":{%s%d","x":"%s"}}`, to, stampKey, time.Now().UnixNano(), filler)
		recs = append(recs, kafka.Record{Topic: kafka.Notifications, Key: []byte(key), Value: []byte(value)})
	}
	for range c.Missed {
		if topic != "" {
			add(fmt.Sprintf(`"topic":%q`, topic), topic)
			continue
		}
		for i := range c.Connections {
			add(fmt.Sprintf(`"user_id":%q`, benchUser(i)), benchUser(i))
		}
	}
	return recs
}

// readBack reads from a stream until it has what it missed.
func readBack(s *stream, missed int, topic string, arrived, doubled, disordered *atomic.Int64) error {
	_ = s.conn.SetReadDeadline(time.Now().Add(settleTime))
	s.last, _ = place([]byte(s.cursor), topic) // ready's
	for got := 0; got < missed; {
		cursor, data, err := s.next()
		if err != nil {
			return fmt.Errorf("stream %d, of which %d of %d came: %w", s.number, got, missed, err)
		}
		if _, ok := stamped(data); !ok {
			continue
		}
		id, err := place(cursor, topic)
		switch {
		case err != nil:
			return fmt.Errorf("stream %d: %w", s.number, err)
		case id <= s.last:
			doubled.Add(1)
			continue
		case id > s.last+1:
			disordered.Add(1)
		}
		s.last = id
		got++
		arrived.Add(1)
	}
	return nil
}
