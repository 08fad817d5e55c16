package idp

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"math/big"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/tokenctl/tokenctl/pkg/token"
)

// fetched checks how often an issuer was asked for its keys.
func fetched(t testing.TB, i *issuer, want int) {
	t.Helper()
	if n := i.fetched(); n != want {
		t.Errorf("the keys were fetched %d times, want %d", n, want)
	}
}

// An issuer that changes its key is believed from the first JWT on, and the old
// key no longer.
func TestKeyRotation(t *testing.T) {
	i := newIssuer(t)
	s := i.set(t)
	old := i.good(t)
	accepted(t, s, old)
	i.rotate(t, "k2", "EdDSA")
	accepted(t, s, i.good(t))
	fetched(t, i, 2)
	refuses(t, s, old, "none of the provider's")
	fetched(t, i, 2)

	// Soon after another change, what was fetched seconds ago is what counts.
	i.rotate(t, "k3", "ES256")
	i.clock.add(5 * time.Second)
	refuses(t, s, i.good(t), "none of the provider's")
	fetched(t, i, 2)
	i.clock.add(5 * time.Second)
	accepted(t, s, i.good(t))
	fetched(t, i, 3)
}

// A key that the provider withdraws is not believed for long.
func TestKeyWithdrawn(t *testing.T) {
	i := newIssuer(t)
	s := i.set(t)
	old := i.sign(t, nil, object{"exp": i.clock.Now().Unix() + 86400})
	accepted(t, s, old)
	i.rotate(t, "k2", "EdDSA")
	i.clock.add(keysFresh - time.Second)
	accepted(t, s, old)
	fetched(t, i, 1)
	i.clock.add(time.Second)
	refuses(t, s, old, "none of the provider's")
	fetched(t, i, 2)
}

// Strangers have no say in how often we ask a provider.
func TestForgedTokensFetchLittle(t *testing.T) {
	i := newIssuer(t)
	s := i.set(t)
	for n := range 1000 {
		switch n % 4 {
		case 0:
			refuses(t, s, i.sign(t, object{"kid": fmt.Sprint("forged", n)}, nil), "none of the provider's")
		case 1:
			refuses(t, s, i.sign(t, object{"kid": "same"}, nil), "none of the provider's")
		case 2:
			wrong := i.good(t)
			refuses(t, s, wrong[:len(wrong)-8]+"AAAAAAAA", "its signature is wrong")
		case 3:
			wrong := i.sign(t, object{"kid": nil}, nil)
			refuses(t, s, wrong[:len(wrong)-8]+"AAAAAAAA", "its signature is wrong")
		}
	}
	fetched(t, i, 2)
	accepted(t, s, i.good(t))

	// The clock goes on: one more every ten seconds, and none for a name that was
	// looked for lately.
	for range 60 {
		i.clock.add(time.Second)
		refuses(t, s, i.sign(t, object{"kid": "same"}, nil), "none of the provider's")
	}
	if n := i.fetched(); n > 4 {
		t.Errorf("one name had the keys fetched %d times", n-2)
	}
	before := i.fetched()
	for n := range 60 {
		i.clock.add(time.Second)
		refuses(t, s, i.sign(t, object{"kid": fmt.Sprint("again", n)}, nil), "none of the provider's")
	}
	if n := i.fetched() - before; n != 6 {
		t.Errorf("a minute of forged names had the keys fetched %d times, want 6", n)
	}
}

func TestMissingNamesAreFew(t *testing.T) {
	i := newIssuer(t)
	k, err := newKeySet(i.provider(), newFetcher(Options{}), i.clock.Now)
	must(t, err)
	for n := range 3 * maxMissing {
		k.miss(fmt.Sprint(n))
	}
	if n := len(k.missing); n > maxMissing {
		t.Errorf("%d names are kept", n)
	}
}

// Many at once cause one question.
func TestFetchedOnceForAll(t *testing.T) {
	i := newIssuer(t)
	s := i.set(t)
	i.answers(func(w http.ResponseWriter, r *http.Request) bool { time.Sleep(50 * time.Millisecond); return false })
	jwt := i.good(t)
	var all sync.WaitGroup
	for range 50 {
		all.Go(func() { accepted(t, s, jwt) })
	}
	all.Wait()
	fetched(t, i, 1)
}

