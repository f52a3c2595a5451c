package event

import (
	"encoding/binary"
	"fmt"

	"github.com/go-json-experiment/json/jsontext"
)

// envelope recognises what common producers wrap around a value that is no
// notification, and returns what to do about it; "" for anything else.
func envelope(value []byte) string {
	if len(value) >= 5 && value[0] == 0 {
		return fmt.Sprintf("is framed for a schema registry (schema %d): use a plain JSON serializer, such as org.apache.kafka.connect.json.JsonConverter with schemas.enable=false", binary.BigEndian.Uint32(value[1:5]))
	}
	members := membersOf(value)
	_, schema := members["schema"]
	payload, wrapped := members["payload"]
	switch {
	case members["specversion"] != nil:
		return "is a CloudEvent in structured mode: send it in binary mode, with the attributes in headers (ce_id, ce_source, …) and the notification as the value"
	case isChange(members) || schema && wrapped && isChange(membersOf(payload)):
		return "is a Debezium change event: unwrap it with the transform io.debezium.transforms.ExtractNewRecordState, and name the columns as a notification's fields (user_id, title, …)"
	case schema && wrapped:
		return "is a Kafka Connect envelope (schema, payload): set value.converter.schemas.enable=false in the connector"
	}
	return ""
}

// isChange recognises Debezium's own members.
func isChange(members map[string]jsontext.Value) bool {
	_, before := members["before"]
	_, after := members["after"]
	return members["op"] != nil && (before || after)
}

func membersOf(value []byte) map[string]jsontext.Value {
	var members map[string]jsontext.Value
	if err := Unmarshal(value, &members); err != nil {
		return nil // no object: no envelope either
	}
	return members
}
