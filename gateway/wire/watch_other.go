//go:build !linux

package wire

import "context"

// watcher is Linux's alone; elsewhere each connection has a reader.
type watcher struct{}

func newWatcher() (*watcher, error) { return nil, nil }

func (w *watcher) watch(*Conn) bool { return false }

func (w *watcher) forget(*Conn) {}

func (w *watcher) run(context.Context) error { return nil }