// Who gives up waiting takes nothing from the others.
func TestFetchOutlivesItsCaller(t *testing.T) {
	i := newIssuer(t)
	s := i.set(t)
	release := make(chan struct{})
	i.answers(func(w http.ResponseWriter, r *http.Request) bool { <-release; return false })
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(50*time.Millisecond, cancel)
	_, err := s.Judge(ctx, i.good(t))
	if !errors.Is(err, token.ErrCannotTell) || !errors.Is(err, context.Canceled) {
		t.Errorf("%v, want a token.ErrCannotTell by the context", err)
	}
	close(release)
	accepted(t, s, i.good(t))
	fetched(t, i, 1)
}

func TestProviderDown(t *testing.T) {
	i := newIssuer(t)
	s := i.set(t)
	i.down()
	cannot(t, s, i.good(t), "503 Service Unavailable")
	cannot(t, s, i.good(t), "503 Service Unavailable")
	// What needs no key is a refusal all the same.
	refuses(t, s, i.sign(t, nil, object{"aud": "x"}), "is not ours")
	i.answers(nil)
	i.clock.add(fetchEvery)
	accepted(t, s, i.good(t))

	i.down()
	unknown := func() string { return i.sign(t, object{"kid": "k2"}, nil) }
	i.clock.add(fetchEvery)
	cannot(t, s, unknown(), "503 Service Unavailable")
	cannot(t, s, i.sign(t, object{"kid": "k3"}, nil), "503 Service Unavailable")
	accepted(t, s, i.good(t))
	wrong := i.good(t)
	refuses(t, s, wrong[:len(wrong)-8]+"AAAAAAAA", "its signature is wrong")
	// Without a name it may be signed with a key that we could not get.
	nameless := i.sign(t, object{"kid": nil}, nil)
	accepted(t, s, nameless)
	cannot(t, s, nameless[:len(nameless)-8]+"AAAAAAAA", "503 Service Unavailable")

	i.clock.add(keysStale - fetchEvery - time.Second)
	accepted(t, s, i.good(t))
	i.clock.add(time.Second)
	cannot(t, s, i.good(t), "503 Service Unavailable")
	i.answers(nil)
	i.clock.add(fetchEvery)
	accepted(t, s, i.good(t))
	refuses(t, s, unknown(), "none of the provider's")
}

// While a provider is silent, who has its keys does not wait for it again and
// again.
func TestSilentProvider(t *testing.T) {
	i := newIssuer(t)
	s := i.set(t)
	accepted(t, s, i.good(t))
	i.clock.add(keysFresh)
	i.down()
	accepted(t, s, i.good(t))
	i.clock.add(fetchEvery)
	hang := make(chan struct{})
	defer close(hang)
	i.answers(func(w http.ResponseWriter, r *http.Request) bool { <-hang; return true })
	before := time.Now()
	accepted(t, s, i.good(t))
	if took := time.Since(before); took > time.Second {
		t.Errorf("it took %s", took)
	}
}

// hostile are answers that give no keys, and do no harm.
func TestHostileAnswers(t *testing.T) {
	elsewhere := newIssuer(t)
	for name, c := range map[string]struct {
		answer func(w http.ResponseWriter, r *http.Request)
		why    string
	}{
		"too much": {func(w http.ResponseWriter, r *http.Request) {
			w.Write([]byte(`{"keys":[],"x":"`))
			for w, page := w, []byte(strings.Repeat("x", 1<<16)); ; {
				if _, err := w.Write(page); err != nil {
					return
				}
			}
		}, "too large"},
		"a redirect": {func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, elsewhere.URL+r.URL.Path, http.StatusFound)
		}, "302 Found"},
		"silence":    {func(w http.ResponseWriter, r *http.Request) { <-r.Context().Done() }, "cannot be had"},
		"a page":     {func(w http.ResponseWriter, r *http.Request) { w.Write([]byte("<html>")) }, "is no key set"},
		"nothing":    {func(w http.ResponseWriter, r *http.Request) {}, "is no key set"},
		"no keys":    {func(w http.ResponseWriter, r *http.Request) { w.Write([]byte(`{"keys":[]}`)) }, "no key that can be used"},
		"keys twice": {func(w http.ResponseWriter, r *http.Request) { w.Write([]byte(`{"keys":[],"keys":[]}`)) }, "is no key set"},
		"too many keys": {func(w http.ResponseWriter, r *http.Request) {
			fmt.Fprintf(w, `{"keys":[{}%s]}`, strings.Repeat(",{}", 100))
		}, "101 keys"},
		"a long status":     {func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(404) }, "404 Not Found"},
		"another's success": {func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(203) }, "203"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			i := newIssuer(t)
			s := i.set(t)
			i.answers(func(w http.ResponseWriter, r *http.Request) bool {
				if r.URL.Path == "/jwks" {
					c.answer(w, r)
				}
				return r.URL.Path == "/jwks"
			})
			cannot(t, s, i.good(t), c.why)
		})
	}
	t.Cleanup(func() {
		if elsewhere.fetched() > 0 {
			t.Error("a redirect was followed")
		}
	})
}

