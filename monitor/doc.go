// Package monitor is the price part: feeds write ticks to `ticks`, a consumer
// group matches them with the alerts and proposes `triggers`, and ticks that
// another partitioner misplaced are moved to where their symbol belongs.
//
//	feeds -> ticks -> [group crier-matcher: match.Partition each] -> triggers
//
// The matcher proposes, the consumer decides. The index (monitor/match) is in
// memory, one for each assigned partition, filled from Postgres as a stream and
// kept fresh by what changed since a snapshot, so that no change is missed.
//
// A crash: matching starts again at the lesser of the committed offset and the
// lowest place of an alert that nobody has taken; triggers that are proposed
// again are recognised by alert and tick. An offset is committed only after
// the triggers of everything before it were acknowledged, and after the last
// price of each symbol was written to Postgres.
package monitor
