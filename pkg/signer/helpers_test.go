package signer

import (
	"encoding/base64"
	"errors"
	"testing"
	"time"

	"github.com/tokenctl/tokenctl/pkg/keyfile"
	"github.com/tokenctl/tokenctl/pkg/store"
	"github.com/tokenctl/tokenctl/pkg/store/memory"
	"github.com/tokenctl/tokenctl/pkg/token"
)

var (
	algorithms = []token.Algorithm{token.EdDSA, token.ES256, token.RS256}
	start      = time.Date(2026, 11, 22, 7, 0, 0, 0, time.UTC)
)

// bench is a Signer over a store of its own.
type bench struct {
	testing.TB
	*Signer
	store store.Store
	keys  *keyfile.Keys
}

// newBench has keys for the given algorithms.
func newBench(t testing.TB, algs ...token.Algorithm) *bench {
	keys := keyfile.New(start)
	b := &bench{t, New(keys), memory.New(), keys}
	for _, alg := range algs {
		active, next := b.pair(alg), b.pair(alg)
		b.update(func(w store.Writer) error {
			_, err := b.Install(w, active, next, start)
			return err
		})
	}
	return b
}

func (b *bench) pair(alg token.Algorithm) *Pair {
	b.Helper()
	p, err := b.Generate(alg, start)
	b.must(err)
	return p
}

func (b *bench) must(err error) {
	b.Helper()
	if err != nil {
		b.Fatal(err)
	}
}

func (b *bench) view(fn func(store.Reader) error) {
	b.Helper()
	b.must(b.store.View(b.Context(), fn))
}

func (b *bench) update(fn func(store.Writer) error) {
	b.Helper()
	b.must(b.store.Update(b.Context(), fn))
}

func (b *bench) sign(alg token.Algorithm, c Claims) (jwt string) {
	b.Helper()
	b.view(func(r store.Reader) (err error) {
		jwt, err = b.Sign(r, alg, c)
		return err
	})
	return jwt
}

func (b *bench) check(jwt string, now time.Time) (c Claims, err error) {
	b.Helper()
	b.view(func(r store.Reader) error {
		c, err = b.Check(r, jwt, now)
		return nil
	})
	return c, err
}

func (b *bench) rotate(alg token.Algorithm, now time.Time, longest time.Duration) (k Key) {
	b.Helper()
	next := b.pair(alg)
	b.update(func(w store.Writer) (err error) {
		k, err = b.Rotate(w, next, now, longest)
		return err
	})
	return k
}

// signed makes a JWT of any header and payload with the active key; KID and
// ALG in the header stand for the right ones.
func (b *bench) signed(alg token.Algorithm, header, payload string) (jwt string) {
	b.Helper()
	b.view(func(r store.Reader) error {
		k, err := b.activeKey(r, alg)
		if err != nil {
			return err
		}
		text := encode(header) + "." + encode(payload)
		sig, err := k.sign([]byte(text))
		jwt = text + "." + base64.RawURLEncoding.EncodeToString(sig)
		return err
	})
	return jwt
}

func (b *bench) activeID(alg token.Algorithm) (id string) {
	b.Helper()
	b.view(func(r store.Reader) error {
		k, err := b.activeKey(r, alg)
		if err == nil {
			id = k.id
		}
		return err
	})
	return id
}

// refused makes sure that a JWT is, and that nothing of it is remembered.
func (b *bench) refused(jwt string, now time.Time) {
	b.Helper()
	c, err := b.check(jwt, now)
	if !errors.Is(err, token.ErrRefused) || errors.Is(err, token.ErrCannotTell) || c.Subject != "" {
		b.Errorf("got %+v, %v; want a refusal of %.300q", c, err, jwt)
	}
}

func encode(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }

// claims are good ones, for an hour from start.
func claims() Claims {
	return Claims{
		Issuer: "https://tokens.example.org", Subject: "corp/alice", Audience: "urn:tokenctl:default",
		ID: "06bxh7m4q0w8s2d4", ClientID: "default",
		IssuedAt: start, NotBefore: start, ExpiresAt: start.Add(time.Hour),
		RoleClaim: token.DefaultRoleClaim, Roles: []token.Role{"deploy", "read"},
		Parent: token.ID{1, 2, 3},
	}
}
