package hub

import (
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"crier/internal/event"
)

// Subscriber is one stream. It is made by Subscribe and ended by Unsubscribe.
type Subscriber struct {
	hub     *Hub
	user    event.UserID
	session string
	sink    Sink

	inbox  member                 // its part in its user's inbox
	topics atomic.Pointer[topics] // nil until it follows a durable topic; set under the inbox's shard

	counts int64  // version of the counts that it was told; guarded by the inbox's shard
	bye    func() // what ended it before it was started; as counts

	feed *tickFeed // guarded by the ticker's lock, like ended
	// ended is after Unsubscribe: a connection may end while its reader is still
	// asking for ticks.
	ended bool
}

// member is a stream's part in one audience. The audience's shard guards it.
type member struct {
	stream   *Subscriber
	owner    event.UserID
	last     int64 // the place that it has
	replayed int
	state    state
	gone     bool
	starting bool // it is one of those that CaughtUp waits for

	// A topic's: its place in the stream's cursor, once that has it. Guarded by
	// topics.mu.
	topic    string
	at       int64
	inCursor bool
}

type state uint8

const (
	waiting state = iota // subscribed, not started: only the highest place is noted
	live
	behind  // a worker reads for it
	stalled // behind, and its sink is full: a worker goes on when it is drained
)

// topics is what a stream that follows durable topics needs besides: its place
// in all of them, which goes with each event.
type topics struct {
	mu       sync.Mutex // guards the rest; taken after a shard's lock, and held while the sink is written
	members  []*member  // in order of owner
	inbox    int64      // the place in the inbox that goes with the next event
	starting int        // how many of members and inbox CaughtUp waits for
	replayed int
}

// TopicPlace is where a stream begins in a durable topic.
type TopicPlace struct {
	Topic string
	Has   int64 // the place that the reader has
	Last  int64 // where the topic stood when it was read after Subscribe
}

// Subscribe begins to note what arrives for a user, and in durable topics.
// Nothing is sent before Start. user "" is somebody who did not sign in, and
// gets ticks only.
func (h *Hub) Subscribe(user event.UserID, session string, sink Sink, topics ...string) *Subscriber {
	s := &Subscriber{hub: h, user: user, session: session, sink: sink}
	h.subscribers.Add(1)
	if user == "" {
		return s
	}
	for _, topic := range topics {
		s.follow(topic, true)
	}
	s.inbox = member{stream: s, owner: user, starting: true}
	s.inbox.join()
	return s
}

func (m *member) join() {
	sh := m.stream.hub.shard(m.owner)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if m.gone {
		return
	}
	a := sh.users[m.owner]
	if a == nil {
		a = &audience{user: m.owner, newest: noSlot}
		sh.users[m.owner] = a
	} else if len(a.subs) == 0 {
		sh.without--
	}
	a.subs = append(a.subs, m)
}

func (m *member) leave() bool {
	sh := m.stream.hub.shard(m.owner)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if m.gone {
		return false
	}
	m.gone = true
	a := sh.users[m.owner]
	if a == nil {
		return true // it was about to join
	}
	i := slices.Index(a.subs, m)
	if i < 0 {
		return true // as above, where others are, or were
	}
	a.subs = slices.Delete(a.subs, i, i+1)
	switch {
	case len(a.subs) > 0:
	case sh.without < maxWithout:
		sh.without++
		a.left = time.Now() // whoever comes back soon is told what was missed from memory
	default:
		delete(sh.users, m.owner)
	}
	return true
}

// Start lets the stream run: it has everything up to place has, the inbox stood
// at head when it was read after Subscribe, and so with the topics.
func (s *Subscriber) Start(has int64, head Head, topics ...TopicPlace) {
	if s.user == "" {
		return
	}
	if all := s.topics.Load(); all != nil {
		all.mu.Lock()
		all.inbox = has
		for _, t := range topics {
			all.place(t.Topic, t.Has)
		}
		all.mu.Unlock()
	}
	for _, t := range topics {
		s.StartTopic(t)
	}
	if bye := s.startInbox(has, head); bye != nil {
		bye()
	}
}

func (s *Subscriber) startInbox(has int64, head Head) (bye func()) {
	sh := s.hub.shard(s.user)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	a := sh.users[s.user]
	if s.inbox.gone || a == nil {
		return nil
	}
	if head.Counts.Version > a.counts.Version {
		a.counts = head.Counts
	}
	s.counts = head.Counts.Version
	s.inbox.begin(a, has, head.Last)
	return s.bye
}

