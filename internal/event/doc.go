// Package event holds the records of Kafka's topics and the objects that
// clients see: what a producer may say (Notification), what is stored and
// pushed (Stored), market prices (Tick), met alerts (Trigger), answers to
// producers (Result) and hints between gateways (Signal), with their JSON
// forms, their limits and the rules a stranger's input must keep.
//
// It does no I/O. Values are plain data; nothing in it is shared or locked.
// docs/contract.md describes the same to users.
package event
