package secret_test

import (
	"context"
	"testing"
	"time"

	"github.com/tokenctl/tokenctl/pkg/secret"
)

func BenchmarkParse(b *testing.B) {
	text := secret.New(secret.Passcode, secret.NewID(time.Now())).Reveal()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := secret.Parse(text); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkParseGarbage(b *testing.B) {
	text := []byte(secret.New(secret.Passcode, secret.NewID(time.Now())).Reveal())
	text[len(text)-1] ^= 1
	b.ReportAllocs()
	for b.Loop() {
		if _, err := secret.Parse(string(text)); err == nil {
			b.Fatal("parsed")
		}
	}
}

// BenchmarkVerify is what every request pays: Parse and Check, busy on all
// processors in the parallel case.
func BenchmarkVerify(b *testing.B) {
	h := secret.NewHasher(testKeys(b, 1), secret.HasherOptions{})
	id := secret.NewID(time.Now())
	use := secret.Use{Kind: "user", ID: id}
	s := secret.New(secret.Passcode, id)
	text, v := s.Reveal(), h.Fast(use, s)
	ctx := context.Background()
	verify := func() {
		parsed, err := secret.Parse(text)
		if err != nil {
			b.Error(err)
		}
		result, err := h.Check(ctx, secret.Use{Kind: "user", ID: parsed.ID}, parsed.Secret, v)
		if err != nil || !result.OK {
			b.Error(result, err)
		}
	}
	b.Run("alone", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			verify()
		}
	})
	b.Run("parallel", func(b *testing.B) {
		b.ReportAllocs()
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				verify()
			}
		})
	})
}

func BenchmarkNew(b *testing.B) {
	id := secret.NewID(time.Now())
	b.ReportAllocs()
	for b.Loop() {
		secret.New(secret.Passcode, id)
	}
}

func BenchmarkContains(b *testing.B) {
	arg := "--description=the token of tkach/tkp_ that Stkp_tkr_ made, and so on for quite a while"
	b.ReportAllocs()
	for b.Loop() {
		if secret.Contains(arg) {
			b.Fatal("found")
		}
	}
}

// BenchmarkSlow is one argon2id hash of the default costs.
func BenchmarkSlow(b *testing.B) {
	h := secret.NewHasher(testKeys(b, 1), secret.HasherOptions{})
	b.ReportAllocs()
	for b.Loop() {
		if err := h.Waste(context.Background()); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkSlowRemembered is a check that succeeded a moment ago.
func BenchmarkSlowRemembered(b *testing.B) {
	h := secret.NewHasher(testKeys(b, 1), secret.HasherOptions{})
	use := secret.Use{Kind: "service"}
	s := secret.New(secret.Plain08, secret.ID{})
	ctx := context.Background()
	v, err := h.Slow(ctx, use, s)
	if err != nil {
		b.Fatal(err)
	}
	h.Check(ctx, use, s, v)
	b.ReportAllocs()
	for b.Loop() {
		if result, err := h.Check(ctx, use, s, v); err != nil || !result.OK {
			b.Fatal(result, err)
		}
	}
}
