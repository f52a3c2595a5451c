package event

import (
	"fmt"
	"time"

	"crier/internal/decimal"
)

// Condition is what an alert waits for; docs/alerts.md defines each.
type Condition string

// The conditions. Levels may be true at once; edges need a tick on the other
// side first.
const (
	Above        Condition = "above"         // level: price ≥ target
	Below        Condition = "below"         // level: price ≤ target
	CrossesAbove Condition = "crosses_above" // edge: above, having been below
	CrossesBelow Condition = "crosses_below" // edge: below, having been above
	PercentUp    Condition = "percent_up"    // level: so many percent above the window's low
	PercentDown  Condition = "percent_down"  // level: so many percent below the window's high
	Enters       Condition = "enters"        // edge: low ≤ price ≤ high, having been outside
	Exits        Condition = "exits"         // edge: outside, having been inside
	TrailingStop Condition = "trailing_stop" // so many percent below the best price since it holds
)

// Conditions are all of them, for lists of what there is.
var Conditions = []Condition{Above, Below, CrossesAbove, CrossesBelow, PercentUp, PercentDown, Enters, Exits, TrailingStop}

// ConditionNames says them to people.
const ConditionNames = "above, below, crosses_above, crosses_below, percent_up, percent_down, enters, exits or trailing_stop"

// Edge says whether a condition is a change from one side to the other.
func (c Condition) Edge() bool {
	return c == CrossesAbove || c == CrossesBelow || c == Enters || c == Exits
}

// Band says whether a condition has a low and a high instead of a target.
func (c Condition) Band() bool { return c == Enters || c == Exits }

// Windowed says whether a condition looks at a sliding window.
func (c Condition) Windowed() bool { return c == PercentUp || c == PercentDown }

// Percent says whether the target is a percentage.
func (c Condition) Percent() bool { return c.Windowed() || c == TrailingStop }

func (c Condition) known() bool {
	for _, k := range Conditions {
		if c == k {
			return true
		}
	}
	return false
}

// Rule is what is asked of the ticks of one symbol.
type Rule struct {
	Condition Condition
	// Target is a price; a percentage where the condition says Percent; the
	// lower end of a band.
	Target     decimal.Decimal
	High       decimal.Decimal // the upper end of a band
	Window     time.Duration   // of percent_up and percent_down
	Confirm    Confirm
	Hysteresis decimal.Decimal // in the unit of Target; 0: none
}

// Confirm is how long a condition must hold, by the ticks' own time or by their
// number, the one that meets it first included. Zero: it need not.
type Confirm struct {
	For   time.Duration
	Ticks int
}

// None says that nothing has to hold.
func (c Confirm) None() bool { return c.For == 0 && c.Ticks == 0 }

// String is the form that ParseConfirm reads; "" for none.
func (c Confirm) String() string {
	switch {
	case c.For > 0:
		return c.For.String()
	case c.Ticks > 0:
		return fmt.Sprintf("%d ticks", c.Ticks)
	}
	return ""
}

// Bounds of a rule's members.
const (
	MinWindow       = time.Minute
	MaxWindow       = 7 * 24 * time.Hour
	MaxConfirm      = time.Hour
	MaxConfirmTicks = 1000
)

// Bucket is how finely a window of this length is looked at: by the minute over
// an hour, else by the second.
func Bucket(window time.Duration) time.Duration {
	if window > time.Hour {
		return time.Minute
	}
	return time.Second
}

// Armed says whether the rule fires only after a tick that clears it: edges, and
// what has a hysteresis.
func (r *Rule) Armed() bool { return r.Condition.Edge() || r.Hysteresis.Sign() > 0 }

// Plain says that one tick alone decides: a level without more.
func (r *Rule) Plain() bool {
	return (r.Condition == Above || r.Condition == Below) && r.Confirm.None() && r.Hysteresis.Sign() == 0
}

