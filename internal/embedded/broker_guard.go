package embedded

import (
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// maxRequestBytes bounds one request to the embedded broker: the largest record
// batch (18 MiB) for a few partitions at once. Apache Kafka's own
// socket.request.max.bytes is 100 MiB.
const maxRequestBytes = 100 << 20

// guardListener hands out connections that check each request's frame before
// the broker sees it. kfake trusts the four length bytes and allocates what they
// say, and dereferences nil for an API key it does not know; a browser pointed at
// the Kafka port ("GET " is a length of 1.2 GB) must not end the program.
type guardListener struct {
	net.Listener
	addr net.Addr // what the broker advertises to its clients
	log  *slog.Logger
}

// Addr is the advertised address.
func (l guardListener) Addr() net.Addr { return l.addr }

// acceptPause is how long Accept waits after an error that passes.
const acceptPause = 50 * time.Millisecond

// Accept wraps the next connection. The broker's library stops listening at the first
// error, so those that pass (no file descriptor or memory left for the moment, a
// connection that ended before it was taken) are waited out here.
func (l guardListener) Accept() (net.Conn, error) {
	for failed := 0; ; failed++ {
		c, err := l.Listener.Accept()
		switch {
		case err == nil:
			if failed > 0 {
				l.log.Info("embedded broker: accepting connections again", "failures", failed)
			}
			return &guardConn{Conn: c}, nil
		case errors.Is(err, net.ErrClosed):
			return nil, err
		case failed == 0:
			l.log.Error("embedded broker: no connection can be accepted; trying again", "error", err)
		}
		time.Sleep(acceptPause)
	}
}

// guardConn follows the request framing (length, API key, version, …) over
// whatever pieces the reader asks for. Owned by the connection's one reader.
type guardConn struct {
	net.Conn
	head [6]byte // length and API key of the request being read
	have int     // how many bytes of head are known
	left int     // bytes of the request's body behind the head
}

// Read passes bytes on, and ends the connection at a frame that is none.
func (c *guardConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	for rest := p[:n]; len(rest) > 0; {
		if c.have == len(c.head) {
			k := min(c.left, len(rest))
			c.left -= k
			rest = rest[k:]
			if c.left == 0 {
				c.have = 0
			}
			continue
		}
		c.head[c.have] = rest[0]
		c.have++
		rest = rest[1:]
		if bad := c.check(); bad != nil {
			_ = c.Conn.Close() // the peer speaks something else; nothing to tell it
			return 0, bad
		}
	}
	return n, err
}

// check looks at the head as far as it is known.
func (c *guardConn) check() error {
	size := binary.BigEndian.Uint32(c.head[:4])
	switch c.have {
	case 4: // before the broker allocates
		if size < 8 || size > maxRequestBytes {
			return fmt.Errorf("request of %d bytes from %s: not the Kafka protocol", size, c.RemoteAddr())
		}
	case 6:
		if key := int16(binary.BigEndian.Uint16(c.head[4:])); kmsg.RequestForKey(key) == nil {
			return fmt.Errorf("request with unknown API key %d from %s", key, c.RemoteAddr())
		}
		c.left = int(size) - 2
	}
	return nil
}