// begin lets a member run. Called with the shard's lock held.
func (m *member) begin(a *audience, has, last int64) {
	a.highest = max(a.highest, last)
	m.last = has
	if m.last >= a.highest {
		m.becomeLive(a)
	} else {
		m.fallBehind()
	}
}

// becomeLive says that the member has everything; when all of the stream's
// have, it has caught up. An inbox's is told the counts that changed meanwhile.
func (m *member) becomeLive(a *audience) {
	s := m.stream
	if m.starting && !s.caughtUp(m) {
		m.state = stalled
		return
	}
	m.state, m.starting = live, false
	if m == &s.inbox {
		s.catchUpCounts(a)
	}
}

// caughtUp counts a member that has everything, and tells the sink at the last;
// false: the sink is full, ask again.
func (s *Subscriber) caughtUp(m *member) bool {
	t := s.topics.Load()
	if t == nil {
		return s.sink.CaughtUp(m.replayed)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.starting == 1 && !s.sink.CaughtUp(t.replayed+m.replayed) {
		return false
	}
	t.starting--
	t.replayed += m.replayed
	return true
}

func (s *Subscriber) catchUpCounts(a *audience) {
	if s.counts < a.counts.Version {
		s.hub.sendCounts(a, time.Now())
	}
}

// send hands an event with a place to the sink; false: it is full.
func (m *member) send(ev *Event) bool {
	s := m.stream
	t := s.topics.Load()
	if t == nil {
		return s.sink.Send(ev)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	place := &m.at
	if m == &s.inbox {
		place = &t.inbox
	}
	before := *place
	*place = ev.ID
	if s.sink.SendAt(ev, t.cursor()) {
		return true
	}
	*place = before
	return false
}

// sendPage hands a page of missed events to the sink, and says how many it took.
func (m *member) sendPage(events []*Event) int {
	s := m.stream
	t := s.topics.Load()
	if t == nil {
		return s.sink.SendPage(events, "", "")
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	before, after := t.around(m)
	n := s.sink.SendPage(events, before, after)
	if n == 0 {
		return 0
	}
	if m == &s.inbox {
		t.inbox = events[n-1].ID
	} else {
		m.at = events[n-1].ID
	}
	return n
}

// around is the stream's cursor without the place of one member: what stands
// before it and what behind. Called with the lock held.
func (t *topics) around(m *member) (before, after string) {
	b := make([]byte, 0, 64)
	cut := 0
	if m != &m.stream.inbox {
		b = strconv.AppendInt(b, t.inbox, 10)
		cut = len(b)
	}
	for _, o := range t.members {
		if !o.inCursor {
			continue
		}
		b = append(b, ';')
		b = append(b, o.topic...)
		b = append(b, '=')
		if o == m {
			cut = len(b)
			continue
		}
		b = strconv.AppendInt(b, o.at, 10)
	}
	return string(b[:cut]), string(b[cut:])
}

// cursor is the stream's place in everything, as event.ParseCursor reads it.
// Called with the lock held.
func (t *topics) cursor() string {
	b := strconv.AppendInt(make([]byte, 0, 64), t.inbox, 10)
	for _, m := range t.members {
		if !m.inCursor {
			continue
		}
		b = append(b, ';')
		b = append(b, m.topic...)
		b = append(b, '=')
		b = strconv.AppendInt(b, m.at, 10)
	}
	return string(b)
}

// place puts a topic's place into the cursor. Called with the lock held.
func (t *topics) place(topic string, at int64) {
	for _, m := range t.members {
		if m.topic == topic {
			m.at, m.inCursor = at, true
		}
	}
}

// farewell is how the hub ends a stream: at once, or as soon as it is started,
// because before that there is no connection to say it on. Called with the
// shard's lock held; what it returns, without.
func (s *Subscriber) farewell(reason string, retry time.Duration) func() {
	bye := func() { s.sink.Bye(reason, retry) }
	if s.inbox.state != waiting {
		return bye
	}
	s.bye = bye
	return nil
}

func (m *member) fallBehind() {
	m.state = behind
	m.stream.hub.catch.push(m)
}

// follow makes the stream's part in a topic; it notes what arrives from now on.
// nil: it follows the topic already.
func (s *Subscriber) follow(topic string, starting bool) *member {
	m := &member{stream: s, owner: event.TopicOwner(topic), topic: topic, starting: starting}
	t := s.enableTopics()
	t.mu.Lock()
	i, found := slices.BinarySearchFunc(t.members, m, func(a, b *member) int { return strings.Compare(string(a.owner), string(b.owner)) })
	if !found {
		t.members = slices.Insert(t.members, i, m)
		if starting {
			t.starting++
		}
	}
	t.mu.Unlock()
	if found {
		return nil
	}
	m.join()
	return m
}

// enableTopics makes what a stream needs that follows topics. Sends to the
// inbox's member look for it under the same lock.
func (s *Subscriber) enableTopics() *topics {
	sh := s.hub.shard(s.user)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if t := s.topics.Load(); t != nil {
		return t
	}
	t := &topics{inbox: s.inbox.last}
	if s.inbox.stream == nil || s.inbox.starting {
		t.starting = 1 // the inbox
	}
	s.topics.Store(t)
	return t
}

// Topics are the durable topics that the stream follows.
func (s *Subscriber) Topics() []string {
	t := s.topics.Load()
	if t == nil {
		return nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	names := make([]string, len(t.members))
	for i, m := range t.members {
		names[i] = m.topic
	}
	return names
}

// FollowTopic begins to note what arrives in a durable topic. Nothing is sent
// before StartTopic. false: the stream follows the topic already, or nobody has
// signed in to it.
func (s *Subscriber) FollowTopic(topic string) bool {
	if s.user == "" || s.follow(topic, false) == nil {
		return false
	}
	// A connection may end while its reader is still asking: Unsubscribe has seen
	// the new part, or we see that it was called.
	sh := s.hub.shard(s.user)
	sh.mu.Lock()
	ended := s.inbox.gone
	sh.mu.Unlock()
	if ended {
		s.UnfollowTopic(topic)
	}
	return !ended
}

// StartTopic lets the stream's part in a topic run.
func (s *Subscriber) StartTopic(at TopicPlace) {
	m := s.member(at.Topic)
	if m == nil {
		return
	}
	t := s.topics.Load()
	t.mu.Lock()
	t.place(at.Topic, at.Has)
	t.mu.Unlock()
	sh := s.hub.shard(m.owner)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if a := sh.users[m.owner]; a != nil && !m.gone && m.state == waiting {
		m.begin(a, at.Has, at.Last)
	}
}

func (s *Subscriber) member(topic string) *member {
	t := s.topics.Load()
	if t == nil {
		return nil
	}
	owner := event.TopicOwner(topic)
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, m := range t.members {
		if m.owner == owner {
			return m
		}
	}
	return nil
}

// UnfollowTopic ends the stream's part in a topic; false: it had none.
func (s *Subscriber) UnfollowTopic(topic string) bool {
	m := s.member(topic)
	if m == nil || !m.leave() {
		return false
	}
	t := s.topics.Load()
	t.mu.Lock()
	defer t.mu.Unlock()
	t.members = slices.DeleteFunc(t.members, func(o *member) bool { return o == m })
	return true
}

// Cursor is the stream's place in everything that it follows.
func (s *Subscriber) Cursor() string {
	t := s.topics.Load()
	if t == nil {
		return strconv.FormatInt(s.Last(), 10)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.cursor()
}

// Unsubscribe ends the stream's part in the hub. It may be called twice.
func (s *Subscriber) Unsubscribe() {
	s.hub.ticks.remove(s)
	if s.user == "" {
		if !s.inbox.gone {
			s.inbox.gone = true
			s.hub.subscribers.Add(-1)
		}
		return
	}
	if s.inbox.leave() {
		s.hub.subscribers.Add(-1)
	}
	for _, topic := range s.Topics() {
		s.UnfollowTopic(topic)
	}
}

// Last is the place in the inbox that the stream has.
func (s *Subscriber) Last() int64 {
	sh := s.hub.shard(s.user)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	return s.inbox.last
}

// Drained is called by a sink that was full and has room again.
func (s *Subscriber) Drained() {
	if s.user == "" {
		return
	}
	s.inbox.drained()
	for _, topic := range s.Topics() {
		if m := s.member(topic); m != nil {
			m.drained()
		}
	}
}

func (m *member) drained() {
	sh := m.stream.hub.shard(m.owner)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	a := sh.users[m.owner]
	switch {
	case m.gone || a == nil:
	case m.state == stalled:
		m.fallBehind()
	case m.state == live && m == &m.stream.inbox: // what it refused were counts, or ticks
		m.stream.catchUpCounts(a)
	}
}
