package wire

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// watcher hears of sockets whose peer says something or goes, for connections
// that nobody reads: one epoll instance (epoll(7)) and one goroutine instead of
// one for each, so an idle connection has no stack.
//
// The descriptors stay net's own. One that was closed leaves the instance by
// itself; an event for it that was already on its way may meet the connection
// that has its number now, which then is read without waiting and has nothing.
type watcher struct {
	fd   int
	stop int // an eventfd(2), written to when run is to end

	mu    sync.Mutex // guards conns; taken after no other lock
	conns map[int32]*Conn
}

func newWatcher() (*watcher, error) {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("making an epoll instance: %w", err)
	}
	stop, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err == nil {
		err = unix.EpollCtl(fd, unix.EPOLL_CTL_ADD, stop, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(stop)})
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("making an eventfd: %w", err), unix.Close(fd))
	}
	return &watcher{fd: fd, stop: stop, conns: make(map[int32]*Conn)}, nil
}

// watch begins to look after a connection; false: it cannot.
func (w *watcher) watch(c *Conn) bool {
	if w == nil || c.raw == nil {
		return false
	}
	var failed error
	err := c.raw.Control(func(fd uintptr) {
		w.mu.Lock()
		defer w.mu.Unlock()
		c.watched = int32(fd)
		w.conns[c.watched] = c
		failed = unix.EpollCtl(w.fd, unix.EPOLL_CTL_ADD, int(fd), &unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLRDHUP, Fd: int32(fd)})
		if failed != nil {
			delete(w.conns, c.watched)
			c.watched = 0
		}
	})
	if c.ended() {
		w.forget(c)
	}
	return err == nil && failed == nil
}

func (w *watcher) forget(c *Conn) {
	if w == nil {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if c.watched != 0 && w.conns[c.watched] == c {
		delete(w.conns, c.watched)
	}
}

// run is the watcher's goroutine; it ends with ctx.
func (w *watcher) run(ctx context.Context) error {
	told := make(chan struct{})
	tell := context.AfterFunc(ctx, func() {
		defer close(told)
		_, _ = unix.Write(w.stop, []byte{1, 0, 0, 0, 0, 0, 0, 0}) // a number in the machine's order, not 0 in any
	})
	defer func() {
		if !tell() {
			<-told // its descriptor is not another's before
		}
		_, _ = unix.Close(w.stop), unix.Close(w.fd)
	}()
	events := make([]unix.EpollEvent, 256)
	var scratch [512]byte
	for ctx.Err() == nil {
		n, err := unix.EpollWait(w.fd, events, -1)
		if err != nil && !errors.Is(err, unix.EINTR) {
			return fmt.Errorf("waiting for readers to go: %w", err)
		}
		for i := range max(0, n) {
			w.mu.Lock()
			c := w.conns[events[i].Fd]
			w.mu.Unlock()
			if c != nil {
				c.hear(scratch[:])
			}
		}
	}
	return nil
}

// hear reads what the peer says, which is not for us, and ends the connection
// when there is no more.
func (c *Conn) hear(scratch []byte) {
	var n int
	var err error
	rawErr := c.raw.Read(func(fd uintptr) bool {
		n, err = unix.Read(int(fd), scratch)
		return true // whatever it was: waiting is not our business here
	})
	switch {
	case rawErr != nil:
		err = rawErr
	case n > 0, errors.Is(err, unix.EAGAIN), errors.Is(err, syscall.EINTR):
		return
	}
	if err == nil { // the peer has closed
		c.end(ErrGone)
		return
	}
	c.end(errors.Join(ErrGone, err))
}
