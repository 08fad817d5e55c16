package signer

import (
	"crypto/sha256"
	"sync"
)

const (
	// rememberMax bounds the memory of good signatures, to some 10 MB.
	rememberMax = 10_000
	verifierMax = 100
)

type digest = [sha256.Size]byte

// proofs is a bounded map that forgets what was not asked for lately: when the
// young half is full it becomes the old one, and the old one goes.
type proofs struct {
	max int

	mu         sync.RWMutex
	young, old map[digest]*proof
}

func newProofs(most int) *proofs {
	return &proofs{max: most, young: map[digest]*proof{}}
}

func (m *proofs) get(d digest) (*proof, bool) {
	m.mu.RLock()
	p, young := m.young[d]
	old := false
	if !young {
		p, old = m.old[d]
	}
	m.mu.RUnlock()
	if old {
		m.put(d, p)
	}
	return p, young || old
}

func (m *proofs) put(d digest, p *proof) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.young) >= m.max/2 {
		m.old, m.young = m.young, make(map[digest]*proof, m.max/2)
	}
	m.young[d] = p
}

func (m *proofs) drop(d digest) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.young, d)
	delete(m.old, d)
}