// Met says whether a value meets the rule: the price, or where the condition is
// Windowed the percentage. stop is where a trailing stop stands.
func (r *Rule) Met(v, stop decimal.Decimal) bool {
	switch r.Condition {
	case Below, CrossesBelow:
		return v.Cmp(r.Target) <= 0
	case Enters:
		return v.Cmp(r.Target) >= 0 && v.Cmp(r.High) <= 0
	case Exits:
		return v.Cmp(r.Target) < 0 || v.Cmp(r.High) > 0
	case TrailingStop:
		return v.Cmp(stop) <= 0
	}
	return v.Cmp(r.Target) >= 0
}

// Cleared says whether a value has left the rule's level by its hysteresis, so
// that meeting it again counts. Not for trailing stops.
func (r *Rule) Cleared(v decimal.Decimal) bool {
	h := r.Hysteresis
	switch r.Condition {
	case Below, CrossesBelow:
		return v.Cmp(r.Target) > 0 && v.Cmp(r.Target.Add(h)) >= 0
	case Enters:
		return v.Cmp(r.Target) < 0 && v.Cmp(r.Target.Sub(h)) <= 0 || v.Cmp(r.High) > 0 && v.Cmp(r.High.Add(h)) >= 0
	case Exits:
		return v.Cmp(r.Target.Add(h)) >= 0 && v.Cmp(r.High.Sub(h)) <= 0
	}
	return v.Cmp(r.Target) < 0 && v.Cmp(r.Target.Sub(h)) <= 0
}

// CheckRule notes what is wrong with a rule whose members were all given; has
// says which were, by their names in the API.
func (v *Invalid) CheckRule(r *Rule, has func(field string) bool) {
	c := r.Condition
	if !c.known() {
		v.Add("condition", "enum", "must be "+ConditionNames)
		return
	}
	v.checkMembers(c, has)
	if c.Percent() && has("percent") {
		limit := int64(100)
		if c == PercentUp {
			limit = 1_000_000
		}
		if r.Target.Sign() <= 0 || r.Target.Cmp(decimal.FromUnits(limit, 0)) > 0 {
			v.Add("percent", "range", fmt.Sprintf("must be more than 0 and at most %d", limit))
		}
	}
	if c.Band() && has("low") && has("high") && r.Target.Cmp(r.High) >= 0 {
		v.Add("high", "range", "must be more than low")
	}
	if c.Windowed() && has("window") {
		step := Bucket(r.Window)
		if r.Window < MinWindow || r.Window > MaxWindow || r.Window%step != 0 {
			v.Add("window", "range", "must be from 1m to 168h, in whole seconds, over an hour in whole minutes")
		}
	}
	if f := r.Confirm; f.For < 0 || f.For > MaxConfirm || f.For > 0 && f.For < time.Second || f.Ticks < 0 || f.Ticks > MaxConfirmTicks || f.For > 0 && f.Ticks > 0 {
		v.Add("confirm", "range", fmt.Sprintf("must be from 1s to 1h, or 2 to %d ticks", MaxConfirmTicks))
	}
	switch {
	case r.Hysteresis.Sign() < 0:
		v.Add("hysteresis", "range", "must not be negative")
	case c == Exits && has("low") && has("high") && r.Target.Add(r.Hysteresis).Cmp(r.High.Sub(r.Hysteresis)) > 0:
		v.Add("hysteresis", "range", "must leave room between low and high")
	case c == TrailingStop && r.Hysteresis.Cmp(decimal.FromUnits(1000, 0)) > 0:
		v.Add("hysteresis", "range", "must be at most 1000 percent")
	}
}

// checkMembers notes members that a condition needs or does not have.
func (v *Invalid) checkMembers(c Condition, has func(string) bool) {
	needs := map[string]bool{"target": !c.Percent() && !c.Band(), "percent": c.Percent(), "window": c.Windowed(), "low": c.Band(), "high": c.Band()}
	for _, field := range []string{"target", "percent", "window", "low", "high"} {
		switch {
		case needs[field] && !has(field):
			v.Add(field, "required", "is required for "+string(c))
		case !needs[field] && has(field):
			v.Add(field, "unexpected", "does not belong to "+string(c))
		}
	}
}
