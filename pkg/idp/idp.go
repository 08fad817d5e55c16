// Package idp judges the JWTs of external identity providers, and logs people
// in at them. What it is told by a JWT it believes only after a key of the
// provider that the JWT names has vouched for it, and what it is told by a
// provider only about this provider's own.
//
// It does not know accounts, nor what a subject may do here.
package idp

import (
	"context"
	"crypto/x509"
	"errors"
	"sync"
	"time"

	"github.com/tokenctl/tokenctl/pkg/token"
)

// Options say how providers are spoken with.
type Options struct {
	// RootCAs are whom the certificates of providers come from; nil: those of
	// the system.
	RootCAs *x509.CertPool
	// Timeout bounds each question, its answer included; default 5 s.
	Timeout time.Duration
	// Now is the clock; nil: time.Now.
	Now func() time.Time
}

// Set judges the JWTs of all configured providers. It may be used by many at
// once.
type Set struct {
	o     Options
	fetch *fetcher

	mu       sync.RWMutex
	byIssuer map[string]*provider
}

// provider is a configured provider with its keys.
type provider struct {
	token.Provider
	keys *keySet
}

// New is a Set without providers: it refuses every JWT.
func New(o Options) *Set {
	if o.Now == nil {
		o.Now = time.Now
	}
	return &Set{o: o, fetch: newFetcher(o), byIssuer: map[string]*provider{}}
}

// Replace makes these the configured providers. Keys that were fetched stay
// for those whose source of keys is the same. Nothing is fetched yet.
//
// A provider that cannot be used (token.ErrUsage), or whose issuer is another's
// too (token.ErrConflict), is left out, and all its JWTs are refused; the others
// are taken nevertheless.
func (s *Set) Replace(providers []token.Provider) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	before := s.byIssuer
	s.byIssuer = map[string]*provider{}
	var faults []error
	for _, p := range providers {
		if err := p.Check(); err != nil {
			faults = append(faults, err)
			continue
		}
		if other := s.byIssuer[p.Issuer]; other != nil {
			faults = append(faults, token.Errorf(token.ErrConflict, "the providers %s and %s have the same issuer %q", other.Name, p.Name, p.Issuer).
				WithHint("one provider may have several audiences"))
			continue
		}
		keys, err := newKeySet(p, s.fetch, s.o.Now)
		if err != nil {
			faults = append(faults, err)
			continue
		}
		if old := before[p.Issuer]; old != nil && old.keys.sameSource(keys) {
			keys = old.keys
		}
		s.byIssuer[p.Issuer] = &provider{p, keys}
	}
	return errors.Join(faults...)
}

// Knows reports whether a text is a JWT that names the issuer of a configured
// provider, also of one that is disabled. It believes nothing: [Set.Judge] does
// the rest.
func (s *Set) Knows(text string) bool {
	j, err := parse(text)
	return err == nil && s.provider(j.claims.issuer()) != nil
}

func (s *Set) provider(issuer string) *provider {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.byIssuer[issuer]
}

// Judge says whom a JWT of a provider stands for. A JWT that is not accepted is
// token.ErrRefused, with the reason for our log: it is not for whoever showed the
// JWT. Keys that are needed and cannot be had are token.ErrCannotTell: that is no
// wrong try of anybody's.
//
// It is for access tokens, and for the identity tokens of CI systems that are
// made for an audience. ID tokens that tell a client who logged in to it are
// refused, for every client that somebody logs in to holds one.
func (s *Set) Judge(ctx context.Context, text string) (token.Verdict, error) {
	in := inspection{set: s, text: text}
	for _, c := range checks {
		if err := c.run(&in, ctx); err != nil {
			return token.Verdict{}, in.explain(err)
		}
	}
	return in.verdict, nil
}

// explain adds to the reason whose JWT it was. Its kind stays.
func (in *inspection) explain(err error) error {
	var e *token.Error
	if in.provider == nil || !errors.As(err, &e) {
		return err
	}
	named := *e
	named.Message = "a JWT of the provider " + in.provider.Name + ": " + e.Message
	return &named
}
