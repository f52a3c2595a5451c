package kafka_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// link is the network between a client and its brokers, which can be cut, held up, and
// made to bring other answers to produce requests.
type link struct {
	refuse atomic.Pointer[kerr.Error] // what every produce is answered; nil: as the broker answers

	mu    sync.Mutex // guards the rest
	down  bool
	held  chan struct{} // closed when what was held goes on; nil: nothing is held
	conns map[*linkConn]bool
}

func newLink() *link { return &link{conns: make(map[*linkConn]bool)} }

// dial is kafka.Config.Dial.
func (l *link) dial(ctx context.Context, network, address string) (net.Conn, error) {
	l.mu.Lock()
	down := l.down
	l.mu.Unlock()
	if down {
		return nil, errors.New("the link is cut")
	}
	c, err := new(net.Dialer).DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	out := &linkConn{Conn: c, link: l, asked: make(map[int32]asked)}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.conns[out] = true
	return out, nil
}

// cut ends all connections and lets none be made until restore.
func (l *link) cut() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.down = true
	for c := range l.conns {
		_ = c.Conn.Close()
	}
	clear(l.conns)
}

// hold keeps connections open and brings nothing over them until restore, as a peer that
// hangs does.
func (l *link) hold() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.held = make(chan struct{})
}

// restore ends every fault.
func (l *link) restore() {
	l.refuse.Store(nil)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.down = false
	if l.held != nil {
		close(l.held)
		l.held = nil
	}
}

// pass waits while the link is held.
func (l *link) pass() {
	l.mu.Lock()
	held := l.held
	l.mu.Unlock()
	if held != nil {
		<-held
	}
}

// asked is a request whose answer is to come.
type asked struct{ key, version int16 }

// linkConn follows requests and answers on one connection. Each side is used by one
// goroutine.
type linkConn struct {
	net.Conn
	link *link
	out  bytes.Buffer // the beginning of a request
	in   bytes.Buffer // answers that were read whole
	rest bytes.Buffer // the beginning of the next

	mu    sync.Mutex // guards asked
	asked map[int32]asked
}

func (c *linkConn) Write(p []byte) (int, error) {
	c.link.pass()
	c.out.Write(p)
	for c.out.Len() >= 4 {
		size := int(binary.BigEndian.Uint32(c.out.Bytes()))
		if c.out.Len() < 4+size {
			break
		}
		req := c.out.Next(4 + size)[4:]
		c.mu.Lock()
		c.asked[int32(binary.BigEndian.Uint32(req[4:]))] = asked{int16(binary.BigEndian.Uint16(req)), int16(binary.BigEndian.Uint16(req[2:]))}
		c.mu.Unlock()
	}
	return c.Conn.Write(p)
}

func (c *linkConn) Read(p []byte) (int, error) {
	for c.in.Len() == 0 {
		buf := make([]byte, 64<<10)
		n, err := c.Conn.Read(buf)
		c.link.pass()
		c.rest.Write(buf[:n])
		for c.rest.Len() >= 4 {
			size := int(binary.BigEndian.Uint32(c.rest.Bytes()))
			if c.rest.Len() < 4+size {
				break
			}
			answer := c.changed(c.rest.Next(4 + size)[4:])
			c.in.Write(binary.BigEndian.AppendUint32(nil, uint32(len(answer))))
			c.in.Write(answer)
		}
		if err != nil && c.in.Len() == 0 {
			if errors.Is(err, io.EOF) && c.rest.Len() > 0 {
				err = io.ErrUnexpectedEOF
			}
			return 0, err
		}
	}
	return c.in.Read(p)
}

// changed is the answer that the client gets.
func (c *linkConn) changed(answer []byte) []byte {
	c.mu.Lock()
	id := int32(binary.BigEndian.Uint32(answer))
	to := c.asked[id]
	delete(c.asked, id)
	c.mu.Unlock()
	fault := c.link.refuse.Load()
	if fault == nil || to.key != int16(kmsg.Produce) {
		return answer
	}
	resp := kmsg.NewPtrProduceResponse()
	resp.SetVersion(to.version)
	head := 4
	if resp.IsFlexible() {
		head++ // no tags
	}
	if err := resp.ReadFrom(answer[head:]); err != nil {
		return answer
	}
	for i := range resp.Topics {
		for j := range resp.Topics[i].Partitions {
			resp.Topics[i].Partitions[j].ErrorCode = fault.Code
		}
	}
	return resp.AppendTo(bytes.Clone(answer[:head]))
}
