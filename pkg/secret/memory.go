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

	mu      sync.Mutex
	results map[seen]success
	// The keys of results as a ring, oldest first. What has expired stays until
	// its place is needed: the bound is on their number, and a key of this map
	// tells nobody anything.
	ring  []seen
	first int
}

// seen stands for all that went into a check.
type seen [sha256.Size]byte

// success is what came out, and when.
type success struct {
	result Result
	at     time.Time
}

func newMemory(o HasherOptions) *memory {
	key := make([]byte, keyLen)
	rand.Read(key) // never fails: crypto/rand ends the program instead
	return &memory{macs: newMACs(key), lifetime: o.Remember, max: o.MaxRemembered, now: o.Now, results: map[seen]success{}}
}

// key returns what stands for a check.
func (m *memory) key(use Use, s Secret, v Verifier) seen {
	state := m.macs.take()
	state.message = appendUse(state.message, memoryDomain, use)
	state.message = appendString(state.message, v)
	state.message = appendString(state.message, s.Reveal())
	return m.macs.finish(state)
}

// recall returns the success of a check not longer ago than the lifetime.
func (m *memory) recall(key seen) (Result, bool) {
	now := m.now()
	m.mu.Lock()
	defer m.mu.Unlock()
	success, ok := m.results[key]
	// What lies in the future has ended too: the clock was set back, and
	// nobody knows how long ago it was.
	if age := now.Sub(success.at); !ok || age < 0 || age >= m.lifetime {
		return Result{}, false
	}
	return success.result, true
}

// add remembers a success, in the place of the oldest if there is no other.
func (m *memory) add(key seen, result Result) {
	if m.lifetime < 0 {
		return
	}
	now := m.now()
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, ok := m.results[key]; !ok {
		if len(m.ring) < m.max {
			m.ring = append(m.ring, key)
		} else {
			delete(m.results, m.ring[m.first])
			m.ring[m.first] = key
			m.first = (m.first + 1) % m.max
		}
	}
	// One that was there keeps its place in the ring: it may go earlier than
	// it must, never later.
	m.results[key] = success{result, now}
}
