package secret

import "context"

// Hold takes every slot for slow hashes until release is called.
func (h *Hasher) Hold() (release func()) {
	for range cap(h.slots) {
		if err := h.acquire(context.Background()); err != nil {
			panic(err)
		}
	}
	return func() {
		for range cap(h.slots) {
			<-h.slots
		}
	}
}

// Waiting returns how many wait for a slot.
func (h *Hasher) Waiting() int { return int(h.waiting.Load()) }

// RememberedCount returns how many successes are in memory.
func (h *Hasher) RememberedCount() int {
	m := h.state.Load().memory
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.results)
}