// What a provider says of itself is believed of itself only.
func TestHostileDiscovery(t *testing.T) {
	for name, c := range map[string]struct{ document, why string }{
		"another's name":   {`{"issuer":"https://other.example.org","jwks_uri":"ISSUER/jwks"}`, "calls itself"},
		"in clear text":    {`{"issuer":"ISSUER","jwks_uri":"http://keys.example.org/jwks"}`, "no https URL"},
		"a file":           {`{"issuer":"ISSUER","jwks_uri":"file:///etc/passwd"}`, "no https URL"},
		"no keys":          {`{"issuer":"ISSUER"}`, "no https URL"},
		"no configuration": {`[]`, "no OpenID configuration"},
	} {
		t.Run(name, func(t *testing.T) {
			i := newIssuer(t)
			s := i.set(t)
			i.answers(func(w http.ResponseWriter, r *http.Request) bool {
				fmt.Fprint(w, strings.ReplaceAll(c.document, "ISSUER", i.URL))
				return true
			})
			cannot(t, s, i.good(t), c.why)
			fetched(t, i, 0)
		})
	}
}

// The key set is asked over TLS, from whom the configured authority vouches for.
func TestFetchOverTLS(t *testing.T) {
	i := newIssuer(t)
	var asked atomic.Int32
	secure := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { asked.Add(1); i.ServeHTTP(w, r) }))
	secure.Config.ErrorLog = log.New(io.Discard, "", 0)
	secure.StartTLS()
	defer secure.Close()
	p := i.provider(func(p *token.Provider) { p.JWKSURL = secure.URL + "/jwks" })
	cannot(t, setOf(t, i.clock.Now, p), i.good(t), "certificate")
	pool := x509.NewCertPool()
	pool.AddCert(secure.Certificate())
	s := New(Options{Now: i.clock.Now, RootCAs: pool})
	must(t, s.Replace([]token.Provider{p}))
	accepted(t, s, i.good(t))
	if n := asked.Load(); n != 1 {
		t.Errorf("it was asked %d times", n)
	}
}

