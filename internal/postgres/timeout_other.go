//go:build !linux

package postgres

import "syscall"

// userTimeout leaves it to the system how long what was sent may stay without
// acknowledgement.
func userTimeout(string, string, syscall.RawConn) error { return nil }
