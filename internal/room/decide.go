package room

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"crier/internal/event"
)

// Verdict is what becomes of a request.
type Verdict uint8

// The verdicts. An event that is not to be placed now may have been placed when
// the same record was read before: Nothing and Welcome ask for it.
const (
	Place   Verdict = iota // an event is placed in the room
	Nothing                // no event
	Refuse                 // no event, and the connection is told why
	Ignore                 // of a gateway that is dead: nobody is told
)

// Why requests are refused; the older chat's clients know them with room: before.
const (
	CodeInvalid   = "invalid"
	CodeNotJoined = "not-joined"
)

// Decision is what becomes of one request.
type Decision struct {
	Verdict Verdict
	Code    string
	// Welcomes says that the connection has joined, or had before: it is told so.
	Welcomes bool
	Users    []event.RoomUser // who is there after it
	// At is the room's place when the connection had joined before.
	At int64
	// Leaves are connections that are in the room no longer.
	Leaves []Connection
}

// Connection is one of a gateway's.
type Connection struct {
	ID, Gateway string
}

type member struct {
	Connection
	user  event.RoomUser
	place int64
}

// crowd is who is in one room while a batch is decided.
type crowd struct {
	exists  bool
	members map[string]member // by connection; those that the batch speaks of, or all
}

// Decisions are those of a batch, to be recorded when its events have places.
type Decisions struct {
	List    []Decision
	joined  []member // with requests' index
	joins   []int
	left    []member
	rooms   []string // of left
	closed  []string
	joining []string // rooms of joined
}

// Decide decides requests in their order, within tx. It locks their rooms.
func Decide(ctx context.Context, tx pgx.Tx, requests []*event.RoomRequest) (*Decisions, error) {
	d := &Decisions{List: make([]Decision, len(requests))}
	if len(requests) == 0 {
		return d, nil
	}
	crowds, err := loadCrowds(ctx, tx, requests)
	if err != nil {
		return nil, err
	}
	alive, err := liveGateways(ctx, tx, requests)
	if err != nil {
		return nil, err
	}
	for i, r := range requests {
		c := crowds[r.Room]
		if !c.exists {
			d.List[i] = Decision{Verdict: Refuse, Code: CodeInvalid}
			if r.Type == event.RoomClose || r.Type == event.RoomPart {
				d.List[i] = Decision{Verdict: Nothing}
			}
			continue
		}
		switch r.Type {
		case event.RoomJoin:
			d.List[i] = d.join(i, r, c, alive)
		case event.RoomPart:
			d.List[i] = d.part(r, c)
		case event.RoomClose:
			d.List[i] = d.close(r, c)
		default:
			// Whoever says something need not be there: a service, or the page's own
			// request, is not. That a chat's connection is, its gateway sees to.
			d.List[i] = Decision{Verdict: Place}
		}
	}
	return d, nil
}

func (d *Decisions) join(i int, r *event.RoomRequest, c *crowd, alive map[string]bool) Decision {
	if m, ok := c.members[r.Connection]; ok {
		return Decision{Verdict: Nothing, Welcomes: true, At: m.place, Users: c.users(r.UserID)}
	}
	if !alive[r.Gateway] {
		return Decision{Verdict: Ignore}
	}
	out := Decision{Verdict: Place, Welcomes: true}
	if c.has(r.UserID) {
		out.Verdict = Nothing
	}
	m := member{Connection: Connection{r.Connection, r.Gateway}, user: event.RoomUser{UserID: r.UserID, Username: r.Username}}
	c.members[r.Connection] = m
	d.joined, d.joins, d.joining = append(d.joined, m), append(d.joins, i), append(d.joining, r.Room)
	out.Users = c.users(r.UserID)
	return out
}

func (d *Decisions) part(r *event.RoomRequest, c *crowd) Decision {
	m, ok := c.members[r.Connection]
	if !ok {
		return Decision{Verdict: Nothing, Leaves: []Connection{{r.Connection, r.Gateway}}}
	}
	delete(c.members, r.Connection)
	d.left, d.rooms = append(d.left, m), append(d.rooms, r.Room)
	out := Decision{Verdict: Place, Leaves: []Connection{m.Connection}}
	if c.has(m.user.UserID) {
		out.Verdict = Nothing
	}
	return out
}

func (d *Decisions) close(r *event.RoomRequest, c *crowd) Decision {
	out := Decision{Verdict: Place}
	for _, id := range slices.Sorted(maps.Keys(c.members)) {
		out.Leaves = append(out.Leaves, c.members[id].Connection)
	}
	clear(c.members)
	c.exists = false
	d.closed = append(d.closed, r.Room)
	return out
}

func (c *crowd) has(user event.UserID) bool {
	for _, m := range c.members {
		if m.user.UserID == user {
			return true
		}
	}
	return false
}

