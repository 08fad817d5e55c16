// Package signer makes and checks our own access tokens, JWTs as RFC 9068 has
// them, and keeps the keys that sign them. Whom a token is for, and whether
// its parent still lives, is not its business.
package signer

import (
	"encoding/base64"
	"errors"
	"fmt"
	"sync"

	"github.com/tokenctl/tokenctl/pkg/keyfile"
	"github.com/tokenctl/tokenctl/pkg/store"
	"github.com/tokenctl/tokenctl/pkg/token"
)

// ErrNoKey is wrapped by the error of [Signer.Sign] when an algorithm has no
// keys yet: [Signer.Install] gives it some.
var ErrNoKey = errors.New("no signing key")

// ErrExpired is wrapped by the error of [Signer.Check] for a token that was
// ours and good, but no longer is.
var ErrExpired = errors.New("expired")

// Signer signs and checks access tokens with the keys in a store. What it
// remembers of keys and of checked signatures is only what cannot change: a
// key's state and every time are read and compared at every call.
type Signer struct {
	keys *keyfile.Keys
	seen *proofs

	mu       sync.RWMutex
	active   map[token.Algorithm]*signingKey // the last one used of each
	verifier map[string]*verifyingKey        // by kid
	headers  map[string]*verifyingKey        // by the first part of the JWTs it signs
}

// New is a Signer whose private keys are sealed with the key file.
func New(keys *keyfile.Keys) *Signer {
	return &Signer{
		keys:     keys,
		seen:     newProofs(rememberMax),
		active:   map[token.Algorithm]*signingKey{},
		verifier: map[string]*verifyingKey{},
		headers:  map[string]*verifyingKey{},
	}
}

// Sign makes the JWT of the claims, in compact form (RFC 7515 §7.1), with the
// active key of an algorithm: typ at+jwt, kid the key's thumbprint, times in
// whole seconds. Errors are token.ErrUsage for claims that RFC 9068 §2.2 does
// not allow, and token.ErrCannotTell without a usable key (also [ErrNoKey]) or
// store.
//
// The header and the signature are put together here and not by go-jose, whose
// way there costs a third of an Ed25519 signature more.
func (s *Signer) Sign(r store.Reader, alg token.Algorithm, c Claims) (string, error) {
	if err := c.check(); err != nil {
		return "", err
	}
	k, err := s.activeKey(r, alg)
	if err != nil {
		return "", err
	}
	payload := c.appendJSON(make([]byte, 0, 768))
	enc := base64.RawURLEncoding
	b := make([]byte, 0, len(k.header)+2+enc.EncodedLen(len(payload))+enc.EncodedLen(k.size))
	b = append(append(b, k.header...), '.')
	b = enc.AppendEncode(b, payload)
	sig, err := k.sign(b)
	if err != nil {
		return "", token.Errorf(token.ErrCannotTell, "signing with key %s: %w", k.id, err)
	}
	b = append(b, '.')
	b = enc.AppendEncode(b, sig)
	if len(b) > MaxSize {
		return "", token.Errorf(token.ErrUsage, "the access token would have %d bytes, more than %d", len(b), MaxSize).WithHint("choose fewer roles")
	}
	return string(b), nil
}

// activeKey is the key that signs now. Its private half is unsealed once.
func (s *Signer) activeKey(r store.Reader, alg token.Algorithm) (*signingKey, error) {
	ring, err := rings.Get(r, string(alg))
	if errors.Is(err, store.ErrNotFound) {
		return nil, token.Errorf(token.ErrCannotTell, "%w for %s", ErrNoKey, alg)
	}
	if err != nil {
		return nil, unreadable(err)
	}
	s.mu.RLock()
	k := s.active[alg]
	s.mu.RUnlock()
	if k != nil && k.id == ring.active {
		return k, nil
	}
	plain, err := s.unseal(r, ring.active)
	if err != nil {
		return nil, err
	}
	if k, err = newSigningKey(ring.active, alg, plain); err != nil {
		return nil, token.Errorf(token.ErrCannotTell, "signing key %s: %w", ring.active, err)
	}
	s.mu.Lock()
	s.active[alg] = k
	s.mu.Unlock()
	return k, nil
}

func (s *Signer) unseal(r store.Reader, id string) ([]byte, error) {
	p, err := privates.Get(r, id)
	if err != nil {
		return nil, unreadable(err)
	}
	plain, err := s.keys.Unseal(purpose, p.sealed, []byte(id))
	if err != nil {
		return nil, token.Errorf(token.ErrCannotTell, "signing key %s is sealed with a key file other than this: %w", id, err)
	}
	return plain, nil
}

// unreadable is an error of the store as an answer: never a no.
func unreadable(err error) error {
	if errors.Is(err, token.ErrCannotTell) {
		return err
	}
	return token.Errorf(token.ErrCannotTell, "%w", fmt.Errorf("signing keys: %w", err))
}
