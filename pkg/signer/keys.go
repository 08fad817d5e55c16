package signer

import (
	"cmp"
	"crypto"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/tokenctl/tokenctl/pkg/store"
	"github.com/tokenctl/tokenctl/pkg/token"
)

// The states of a key.
const (
	Next    = "next"    // published, but has signed nothing yet
	Active  = "active"  // signs
	Retired = "retired" // its last tokens are still checked with it
)

// Key is what may be shown of a signing key.
type Key struct {
	ID        string // the kid: RFC 7638 thumbprint
	Algorithm token.Algorithm
	State     string
	CreatedAt time.Time
	ActiveAt  time.Time // zero: not yet
	RetiredAt time.Time // zero: not yet
	ExpiresAt time.Time // of a retired key: when its last token has expired
	Public    crypto.PublicKey
}

// purpose of the key in the key file that private keys are sealed with.
const purpose = "signing"

// publicRecord is a key without its private half, privateRecord that half,
// sealed: apart, so that checking a token need not read it. Which keys an
// algorithm uses stands in a record of its own, so that of two rotations at
// once one waits or runs again.
type (
	publicRecord struct {
		Key
		public []byte // PKIX
	}
	privateRecord struct {
		id     string
		sealed []byte // PKCS #8, bound to the id
	}
	ringRecord struct {
		alg          token.Algorithm
		active, next string
	}
)

var publics = store.NewTable("signing-key", 1,
	func(k *publicRecord) []string { return []string{k.ID} },
	func(e *store.Encoder, k *publicRecord) {
		e.String(k.ID)
		e.String(string(k.Algorithm))
		e.Time(k.CreatedAt)
		e.Time(k.ActiveAt)
		e.Time(k.RetiredAt)
		e.Time(k.ExpiresAt)
		e.Bytes(k.public)
	},
	func(d *store.Decoder, k *publicRecord) {
		k.ID = d.String()
		k.Algorithm = token.Algorithm(d.String())
		k.CreatedAt = d.Time()
		k.ActiveAt = d.Time()
		k.RetiredAt = d.Time()
		k.ExpiresAt = d.Time()
		k.public = d.Bytes()
	})

var privates = store.NewTable("signing-private", 1,
	func(k *privateRecord) []string { return []string{k.id} },
	func(e *store.Encoder, k *privateRecord) {
		e.String(k.id)
		e.Bytes(k.sealed)
	},
	func(d *store.Decoder, k *privateRecord) {
		k.id = d.String()
		k.sealed = d.Bytes()
	})

var rings = store.NewTable("signing-ring", 1,
	func(k *ringRecord) []string { return []string{string(k.alg)} },
	func(e *store.Encoder, k *ringRecord) {
		e.String(string(k.alg))
		e.String(k.active)
		e.String(k.next)
	},
	func(d *store.Decoder, k *ringRecord) {
		k.alg = token.Algorithm(d.String())
		k.active = d.String()
		k.next = d.String()
	})

// A Pair is a new key that is in no store yet. It prints as its id.
type Pair struct {
	id      string
	alg     token.Algorithm
	created time.Time
	public  []byte
	private []byte
}

// Generate makes a key pair. An RSA key takes up to a second or two, so this
// belongs before the Update that puts the key in.
func (s *Signer) Generate(alg token.Algorithm, now time.Time) (*Pair, error) {
	key, err := generate(alg)
	if err != nil {
		return nil, err
	}
	p := &Pair{alg: alg, created: now}
	if p.id, err = thumbprint(key.Public()); err != nil {
		return nil, err
	}
	if p.public, err = x509.MarshalPKIXPublicKey(key.Public()); err != nil {
		return nil, err
	}
	p.private, err = x509.MarshalPKCS8PrivateKey(key)
	return p, err
}

// Algorithm is what the key is for.
func (p Pair) Algorithm() token.Algorithm { return p.alg }

// ID is the kid that the key will have.
func (p Pair) ID() string { return p.id }

// Format keeps the private half out of every output.
func (p Pair) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "signing key "+p.id) }

// CopyKeys makes the keys of one store those of another, which has the same key
// file: what that had is gone.
func (s *Signer) CopyKeys(from store.Reader, to store.Writer) error {
	return errors.Join(publics.Replace(from, to), privates.Replace(from, to), rings.Replace(from, to))
}

// Has says whether an algorithm has keys.
func (s *Signer) Has(r store.Reader, alg token.Algorithm) (bool, error) {
	ok, err := rings.Has(r, string(alg))
	if err != nil {
		return false, unreadable(err)
	}
	return ok, nil
}

// Install gives an algorithm that has no keys its first: one that signs from
// now on and the one after it. If it has some, as when somebody else was
// quicker, nothing happens and installed is false.
func (s *Signer) Install(w store.Writer, active, next *Pair, now time.Time) (installed bool, err error) {
	if active.alg != next.alg || active.id == next.id {
		return false, fmt.Errorf("%s and %s are not two keys for one algorithm", active, next)
	}
	if has, err := s.Has(w, active.alg); err != nil || has {
		return false, err
	}
	if err := s.add(w, active, now); err != nil {
		return false, err
	}
	if err := s.add(w, next, time.Time{}); err != nil {
		return false, err
	}
	return true, rings.Put(w, ringRecord{active.alg, active.id, next.id})
}

