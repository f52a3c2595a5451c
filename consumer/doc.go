// Package consumer is the inbox part: it reads `notifications`, `triggers` and
// `rooms` as one consumer group and makes each record a notification in its
// user's inbox, or a message in its topic or room, exactly once.
//
//	poll -> parse -> one transaction (decide triggers, give places, store) -> produce deliveries, results, dead letters -> commit offsets
//
// While a batch is produced and committed, the next one is read and stored (line):
// two are in flight at most, and the second is produced only when the first is
// committed.
//
// Postgres is authoritative. A crash after the transaction and before the
// commit of the offsets reads the same records again: the transaction finds
// them stored, gives the same answers, and their deliveries are produced again;
// whoever reads those drops what he has by its id. Nothing is produced before
// the transaction is committed, nothing is committed to Kafka before what was
// produced is acknowledged.
//
// A record that cannot be read or breaks a rule goes to `dead-letters` and
// `results` and never stops the ones behind it; if Postgres refuses a record's
// data, the batch is halved until that record stands alone. While Postgres or
// Kafka is away a step is tried again, with growing waits, for as long as the
// part runs.
//
// Locks in a transaction are taken in this order: alerts by id,
// rooms by name, inboxes by owner.
package consumer
