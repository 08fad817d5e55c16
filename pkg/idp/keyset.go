package idp

import (
	"bytes"
	"context"
	"slices"
	"sync"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/go-jose/go-jose/v4"
	"golang.org/x/time/rate"

	"github.com/tokenctl/tokenctl/pkg/token"
)

const (
	// keysFresh is how long fetched keys are used without a look at the provider:
	// within this time a key that it withdraws is no longer believed.
	keysFresh = 10 * time.Minute
	// keysStale is how long they are used when the provider does not answer.
	keysStale = 24 * time.Hour
	// fetchEvery is how often they are fetched at most, whatever JWTs come.
	fetchEvery = 10 * time.Second
	// missingFor is how long a name that is none of a key's is not asked for
	// again, and maxMissing how many such names are kept.
	missingFor = 30 * time.Second
	maxMissing = 1000
	// maxCandidates is how many keys are tried for one JWT.
	maxCandidates = token.MaxCertificates
)

// keySet has the keys of one provider. That of go-oidc fetches them anew for
// every JWT with a wrong signature, so that whoever sends such JWTs has us send
// the provider as many questions; here a stranger has no say in that.
type keySet struct {
	issuer, url  string
	certificates [][]byte
	algorithms   []token.Algorithm
	pinned       []publicKey // of the certificates
	fetch        *fetcher
	now          func() time.Time
	limit        *rate.Limiter

	mu        sync.Mutex
	keys      []publicKey
	fetchedAt time.Time            // zero: never
	asked     bool                 // at least once, whether or not it answered
	failure   error                // of the last fetch; nil: it went well
	missing   map[string]time.Time // names that a fetch did not find, and when
	flight    chan struct{}        // closed when the fetch that is under way ends; nil: none is
}

var _ oidc.KeySet = (*keySet)(nil)

// newKeySet has the keys of a provider that was checked. It fetches nothing.
func newKeySet(p token.Provider, f *fetcher, now func() time.Time) (*keySet, error) {
	s := &keySet{
		issuer: p.Issuer, url: p.JWKSURL, certificates: p.Certificates, algorithms: p.Algorithms, fetch: f, now: now,
		limit: rate.NewLimiter(rate.Every(fetchEvery), 1), missing: map[string]time.Time{},
	}
	for _, der := range p.Certificates {
		k, err := parseCertificate(der)
		if err != nil {
			return nil, err
		}
		s.pinned = append(s.pinned, k)
	}
	return s, nil
}

// sameSource reports whether the keys of another set come from where these do.
func (s *keySet) sameSource(other *keySet) bool {
	return s.issuer == other.issuer && s.url == other.url && slices.Equal(s.algorithms, other.algorithms) &&
		slices.EqualFunc(s.certificates, other.certificates, bytes.Equal)
}

// VerifySignature implements [oidc.KeySet]: it returns the payload of a JWS that
// a key of the provider signed. A JWS that none did is token.ErrRefused; if a key
// that is needed cannot be had, it is token.ErrCannotTell.
func (s *keySet) VerifySignature(ctx context.Context, text string) ([]byte, error) {
	h, _, err := parseSigned(text)
	if err != nil {
		return nil, err
	}
	if !slices.Contains(s.algorithms, token.Algorithm(h.Algorithm)) {
		return nil, refused("it is signed with %.20q", h.Algorithm)
	}
	signed, err := jose.ParseSignedCompact(text, []jose.SignatureAlgorithm{jose.SignatureAlgorithm(h.Algorithm)})
	if err != nil {
		return nil, malformed("%v", err)
	}
	keys, at, err := s.candidates(ctx, h, time.Time{})
	if err != nil {
		return nil, err
	}
	if payload, ok := verify(signed, text, keys); ok {
		return payload, nil
	}
	// A JWT that names no key may be signed with a new one.
	if h.KeyID == "" && s.pinned == nil {
		keys, then, err := s.candidates(ctx, h, at)
		if err != nil {
			return nil, err
		}
		if then.After(at) {
			if payload, ok := verify(signed, text, keys); ok {
				return payload, nil
			}
		}
	}
	return nil, refused("its signature is wrong")
}

// verify returns the payload if one of the keys signed it.
func verify(signed *jose.JSONWebSignature, text string, keys []publicKey) ([]byte, bool) {
	for _, k := range keys {
		payload, err := signed.Verify(k.public)
		if err == nil && k.saltedRight(signed.Signatures[0], text) {
			return payload, true
		}
	}
	return nil, false
}

