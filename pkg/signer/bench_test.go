package signer

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"testing"

	"github.com/go-jose/go-jose/v4"

	"github.com/tokenctl/tokenctl/pkg/store"
	"github.com/tokenctl/tokenctl/pkg/token"
)

func BenchmarkSign(t *testing.B) {
	b := newBench(t, algorithms...)
	c := claims()
	for _, alg := range algorithms {
		t.Run(string(alg), func(t *testing.B) {
			b.view(func(r store.Reader) error {
				t.ReportAllocs()
				for t.Loop() {
					if _, err := b.Sign(r, alg, c); err != nil {
						t.Fatal(err)
					}
				}
				return nil
			})
		})
	}
	payload := c.appendJSON(nil)
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	text := []byte(encode(headerJSON(token.EdDSA, b.activeID(token.EdDSA))) + "." + encode(string(payload)))
	t.Run("bare Ed25519", func(t *testing.B) {
		for t.Loop() {
			ed25519.Sign(key, text)
		}
	})
	t.Run("go-jose EdDSA", func(t *testing.B) {
		o := (&jose.SignerOptions{}).WithType("at+jwt")
		s, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.EdDSA, Key: jose.JSONWebKey{Key: key, KeyID: "x"}}, o)
		if err != nil {
			t.Fatal(err)
		}
		t.ReportAllocs()
		for t.Loop() {
			sig, err := s.Sign(payload)
			if err == nil {
				_, err = sig.CompactSerialize()
			}
			if err != nil {
				t.Fatal(err)
			}
		}
	})
}

func BenchmarkCheck(t *testing.B) {
	b := newBench(t, algorithms...)
	for _, alg := range algorithms {
		jwt := b.sign(alg, claims())
		sum := sha256.Sum256([]byte(jwt))
		for _, remembered := range []bool{true, false} {
			name := " first"
			if remembered {
				name = " remembered"
			}
			t.Run(string(alg)+name, func(t *testing.B) {
				b.view(func(r store.Reader) error {
					t.ReportAllocs()
					for t.Loop() {
						if !remembered {
							b.seen.drop(sum)
						}
						if _, err := b.Check(r, jwt, start); err != nil {
							t.Fatal(err)
						}
					}
					return nil
				})
			})
		}
	}
	public, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	text := []byte(b.sign(token.EdDSA, claims()))
	sig := ed25519.Sign(key, text)
	t.Run("bare Ed25519", func(t *testing.B) {
		for t.Loop() {
			ed25519.Verify(public, text, sig)
		}
	})
	t.Run("bare SHA-256", func(t *testing.B) {
		for t.Loop() {
			sha256.Sum256(text)
		}
	})
}
