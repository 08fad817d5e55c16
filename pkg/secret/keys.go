package secret

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"hash"
	"sync"
)

// keyLen is the length of an HMAC key in bytes, that of its output.
const keyLen = sha256.Size

// Keys are the numbered keys under which verifiers are made and checked.
// New ones are made with the current key; the others check what is older. They
// do not change, and any number of goroutines may use them.
type Keys struct {
	current uint32
	// By pointer, so that fmt prints addresses and no key.
	byNumber map[uint32]*macs
}

// NewKeys takes keys of 32 bytes by their numbers, which begin at 1; current
// is the number of one of them. The keys are copied.
func NewKeys(current uint32, keys map[uint32][]byte) (*Keys, error) {
	if len(keys[current]) == 0 {
		return nil, fmt.Errorf("%w: the current one is %d", ErrUnknownKey, current)
	}
	k := &Keys{current: current, byNumber: make(map[uint32]*macs, len(keys))}
	for number, key := range keys {
		if number == 0 {
			return nil, fmt.Errorf("key numbers begin at 1")
		}
		if len(key) != keyLen {
			return nil, fmt.Errorf("key %d has %d bytes, not %d", number, len(key), keyLen)
		}
		k.byNumber[number] = newMACs(key)
	}
	return k, nil
}

// Current returns the number of the key that new verifiers are made with.
func (k *Keys) Current() uint32 { return k.current }

// find returns the states of a key.
func (k *Keys) find(number uint32) (*macs, error) {
	m := k.byNumber[number]
	if m == nil {
		return nil, fmt.Errorf("%w: %d", ErrUnknownKey, number)
	}
	return m, nil
}

// macs computes HMAC-SHA-256 under one key, for any number of goroutines. It
// keeps keyed states for reuse: keying a fresh one for every message takes 2.7
// times as long.
type macs struct{ idle sync.Pool }

// mac is one keyed state with room for its message and result, so that neither
// is allocated anew.
type mac struct {
	hash    hash.Hash
	message []byte
	sum     [sha256.Size]byte // a local one would escape to the heap
}

func newMACs(key []byte) *macs {
	key = bytes.Clone(key)
	return &macs{idle: sync.Pool{New: func() any {
		return &mac{hash: hmac.New(sha256.New, key), message: make([]byte, 0, 256)}
	}}}
}

// take hands out a state with an empty message; give it to [macs.finish].
func (m *macs) take() *mac { return m.idle.Get().(*mac) }

// finish returns the HMAC of the state's message, forgets the message, which
// holds a secret, and takes the state back.
func (m *macs) finish(state *mac) (sum [sha256.Size]byte) {
	state.hash.Write(state.message)
	state.hash.Sum(state.sum[:0])
	sum = state.sum
	state.hash.Reset() // now, since a part of the message is in its buffer
	clear(state.message)
	state.message = state.message[:0]
	m.idle.Put(state)
	return sum
}

// Use says what a secret is for. It goes into the digest, so that a verifier
// that was made for one use never checks for another, not even if somebody who
// can write to the database moves it there.
type Use struct {
	Kind string // "user", "refresh", "service", "password", "client"; never empty
	ID   ID     // of the token, if it has one
	Name string // of what has no id: an account, a client
}

// The first byte of what is hashed, and of a verifier; one for each purpose.
const (
	fastScheme byte = iota + 1
	slowScheme
	memoryDomain
)

// appendUse appends domain and use so that no two pairs give the same bytes
// and none is the beginning of another: the id has a fixed length, every other
// part its length before it.
func appendUse(b []byte, domain byte, use Use) []byte {
	b = append(b, domain)
	b = appendString(b, use.Kind)
	b = append(b, use.ID[:]...)
	return appendString(b, use.Name)
}

// appendString appends s after its length.
func appendString[T ~string | ~[]byte](b []byte, s T) []byte {
	b = binary.AppendUvarint(b, uint64(len(s)))
	return append(b, s...)
}
