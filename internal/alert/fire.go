package alert

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"crier/internal/event"
)

// Verdict is what Decide says of one trigger.
type Verdict int

// The verdicts. Drop is for what the alert's state no longer allows.
const (
	Drop  Verdict = iota
	Fire          // it fires, for the first time
	Again         // it fired on this tick before
)

// Decision is a verdict with what follows from it.
type Decision struct {
	Verdict        Verdict
	Reason         string // of a Drop
	Firing         int    // of a Fire: its number
	NotificationID int64  // of an Again: what was stored then
	Note           string
	Message        string // of a Fire: the template of its words, "" for the built-in ones
	Email          string // of a Fire: where its mail goes, "" for nowhere
}

// Decide says which of the triggers fire, in the order given, within tx: it
// locks the alerts, numbers the firings, and gives each alert the state it has
// afterwards in memory; Record writes both once the notifications have their
// places.
func Decide(ctx context.Context, tx pgx.Tx, triggers []event.Trigger) (*Decisions, error) {
	d := &Decisions{List: make([]Decision, len(triggers)), triggers: triggers}
	if len(triggers) == 0 {
		return d, nil
	}
	if err := d.load(ctx, tx); err != nil {
		return nil, err
	}
	for i := range triggers {
		d.List[i] = d.decide(i, &triggers[i])
	}
	return d, nil
}

// Decisions are the verdicts on a batch of triggers, by their order.
type Decisions struct {
	List     []Decision
	triggers []event.Trigger
	alerts   map[int64]*Alert
	fired    map[firedKey][]firedOn
	as       map[int][]byte // by trigger: its alert as it was when it fired
}

// firedOn is an earlier firing, with the tick that met the alert.
type firedOn struct {
	tick event.Origin
	Decision
}

// firedKey is what a firing is known by. An alert that is set again is a new
// revision, and may fire on the tick that the old one fired on: where that still
// meets it, it does so at once.
type firedKey struct {
	alert, revision int64
	tick            event.Origin // without fingerprint
}

func (d *Decisions) load(ctx context.Context, tx pgx.Tx) error {
	n := len(d.triggers)
	ids, revisions, topics, parts, offsets := make([]int64, n), make([]int64, n), make([]string, n), make([]int32, n), make([]int64, n)
	for i := range d.triggers {
		t := &d.triggers[i]
		revisions[i] = t.Revision
		ids[i], topics[i], parts[i], offsets[i] = t.AlertID, t.TopicID, t.Partition, t.Offset
	}
	unique := slices.Clone(ids)
	slices.Sort(unique)
	unique = slices.Compact(unique)
	rows, err := tx.Query(ctx, `select `+columns+` from alerts a where a.id = any($1::bigint[]) order by a.id for update`, unique)
	if err != nil {
		return fmt.Errorf("locking alerts: %w", err)
	}
	found, err := collect(rows)
	if err != nil {
		return fmt.Errorf("locking alerts: %w", err)
	}
	d.alerts = make(map[int64]*Alert, len(found))
	for i := range found {
		d.alerts[found[i].ID] = &found[i]
	}
	// Index firings_on.
	rows, err = tx.Query(ctx, `
		select f.alert_id, f.revision, f.firing, f.notification_id, f.topic_id::text, f.partition, f.place, f.recorded_at
		from unnest($1::bigint[], $2::uuid[], $3::int[], $4::bigint[], $5::bigint[]) as k(i, t, p, o, r)
		join firings f on f.alert_id = k.i and f.revision = k.r and f.topic_id = k.t and f.partition = k.p and f.place = k.o`, ids, topics, parts, offsets, revisions)
	if err != nil {
		return fmt.Errorf("looking for earlier firings: %w", err)
	}
	d.fired = make(map[firedKey][]firedOn)
	var key firedKey
	var dec Decision
	var recorded *time.Time // null: fired before it was kept
	_, err = pgx.ForEachRow(rows, []any{&key.alert, &key.revision, &dec.Firing, &dec.NotificationID, &key.tick.TopicID, &key.tick.Partition, &key.tick.Offset, &recorded}, func() error {
		dec.Verdict = Again
		tick := key.tick
		if recorded != nil {
			tick.Fingerprint = recorded.UnixMilli()
		}
		d.fired[key] = append(d.fired[key], firedOn{tick, dec})
		return nil
	})
	if err != nil {
		return fmt.Errorf("looking for earlier firings: %w", err)
	}
	return nil
}

func keyOf(t *event.Trigger) firedKey {
	return firedKey{t.AlertID, t.Revision, t.Tick().Position()}
}

