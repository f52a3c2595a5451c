package criertest

import (
	"fmt"
	"net"
	"testing"
)

// FreeAddr gives a loopback address on which nobody listens now. Somebody else
// may take it before it is used; where port 0 can be given, give that.
func FreeAddr(tb testing.TB) string {
	tb.Helper()
	addr, err := freeAddr()
	if err != nil {
		tb.Fatalf("criertest: %v", err)
	}
	return addr
}

func freeAddr() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", fmt.Errorf("finding a free address: %w", err)
	}
	return l.Addr().String(), l.Close()
}
