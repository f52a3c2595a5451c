// Package hub brings what is stored to whoever is connected: it keeps, for each
// user with a stream open here, which notification each stream has, orders
// deliveries by their place in the inbox, drops repeats, and fills holes from
// the inbox before it sends what is behind them. It sends newest ticks and
// counts, at bounded rates, to those who want them.
//
// It sees a connection as a Sink and the inbox as a Source, and knows nothing
// of HTTP, Kafka or Postgres.
//
// A stream is live, or behind. A live one that has notification n gets n+1 as
// it arrives. Anything else (n+2, a sink that is full, a new stream that asks
// for what it missed) makes it behind: it is then given nothing that arrives,
// only the user's highest known place is noted, and a worker reads the inbox
// from n on until that place is reached. So nothing is held back in memory for
// it, and a reader of any slowness costs the others nothing. What arrives was
// committed before it was produced, so the inbox has all of it.
//
// Locks: a shard's, then nothing. Sinks are called under it and must not block.
package hub