func (d *Decisions) decide(i int, t *event.Trigger) Decision {
	key := keyOf(t)
	for _, f := range d.fired[key] {
		switch {
		case !f.tick.Same(t.Tick()):
			// Another tick that was given the offset of one that was lost.
		case f.NotificationID == 0:
			// Fired earlier in this very batch: one notification is enough.
			return Decision{Verdict: Drop, Reason: "repeated"}
		default:
			return f.Decision
		}
	}
	a := d.alerts[t.AlertID]
	switch {
	case a == nil || a.UserID != t.UserID:
		return Decision{Verdict: Drop, Reason: "unknown"}
	case a.State != Created:
		return Decision{Verdict: Drop, Reason: string(a.State)}
	case a.Revision != t.Revision:
		return Decision{Verdict: Drop, Reason: "changed"}
	case a.ExpiresAt != nil && !t.RecordedAt.Before(*a.ExpiresAt):
		return Decision{Verdict: Drop, Reason: "expired"}
	case a.Snoozed != nil && t.RecordedAt.Before(*a.Snoozed):
		return Decision{Verdict: Drop, Reason: "snoozed"}
	case a.Repeat == Every && a.LastFiredAt != nil && t.RecordedAt.Before(a.LastFiredAt.Add(a.Cooldown)):
		return Decision{Verdict: Drop, Reason: "cooling"}
	}
	if d.as == nil {
		d.as = make(map[int][]byte)
	}
	d.as[i], _ = json.Marshal(a.View()) // every member encodes
	a.Firings++
	at := t.RecordedAt
	a.LastFiredAt = &at
	if a.Repeat == Once || a.MaxFirings > 0 && a.Firings >= a.MaxFirings {
		a.State = Triggered
	}
	d.fired[key] = append(d.fired[key], firedOn{tick: t.Tick()})
	return Decision{Verdict: Fire, Firing: a.Firings, Note: a.Note, Message: a.Message, Email: a.Email}
}

// Record writes the firings whose notifications were stored (ids[i] is that of
// triggers[i], 0 if it did not fire) and their alerts' states. Idempotent by
// firings_on.
func (d *Decisions) Record(ctx context.Context, tx pgx.Tx, ids []int64, now time.Time) error {
	batch := &pgx.Batch{}
	changed := make(map[int64]*Alert)
	for i := range d.triggers {
		if d.List[i].Verdict != Fire || ids[i] == 0 {
			continue
		}
		t := &d.triggers[i]
		var beforePrice, reference *string
		var beforeTime *time.Time
		var beforePlace *int64
		if b := t.Before; b != nil {
			text := b.Price.String()
			beforePrice, beforeTime, beforePlace = &text, &b.Time, &b.Offset
		}
		if t.Reference != nil {
			text := t.Reference.String()
			reference = &text
		}
		batch.Queue(`
			insert into firings (alert_id, firing, user_id, symbol, price, tick_time, source, topic_id, partition, place, notification_id, revision, created_at,
				before_price, before_time, before_place, reference, change, alert, recorded_at)
			values ($1, $2, $3, $4, $5::numeric, $6, $7, $8::uuid, $9, $10, $11, $12, $13, $14::numeric, $15, $16, $17::numeric, $18, $19, $20)`,
			t.AlertID, d.List[i].Firing, string(t.UserID), t.Symbol, t.Price.String(), t.Time, t.Source, t.TopicID, t.Partition, t.Offset, ids[i], t.Revision, now,
			beforePrice, beforeTime, beforePlace, reference, t.Change, d.as[i], t.RecordedAt)
		changed[t.AlertID] = d.alerts[t.AlertID]
	}
	if batch.Len() == 0 {
		return nil
	}
	count := batch.Len()
	var ids2 []int64
	var states []string
	var counts []int32
	var fired []time.Time
	for id, a := range changed {
		ids2, states, counts, fired = append(ids2, id), append(states, string(a.State)), append(counts, int32(a.Firings)), append(fired, *a.LastFiredAt)
	}
	batch.Queue(`
		update alerts a set state = k.s, firings = k.f, last_fired_at = k.t, triggered_at = $5, changed = pg_current_xact_id()
		from unnest($1::bigint[], $2::text[], $3::int[], $4::timestamptz[]) as k(i, s, f, t) where a.id = k.i`, ids2, states, counts, fired, now)
	batch.Queue(wake)
	if err := tx.SendBatch(ctx, batch).Close(); err != nil {
		return fmt.Errorf("recording %d firings: %w", count, err)
	}
	return nil
}

// DropReasons are all reasons for which a trigger is dropped.
var DropReasons = []string{"repeated", "unknown", string(Triggered), string(Paused), string(Expired), string(Deleted), "changed", "snoozed", "cooling"}
