//go:build !linux

package embedded

import "syscall"

// Without a parent-death signal the orphan is found and stopped by the next
// start on its data directory.
func setParentDeathSignal(*syscall.SysProcAttr, syscall.Signal) {}
