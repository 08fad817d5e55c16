package idp

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/tokenctl/tokenctl/pkg/token"
)

const audience = "https://tokens.example.org"

// clock is one that only tests move.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// key is one of an issuer's.
type key struct {
	id, alg string
	private crypto.Signer
}

var newKey = map[string]func(testing.TB) crypto.Signer{
	"RS256": func(t testing.TB) crypto.Signer { return newRSA(t, 2048) },
	"ES256": func(t testing.TB) crypto.Signer {
		k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		must(t, err)
		return k
	},
	"EdDSA": func(t testing.TB) crypto.Signer {
		_, k, err := ed25519.GenerateKey(rand.Reader)
		must(t, err)
		return k
	},
}

func newRSA(t testing.TB, bits int) crypto.Signer {
	t.Helper()
	k, err := rsa.GenerateKey(rand.Reader, bits)
	must(t, err)
	return k
}

// issuer is a server that has keys and says so. It can say anything, what no
// provider that is worth its name would.
type issuer struct {
	*httptest.Server
	clock *clock
	key   key // that signs

	mu      sync.Mutex
	keys    []any // of the key set
	answer  func(w http.ResponseWriter, r *http.Request) bool
	fetches int // of the key set
}

func newIssuer(t testing.TB) *issuer {
	t.Helper()
	i := &issuer{clock: &clock{now: time.Now().Truncate(time.Second)}}
	i.Server = httptest.NewServer(i)
	t.Cleanup(i.Close)
	i.rotate(t, "k1", "ES256")
	return i
}

// rotate gives the issuer one key, in the place of those before.
func (i *issuer) rotate(t testing.TB, id, alg string) {
	t.Helper()
	i.key = key{id, alg, newKey[alg](t)}
	i.publish(jose.JSONWebKey{Key: i.key.private.Public(), KeyID: id, Algorithm: alg, Use: "sig"})
}

func (i *issuer) publish(keys ...any) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.keys = keys
}

// answers has fn say what others are told, while it returns true.
func (i *issuer) answers(fn func(w http.ResponseWriter, r *http.Request) bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.answer = fn
}

// down has every question fail.
func (i *issuer) down() {
	i.answers(func(w http.ResponseWriter, r *http.Request) bool {
		w.WriteHeader(http.StatusServiceUnavailable)
		return true
	})
}

func (i *issuer) fetched() int {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.fetches
}

func (i *issuer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	i.mu.Lock()
	if r.URL.Path == "/jwks" {
		i.fetches++
	}
	answer, keys := i.answer, i.keys
	i.mu.Unlock()
	switch {
	case answer != nil && answer(w, r):
	case r.URL.Path == "/.well-known/openid-configuration":
		json.NewEncoder(w).Encode(map[string]any{"issuer": i.URL, "jwks_uri": i.URL + "/jwks", "token_endpoint": i.URL + "/token"})
	case r.URL.Path == "/jwks":
		json.NewEncoder(w).Encode(map[string]any{"keys": keys})
	default:
		http.NotFound(w, r)
	}
}

// provider is the configuration for the issuer.
func (i *issuer) provider(changes ...func(*token.Provider)) token.Provider {
	p := token.NewProvider("corp")
	p.Issuer, p.Audiences = i.URL, []string{audience, "other"}
	for _, change := range changes {
		change(&p)
	}
	return p
}

// set has this provider only.
func (i *issuer) set(t testing.TB, changes ...func(*token.Provider)) *Set {
	t.Helper()
	return setOf(t, i.clock.Now, i.provider(changes...))
}

func setOf(t testing.TB, now func() time.Time, providers ...token.Provider) *Set {
	t.Helper()
	s := New(Options{Now: now, Timeout: 2 * time.Second})
	must(t, s.Replace(providers))
	return s
}

type object = map[string]any

// claims are those of a good JWT, changed; nil takes one away.
func (i *issuer) claims(changes object) object {
	now := i.clock.Now().Unix()
	c := object{"iss": i.URL, "sub": "alice", "aud": audience, "iat": now, "exp": now + 600, "jti": "j1"}
	for name, value := range changes {
		if c[name] = value; value == nil {
			delete(c, name)
		}
	}
	return c
}

// sign makes a JWT with these changes to a good one.
func (i *issuer) sign(t testing.TB, header, claims object) string {
	t.Helper()
	h := object{"alg": i.key.alg, "kid": i.key.id, "typ": "at+jwt"}
	for name, value := range header {
		if h[name] = value; value == nil {
			delete(h, name)
		}
	}
	return i.key.sign(t, marshal(t, h), marshal(t, i.claims(claims)))
}

func (i *issuer) good(t testing.TB) string { return i.sign(t, nil, nil) }

// sign signs whatever it is given as a header and a payload: go-jose would not
// write most of them.
func (k key) sign(t testing.TB, header, payload []byte) string {
	t.Helper()
	text := base64.RawURLEncoding.EncodeToString(header) + "." + base64.RawURLEncoding.EncodeToString(payload)
	sum := sha256.Sum256([]byte(text))
	var signature []byte
	var err error
	switch private := k.private.(type) {
	case ed25519.PrivateKey:
		signature = ed25519.Sign(private, []byte(text))
	case *ecdsa.PrivateKey:
		var r, s *big.Int
		r, s, err = ecdsa.Sign(rand.Reader, private, sum[:])
		must(t, err)
		signature = append(r.FillBytes(make([]byte, 32)), s.FillBytes(make([]byte, 32))...)
	case *rsa.PrivateKey:
		signature, err = rsa.SignPKCS1v15(nil, private, crypto.SHA256, sum[:])
		if k.alg == "PS256" {
			signature, err = rsa.SignPSS(rand.Reader, private, crypto.SHA256, sum[:], &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash})
		}
	}
	must(t, err)
	return text + "." + base64.RawURLEncoding.EncodeToString(signature)
}

func marshal(t testing.TB, v any) []byte {
	t.Helper()
	b, err := json.Marshal(v)
	must(t, err)
	return b
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func accepted(t testing.TB, s *Set, jwt string) token.Verdict {
	t.Helper()
	v, err := s.Judge(context.Background(), jwt)
	if err != nil {
		t.Errorf("refused: %v", err)
	}
	return v
}

// refuses checks that a JWT is refused, and that the log learns why.
func refuses(t testing.TB, s *Set, jwt, why string) {
	t.Helper()
	v, err := s.Judge(context.Background(), jwt)
	if !errors.Is(err, token.ErrRefused) || errors.Is(err, token.ErrCannotTell) || !strings.Contains(fmt.Sprint(err), why) {
		t.Errorf("the error is %v, want a refusal with %q", err, why)
	}
	if v.Subject != "" || v.Roles != nil {
		t.Errorf("refused, but the verdict is %+v", v)
	}
}

func cannot(t testing.TB, s *Set, jwt, why string) {
	t.Helper()
	v, err := s.Judge(context.Background(), jwt)
	if !errors.Is(err, token.ErrCannotTell) || errors.Is(err, token.ErrRefused) || !strings.Contains(fmt.Sprint(err), why) {
		t.Errorf("the error is %v, want a token.ErrCannotTell with %q", err, why)
	}
	if v.Subject != "" {
		t.Errorf("cannot tell, but the verdict is %+v", v)
	}
}
