package signer

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/google/go-cmp/cmp"

	"github.com/tokenctl/tokenctl/pkg/store"
	"github.com/tokenctl/tokenctl/pkg/token"
	"github.com/tokenctl/tokenctl/testdata/needs"
)

func TestCheckGivesWhatSignWasGiven(t *testing.T) {
	b := newBench(t, algorithms...)
	plain := claims()
	odd := claims()
	odd.Subject = "corp/Ünal \"O'Neil\" <\\>\u2028😀&"
	odd.RoleClaim, odd.Roles = "https://example.org/\"rôles\"", []token.Role{}
	odd.Parent, odd.Scope = token.ID{}, "read write"
	odd.NotBefore = start.Add(time.Minute)
	fraction := claims()
	fraction.IssuedAt, fraction.NotBefore = start.Add(900*time.Millisecond), time.Time{}
	whole := claims()

	for _, alg := range algorithms {
		for _, tt := range []struct {
			name      string
			give, get Claims
		}{
			{"plain", plain, plain},
			{"odd", odd, odd},
			{"fractions of a second are dropped, nbf is iat", fraction, whole},
		} {
			t.Run(fmt.Sprint(alg, " ", tt.name), func(t *testing.T) {
				jwt := b.sign(alg, tt.give)
				for _, turn := range []string{"first", "remembered"} {
					got, err := b.check(jwt, start.Add(10*time.Minute))
					if err != nil {
						t.Fatalf("%s: %v", turn, err)
					}
					if diff := cmp.Diff(tt.get, got); diff != "" {
						t.Errorf("%s: %s", turn, diff)
					}
				}
			})
		}
	}
}

