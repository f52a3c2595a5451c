package postgres

import (
	"fmt"
	"syscall"

	"golang.org/x/sys/unix"
)

// userTimeout bounds how long what was sent may stay without acknowledgement (RFC 5482;
// tcp(7), TCP_USER_TIMEOUT).
func userTimeout(network, _ string, c syscall.RawConn) error {
	if network == "unix" {
		return nil
	}
	var set error
	if err := c.Control(func(fd uintptr) {
		set = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(silence.Milliseconds()))
	}); err != nil {
		return fmt.Errorf("reaching the socket: %w", err)
	}
	if set != nil {
		return fmt.Errorf("setting TCP_USER_TIMEOUT: %w", set)
	}
	return nil
}
