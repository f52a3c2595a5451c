package wire

import (
	"fmt"
	"io"
	"runtime"
	"sync"
	"testing"
	"time"
)

// Whatever is written in a batch, and beside it, comes once and in order, whether
// the batch is written by its own goroutine or by the writers.
func TestBatch(t *testing.T) {
	t.Parallel()
	for _, conns := range []int{1, fewWrites, 4 * fewWrites} {
		t.Run(fmt.Sprint(conns), func(t *testing.T) {
			t.Parallel()
			p := startPool(t, Config{Writers: 2})
			const frames = 200
			var readers sync.WaitGroup
			list := make([]*Conn, conns)
			for i := range list {
				server, client := pair(t)
				list[i] = p.Adopt(server, nil, nil)
				readers.Go(func() {
					_ = client.SetReadDeadline(time.Now().Add(patience))
					var b [3]byte
					batched, beside := 0, 0
					for batched+beside < 2*frames {
						if _, err := io.ReadFull(client, b[:]); err != nil {
							t.Errorf("after %d and %d frames: %v", batched, beside, err)
							return
						}
						next := &batched
						if b[0] == 's' {
							next = &beside
						}
						if got := int(b[1])<<8 | int(b[2]); got != *next {
							t.Errorf("frame %c%d, want %d", b[0], got, *next)
							return
						}
						*next++
					}
				})
			}
			write := func(kind byte, n int) {
				for _, c := range list {
					c.Write([]byte{kind, byte(n >> 8), byte(n)})
				}
			}
			var writers sync.WaitGroup
			writers.Go(func() {
				b := p.Batch()
				for n := range frames {
					b.Do(func() { write('b', n) })
				}
			})
			writers.Go(func() {
				for n := range frames {
					write('s', n)
				}
			})
			writers.Wait()
			readers.Wait()
			if lag := p.Lag(); lag > patience {
				t.Errorf("nothing is left to write, and the lag is %v", lag)
			}
		})
	}
}

// What was written by the goroutine of a batch leaves no lag behind.
func TestBatchLeavesNoLag(t *testing.T) {
	t.Parallel()
	p := startPool(t, Config{Writers: 1})
	server, client := pair(t)
	c := p.Adopt(server, nil, nil)
	for idle := false; !idle; {
		w := p.workers[0]
		w.mu.Lock()
		idle = w.idle
		w.mu.Unlock()
		runtime.Gosched()
	}
	b := p.Batch()
	b.Do(func() { c.Write([]byte("x")) })
	_ = client.SetReadDeadline(time.Now().Add(patience))
	if _, err := io.ReadFull(client, make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	if lag := p.Lag(); lag != 0 {
		t.Errorf("the lag is %v", lag)
	}
}
