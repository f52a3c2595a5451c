package bench

import (
	"bufio"
	"context"
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

// Floor is what any gateway must cost at least: a bare loop that writes prepared
// bytes to sockets with a fixed pool of writers, one write call a delivery and
// nothing else. It reads a request without looking at it, and begins when all
// connections are there.
func Floor(ctx context.Context, l net.Listener, connections, rate, payload int, duration time.Duration) error {
	group := lifecycle.NewGroup(ctx)
	conns := make([]net.Conn, 0, connections)
	for len(conns) < connections {
		c, err := l.Accept()
		if err != nil {
			return fmt.Errorf("accepting: %w", err)
		}
		if _, err := bufio.NewReaderSize(c, 1024).ReadString('\n'); err != nil {
			return fmt.Errorf("reading a request: %w", err)
		}
		if _, err := c.Write([]byte("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\nevent: ready\ndata: {}\n\n")); err != nil {
			return fmt.Errorf("answering: %w", err)
		}
		conns = append(conns, c)
	}
	if err := lifecycle.Sleep(ctx, 2*time.Second); err != nil {
		return err
	}
	type job struct {
		to    int
		frame []byte
	}
	filler := strings.Repeat("x", max(0, payload-40))
	ids := make([]int64, connections)
	writers := runtime.GOMAXPROCS(0)
	queues := make([]chan job, writers)
	var failed sync.Once
	var failure error
	for w := range writers {
		queues[w] = make(chan job, 4096)
		group.Go("writer", func(context.Context) error {
			for j := range queues[w] {
				if _, err := conns[j.to].Write(j.frame); err != nil && !errors.Is(err, net.ErrClosed) {
					failed.Do(func() { failure = err })
				}
			}
			return nil
		})
	}
	total := int64(float64(rate) * duration.Seconds())
	began := time.Now()
	for sent := int64(0); sent < total && ctx.Err() == nil; {
		due := min(total, int64(time.Since(began).Seconds()*float64(rate)))
		for ; sent < due; sent++ {
			i := rand.IntN(connections)
			ids[i]++
			frame := fmt.Appendf(make([]byte, 0, payload+80), "event: notification\nid: %d\ndata: {\"id\":%d,%s%d\",\"x\":\"%s\"}\n\n", ids[i], ids[i], stampKey, time.Now().UnixNano(), filler)
			queues[i%writers] <- job{i, frame}
		}
		if err := lifecycle.Sleep(ctx, time.Millisecond); err != nil {
			break
		}
	}
	for _, q := range queues {
		close(q)
	}
	<-ctx.Done() // the reader ends us when it has counted
	return errors.Join(failure, group.Wait(context.WithoutCancel(ctx)))
}
