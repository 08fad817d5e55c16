package signer

import (
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"strings"
	"time"

	strict "github.com/go-jose/go-jose/v4/json"

	"github.com/tokenctl/tokenctl/pkg/store"
	"github.com/tokenctl/tokenctl/pkg/token"
)

// MaxSize is the longest access token, in bytes.
const MaxSize = 16 << 10

// Check says what an access token of ours claims. It refuses every other text
// with token.ErrRefused: a wrong form, type, algorithm, key or signature, and
// a token that has expired ([ErrExpired]) or does not hold yet. There is no
// leeway, for the clock that it was made by is ours. Of the header only alg,
// kid and typ count; a key or an address of one in it is never looked at, and
// crit is refused (RFC 7515 §4.1.11). A store that cannot be read is
// token.ErrCannotTell.
//
// A signature that was good is remembered, by the SHA-256 of the whole text,
// for the same few tokens come again and again; key and times are looked at
// anew at every call.
//
// It does not know which issuer and audience the caller wants.
func (s *Signer) Check(r store.Reader, text string, now time.Time) (Claims, error) {
	if len(text) > MaxSize {
		return Claims{}, malformed("%d bytes are more than %d", len(text), MaxSize)
	}
	sum := sha256.Sum256([]byte(text))
	known, ok := s.seen.get(sum)
	if ok {
		if _, err := s.usableKey(r, known.kid, now); err != nil {
			s.seen.drop(sum)
			return Claims{}, err
		}
	} else {
		var err error
		if known, err = s.prove(r, text, now); err != nil {
			return Claims{}, err
		}
	}
	if err := known.claims.Hold(now); err != nil {
		return Claims{}, err
	}
	if !ok {
		s.seen.put(sum, known)
	}
	return known.claims, nil
}

// proof is what a good signature proved.
type proof struct {
	kid    string
	claims Claims
}

// Hold says whether the claims hold at a moment: the error is a refusal, and
// [ErrExpired] if they did once.
func (c *Claims) Hold(now time.Time) error {
	if !now.Before(c.ExpiresAt) {
		return token.Errorf(token.ErrRefused, "the access token has %w: it ended at %s", ErrExpired, c.ExpiresAt.Format(time.RFC3339))
	}
	if now.Before(c.IssuedAt) || now.Before(c.NotBefore) {
		return token.Errorf(token.ErrRefused, "the access token is from the future: it begins at %s", c.NotBefore.Format(time.RFC3339))
	}
	return nil
}

// prove checks form, header, key and signature, in this order; only then is
// the payload read.
func (s *Signer) prove(r store.Reader, text string, now time.Time) (*proof, error) {
	head, rest, _ := strings.Cut(text, ".")
	payload, signature, ok := strings.Cut(rest, ".")
	if !ok {
		return nil, malformed("it has not three parts")
	}
	h, err := s.header(head)
	if err != nil {
		return nil, err
	}
	k, err := s.usableKey(r, h.KeyID, now)
	if err != nil {
		return nil, err
	}
	if h.Algorithm != string(k.alg) {
		return nil, token.Errorf(token.ErrRefused, "the access token names the algorithm %.20q, its key signs with %s", h.Algorithm, k.alg)
	}
	sig, err := decode(signature)
	if err != nil {
		return nil, err
	}
	body, err := decode(payload)
	if err != nil {
		return nil, err
	}
	if !k.verify([]byte(text[:len(head)+1+len(payload)]), sig) {
		return nil, token.Errorf(token.ErrRefused, "the signature of the access token is wrong")
	}
	claims, err := parseClaims(body)
	if err != nil {
		return nil, malformed("%v", err)
	}
	return &proof{k.id, claims}, nil
}

type header struct {
	Algorithm string            `json:"alg"`
	KeyID     string            `json:"kid"`
	Type      string            `json:"typ"`
	Critical  strict.RawMessage `json:"crit"`
}

// header reads the first part, unless it is, byte for byte, the one that a key
// of ours writes.
func (s *Signer) header(part string) (header, error) {
	s.mu.RLock()
	k := s.headers[part]
	s.mu.RUnlock()
	if k != nil {
		return header{Algorithm: string(k.alg), KeyID: k.id}, nil
	}
	return parseHeader(part)
}

// parseHeader reads the first part. The decoder refuses a name that comes
// twice and knows upper from lower case, unlike that of the standard library.
func parseHeader(part string) (h header, err error) {
	b, err := decode(part)
	if err != nil {
		return h, err
	}
	if err := strict.Unmarshal(b, &h); err != nil {
		return h, malformed("its header is no JSON object")
	}
	if h.Type != "at+jwt" && h.Type != "application/at+jwt" { // RFC 9068 §4
		return h, token.Errorf(token.ErrRefused, "a JWT of type %.20q is no access token", h.Type)
	}
	if h.Critical != nil {
		return h, token.Errorf(token.ErrRefused, "the access token demands extensions (crit)")
	}
	return h, nil
}

// usableKey is a key that may have signed a token that is valid now.
func (s *Signer) usableKey(r store.Reader, id string, now time.Time) (*verifyingKey, error) {
	if len(id) != kidSize {
		return nil, token.Errorf(token.ErrRefused, "the access token names no key of ours")
	}
	rec, err := publics.Get(r, id)
	if errors.Is(err, store.ErrNotFound) {
		return nil, token.Errorf(token.ErrRefused, "the access token names no key of ours")
	}
	if err != nil {
		return nil, unreadable(err)
	}
	switch {
	case rec.ActiveAt.IsZero():
		return nil, token.Errorf(token.ErrRefused, "the access token names a key that has signed nothing yet")
	case rec.expired(now):
		return nil, token.Errorf(token.ErrRefused, "the key of the access token has %w", ErrExpired)
	}
	s.mu.RLock()
	k := s.verifier[id]
	s.mu.RUnlock()
	if k == nil {
		if k, err = newVerifyingKey(rec); err != nil {
			return nil, token.Errorf(token.ErrCannotTell, "signing key %s: %w", id, err)
		}
		s.mu.Lock()
		if len(s.verifier) > verifierMax { // keys gone from the store
			clear(s.verifier)
			clear(s.headers)
		}
		s.verifier[id], s.headers[headerOf(k.alg, id)] = k, k
		s.mu.Unlock()
	}
	return k, nil
}

// decode reads base64url as RFC 7515 §2 has it: no padding, no line breaks, no
// second spelling of the same bytes.
func decode(part string) ([]byte, error) {
	if strings.ContainsAny(part, "\r\n") { // which the decoder passes over
		return nil, malformed("a part of it is no base64url")
	}
	b, err := base64.RawURLEncoding.Strict().DecodeString(part)
	if err != nil {
		return nil, malformed("a part of it is no base64url")
	}
	return b, nil
}

func malformed(format string, args ...any) error {
	return token.Errorf(token.ErrMalformed, "this is no access token: "+format, args...)
}
