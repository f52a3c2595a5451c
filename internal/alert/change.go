package alert

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"crier/internal/decimal"
	"crier/internal/event"
)

// one lets one transaction at a time count a user's alerts, or many at once
// would all find room.
const one = `select pg_advisory_xact_lock(hashtextextended('alerts of ' || $1, 0))`

// active is how many of a user's alerts count towards the limit. Index
// alerts_user.
const active = `select count(*) from alerts where user_id = $1 and state in ('created', 'paused')`

// Create stores a new alert that holds from a.Place, and gives it its id.
// ErrLimit when the user has too many active ones.
func (s *Store) Create(ctx context.Context, a Alert, now time.Time) (Alert, error) {
	made, err := s.CreateMany(ctx, a.UserID, []Alert{a}, now)
	if err != nil {
		return Alert{}, err
	}
	return made[0], nil
}

// CreateMany stores a user's new alerts, all of them or, beyond the limit, none.
func (s *Store) CreateMany(ctx context.Context, user event.UserID, list []Alert, now time.Time) ([]Alert, error) {
	var out []Alert
	err := s.db.Tx(ctx, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, one, string(user)); err != nil {
			return err
		}
		var n int
		if err := tx.QueryRow(ctx, active, string(user)).Scan(&n); err != nil {
			return err
		}
		if n+len(list) > s.limit {
			return ErrLimit
		}
		batch := &pgx.Batch{}
		for i := range list {
			a := &list[i]
			batch.Queue(`
				insert into alerts as a (user_id, symbol, condition, source, target, email, note, repeat, cooldown_ms, expires_at, created_at, topic_id, partition, place,
					high, window_ms, confirm_ms, confirm_ticks, hysteresis, max_firings, message, snoozed_until, state)
				values ($1, $2, $3, $4, $5::numeric, $6, $7, $8, $9, $10, $11, $12::uuid, $13, $14, $15::numeric, $16, $17, $18, $19::numeric, $20, $21, $22, $23)
				returning `+columns,
				string(user), a.Symbol, string(a.Condition), a.Source, a.Target.String(), a.Email, a.Note, a.Repeat, a.Cooldown.Milliseconds(),
				a.ExpiresAt, now, a.Place.TopicID, a.Place.Partition, a.Place.Offset,
				a.high(), a.Window.Milliseconds(), a.Confirm.For.Milliseconds(), a.Confirm.Ticks, a.Hysteresis.String(), a.MaxFirings, a.Message, a.Snoozed, stateOr(a.State))
		}
		batch.Queue(wake)
		results := tx.SendBatch(ctx, batch)
		out = make([]Alert, 0, len(list))
		for range list {
			rows, err := results.Query()
			if err == nil {
				var made []Alert
				made, err = collect(rows)
				out = append(out, made...)
			}
			if err != nil {
				return errors.Join(err, results.Close())
			}
		}
		return results.Close()
	})
	if err != nil && !errors.Is(err, ErrLimit) {
		return out, fmt.Errorf("creating alerts: %w", err)
	}
	return out, err
}

// high is the upper end as the table has it: null where there is no band.
func (a *Alert) high() *string {
	if !a.Condition.Band() {
		return nil
	}
	s := a.High.String()
	return &s
}

func stateOr(s State) string {
	if s == "" {
		return string(Created)
	}
	return string(s)
}

// Change says what Update changes; nil members stay.
type Change struct {
	Target      *decimal.Decimal
	Percent     *decimal.Decimal
	Low, High   *decimal.Decimal
	Window      *time.Duration
	Confirm     *event.Confirm
	Hysteresis  *decimal.Decimal
	Condition   *event.Condition
	Source      *string
	Note        *string
	Email       *string
	Message     *string
	Repeat      *string
	Cooldown    *time.Duration
	MaxFirings  *int
	ExpiresAt   *time.Time
	ClearExpiry bool
	Snoozed     *time.Time // sets the alert again, silent until then
	ClearSnooze bool
	State       *State // Created or Paused
}

// Has says whether the change gives the member of this name in the API.
func (c *Change) Has(field string) bool {
	switch field {
	case "target":
		return c.Target != nil
	case "percent":
		return c.Percent != nil
	case "low":
		return c.Low != nil
	case "high":
		return c.High != nil
	}
	return field == "window" && c.Window != nil
}

// resets says whether the change makes the alert hold anew, from a new place.
func (c *Change) resets() bool {
	return c.Target != nil || c.Percent != nil || c.Low != nil || c.High != nil || c.Window != nil || c.Confirm != nil || c.Hysteresis != nil ||
		c.Condition != nil || c.Source != nil || c.Snoozed != nil || c.State != nil && *c.State == Created
}

// reschedules says whether the change makes an active alert fire at other times,
// which the matcher hears of by a new revision only.
func (c *Change) reschedules() bool {
	return c.Repeat != nil || c.Cooldown != nil || c.ExpiresAt != nil || c.ClearExpiry || c.MaxFirings != nil || c.ClearSnooze
}

// ErrNeedsCooldown is a repeating alert without a cooldown.
var ErrNeedsCooldown = errors.New("an alert that repeats needs a cooldown")

