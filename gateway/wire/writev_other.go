//go:build !linux

package wire

import "syscall"

// canWritev is false where connections are written by goroutines of their own
// only while something is to be written.
const canWritev = false

type vector struct{ bufs [][]byte }

func (*vector) write(syscall.RawConn) (int, [][]byte, error) {
	panic("nothing is written without waiting where canWritev is false")
}

func (v *vector) forget() { v.bufs = nil }
