// Package keyfile keeps the numbered master keys of a database in a file
// beside it, and derives from them the keys for hashing, sealing and MACs.
package keyfile

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"math"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tokenctl/tokenctl/pkg/secret"
)

// Keys are the keys of one file, as it was read last, or of no file. Any
// number of goroutines may use them.
//
// A key is a number, a time and 32 random bytes, the master key. The key with
// the highest number is the current one; the others are there for what they
// hashed or sealed. No master key is used itself: every purpose has a key of
// its own, derived by HKDF-SHA-256 (RFC 5869) without salt, whose info is
// "tokenctl " and the purpose.
type Keys struct {
	path     string     // "": in memory only
	changing sync.Mutex // one Reload, Add or Drop at a time
	state    atomic.Pointer[state]
}

// state is what the file said. It does not change.
type state struct {
	keys    []masterKey // ascending by number, never empty
	hashing *secret.Keys
}

// Info describes a key.
type Info struct {
	Number    uint32    // from 1, ascending with time
	CreatedAt time.Time // in UTC, whole seconds
	Current   bool
}

// New makes keys that are in memory only, for stores that are too.
func New(now time.Time) *Keys {
	keys, err := withNew(nil, now)
	if err != nil {
		panic(err) // of the first key, which cannot be one too many
	}
	return newKeys("", keys)
}

func newKeys(path string, keys []masterKey) *Keys {
	k := &Keys{path: path}
	k.state.Store(newState(keys))
	return k
}

func newState(keys []masterKey) *state {
	s := &state{keys: keys}
	hashing := make(map[uint32][]byte, len(keys))
	for _, key := range keys {
		hashing[key.number] = key.derive("hash", sha256.Size)
	}
	var err error
	if s.hashing, err = secret.NewKeys(s.current().number, hashing); err != nil {
		panic(err) // of keys that all have their length and number
	}
	return s
}

func (s *state) current() masterKey { return s.keys[len(s.keys)-1] }

// find returns the key of a number.
func (s *state) find(number uint32) (masterKey, error) {
	for _, key := range s.keys {
		if key.number == number {
			return key, nil
		}
	}
	return masterKey{}, fmt.Errorf("%w: %d", secret.ErrUnknownKey, number)
}

// derive returns the key for a purpose.
func (m masterKey) derive(purpose string, length int) []byte {
	key, err := hkdf.Key(sha256.New, m.master, nil, "tokenctl "+purpose, length)
	if err != nil {
		panic(err) // of a length over 255 hashes
	}
	return key
}

// withNew returns keys with a new one after them.
func withNew(keys []masterKey, now time.Time) ([]masterKey, error) {
	key := masterKey{number: 1, createdAt: now.UTC().Truncate(time.Second), master: make([]byte, masterLen)}
	if len(keys) > 0 {
		last := keys[len(keys)-1].number
		if last == math.MaxUint32 {
			return nil, errors.New("there is no number after the current key's")
		}
		key.number = last + 1
	}
	rand.Read(key.master) // never fails: crypto/rand ends the program instead
	return append(slices.Clip(keys), key), nil
}

// Path returns the path that the file was opened by, or "" if the keys are in
// memory only.
func (k *Keys) Path() string { return k.path }

// Numbers describes the keys, by ascending number.
func (k *Keys) Numbers() []Info {
	s := k.state.Load()
	infos := make([]Info, len(s.keys))
	for i, key := range s.keys {
		infos[i] = Info{key.number, key.createdAt, i == len(s.keys)-1}
	}
	return infos
}

// Hashing returns the keys for a [secret.Hasher]. After Reload, Add and Drop
// the hasher needs new ones.
func (k *Keys) Hashing() *secret.Keys { return k.state.Load().hashing }

// Fingerprint returns 16 bytes that tell keys of one number apart and give
// nothing of them away, or nil if there is no key of that number. Stored in a
// database they show later that a key file is another one's.
func (k *Keys) Fingerprint(number uint32) []byte {
	key, err := k.state.Load().find(number)
	if err != nil {
		return nil
	}
	return key.derive("fingerprint", 16)
}

// MAC returns a function that computes HMAC-SHA-256 under the purpose's key of
// a number, 0 being the current one. Each part is preceded by its length as 8
// big-endian bytes, so that no two lists of parts are the same message. Any
// number of goroutines may call it. The error is [secret.ErrUnknownKey].
func (k *Keys) MAC(purpose string, number uint32) (func(parts ...[]byte) [sha256.Size]byte, error) {
	s := k.state.Load()
	if number == 0 {
		number = s.current().number
	}
	master, err := s.find(number)
	if err != nil {
		return nil, err
	}
	key := master.derive("mac "+purpose, sha256.Size)
	return func(parts ...[]byte) (sum [sha256.Size]byte) {
		h := hmac.New(func() hash.Hash { return sha256.New() }, key)
		for _, part := range parts {
			h.Write(binary.BigEndian.AppendUint64(nil, uint64(len(part))))
			h.Write(part)
		}
		h.Sum(sum[:0])
		return sum
	}, nil
}

// sealVersion is the first byte of a sealed text.
const sealVersion = 1

// Seal encrypts plain under the purpose's current key with AES-256-GCM and a
// random nonce, safe for 2^32 texts. [Keys.Unseal] needs the same purpose and
// additional data, which are not in the result: say there what the text
// belongs to, or it can be moved elsewhere. The result is a byte 1, the key
// number as uvarint, 12 bytes of nonce, and the ciphertext with its tag.
func (k *Keys) Seal(purpose string, plain, additional []byte) []byte {
	key := k.state.Load().current()
	header := binary.AppendUvarint([]byte{sealVersion}, uint64(key.number))
	return key.aead(purpose).Seal(header, nil, plain, slices.Concat(header, additional))
}

// Unseal decrypts what [Keys.Seal] returned. The error is [ErrSealed] if
// anything was changed, or [secret.ErrUnknownKey].
func (k *Keys) Unseal(purpose string, sealed, additional []byte) ([]byte, error) {
	if len(sealed) == 0 || sealed[0] != sealVersion {
		return nil, fmt.Errorf("%w: unknown version", ErrSealed)
	}
	number, size := binary.Uvarint(sealed[1:])
	if size <= 0 || number == 0 || number > math.MaxUint32 {
		return nil, fmt.Errorf("%w: no key number", ErrSealed)
	}
	key, err := k.state.Load().find(uint32(number))
	if err != nil {
		return nil, err
	}
	header, body := sealed[:1+size], sealed[1+size:]
	plain, err := key.aead(purpose).Open(nil, nil, body, slices.Concat(header, additional))
	if err != nil {
		return nil, fmt.Errorf("%w: it was changed, or sealed for something else", ErrSealed)
	}
	return plain, nil
}

func (m masterKey) aead(purpose string) cipher.AEAD {
	block, err := aes.NewCipher(m.derive("seal "+purpose, 32))
	if err == nil {
		var aead cipher.AEAD
		if aead, err = cipher.NewGCMWithRandomNonce(block); err == nil {
			return aead
		}
	}
	panic(err) // of a length that is not AES's
}
