package command

import (
	"errors"
	"time"

	"crier/internal/event"
	"crier/internal/kafka"
	"crier/internal/room"
)

// roomsCmd manages chat rooms.
type roomsCmd struct {
	Add    roomsAddCmd    `cmd:"" help:"Make a room; one that is there already is left as it is."`
	List   roomsListCmd   `cmd:"" help:"List the rooms."`
	Remove roomsRemoveCmd `cmd:"" help:"Remove a room: everybody in it parts, and what was said is gone."`
}

type roomsAddCmd struct {
	databaseFlags `embed:""`
	Name          string `arg:"" help:"Its name: letters, digits, _ and - between them."`
}

// Run is called by the parser.
func (c *roomsAddCmd) Run(e *env) error {
	var v event.Invalid
	if v.CheckRoom("name", c.Name); v.Err() != nil {
		return v.Err()
	}
	db, err := e.openDatabase(c.databaseFlags)
	if err != nil {
		return err
	}
	defer db.Close()
	made, err := room.New(db).Ensure(e.ctx, c.Name, time.Now())
	if err == nil && !made {
		e.printf("room %s is there already\n", c.Name)
	}
	return err
}

type roomsListCmd struct {
	databaseFlags `embed:""`
	listFlags     `embed:""`
}

// Run is called by the parser.
func (c *roomsListCmd) Run(e *env) error {
	db, err := e.openDatabase(c.databaseFlags)
	if err != nil {
		return err
	}
	defer db.Close()
	views, err := room.New(db).Views(e.ctx, "")
	for _, v := range views {
		c.row(e, struct {
			Room    string `json:"room"`
			Members int    `json:"members"`
		}{v.Name, int(v.Members)}, "%-50s %4d here\n", v.Name, v.Members)
	}
	return err
}

type roomsRemoveCmd struct {
	databaseFlags `embed:""`
	kafkaFlags    `embed:""`
	Name          string `arg:"" help:"Its name."`
}

// Run is called by the parser. The room goes in the order of what is said in it.
func (c *roomsRemoveCmd) Run(e *env) error {
	db, err := e.openDatabase(c.databaseFlags)
	if err != nil {
		return err
	}
	defer db.Close()
	there, err := room.New(db).Exists(e.ctx, c.Name)
	if err != nil {
		return err
	}
	if !there {
		return errors.New("there is no room " + c.Name)
	}
	if err := e.findKafka(&c.kafkaFlags); err != nil {
		return err
	}
	k, err := c.kafkaFlags.open(e.log)
	if err != nil {
		return err
	}
	defer k.Close()
	return k.Produce(e.ctx, kafka.RoomRecord(&event.RoomRequest{Type: event.RoomClose, Room: c.Name}))
}
