package consumer

import (
	"fmt"

	"crier/internal/alert"
	"crier/internal/event"
	"crier/internal/inbox"
	"crier/internal/kafka"
)

// firedItem is the notification of a fired alert; its payload is the trigger.
func firedItem(rec *kafka.Record, t event.Trigger, d alert.Decision) inbox.Item {
	t.Firing, t.Note = d.Firing, d.Note
	verb := "rose to"
	if t.Condition == event.Below {
		verb = "fell to"
	}
	body := fmt.Sprintf("Your alert %s %s was met at %s UTC.", t.Condition, t.Target, t.Time.UTC().Format("2006-01-02 15:04:05.000"))
	if d.Note != "" {
		body = d.Note + "\n" + body
	}
	return inbox.Item{
		UserID: t.UserID, EventID: event.EventIDAt(fmt.Sprintf("alert/%d/%s", t.AlertID, t.TopicID), t.Partition, t.Offset),
		Kind: event.KindAlert, Title: fmt.Sprintf("%s %s %s", t.Symbol, verb, t.Price), Body: body,
		Payload: t.AppendJSON(nil), Priority: "high", Origin: rec.Place(),
	}
}
