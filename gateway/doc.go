// Package gateway is the HTTP part: it answers requests, and pushes what the
// consumer has stored to whoever is connected, over Server-Sent Events and
// WebSocket.
//
//	deliveries, signals, ticks -> [tails] -> hub -> sse | ws -> wire -> browser
//	requests -> routes -> api -> Postgres, notifications
//
// It keeps nothing that Postgres does not know better: any number of gateways
// run side by side, and a stream goes on at any of them. `deliveries` is tailed
// from its end without a group, resolved before the gateway is ready; where a
// delivery was missed, the hub sees a hole in the places and reads the inbox.
//
// A crash loses streams; their readers come back with the last id they have. A
// slow reader's outbox is bounded; beyond it the inbox is its buffer.
//
// Stopping: new streams are refused, every stream is told to come back after a
// time of its own, requests in flight are finished, then the tails and the
// writers end.
package gateway
