package bench

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"runtime"
	"strings"
	"sync"
	"time"

	"crier/internal/lifecycle"
)

// FloorConfig says what the floor does.
type FloorConfig struct {
	Mode        string // Unicast, or Broadcast: as fast as it goes
	WebSocket   bool
	Connections int
	Rate        int
	Payload     int
	Duration    time.Duration
}

// Floor is what any gateway must cost at least: a bare loop that writes prepared
// bytes to sockets with a fixed pool of writers, one write call a delivery and
// nothing else. It reads a request without looking at it, and begins when all
// connections are there.
func Floor(ctx context.Context, l net.Listener, cfg FloorConfig) error {
	conns := make([]net.Conn, 0, cfg.Connections)
	for len(conns) < cfg.Connections {
		c, err := l.Accept()
		if err != nil {
			return fmt.Errorf("accepting: %w", err)
		}
		if _, err := bufio.NewReaderSize(c, 1024).ReadString('\n'); err != nil {
			return fmt.Errorf("reading a request: %w", err)
		}
		begin := []byte("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\nevent: ready\ndata: {}\n\n")
		if cfg.WebSocket {
			begin = append([]byte("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"), frameOf([]byte("{}"))...)
		}
		if _, err := c.Write(begin); err != nil {
			return fmt.Errorf("answering: %w", err)
		}
		conns = append(conns, c)
	}
	if err := lifecycle.Sleep(ctx, settleConnects); err != nil {
		return err
	}
	f := &floor{cfg: cfg, conns: conns, filler: strings.Repeat("x", max(0, cfg.Payload-40)), group: lifecycle.NewGroup(ctx)}
	f.start()
	if cfg.Mode == Broadcast {
		f.broadcast(ctx)
	} else {
		f.unicast(ctx)
	}
	for _, q := range f.queues {
		close(q)
	}
	<-ctx.Done() // the reader ends us when it has counted
	return errors.Join(f.failure, f.group.Wait(context.WithoutCancel(ctx)))
}

type floor struct {
	cfg     FloorConfig
	conns   []net.Conn
	filler  string
	group   *lifecycle.Group
	queues  []chan floorJob
	failed  sync.Once
	failure error
}

// floorJob is a frame for one connection, or for all of a writer's.
type floorJob struct {
	to    int // -1: all
	frame []byte
	done  *sync.WaitGroup
}

func (f *floor) start() {
	f.queues = make([]chan floorJob, runtime.GOMAXPROCS(0))
	for w := range f.queues {
		f.queues[w] = make(chan floorJob, 4096)
		f.group.Go("writer", func(context.Context) error {
			for j := range f.queues[w] {
				if j.to >= 0 {
					f.write(j.to, j.frame)
					continue
				}
				for i := w; i < len(f.conns); i += len(f.queues) {
					f.write(i, j.frame)
				}
				j.done.Done()
			}
			return nil
		})
	}
}

func (f *floor) write(to int, frame []byte) {
	if _, err := f.conns[to].Write(frame); err != nil && !errors.Is(err, net.ErrClosed) {
		f.failed.Do(func() { f.failure = err })
	}
}

func (f *floor) unicast(ctx context.Context) {
	ids := make([]int64, len(f.conns))
	total := int64(float64(f.cfg.Rate) * f.cfg.Duration.Seconds())
	began := time.Now()
	for sent := int64(0); sent < total && ctx.Err() == nil; {
		due := min(total, int64(time.Since(began).Seconds()*float64(f.cfg.Rate)))
		for ; sent < due; sent++ {
			i := rand.IntN(len(f.conns))
			ids[i]++
			f.queues[i%len(f.queues)] <- floorJob{to: i, frame: f.frame(ids[i])}
		}
		if lifecycle.Sleep(ctx, time.Millisecond) != nil {
			return
		}
	}
}

func (f *floor) broadcast(ctx context.Context) {
	began := time.Now()
	for id := int64(1); time.Since(began) < f.cfg.Duration && ctx.Err() == nil; id++ {
		var done sync.WaitGroup
		done.Add(len(f.queues))
		job := floorJob{to: -1, frame: f.frame(id), done: &done}
		for _, q := range f.queues {
			q <- job
		}
		done.Wait()
	}
}

func (f *floor) frame(id int64) []byte {
	now := time.Now().UnixNano()
	if f.cfg.WebSocket {
		return frameOf(fmt.Appendf(nil, `{"type":"notification","id":"%d","data":{"id":%d,%s%d","x":"%s"}}`, id, id, stampKey, now, f.filler))
	}
	return fmt.Appendf(make([]byte, 0, len(f.filler)+120), "event: notification\nid: %d\ndata: {\"id\":%d,%s%d\",\"x\":\"%s\"}\n\n", id, id, stampKey, now, f.filler)
}

// frameOf is a text frame of a server (RFC 6455 section 5.2), up to 64 KiB.
func frameOf(payload []byte) []byte {
	b := []byte{0x81, byte(len(payload))}
	if len(payload) > 125 {
		b[1] = 126
		b = binary.BigEndian.AppendUint16(b, uint16(len(payload)))
	}
	return append(b, payload...)
}
