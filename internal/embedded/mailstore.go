package embedded

import (
	"crypto/rand"
	"slices"
	"sync"
	"time"
)

const (
	maxMails          = 500
	maxMailStoreBytes = 64 << 20 // of raw mails
)

// envelope is what SMTP said, as opposed to the mail's own header.
type envelope struct {
	From     string
	To       []string
	Username string
}

// storedMail is one mail as it came. All but Read is fixed once it is stored.
type storedMail struct {
	ID       string
	Received time.Time
	Envelope envelope
	Raw      []byte
	Summary  mailSummary
	Read     bool
}

// mailStore keeps the newest mails: at most maxCount and maxBytes, the oldest
// making room, which is counted. Safe for concurrent use.
type mailStore struct {
	maxCount, maxBytes int

	mu      sync.Mutex    // guards what follows; nothing is parsed under it
	mails   []*storedMail // oldest first
	bytes   int
	dropped int
}

func newMailStore(maxCount, maxBytes int) *mailStore {
	return &mailStore{maxCount: maxCount, maxBytes: maxBytes}
}

// add stores a mail; raw is kept.
func (s *mailStore) add(e envelope, raw []byte, now time.Time) {
	m := &storedMail{ID: rand.Text(), Received: now, Envelope: e, Raw: raw}
	m.Summary = summarise(m)

	s.mu.Lock()
	defer s.mu.Unlock()
	s.mails = append(s.mails, m)
	s.bytes += len(raw)
	for len(s.mails) > 1 && (len(s.mails) > s.maxCount || s.bytes > s.maxBytes) {
		s.bytes -= len(s.mails[0].Raw)
		s.mails[0] = nil // let it go before the slice grows anew
		s.mails = s.mails[1:]
		s.dropped++
	}
}

// mailboxPage is a part of the store as a reader sees it.
type mailboxPage struct {
	Mails   []storedMail // newest first; copies
	Total   int
	Unread  int
	Dropped int
}

// page gives up to limit mails, leaving out the start newest.
func (s *mailStore) page(start, limit int) mailboxPage {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := mailboxPage{Total: len(s.mails), Dropped: s.dropped}
	for i, m := range slices.Backward(s.mails) {
		if !m.Read {
			p.Unread++
		}
		if place := len(s.mails) - 1 - i; place >= start && len(p.Mails) < limit {
			p.Mails = append(p.Mails, *m)
		}
	}
	return p
}

// get gives one mail and notes that it was read; "latest" is the newest.
func (s *mailStore) get(id string) (storedMail, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, m := range slices.Backward(s.mails) {
		if m.ID == id || id == "latest" {
			m.Read = true
			return *m, true
		}
	}
	return storedMail{}, false
}

// remove deletes the mails named; none named deletes all.
func (s *mailStore) remove(ids []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mails = slices.DeleteFunc(s.mails, func(m *storedMail) bool {
		gone := len(ids) == 0 || slices.Contains(ids, m.ID)
		if gone {
			s.bytes -= len(m.Raw)
		}
		return gone
	})
}
