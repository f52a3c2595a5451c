package consumer

import (
	"fmt"
	"strings"

	"crier/internal/alert"
	"crier/internal/event"
	"crier/internal/inbox"
	"crier/internal/kafka"
)

// firedItem is the notification of a fired alert; its payload is the trigger.
func firedItem(rec *kafka.Record, t event.Trigger, d alert.Decision) inbox.Item {
	t.Firing, t.Note = d.Firing, d.Note
	title, body := words(&t)
	if d.Message != "" {
		title, body = fill(d.Message, &t), ""
	}
	if d.Note != "" {
		body = strings.TrimSuffix(d.Note+"\n"+body, "\n")
	}
	return inbox.Item{
		UserID: t.UserID, EventID: t.Tick().EventID(fmt.Sprintf("alert/%d", t.AlertID)),
		Kind: event.KindAlert, Title: title, Body: body,
		Payload: t.AppendJSON(nil), Priority: "high", Origin: rec.Origin(),
	}
}

// words are the built-in ones.
func words(t *event.Trigger) (title, body string) {
	verb := "reached"
	bare := strings.TrimLeft(t.Change, "+-")
	switch t.Condition {
	case event.Above:
		verb = "rose to"
	case event.Below:
		verb = "fell to"
	case event.CrossesAbove:
		verb = "crossed up to"
	case event.CrossesBelow:
		verb = "crossed down to"
	case event.PercentUp:
		verb = "is up " + bare + " % at"
	case event.PercentDown:
		verb = "is down " + bare + " % at"
	case event.Enters:
		verb = "entered its band at"
	case event.Exits:
		verb = "left its band at"
	case event.TrailingStop:
		verb = "fell " + bare + " % from its best to"
	}
	return fmt.Sprintf("%s %s %s", t.Symbol, verb, t.Price),
		fmt.Sprintf("Your alert %s %s was met at %s UTC.", t.Condition, t.Asked(), t.Time.UTC().Format("2006-01-02 15:04:05.000"))
}

// fill writes a message of the owner's own.
func fill(template string, t *event.Trigger) string {
	return strings.NewReplacer("{symbol}", t.Symbol, "{price}", t.Price.String(), "{target}", t.Asked(),
		"{time}", t.Time.UTC().Format("2006-01-02 15:04:05")+" UTC", "{change}", t.Change+" %").Replace(template)
}
