package criertest

import (
	"fmt"
	"math/rand/v2"
	"net"
	"runtime"
	"syscall"
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

// Ports below Linux's ephemeral range (32768 and up) are given out by nobody, so
// that one that is free stays so, but for other tests' draws.
const firstPort, lastPort = 10_000, 32_000

func freeAddr() (string, error) {
	// A child that is being started has our sockets until its exec, and with them the
	// port that we give back. (Elsewhere the net package takes this lock itself.)
	if runtime.GOOS == "linux" {
		syscall.ForkLock.RLock()
		defer syscall.ForkLock.RUnlock()
	}
	var err error
	for range 100 {
		var l net.Listener
		if l, err = net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", firstPort+rand.IntN(lastPort-firstPort))); err == nil {
			return l.Addr().String(), l.Close()
		}
	}
	return "", fmt.Errorf("finding a free address: %w", err)
}
