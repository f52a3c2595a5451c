package wire

import (
	"syscall"

	"golang.org/x/sys/unix"
)

const canWritev = true

// maxIovecs is IOV_MAX on Linux (limits.h).
const maxIovecs = 1024

// vector writes frames to one socket after another, with memory of its own that
// is used again: at twenty thousand writes a second what each leaves behind counts.
type vector struct {
	bufs [][]byte // to be written; the slice is kept, the frames are not

	left [][]byte // of bufs
	n    int
	err  error
	call func(fd uintptr) bool // v.write1, made once
}

// write writes as much of bufs as the socket takes without waiting. rest is what
// it did not take, good until the next call.
func (v *vector) write(raw syscall.RawConn) (n int, rest [][]byte, err error) {
	if v.call == nil {
		v.call = v.writeTo
	}
	v.left, v.n, v.err = v.bufs, 0, nil
	if err := raw.Write(v.call); err != nil && v.err == nil {
		v.err = err
	}
	return v.n, v.left, v.err
}

// writeTo is called by raw.Write. It says that it is done even if the socket
// takes no more: waiting is not our business here.
func (v *vector) writeTo(fd uintptr) bool {
	for len(v.left) > 0 {
		var k int
		var err error
		if len(v.left) == 1 {
			k, err = unix.Write(int(fd), v.left[0])
		} else {
			k, err = unix.Writev(int(fd), v.left[:min(len(v.left), maxIovecs)])
		}
		switch err {
		case nil:
		case unix.EINTR:
			continue
		case unix.EAGAIN:
			return true
		default:
			v.err = err
			return true
		}
		v.n += k
		for len(v.left) > 0 && k >= len(v.left[0]) {
			k -= len(v.left[0])
			v.left = v.left[1:]
		}
		if k > 0 {
			// The frame is shared with other connections: its slice header is cut
			// here, in a copy, and the frame stays.
			v.left[0] = v.left[0][k:]
		}
	}
	return true
}

// forget lets go of the frames, and of a slice that one connection made large.
func (v *vector) forget() {
	clear(v.bufs)
	v.bufs, v.left = v.bufs[:0], nil
	if cap(v.bufs) > maxIovecs {
		v.bufs = nil
	}
}
