package event

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"
)

// Limits of what is said in a room.
const (
	MaxRoomMessage = 512  // characters, as the older chat's clients know it
	MaxRoomCommand = 50   // characters of a custom's command
	MaxRoomPayload = 2000 // characters of a custom's payload
)

// What a request to a room asks for.
const (
	RoomJoin   = "join"
	RoomPart   = "part"
	RoomSay    = "message"
	RoomCustom = "custom" // a command such as stock=aapl.us: not kept in the history
	RoomEdit   = "edit"
	RoomDelete = "delete"
	RoomClose  = "close" // the room is removed, and everybody in it parts
)

// Kinds of what happens in a room: the kind of its topic's messages.
const (
	KindJoined  = "joined"
	KindParted  = "parted"
	KindSaid    = KindMessage
	KindCustom  = "custom"
	KindEdited  = "edited"
	KindDeleted = "deleted"
	KindClosed  = "closed"
)

// RoomRequest is a record of topic `rooms`, keyed by the room's name: what
// somebody in a chat asks for.
type RoomRequest struct {
	Type       string `json:"type"`
	Room       string `json:"room"`
	UserID     UserID `json:"user_id,omitempty"`
	Username   string `json:"username,omitempty"`
	EventID    string `json:"event_id,omitempty"`
	Connection string `json:"connection,omitempty"` // who joins and parts is a connection
	Gateway    string `json:"gateway,omitempty"`    // that holds it
	Body       string `json:"body,omitempty"`
	Command    string `json:"command,omitempty"`
	Payload    string `json:"payload,omitempty"`
	MessageID  int64  `json:"message_id,omitempty"` // edit, delete: the place of the message
}

// ParseRoomRequest reads and checks one record of `rooms`. The error is an
// Invalid.
func ParseRoomRequest(value []byte) (RoomRequest, error) {
	var r RoomRequest
	if err := DecodeObject(value, &r); err != nil {
		return r, err
	}
	return r, r.Validate()
}

// Validate trims the body and returns every broken rule as an Invalid.
func (r *RoomRequest) Validate() error {
	var v Invalid
	v.CheckRoom("room", r.Room)
	v.CheckText("username", r.Username, MaxUserID)
	if r.Type != RoomClose {
		v.checkUserID("user_id", r.UserID)
	}
	if r.EventID != "" && !IsUUID(r.EventID) {
		v.Add("event_id", "uuid", "must be a UUID in small letters")
	}
	switch r.Type {
	case RoomJoin, RoomPart:
		if !IsUUID(r.Connection) {
			v.Add("connection", "uuid", "must be a UUID in small letters")
		}
		if r.Type == RoomJoin && !IsUUID(r.Gateway) {
			v.Add("gateway", "uuid", "must be a UUID in small letters")
		}
	case RoomSay:
		r.checkBody(&v)
	case RoomEdit:
		r.checkBody(&v)
		r.checkMessageID(&v)
	case RoomDelete:
		r.checkMessageID(&v)
	case RoomCustom:
		v.CheckText("command", r.Command, MaxRoomCommand)
		v.CheckText("payload", r.Payload, MaxRoomPayload)
		if r.Command == "" {
			v.Add("command", "required", "is required")
		}
	case RoomClose:
	default:
		v.Add("type", "enum", "must be join, part, message, custom, edit, delete or close")
	}
	return v.Err()
}

func (r *RoomRequest) checkBody(v *Invalid) {
	r.Body = strings.TrimSpace(r.Body)
	if r.Body == "" {
		v.Add("body", "required", "must not be empty")
	}
	v.CheckText("body", r.Body, MaxRoomMessage)
}

func (r *RoomRequest) checkMessageID(v *Invalid) {
	if r.MessageID < 1 {
		v.Add("message_id", "range", "must be the id of a message")
	}
}

// Said is the payload of what happens in a room: who it was, and by kind what
// else there is to it.
type Said struct {
	Username  string     `json:"username"`
	Command   string     `json:"command,omitempty"`
	Payload   string     `json:"payload,omitempty"`
	MessageID int64      `json:"message_id,omitempty"` // edited, deleted
	EditedAt  *time.Time `json:"edited_at,omitempty"`  // of a message
}

// JSON is the payload's text.
func (s Said) JSON() []byte {
	b, err := json.Marshal(s)
	if err != nil {
		panic(fmt.Sprintf("texts and numbers did not encode: %v", err))
	}
	return b
}

// Directed is what the consumer says to one connection, besides what it says to
// all: a record of `deliveries` with the headers topic, kind, gateway and
// connection, and no id. Kinds: welcome, left, refused.
type Directed struct {
	Room     string        `json:"room"`
	Place    int64         `json:"place"` // of the room: what comes to the connection begins behind it
	At       time.Time     `json:"at"`
	Users    []RoomUser    `json:"users,omitempty"`    // welcome: who is there, by name; MaxPresent at most
	Messages []RoomMessage `json:"messages,omitempty"` // welcome: the newest first
	Code     string        `json:"code,omitempty"`     // refused
}

// Kinds of Directed.
const (
	Welcome = "welcome"
	Left    = "left"
	Refused = "refused"
)

// RoomUser is somebody in a room.
type RoomUser struct {
	UserID   UserID `json:"user_id"`
	Username string `json:"username"`
}

// RoomMessage is a message of a room's history.
type RoomMessage struct {
	ID        int64      `json:"id"`
	EventID   string     `json:"event_id"`
	UserID    UserID     `json:"user_id"`
	Username  string     `json:"username"`
	Body      string     `json:"body"`
	CreatedAt time.Time  `json:"created_at"`
	EditedAt  *time.Time `json:"edited_at,omitempty"`
}

// RoomMessageOf is a stored message of a room.
func RoomMessageOf(s *Stored) RoomMessage {
	var said Said
	_ = json.Unmarshal(s.Payload, &said) // a service's own message may have none
	return RoomMessage{ID: s.ID, EventID: s.EventID, UserID: UserID(s.Author), Username: said.Username, Body: s.Body, CreatedAt: s.CreatedAt, EditedAt: said.EditedAt}
}

// What somebody who joins is shown at most: a record of `deliveries` has to hold
// it.
const (
	MaxHistory = 50   // messages
	MaxPresent = 1000 // people who are there; the newcomer is among them
)
