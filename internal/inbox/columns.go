package inbox

import (
	"slices"
	"time"

	"crier/internal/event"
)

// columns are the rows of one insert, turned on their side for unnest: one
// statement and one plan for any number of rows.
type columns struct {
	users, eventIDs, kinds, titles, bodies, urls, payloads []string
	ids                                                    []int64
	priorities                                             []int16
	unreads                                                []int32
	createds                                               []time.Time
	senders, keys                                          []*string
	hashes                                                 [][]byte
	topics                                                 []string
	parts                                                  []int32
	offsets, fingerprints                                  []int64
	ends                                                   []*time.Time
	collapses, authors                                     []*string
	replaces                                               []*int64
}

func newColumns(n int) *columns {
	text := func() []string { return make([]string, 0, n) }
	return &columns{
		users: text(), eventIDs: text(), kinds: text(), titles: text(), bodies: text(), urls: text(), payloads: text(), topics: text(),
		ids: make([]int64, 0, n), priorities: make([]int16, 0, n), unreads: make([]int32, 0, n), createds: make([]time.Time, 0, n),
		senders: make([]*string, 0, n), keys: make([]*string, 0, n), hashes: make([][]byte, 0, n),
		parts: make([]int32, 0, n), offsets: make([]int64, 0, n),
	}
}

func (c *columns) add(it *Item, s *event.Stored) {
	c.users = append(c.users, string(s.UserID))
	c.ids = append(c.ids, s.ID)
	c.eventIDs = append(c.eventIDs, s.EventID)
	c.kinds = append(c.kinds, s.Kind)
	c.titles = append(c.titles, s.Title)
	c.bodies = append(c.bodies, s.Body)
	c.urls = append(c.urls, s.URL)
	c.payloads = append(c.payloads, string(s.Payload))
	c.priorities = append(c.priorities, int16(slices.Index(event.Priorities, s.Priority)))
	c.unreads = append(c.unreads, int32(s.Unread))
	c.createds = append(c.createds, s.CreatedAt)
	var sender, key *string
	var hash []byte
	if it.Sender != "" {
		sender = &it.Sender // for Recall
	}
	if it.Key != "" {
		sender, key, hash = &it.Sender, &it.Key, it.Hash
	}
	c.senders, c.keys, c.hashes = append(c.senders, sender), append(c.keys, key), append(c.hashes, hash)
	c.topics = append(c.topics, it.Origin.TopicID)
	c.parts = append(c.parts, it.Origin.Partition)
	c.offsets = append(c.offsets, it.Origin.Offset)
	c.fingerprints = append(c.fingerprints, it.Origin.Fingerprint)
	c.ends = append(c.ends, s.ExpiresAt)
	var collapse *string
	var replaces *int64
	if s.Collapse != "" {
		collapse = &it.Collapse
	}
	if s.Replaces > 0 {
		replaces = &s.Replaces
	}
	var author *string
	if s.Author != "" {
		author = &it.Author
	}
	c.authors = append(c.authors, author)
	c.collapses, c.replaces = append(c.collapses, collapse), append(c.replaces, replaces)
}

func (c *columns) args() []any {
	return []any{c.users, c.ids, c.eventIDs, c.kinds, c.titles, c.bodies, c.urls, c.payloads, c.priorities, c.unreads, c.createds,
		c.senders, c.keys, c.hashes, c.topics, c.parts, c.offsets, c.ends, c.collapses, c.replaces, c.authors, c.fingerprints}
}