// go-jose has no part in signing, so it is an independent judge of it.
func TestJoseAcceptsOurTokens(t *testing.T) {
	b := newBench(t, algorithms...)
	for _, alg := range algorithms {
		jwt := b.sign(alg, claims())
		sig, err := jose.ParseSignedCompact(jwt, []jose.SignatureAlgorithm{jose.SignatureAlgorithm(alg)})
		if err != nil {
			t.Fatal(err)
		}
		h := sig.Signatures[0].Protected
		if h.KeyID != b.activeID(alg) || h.ExtraHeaders[jose.HeaderType] != "at+jwt" {
			t.Errorf("%s: header %+v", alg, h)
		}
		var set jose.JSONWebKeySet
		b.view(func(r store.Reader) error {
			text, err := b.JWKS(r, start)
			if err != nil {
				return err
			}
			return json.Unmarshal(text, &set)
		})
		payload, err := sig.Verify(set)
		if err != nil {
			t.Fatalf("%s: %v", alg, err)
		}
		var got map[string]any
		if err := json.Unmarshal(payload, &got); err != nil {
			t.Fatal(err)
		}
		want := map[string]any{
			"iss": "https://tokens.example.org", "sub": "corp/alice", "aud": "urn:tokenctl:default",
			"client_id": "default", "jti": "06bxh7m4q0w8s2d4", "tid": token.ID{1, 2, 3}.String(),
			"iat": float64(start.Unix()), "nbf": float64(start.Unix()), "exp": float64(start.Unix() + 3600),
			"urn:identify:rest-api:role": []any{"deploy", "read"},
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
	}
}

const pyJWT = `
import json, sys, jwt
given = json.load(sys.stdin)
keys = {k["kid"]: k for k in given["jwks"]["keys"]}
for t in given["tokens"]:
    head = jwt.get_unverified_header(t["jwt"])
    assert head == {"alg": t["alg"], "kid": head["kid"], "typ": "at+jwt"}, head
    key = keys[head["kid"]]
    assert key["use"] == "sig" and key["alg"] == t["alg"], key
    public = jwt.PyJWK(key).key
    def decode(text):
        return jwt.decode(text, public, algorithms=[t["alg"]], audience="urn:tokenctl:default",
            issuer="https://tokens.example.org", options={"require": ["exp", "iat", "nbf", "sub", "jti"]})
    got = decode(t["jwt"])
    assert got["sub"] == "corp/alice" and got["urn:identify:rest-api:role"] == ["deploy", "read"], got
    head, payload, sig = t["jwt"].split(".")
    try:
        decode(head + "." + payload + "." + sig[:20] + ("A" if sig[20] != "A" else "B") + sig[21:])
    except jwt.InvalidSignatureError:
        print("ok", t["alg"])
`

func TestPyJWTAcceptsOurTokens(t *testing.T) {
	const python = "/usr/bin/python3"
	if out, err := exec.Command(python, "-c", "import jwt, cryptography").CombinedOutput(); err != nil {
		needs.Missing(t, fmt.Sprintf("PyJWT (python3-jwt, python3-cryptography) is missing: %v %s", err, out))
	}
	b := newBench(t, algorithms...)
	c := claims()
	c.IssuedAt = time.Now().Add(-time.Second)
	c.NotBefore, c.ExpiresAt = c.IssuedAt, c.IssuedAt.Add(time.Hour)
	type signed struct {
		Alg token.Algorithm `json:"alg"`
		JWT string          `json:"jwt"`
	}
	var given struct {
		JWKS   json.RawMessage `json:"jwks"`
		Tokens []signed        `json:"tokens"`
	}
	want := ""
	for _, alg := range algorithms {
		given.Tokens = append(given.Tokens, signed{alg, b.sign(alg, c)})
		want += fmt.Sprintf("ok %s\n", alg)
	}
	b.view(func(r store.Reader) (err error) {
		given.JWKS, err = b.JWKS(r, time.Now())
		return err
	})
	stdin, err := json.Marshal(given)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(python, "-c", pyJWT)
	cmd.Stdin = bytes.NewReader(stdin)
	out, err := cmd.CombinedOutput()
	if err != nil || string(out) != want {
		t.Errorf("%v\n%s", err, out)
	}
}

func TestSignRefusesClaimsThatNoTokenMayHave(t *testing.T) {
	b := newBench(t, token.EdDSA)
	for name, change := range map[string]func(*Claims){
		"no issuer":              func(c *Claims) { c.Issuer = "" },
		"no subject":             func(c *Claims) { c.Subject = "" },
		"no audience":            func(c *Claims) { c.Audience = "" },
		"no id":                  func(c *Claims) { c.ID = "" },
		"no client":              func(c *Claims) { c.ClientID = "" },
		"no role claim":          func(c *Claims) { c.RoleClaim = "" },
		"roles as sub":           func(c *Claims) { c.RoleClaim = "sub" },
		"roles as exp":           func(c *Claims) { c.RoleClaim = "exp" },
		"no expiry":              func(c *Claims) { c.ExpiresAt = time.Time{} },
		"expiry at issue":        func(c *Claims) { c.ExpiresAt = c.IssuedAt },
		"expiry in that second":  func(c *Claims) { c.ExpiresAt = c.IssuedAt.Add(999 * time.Millisecond) },
		"expiry before nbf":      func(c *Claims) { c.NotBefore = c.ExpiresAt },
		"expiry in the year 1e5": func(c *Claims) { c.ExpiresAt = time.Unix(math.MaxInt32*2000, 0) },
		"no UTF-8":               func(c *Claims) { c.Subject = "a\xff" },
		"too many roles":         func(c *Claims) { c.Roles = make([]token.Role, 10000) },
	} {
		c := claims()
		change(&c)
		b.view(func(r store.Reader) error {
			if jwt, err := b.Sign(r, token.EdDSA, c); !errors.Is(err, token.ErrUsage) || jwt != "" {
				t.Errorf("%s: %q, %v", name, jwt, err)
			}
			return nil
		})
	}
}

func TestSignWithoutKey(t *testing.T) {
	b := newBench(t, token.EdDSA)
	b.view(func(r store.Reader) error {
		_, err := b.Sign(r, token.ES256, claims())
		if !errors.Is(err, ErrNoKey) || !errors.Is(err, token.ErrCannotTell) || !strings.Contains(err.Error(), "ES256") {
			t.Error(err)
		}
		return nil
	})
}

// brokenReader is a snapshot of a disk that fails.
type brokenReader struct{ store.Reader }

var errDisk = errors.New("input/output error")

func (brokenReader) Get([]byte) ([]byte, error) { return nil, errDisk }

func TestStoreThatCannotBeReadIsNeitherYesNorNo(t *testing.T) {
	b := newBench(t, token.EdDSA)
	jwt := b.sign(token.EdDSA, claims())
	known := b.sign(token.EdDSA, claims())
	if _, err := b.check(known, start); err != nil {
		t.Fatal(err)
	}
	_, signed := b.Sign(brokenReader{}, token.EdDSA, claims())
	_, first := b.Check(brokenReader{}, jwt, start)
	_, again := b.Check(brokenReader{}, known, start)
	_, listed := b.Has(brokenReader{}, token.EdDSA)
	for _, err := range []error{signed, first, again, listed} {
		if !errors.Is(err, token.ErrCannotTell) || errors.Is(err, token.ErrRefused) || !errors.Is(err, errDisk) {
			t.Error(err)
		}
	}
}
