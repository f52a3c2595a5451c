// Package kafka is Crier's way to Kafka: what topics there are, producing with
// acknowledgement, reading as a group with commits after the effect, tailing
// from the end without a group, reading a range again, moving misplaced ticks
// in transactions, and dead letters.
//
// It is, with the embedded broker and the load generator, the only place that
// knows the client library; the parts see Record and small interfaces of their
// own. Topic names here are without the prefix; it is added on the way out and
// taken off on the way in.
//
// Delivery: producers are idempotent and wait for all in-sync replicas; groups
// never commit by themselves. So a crash repeats records, and never loses one.
package kafka
