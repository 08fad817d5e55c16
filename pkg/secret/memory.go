package secret

import (
	"crypto/rand"
	"crypto/sha256"
	"sync"
	"time"
)

// memory remembers for a while which slow checks succeeded, by an HMAC of all
// that went into them under a key that nobody has but this process: neither
// the secret nor a fast hash of it that could be tested stays in memory.
// Failures are not remembered, so that a flood of guesses costs nothing here.
type memory struct {
	macs     *macs
	lifetime time.Duration
	max      int
	now      func() time.Time

	mu    sync.Mutex
	since map[seen]time.Time
	// The keys of since as a ring, oldest first. What has expired stays until
	// its place is needed: the bound is on their number, and a key of this map
	// tells nobody anything.
	ring  []seen
	first int
}

// seen stands for one successful check.
type seen [sha256.Size]byte

func newMemory(o HasherOptions) *memory {
	key := make([]byte, keyLen)
	rand.Read(key) // never fails: crypto/rand ends the program instead
	return &memory{macs: newMACs(key), lifetime: o.Remember, max: o.MaxRemembered, now: o.Now, since: map[seen]time.Time{}}
}

// key returns what stands for a check.
func (m *memory) key(use Use, s Secret, v Verifier) seen {
	state := m.macs.take()
	state.message = appendUse(state.message, memoryDomain, use)
	state.message = appendString(state.message, v)
	state.message = appendString(state.message, s.Reveal())
	return m.macs.finish(state)
}

// has reports whether the check succeeded not longer ago than the lifetime.
func (m *memory) has(key seen) bool {
	now := m.now()
	m.mu.Lock()
	defer m.mu.Unlock()
	since, ok := m.since[key]
	return ok && m.alive(since, now)
}

// alive also ends what lies in the future: the clock was set back, and nobody
// knows how long ago it was.
func (m *memory) alive(since, now time.Time) bool {
	age := now.Sub(since)
	return age >= 0 && age < m.lifetime
}

// add remembers a success, in the place of the oldest if there is no other.
func (m *memory) add(key seen) {
	if m.lifetime < 0 {
		return
	}
	now := m.now()
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, ok := m.since[key]; ok {
		// It is in the ring once, and keeps its place there: it may go
		// earlier than it must, never later.
		m.since[key] = now
		return
	}
	if len(m.ring) < m.max {
		m.ring = append(m.ring, key)
	} else {
		delete(m.since, m.ring[m.first])
		m.ring[m.first] = key
		m.first = (m.first + 1) % m.max
	}
	m.since[key] = now
}
