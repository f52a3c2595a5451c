// Package match is the alert index: it holds the active alerts of one
// partition of `ticks` and says, for each tick, which of them it meets.
//
// It is pure: no Kafka, no SQL, no clock. One goroutine uses a Partition at a
// time; monitor guards it. What it holds of alerts is bounded by the alerts
// there are, what it holds of ticks by the ring (see ring.go).
//
// The rules are docs/alerts.md's: an alert holds from a place; it fires on the
// first tick at or after that place that satisfies it, or at once on the last
// tick before that place. A plain model of the same rules stands beside it in
// the tests and is compared with it.
package match