// Keys that are none for signatures, or too weak, are as if they were not there.
func TestUnusableKeys(t *testing.T) {
	i := newIssuer(t)
	public := func(private any, id string) jose.JSONWebKey {
		return jose.JSONWebKey{Key: private, KeyID: id, Use: "sig"}
	}
	small := key{"small", "RS256", newRSA(t, 1024)}
	fine := public(i.key.private.Public(), "k1")
	raw := func(k jose.JSONWebKey, changes object) object {
		o := object{}
		must(t, json.Unmarshal(marshal(t, k), &o))
		for name, value := range changes {
			o[name] = value
		}
		return o
	}
	one := &rsa.PublicKey{N: newRSA(t, 2048).Public().(*rsa.PublicKey).N, E: 1}
	unusable := map[string]any{
		"RSA of 1024 bits":     public(small.private.Public(), "k1"),
		"exponent 1":           public(one, "k1"),
		"for encryption":       raw(fine, object{"use": "enc"}),
		"to sign only":         raw(fine, object{"use": nil, "key_ops": []string{"sign"}}),
		"with its private key": jose.JSONWebKey{Key: i.key.private, KeyID: "k1", Use: "sig"},
		"a secret":             jose.JSONWebKey{Key: []byte("0123456789abcdef0123456789abcdef"), KeyID: "k1", Use: "sig"},
		"not on the curve":     raw(fine, object{"x": raw(fine, nil)["y"]}),
		"an unknown type":      object{"kty": "AKP", "kid": "k1"},
		"a name too long":      raw(fine, object{"kid": strings.Repeat("k", 257)}),
		"no object":            "k1",
	}
	other := newIssuer(t)
	other.rotate(t, "k9", "EdDSA")
	for name, k := range unusable {
		t.Run(name, func(t *testing.T) {
			i.publish(k, public(other.key.private.Public(), "k9"))
			s := i.set(t)
			refuses(t, s, i.good(t), "none of the provider's")
			signer := other.key
			accepted(t, s, signer.sign(t, marshal(t, object{"alg": "EdDSA", "kid": "k9"}), marshal(t, i.claims(nil))))
		})
	}
	i.publish(raw(fine, object{"alg": "ES384"}))
	refuses(t, i.set(t), i.good(t), "is not for \"ES256\"")
	i.publish(raw(fine, object{"use": nil, "key_ops": []string{"verify"}, "x5c": []string{"garbage"}, "x5u": "https://x"}))
	accepted(t, i.set(t), i.good(t))
	// A key that says nothing of algorithms is for that of its curve only.
	i.publish(raw(fine, object{"alg": nil}))
	anyEC := i.set(t, func(p *token.Provider) { p.Algorithms = []token.Algorithm{"ES256", "ES384"} })
	accepted(t, anyEC, i.good(t))
	refuses(t, anyEC, i.sign(t, object{"alg": "ES384"}, nil), "is not for \"ES384\"")
	// Two keys of one name are both tried, and of no name too.
	i.publish(public(newKey["ES256"](t).Public(), "k1"), fine)
	accepted(t, i.set(t), i.good(t))
	accepted(t, i.set(t), i.sign(t, object{"kid": nil}, nil))
	many := []any{fine}
	for n := range maxCandidates {
		many = append(many, public(newKey["ES256"](t).Public(), fmt.Sprint("x", n)))
	}
	i.publish(many...)
	refuses(t, i.set(t), i.sign(t, object{"kid": nil}, nil), "names no key")
	accepted(t, i.set(t), i.good(t))
}

// A provider may have certificates in the place of a key set.
func TestCertificates(t *testing.T) {
	i := newIssuer(t)
	certificate := func(k key, from, to time.Duration) []byte {
		now := i.clock.Now()
		c := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "corp"}, NotBefore: now.Add(from), NotAfter: now.Add(to)}
		der, err := x509.CreateCertificate(rand.Reader, c, c, k.private.Public(), k.private)
		must(t, err)
		return der
	}
	other := key{"x", "RS256", newRSA(t, 2048)}
	s := i.set(t, func(p *token.Provider) {
		p.Issuer = "corp"
		p.Certificates = [][]byte{certificate(other, -time.Hour, 2*time.Hour), certificate(i.key, -time.Hour, time.Hour)}
	})
	claims := object{"iss": "corp", "exp": i.clock.Now().Unix() + 86400}
	accepted(t, s, i.sign(t, object{"kid": "whatever"}, claims))
	accepted(t, s, i.sign(t, object{"kid": nil}, claims))
	accepted(t, s, other.sign(t, marshal(t, object{"alg": "RS256"}), marshal(t, i.claims(claims))))
	wrong := key{"x", "ES256", newKey["ES256"](t)}
	refuses(t, s, wrong.sign(t, marshal(t, object{"alg": "ES256"}), marshal(t, i.claims(claims))), "its signature is wrong")
	ed := key{"x", "EdDSA", newKey["EdDSA"](t)}
	refuses(t, s, ed.sign(t, marshal(t, object{"alg": "EdDSA"}), marshal(t, i.claims(claims))), "none of the certificates is for EdDSA")
	i.clock.add(time.Hour + time.Second)
	refuses(t, s, i.sign(t, nil, claims), "have expired")
	accepted(t, s, other.sign(t, marshal(t, object{"alg": "RS256"}), marshal(t, i.claims(claims))))
	fetched(t, i, 0)

	small := key{"small", "RS256", newRSA(t, 1024)}
	for why, der := range map[string][]byte{"cannot be read": []byte("x"), "no key that can be used": certificate(small, 0, time.Hour)} {
		p := i.provider(func(p *token.Provider) { p.Certificates = [][]byte{der} })
		if err := New(Options{}).Replace([]token.Provider{p}); !errors.Is(err, token.ErrUsage) || !strings.Contains(err.Error(), why) {
			t.Errorf("%v, want a token.ErrUsage with %q", err, why)
		}
	}
}