// Update changes an alert. Where it changes what would fire, the alert is set
// again and holds from place, which must have been resolved after the request
// came in. An event.Invalid where the alert would then break a rule; ErrState
// where the present state does not allow it; ErrLimit where a triggered alert is
// set again and there is no room.
func (s *Store) Update(ctx context.Context, user event.UserID, id int64, c Change, place event.Place, now time.Time) (Alert, error) {
	var out Alert
	err := s.db.Tx(ctx, func(tx pgx.Tx) error {
		var err error
		out, err = s.update(ctx, tx, user, id, c, place)
		return err
	})
	var invalid event.Invalid
	if err != nil && !errors.Is(err, ErrNotFound) && !errors.Is(err, ErrNeedsCooldown) && !errors.Is(err, ErrLimit) && !errors.Is(err, ErrState) && !errors.As(err, &invalid) {
		return out, fmt.Errorf("changing an alert: %w", err)
	}
	out.shown(now)
	return out, err
}

func (s *Store) update(ctx context.Context, tx pgx.Tx, user event.UserID, id int64, c Change, place event.Place) (Alert, error) {
	if _, err := tx.Exec(ctx, one, string(user)); err != nil {
		return Alert{}, err
	}
	rows, err := tx.Query(ctx, `select `+columns+` from alerts a where a.id = $1 and a.user_id = $2 and a.state <> 'deleted' for update`, id, string(user))
	if err != nil {
		return Alert{}, err
	}
	found, err := collect(rows)
	if err != nil {
		return Alert{}, err
	}
	if len(found) == 0 {
		return Alert{}, ErrNotFound
	}
	out := found[0]
	was := out.State
	if c.State != nil && *c.State == Paused && was == Triggered {
		return out, ErrState
	}
	if err := c.apply(&out, place); err != nil {
		return out, err
	}
	if was == Triggered && out.State == Created {
		var n int
		if err := tx.QueryRow(ctx, active, string(user)).Scan(&n); err != nil {
			return out, err
		}
		if n >= s.limit {
			return out, ErrLimit
		}
	}
	_, err = tx.Exec(ctx, `
		update alerts set target = $2::numeric, condition = $3, source = $4, note = $5, email = $6, repeat = $7, cooldown_ms = $8, expires_at = $9,
			state = $10, revision = $11, topic_id = $12::uuid, partition = $13, place = $14, taken = $15, triggered_at = $16,
			high = $17::numeric, window_ms = $18, confirm_ms = $19, confirm_ticks = $20, hysteresis = $21::numeric, max_firings = $22, message = $23,
			snoozed_until = $24, changed = pg_current_xact_id()
		where id = $1`, id, out.Target.String(), string(out.Condition), out.Source, out.Note, out.Email, out.Repeat, out.Cooldown.Milliseconds(), out.ExpiresAt,
		string(out.State), out.Revision, out.Place.TopicID, out.Place.Partition, out.Place.Offset, out.Taken, out.TriggeredAt,
		out.high(), out.Window.Milliseconds(), out.Confirm.For.Milliseconds(), out.Confirm.Ticks, out.Hysteresis.String(), out.MaxFirings, out.Message, out.Snoozed)
	if err != nil {
		return out, err
	}
	_, err = tx.Exec(ctx, wake)
	return out, err
}

func (c *Change) apply(a *Alert, place event.Place) error {
	if err := c.applyRule(a); err != nil {
		return err
	}
	set(&a.Source, c.Source)
	set(&a.Note, c.Note)
	set(&a.Email, c.Email)
	set(&a.Message, c.Message)
	set(&a.Repeat, c.Repeat)
	set(&a.Cooldown, c.Cooldown)
	set(&a.MaxFirings, c.MaxFirings)
	if a.Repeat == Every && a.Cooldown < MinCooldown {
		return ErrNeedsCooldown
	}
	if c.ExpiresAt != nil || c.ClearExpiry {
		a.ExpiresAt = c.ExpiresAt
	}
	if c.Snoozed != nil || c.ClearSnooze {
		a.Snoozed = c.Snoozed
	}
	if c.State != nil && *c.State == Paused && a.State != Paused {
		a.State = Paused
		a.Revision++
	}
	if c.resets() {
		if a.State != Paused || c.State != nil && *c.State == Created || c.Snoozed != nil {
			a.State, a.TriggeredAt = Created, nil
		}
	} else if !c.reschedules() || a.State != Created {
		return nil
	}
	a.Revision++
	a.Place, a.Taken = place, false
	return nil
}

// applyRule changes what the alert asks, and checks what that comes to.
func (c *Change) applyRule(a *Alert) error {
	was := a.Condition
	set(&a.Condition, c.Condition)
	has := func(field string) bool { return c.Has(field) || belongs(field, was) && belongs(field, a.Condition) }
	if was != a.Condition && (belongs("target", was) != belongs("target", a.Condition) || was.Band() != a.Condition.Band()) {
		a.Target = zero
	}
	for field, to := range map[string]*decimal.Decimal{"target": c.Target, "percent": c.Percent, "low": c.Low} {
		if belongs(field, a.Condition) {
			set(&a.Target, to)
		}
	}
	set(&a.High, c.High)
	set(&a.Window, c.Window)
	set(&a.Confirm, c.Confirm)
	set(&a.Hysteresis, c.Hysteresis)
	if !a.Condition.Windowed() && c.Window == nil {
		a.Window = 0
	}
	var v event.Invalid
	r := a.Rule()
	v.CheckRule(&r, has)
	return v.Err()
}

func set[T any](field *T, to *T) {
	if to != nil {
		*field = *to
	}
}