// users are the people of the crowd by name, the newcomer among them; of too
// many, some.
func (c *crowd) users(newcomer event.UserID) []event.RoomUser {
	seen := make(map[event.UserID]bool, len(c.members))
	var out []event.RoomUser
	for _, m := range c.members {
		if len(out) >= event.MaxPresent-1 && m.user.UserID != newcomer {
			continue
		}
		if !seen[m.user.UserID] {
			seen[m.user.UserID] = true
			out = append(out, m.user)
		}
	}
	slices.SortFunc(out, func(a, b event.RoomUser) int {
		if c := strings.Compare(a.Username, b.Username); c != 0 {
			return c
		}
		return strings.Compare(string(a.UserID), string(b.UserID))
	})
	return out
}

// loadCrowds locks the rooms and reads who is in them: all where somebody joins
// or the room is closed, else the connections and people that are spoken of.
func loadCrowds(ctx context.Context, tx pgx.Tx, requests []*event.RoomRequest) (map[string]*crowd, error) {
	crowds := make(map[string]*crowd)
	var whole, partRooms, partUsers []string
	for _, r := range requests {
		crowds[r.Room] = &crowd{members: make(map[string]member)}
		switch r.Type {
		case event.RoomJoin, event.RoomClose:
			whole = append(whole, r.Room)
		case event.RoomPart:
			partRooms, partUsers = append(partRooms, r.Room), append(partUsers, string(r.UserID))
		}
	}
	rows, err := tx.Query(ctx, `select name from rooms where name = any($1::text[]) order by name for update`, slices.Sorted(maps.Keys(crowds)))
	if err != nil {
		return nil, fmt.Errorf("locking rooms: %w", err)
	}
	var name string
	if _, err := pgx.ForEachRow(rows, []any{&name}, func() error { crowds[name].exists = true; return nil }); err != nil {
		return nil, fmt.Errorf("locking rooms: %w", err)
	}
	if len(whole)+len(partRooms) == 0 {
		return crowds, nil
	}
	// A connection's own row is found by its user: it never changes hands.
	rows, err = tx.Query(ctx, `
		select room, connection::text, gateway::text, user_id, username, place from room_members m
		where room = any($1::text[]) or (room, user_id) in (select * from unnest($2::text[], $3::text[]))`, whole, partRooms, partUsers)
	if err != nil {
		return nil, fmt.Errorf("reading who is in rooms: %w", err)
	}
	var m member
	_, err = pgx.ForEachRow(rows, []any{&name, &m.ID, &m.Gateway, (*string)(&m.user.UserID), &m.user.Username, &m.place}, func() error {
		crowds[name].members[m.ID] = m
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("reading who is in rooms: %w", err)
	}
	return crowds, nil
}

// liveGateways are those whose rows are there: as long as one is, what belongs
// to it will be parted when its lease has ended.
func liveGateways(ctx context.Context, tx pgx.Tx, requests []*event.RoomRequest) (map[string]bool, error) {
	ids := make(map[string]bool)
	for _, r := range requests {
		if r.Type == event.RoomJoin {
			ids[r.Gateway] = true
		}
	}
	alive := make(map[string]bool, len(ids))
	if len(ids) == 0 {
		return alive, nil
	}
	rows, err := tx.Query(ctx, `select gateway::text from gateway_leases where gateway = any($1::uuid[]) order by gateway for share`, slices.Sorted(maps.Keys(ids)))
	if err != nil {
		return nil, fmt.Errorf("looking for gateways: %w", err)
	}
	var id string
	if _, err := pgx.ForEachRow(rows, []any{&id}, func() error { alive[id] = true; return nil }); err != nil {
		return nil, fmt.Errorf("looking for gateways: %w", err)
	}
	return alive, nil
}

// Record writes within tx who has joined and left, and removes rooms that were
// closed. places are those of the rooms after each request.
func (d *Decisions) Record(ctx context.Context, tx pgx.Tx, places []int64) error {
	batch := &pgx.Batch{}
	for i, m := range d.joined {
		batch.Queue(`insert into room_members (room, connection, gateway, user_id, username, place) values ($1, $2::uuid, $3::uuid, $4, $5, $6)`,
			d.joining[i], m.ID, m.Gateway, string(m.user.UserID), m.user.Username, places[d.joins[i]])
	}
	for i, m := range d.left {
		batch.Queue(`delete from room_members where room = $1 and connection = $2::uuid`, d.rooms[i], m.ID)
	}
	for _, name := range d.closed {
		batch.Queue(`delete from room_members where room = $1`, name)
		batch.Queue(`delete from room_reads where room = $1`, name)
		batch.Queue(`delete from rooms where name = $1`, name)
	}
	if batch.Len() == 0 {
		return nil
	}
	if err := tx.SendBatch(ctx, batch).Close(); err != nil {
		return fmt.Errorf("recording who is in rooms: %w", err)
	}
	return nil
}