// candidates are the keys that may have signed a JWT, at least one, and when
// they were fetched. Keys that were fetched at a time or before are not enough,
// unless none can be fetched now by the limits.
func (s *keySet) candidates(ctx context.Context, h header, before time.Time) ([]publicKey, time.Time, error) {
	if s.pinned != nil {
		keys, err := s.ofCertificates(h)
		return keys, time.Time{}, err
	}
	s.mu.Lock()
	now := s.now()
	found, known := s.find(h, now)
	if known && now.Sub(s.fetchedAt) < keysFresh && s.fetchedAt.After(before) || !known && s.knownMissing(h.KeyID, now) {
		defer s.mu.Unlock()
		return s.answer(h, found, known, now)
	}
	flight := s.refresh(now)
	// While the provider does not answer, nobody waits for it who has keys.
	waits := flight != nil && (!known || s.failure == nil)
	s.mu.Unlock()
	if waits {
		select {
		case <-flight:
		case <-ctx.Done():
			return nil, time.Time{}, token.Errorf(token.ErrCannotTell, "waiting for the keys of %s: %w", s.issuer, context.Cause(ctx))
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	found, known = s.find(h, s.now())
	if known && !before.IsZero() && s.failure != nil {
		return nil, time.Time{}, s.unreachable() // another key may have signed it
	}
	return s.answer(h, found, known, now)
}

// find looks for the keys of a JWT among those that were fetched. They are known
// if some have its name, whether or not they fit.
func (s *keySet) find(h header, now time.Time) (fitting []publicKey, known bool) {
	if s.fetchedAt.IsZero() || now.Sub(s.fetchedAt) >= keysStale {
		return nil, false
	}
	for i := range s.keys {
		k := &s.keys[i]
		if h.KeyID != "" && k.id != h.KeyID {
			continue
		}
		known = true
		if k.fits(h.Algorithm) {
			fitting = append(fitting, *k)
		}
	}
	return fitting, known
}

func (s *keySet) knownMissing(id string, now time.Time) bool {
	at, has := s.missing[id]
	return has && id != "" && now.Sub(at) < missingFor && now.Sub(s.fetchedAt) < keysStale
}

// answer says what was found, or what it means that nothing was, to who asked at
// a time. Where no new fetch is allowed yet, keys of a few seconds ago are enough
// for a no: a cannot tell would let strangers make us look broken.
func (s *keySet) answer(h header, found []publicKey, known bool, asked time.Time) ([]publicKey, time.Time, error) {
	switch {
	case known && len(found) == 0:
		return nil, s.fetchedAt, refused("its key %.50q is not for %.20q", h.KeyID, h.Algorithm)
	case known && len(found) > maxCandidates:
		return nil, s.fetchedAt, refused("it names no key, or one of %d", len(found))
	case known:
		return found, s.fetchedAt, nil
	case s.fetchedAt.IsZero() || s.now().Sub(s.fetchedAt) >= keysStale || s.failure != nil:
		return nil, s.fetchedAt, s.unreachable()
	}
	if !s.fetchedAt.Before(asked) {
		s.miss(h.KeyID)
	}
	return nil, s.fetchedAt, refused("its key %.50q is none of the provider's", h.KeyID)
}

// miss notes a name that is none of a key's. Names come from strangers: when
// there are too many, all are forgotten, and the limit of fetches remains.
func (s *keySet) miss(id string) {
	if len(s.missing) >= maxMissing {
		clear(s.missing)
	}
	s.missing[id] = s.fetchedAt
}

func (s *keySet) unreachable() error {
	if s.failure == nil {
		return token.Errorf(token.ErrCannotTell, "the keys of %s have not been fetched yet", s.issuer)
	}
	return token.Errorf(token.ErrCannotTell, "the keys of %s cannot be had: %w", s.issuer, s.failure)
}

// refresh begins to fetch the keys, unless that is under way or was lately; nil:
// nothing is under way. The first fetch does not count towards the limit, so that
// a key that is changed soon after is found.
func (s *keySet) refresh(now time.Time) chan struct{} {
	if s.flight != nil {
		return s.flight
	}
	if s.asked && !s.limit.AllowN(now, 1) {
		return nil
	}
	s.asked = true
	done := make(chan struct{})
	s.flight = done
	go func() {
		// For nobody's context: others wait for it too. The client has a timeout.
		keys, err := s.load(context.Background())
		s.mu.Lock()
		defer s.mu.Unlock()
		s.flight, s.failure = nil, err
		if err == nil {
			s.keys, s.fetchedAt = keys, s.now()
			for id, at := range s.missing {
				if s.fetchedAt.Sub(at) >= missingFor {
					delete(s.missing, id)
				}
			}
		}
		close(done)
	}()
	return done
}

// load fetches the keys. Where they are is asked anew each time: a provider may
// move them.
func (s *keySet) load(ctx context.Context) ([]publicKey, error) {
	url := s.url
	if url == "" {
		m, err := s.fetch.discover(ctx, s.issuer)
		if err != nil {
			return nil, cannotTell(err)
		}
		if url = m.JWKSURL; !token.IsFetchable(url) {
			return nil, token.Errorf(token.ErrCannotTell, "its key set is at %.200q, which is no https URL", url)
		}
	}
	body, err := s.fetch.get(ctx, url)
	if err != nil {
		return nil, err
	}
	return parseKeySet(body)
}

// ofCertificates are the keys of the certificates that hold now. Nobody knows by
// what name a JWT calls them.
func (s *keySet) ofCertificates(h header) ([]publicKey, error) {
	now := s.now()
	var found []publicKey
	outside := false
	for _, k := range s.pinned {
		switch {
		case !k.fits(h.Algorithm):
		case now.Before(k.notBefore) || now.After(k.notAfter):
			outside = true
		default:
			found = append(found, k)
		}
	}
	switch {
	case len(found) > 0:
		return found, nil
	case outside:
		return nil, refused("the certificates for %s have expired, or do not hold yet", h.Algorithm)
	}
	return nil, refused("none of the certificates is for %s", h.Algorithm)
}
