package alert

import (
	"encoding/json"
	"time"

	"crier/internal/decimal"
	"crier/internal/event"
)

// Rule is what the alert asks of ticks.
func (a *Alert) Rule() event.Rule {
	return event.Rule{Condition: a.Condition, Target: a.Target, High: a.High, Window: a.Window, Confirm: a.Confirm, Hysteresis: a.Hysteresis}
}

// View is an alert's JSON form. What does not belong to its condition is absent.
type View struct {
	ID          int64           `json:"id"`
	UserID      event.UserID    `json:"user_id"`
	Symbol      string          `json:"symbol"`
	Condition   event.Condition `json:"condition"`
	Target      string          `json:"target,omitempty"`
	Percent     string          `json:"percent,omitempty"`
	Window      string          `json:"window,omitempty"`
	Low         string          `json:"low,omitempty"`
	High        string          `json:"high,omitempty"`
	Confirm     string          `json:"confirm,omitempty"`
	Hysteresis  string          `json:"hysteresis,omitempty"`
	Source      string          `json:"source,omitempty"`
	Email       string          `json:"email,omitempty"`
	Note        string          `json:"note,omitempty"`
	Message     string          `json:"message,omitempty"`
	Repeat      string          `json:"repeat"`
	Cooldown    string          `json:"cooldown,omitempty"`
	MaxFirings  int             `json:"max_firings,omitempty"`
	ExpiresAt   *time.Time      `json:"expires_at,omitempty"`
	Snoozed     *time.Time      `json:"snoozed_until,omitempty"`
	State       State           `json:"state"`
	Firings     int             `json:"firings"`
	CreatedAt   time.Time       `json:"created_at"`
	TriggeredAt *time.Time      `json:"triggered_at,omitempty"`
	Place       event.Place     `json:"place"`
}

// View is the alert as clients see it.
func (a *Alert) View() View {
	v := View{
		ID: a.ID, UserID: a.UserID, Symbol: a.Symbol, Condition: a.Condition, Source: a.Source, Email: a.Email, Note: a.Note, Message: a.Message,
		Confirm: a.Confirm.String(), Repeat: a.Repeat, Cooldown: durationText(a.Cooldown), MaxFirings: a.MaxFirings, ExpiresAt: a.ExpiresAt, Snoozed: a.Snoozed,
		State: a.State, Firings: a.Firings, CreatedAt: a.CreatedAt, TriggeredAt: a.TriggeredAt, Place: a.Place,
	}
	switch {
	case a.Condition.Band():
		v.Low, v.High = a.Target.String(), a.High.String()
	case a.Condition.Percent():
		v.Percent, v.Window = a.Target.String(), durationText(a.Window)
	default:
		v.Target = a.Target.String()
	}
	if a.Hysteresis.Sign() > 0 {
		v.Hysteresis = a.Hysteresis.String()
	}
	return v
}

func durationText(d time.Duration) string {
	if d <= 0 {
		return ""
	}
	return d.String()
}

// MarshalJSON is the alert's View.
func (a Alert) MarshalJSON() ([]byte, error) { return json.Marshal(a.View()) }

// belongs says whether a member of this name belongs to a condition.
func belongs(field string, c event.Condition) bool {
	switch field {
	case "target":
		return !c.Percent() && !c.Band()
	case "percent":
		return c.Percent()
	case "window":
		return c.Windowed()
	}
	return c.Band() // low, high
}

// zero is for members that do not belong.
var zero decimal.Decimal
