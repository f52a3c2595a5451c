//go:build !linux

package wire

import "syscall"

// canWritev is false where connections are written by goroutines of their own
// only while something is to be written.
const canWritev = false

func writev(syscall.RawConn, [][]byte) (int, [][]byte, error) {
	panic("writev is not called where canWritev is false")
}
