package user

// Occupy takes all slots for hashing passwords, until release is called.
func (h *Hasher) Occupy() (release func()) {
	for range cap(h.slots) {
		h.slots <- struct{}{}
	}
	return func() {
		for range cap(h.slots) {
			<-h.slots
		}
	}
}

// Queue is how many passwords wait or are hashed, and how many may.
func (h *Hasher) Queue() (n, limit int) { return len(h.queue), cap(h.queue) }
