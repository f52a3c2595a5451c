package wire

import (
	"net"
	"sync"
)

// pieces are buffers for writePiece.
var pieces = sync.Pool{New: func() any { b := make([]byte, 0, pumpPiece); return &b }}

// writePiece writes the first of what is left, as many frames as a piece holds,
// in one call: to TLS that is one record (RFC 8446 section 5.1: 16 KiB at most)
// and one system call, where each frame of its own would be as many. After a
// deadline a TLS connection takes nothing any more, so a slow peer's progress can
// only be seen between pieces.
func writePiece(to net.Conn, out *net.Buffers) error {
	piece := (*out)[0]
	if len(*out) > 1 && len(piece) < pumpPiece {
		b := pieces.Get().(*[]byte)
		defer pieces.Put(b)
		piece = (*b)[:0]
		for len(*out) > 0 && len(piece) < pumpPiece {
			n := min(len((*out)[0]), pumpPiece-len(piece))
			piece = append(piece, (*out)[0][:n]...)
			pass(out, n)
		}
	} else {
		piece = piece[:min(len(piece), pumpPiece)]
		pass(out, len(piece))
	}
	_, err := to.Write(piece)
	return err
}

// pass drops the first n bytes, which are all of the first buffer or its
// beginning. Frames are shared: only the slice's header is cut.
func pass(out *net.Buffers, n int) {
	if n < len((*out)[0]) {
		(*out)[0] = (*out)[0][n:]
		return
	}
	(*out)[0] = nil
	*out = (*out)[1:]
}
