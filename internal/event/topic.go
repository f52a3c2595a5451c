package event

import (
	"regexp"
	"strings"
)

// A topic that clients follow is one of three: a durable topic with a plain
// name, whose messages have places like an inbox's; `room:NAME`, the same for a
// chat room; `ticks:SYMBOL`, which keeps nothing.
const (
	ownerPrefix = "topic:"
	RoomPrefix  = "room:"
	TicksPrefix = "ticks:"
)

// MaxTopicName is the longest plain name of a topic.
const MaxTopicName = 100

// MaxRoomName is the longest name of a room.
const MaxRoomName = 50

// roomName is the shape that the older chat's clients know.
var roomName = regexp.MustCompile(`^[a-zA-Z][a-zA-Z0-9_]*?(-[a-zA-Z0-9_]+)*$`)

// TopicOwner is who owns a durable topic's messages where inboxes are kept; no
// user may be called so.
func TopicOwner(topic string) UserID {
	if strings.HasPrefix(topic, RoomPrefix) {
		return UserID(topic)
	}
	return UserID(ownerPrefix + topic)
}

// Topic is the durable topic whose owner this is; false: it is a user.
func (u UserID) Topic() (string, bool) {
	if strings.HasPrefix(string(u), RoomPrefix) {
		return string(u), true
	}
	return strings.CutPrefix(string(u), ownerPrefix)
}

// Room is the room whose owner this is.
func (u UserID) Room() (string, bool) { return strings.CutPrefix(string(u), RoomPrefix) }

// CheckSendTopic notes a topic that notifications cannot be sent to.
func (v *Invalid) CheckSendTopic(field, topic string) {
	if strings.HasPrefix(topic, TicksPrefix) {
		v.Add(field, "topic", "ticks are written to the topic ticks of Kafka")
		return
	}
	v.CheckDurableTopic(field, topic)
}

// CheckDurableTopic notes a name that is neither a plain topic's nor a room's.
func (v *Invalid) CheckDurableTopic(field, topic string) {
	if room, ok := strings.CutPrefix(topic, RoomPrefix); ok {
		v.CheckRoom(field, room)
		return
	}
	v.CheckName(field, topic, MaxTopicName)
}

// CheckRoom notes a name that no room can have.
func (v *Invalid) CheckRoom(field, name string) {
	if len(name) > MaxRoomName || !roomName.MatchString(name) {
		v.Add(field, "room", "must be at most 50 letters, digits, '_' and single '-' between them, and begin with a letter")
	}
}