func (s *Signer) add(w store.Writer, p *Pair, activeAt time.Time) error {
	key := Key{ID: p.id, Algorithm: p.alg, CreatedAt: p.created, ActiveAt: activeAt}
	if err := publics.Put(w, publicRecord{key, p.public}); err != nil {
		return err
	}
	return privates.Put(w, privateRecord{p.id, s.keys.Seal(purpose, p.private, []byte(p.id))})
}

// overlap is for tokens that were being signed while their key retired.
const overlap = time.Minute

// Rotate takes the next key into use and puts a new one behind it. The old one
// goes on checking for as long as a token lives that it signed: longest is the
// longest life that any has been given. Its private half is removed, and so
// are keys whose time as retired ones is over. It returns the key that signs
// now.
//
// The new next key is in the JWKS from now on, so whoever keeps a copy of that
// has it before it is used; two rotations close upon each other break this.
func (s *Signer) Rotate(w store.Writer, next *Pair, now time.Time, longest time.Duration) (Key, error) {
	ring, err := rings.Get(w, string(next.alg))
	if errors.Is(err, store.ErrNotFound) {
		return Key{}, token.Errorf(token.ErrCannotTell, "%w for %s", ErrNoKey, next.alg)
	}
	if err != nil {
		return Key{}, unreadable(err)
	}
	if has, err := publics.Has(w, next.id); err != nil {
		return Key{}, unreadable(err)
	} else if has { // an Update of unknown outcome, tried again, that had happened
		return Key{}, token.Errorf(token.ErrConflict, "signing key %s is in the store already", next.id)
	}
	old, err := publics.Get(w, ring.active)
	if err != nil {
		return Key{}, unreadable(err)
	}
	active, err := publics.Get(w, ring.next)
	if err != nil {
		return Key{}, unreadable(err)
	}
	old.RetiredAt, old.ExpiresAt = now, now.Add(longest+overlap)
	active.ActiveAt = now
	for _, step := range []func() error{
		func() error { return removeExpired(w, now) },
		func() error { return publics.Put(w, old) },
		func() error { return privates.Delete(w, old.ID) },
		func() error { return publics.Put(w, active) },
		func() error { return s.add(w, next, time.Time{}) },
		func() error { return rings.Put(w, ringRecord{next.alg, active.ID, next.id}) },
	} {
		if err := step(); err != nil {
			return Key{}, err
		}
	}
	return active.shown()
}

func removeExpired(w store.Writer, now time.Time) error {
	var expired []string
	for k, err := range publics.Scan(w) {
		if err != nil {
			return err
		}
		if k.expired(now) {
			expired = append(expired, k.ID)
		}
	}
	for _, id := range expired {
		if err := publics.Delete(w, id); err != nil {
			return err
		}
	}
	return nil
}

// Reseal seals every private key with the current key of the key file, so that
// an older one may go.
func (s *Signer) Reseal(w store.Writer) error {
	var ids []string
	for k, err := range privates.Scan(w) {
		if err != nil {
			return unreadable(err)
		}
		ids = append(ids, k.id)
	}
	for _, id := range ids {
		plain, err := s.unseal(w, id)
		if err != nil {
			return err
		}
		if err := privates.Put(w, privateRecord{id, s.keys.Seal(purpose, plain, []byte(id))}); err != nil {
			return err
		}
	}
	return nil
}

func (k *publicRecord) expired(now time.Time) bool {
	return !k.ExpiresAt.IsZero() && !now.Before(k.ExpiresAt)
}

func (k *publicRecord) shown() (Key, error) {
	v, err := newVerifyingKey(*k)
	if err != nil {
		return Key{}, token.Errorf(token.ErrCannotTell, "signing key %s: %w", k.ID, err)
	}
	shown := k.Key
	shown.Public = v.key
	switch {
	case !k.RetiredAt.IsZero():
		shown.State = Retired
	case !k.ActiveAt.IsZero():
		shown.State = Active
	default:
		shown.State = Next
	}
	return shown, nil
}

// List shows all keys: by algorithm, and of each the newest first.
func (s *Signer) List(r store.Reader) ([]Key, error) {
	var keys []Key
	for rec, err := range publics.Scan(r) {
		if err != nil {
			return nil, unreadable(err)
		}
		k, err := rec.shown()
		if err != nil {
			return nil, err
		}
		keys = append(keys, k)
	}
	order := map[string]int{Next: 0, Active: 1, Retired: 2}
	slices.SortFunc(keys, func(a, b Key) int {
		return cmp.Or(
			cmp.Compare(a.Algorithm, b.Algorithm),
			cmp.Compare(order[a.State], order[b.State]),
			b.RetiredAt.Compare(a.RetiredAt),
			cmp.Compare(a.ID, b.ID),
		)
	})
	return keys, nil
}

// JWKS is the public keys as a JWK Set (RFC 7517 §5): those that sign, those
// that will next, and retired ones that a token may still need.
func (s *Signer) JWKS(r store.Reader, now time.Time) ([]byte, error) {
	keys, err := s.List(r)
	if err != nil {
		return nil, err
	}
	set := jose.JSONWebKeySet{Keys: []jose.JSONWebKey{}}
	for _, k := range keys {
		if k.ExpiresAt.IsZero() || now.Before(k.ExpiresAt) {
			set.Keys = append(set.Keys, jose.JSONWebKey{Key: k.Public, KeyID: k.ID, Algorithm: string(k.Algorithm), Use: "sig"})
		}
	}
	return json.Marshal(set)
}
