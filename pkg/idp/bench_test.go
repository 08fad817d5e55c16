package idp

import (
	"context"
	"testing"
)

// A good JWT, its keys at hand: what every request with one costs.
func BenchmarkJudge(b *testing.B) {
	for _, alg := range []string{"RS256", "ES256", "EdDSA"} {
		b.Run(alg, func(b *testing.B) {
			i := newIssuer(b)
			i.rotate(b, "k1", alg)
			s, jwt := i.set(b), i.good(b)
			for b.Loop() {
				if _, err := s.Judge(context.Background(), jwt); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
