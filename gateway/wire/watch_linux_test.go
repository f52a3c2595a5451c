package wire

// watched is how many connections the pool's watcher has.
func watched(p *Pool) int {
	w := p.watcher.Load()
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.conns)
}
