package idp

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/tokenctl/tokenctl/pkg/token"
)

// A JWT is a stranger's text: whatever it is, it is refused unless the issuer
// signed exactly this, and no check breaks over it.
func FuzzJudge(f *testing.F) {
	i := newIssuer(f)
	s := i.set(f, func(p *token.Provider) {
		p.RoleClaim, p.RoleMap = "groups", []token.RoleMapping{{From: "ops", Role: "writer"}}
	})
	good := i.sign(f, nil, object{"groups": []string{"ops"}})
	if _, err := s.Judge(context.Background(), good); err != nil {
		f.Fatal(err)
	}
	for _, claims := range []object{nil, {"aud": []string{audience}}, {"nonce": "n"}, {"exp": 1.5}, {"sub": nil}} {
		f.Add(i.sign(f, nil, claims))
	}
	f.Add("eyJhbGciOiJub25lIn0.e30.")
	f.Add("..")
	signed := good[:strings.LastIndexByte(good, '.')]
	f.Fuzz(func(t *testing.T, text string) {
		v, err := s.Judge(context.Background(), text)
		if err == nil && !strings.HasPrefix(text, signed) {
			// Seeds of this run are signed by our key, all for alice.
			if v.Subject != "alice" || v.Issuer != i.URL {
				t.Fatalf("accepted as %+v", v)
			}
		}
		if err != nil && !errors.Is(err, token.ErrRefused) {
			t.Fatalf("%v is no refusal", err)
		}
		findings, explained := s.Explain(context.Background(), text)
		if (explained == nil) != (err == nil) || len(findings) == 0 {
			t.Fatalf("judged %v, explained %v", err, explained)
		}
		if _, err := ReadSample(text); err != nil && !errors.Is(err, token.ErrRefused) {
			t.Fatalf("a sample: %v", err)
		}
		s.Knows(text)
	})
}

// A key set is what a provider's server says. Of what is read, all can be used.
func FuzzParseKeySet(f *testing.F) {
	i := newIssuer(f)
	f.Add(marshal(f, object{"keys": i.keys}))
	i.rotate(f, "k2", "RS256")
	f.Add(marshal(f, object{"keys": i.keys}))
	i.rotate(f, "k3", "EdDSA")
	f.Add(marshal(f, object{"keys": i.keys}))
	f.Add([]byte(`{"keys":[{"kty":"RSA","n":"AQ","e":"AQ"},{"kty":"EC","crv":"P-256"},{"kty":"oct","k":"AA"}]}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		keys, err := parseKeySet(body)
		if err != nil && !errors.Is(err, token.ErrCannotTell) {
			t.Fatalf("%v is no token.ErrCannotTell", err)
		}
		for _, k := range keys {
			if !good(k.public) {
				t.Fatalf("a key that is not good: %+v", k)
			}
		}
	})
}
