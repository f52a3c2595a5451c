package embedded

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"syscall"
)

// AddrInUseError says that another process listens where an embedded part was
// told to. What is the part ("postgres", "kafka", "smtp" or "mail"), so that the
// command can name the variable to change.
type AddrInUseError struct {
	Addr string
	What string
}

// Error names the part and the address.
func (e *AddrInUseError) Error() string {
	return fmt.Sprintf("address %s for embedded %s is taken by another process", e.Addr, e.What)
}

// Is makes errors.Is(err, syscall.EADDRINUSE) hold, as for the error of the
// listener itself.
func (e *AddrInUseError) Is(target error) bool { return target == syscall.EADDRINUSE }

// listen opens a TCP listener for one part and turns "in use" into an
// AddrInUseError.
func listen(ctx context.Context, what, addr string) (net.Listener, error) {
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", addr)
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, &AddrInUseError{Addr: addr, What: what}
	}
	if err != nil {
		return nil, fmt.Errorf("listening on %s for embedded %s: %w", addr, what, err)
	}
	return l, nil
}

// dialable replaces an unspecified host by loopback: nobody can connect to
// 0.0.0.0, and the embedded parts are for this machine.
func dialable(addr string) string {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return addr
	}
	if ip := net.ParseIP(host); host == "" || (ip != nil && ip.IsUnspecified()) {
		host = "127.0.0.1"
	}
	return net.JoinHostPort(host, port)
}

// orDiscard lets the zero Config be silent instead of a nil dereference.
func orDiscard(l *slog.Logger) *slog.Logger {
	if l == nil {
		return slog.New(slog.DiscardHandler)
	}
	return l
}
