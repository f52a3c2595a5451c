// Package webhook delivers what accounts' destinations are owed, over HTTP.
//
//	claim destinations whose work is due -> for each, load what is due -> attempts, side by side or in turn -> settle in batches -> release
//
// A destination is worked by one process at a time, which holds its lease:
// renewed every few seconds, and taken over by another process when it runs out.
// So a dead process's work goes on within half a minute. What it had delivered
// and not yet settled is delivered again, with the same webhook-id: at least
// once, and to an ordered destination in order.
//
// Each destination has its own worker and its own bound on requests at once, so
// one that is slow or away costs the others nothing. Where more destinations have
// work than a process takes on, each is worked for a while and then goes to the
// end of the line.
//
// Deliveries are signed as Standard Webhooks says; no address that only we can
// reach is dialled, no redirect followed, no proxy of the environment used.
package webhook
