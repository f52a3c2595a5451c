// Package wire writes to very many connections at once: a bounded outbox for
// each, a fixed pool of writers that flush many events in one system call, one
// coarse wheel for heartbeats and token ends. It knows nothing of HTTP, events
// or users.
//
// A connection is either taken over from net/http (Adopt: no goroutine of its
// own for writing) or pumped by the goroutine of its handler (NewPumped: HTTP/2
// streams). Writers never block: what a full socket does not take is left to a
// goroutine that exists only while that socket is full.
//
// Bounds: an outbox holds at most Config.Outbox bytes, then Write refuses; a
// socket that takes nothing for Config.Stall is cut.
package wire
