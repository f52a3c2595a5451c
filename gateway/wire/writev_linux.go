package wire

import (
	"syscall"

	"golang.org/x/sys/unix"
)

const canWritev = true

// maxIovecs is IOV_MAX on Linux (limits.h).
const maxIovecs = 1024

// writev writes as much as the socket takes without waiting. rest is what it
// did not take, nil when everything is out. It is called by one worker for a
// connection at a time.
func writev(raw syscall.RawConn, bufs [][]byte) (n int, rest [][]byte, err error) {
	werr := raw.Write(func(fd uintptr) bool {
		for len(bufs) > 0 {
			var k int
			if len(bufs) == 1 {
				k, err = unix.Write(int(fd), bufs[0])
			} else {
				k, err = unix.Writev(int(fd), bufs[:min(len(bufs), maxIovecs)])
			}
			if err == unix.EINTR {
				continue
			}
			if err == unix.EAGAIN {
				err = nil
				return true // not ready, but waiting is not our business here
			}
			if err != nil {
				return true
			}
			n += k
			for len(bufs) > 0 && k >= len(bufs[0]) {
				k -= len(bufs[0])
				bufs = bufs[1:]
			}
			if k > 0 {
				// The frame is shared with other connections: cut a copy of the
				// slice header, not the frame.
				bufs[0] = bufs[0][k:]
			}
		}
		return true
	})
	if err == nil {
		err = werr
	}
	if len(bufs) > 0 {
		rest = bufs
	}
	return n, rest, err
}
