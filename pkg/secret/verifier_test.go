package secret_test

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/tokenctl/tokenctl/pkg/secret"
)

// TestNoChangedVerifierChecks flips every bit of both schemes.
func TestNoChangedVerifierChecks(t *testing.T) {
	use := secret.Use{Kind: "user", ID: seven}
	s := secret.FromText(hush)
	for scheme, make := range makers {
		t.Run(scheme, func(t *testing.T) {
			h := cheapHasher(t, 2)
			good := make(t, h, use, s)
			for bit := range len(good) * 8 {
				v := bytes.Clone(good)
				v[bit/8] ^= 1 << (bit % 8)
				got, err := h.Check(t.Context(), use, s, v)
				if got.OK || err != nil && !errors.Is(err, secret.ErrVerifier) && !errors.Is(err, secret.ErrUnknownKey) {
					t.Errorf("bit %d, %q: %+v, %v", bit, v, got, err)
				}
			}
			for cut := range good {
				if got, err := h.Check(t.Context(), use, s, good[:cut]); got.OK || !errors.Is(err, secret.ErrVerifier) {
					t.Errorf("first %d bytes: %+v, %v", cut, got, err)
				}
			}
			longer := append(bytes.Clone(good), 'A')
			if got, err := h.Check(t.Context(), use, s, longer); got.OK || !errors.Is(err, secret.ErrVerifier) {
				t.Errorf("one byte more: %+v, %v", got, err)
			}
		})
	}
}

// TestSchemesAreNotExchanged gives the digest of one scheme out as the other's.
func TestSchemesAreNotExchanged(t *testing.T) {
	h := cheapHasher(t, 1)
	use := secret.Use{Kind: "user"}
	v := h.Fast(use, secret.FromText(hush))
	v[0] = 2
	if _, err := h.Check(t.Context(), use, secret.FromText(hush), v); !errors.Is(err, secret.ErrVerifier) {
		t.Errorf("fast as slow: %v", err)
	}
	v = mustSlow(t, h, use, secret.FromText(hush))
	v[0] = 1
	if _, err := h.Check(t.Context(), use, secret.FromText(hush), v); !errors.Is(err, secret.ErrVerifier) {
		t.Errorf("slow as fast: %v", err)
	}
}

func TestVerifierRefuses(t *testing.T) {
	digest := strings.Repeat("d", 32)
	const salt, hash = "AAAAAAAAAAAAAAAAAAAAAA", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
	phc := func(before, params string) string { return "\x02" + before + params + "$" + salt + "$" + hash }
	const good = "m=64,t=1,p=1,keyid=MQ"
	const before = "$argon2id$v=19$"
	tests := []struct {
		name, text string
		key        uint32 // 0: ErrVerifier
	}{
		{"fast", "\x01\x07" + digest, 7},
		{"fast, long number", "\x01\xff\xff\xff\xff\x0f" + digest, 1<<32 - 1},
		{"fast, too long number", "\x01\x80\x80\x80\x80\x10" + digest, 0},
		{"fast, far too long number", "\x01" + strings.Repeat("\xff", 10) + digest, 0},
		{"fast, number with a zero more", "\x01\x87\x00" + digest, 0},
		{"fast, number 0", "\x01\x00" + digest, 0},
		{"fast, number without end", "\x01" + strings.Repeat("\x87", 33), 0},
		{"nothing", "", 0},
		{"scheme alone", "\x01", 0},
		{"scheme alone", "\x02", 0},
		{"unknown scheme", "\x03\x07" + digest, 0},
		{"scheme 0", "\x00\x07" + digest, 0},
		{"slow", phc(before, good), 1},
		{"slow, other numbers", phc(before, "m=19456,t=16,p=16,keyid=NDI5NDk2NzI5NQ"), 1<<32 - 1},
		{"most memory", phc(before, "m=262144,t=1,p=1,keyid=MQ"), 1},
		{"too much memory", phc(before, "m=262145,t=1,p=1,keyid=MQ"), 0},
		{"all memory", phc(before, "m=4294967295,t=1,p=1,keyid=MQ"), 0},
		{"memory that wraps", phc(before, "m=4294967360,t=1,p=1,keyid=MQ"), 0},
		{"too little memory", phc(before, "m=15,t=1,p=2,keyid=MQ"), 0},
		{"no pass", phc(before, "m=64,t=0,p=1,keyid=MQ"), 0},
		{"many passes", phc(before, "m=64,t=17,p=1,keyid=MQ"), 0},
		{"no lane", phc(before, "m=64,t=1,p=0,keyid=MQ"), 0},
		{"many lanes", phc(before, "m=6400,t=1,p=17,keyid=MQ"), 0},
		{"lanes that wrap", phc(before, "m=64,t=1,p=257,keyid=MQ"), 0},
		{"a zero before", phc(before, "m=064,t=1,p=1,keyid=MQ"), 0},
		{"a sign", phc(before, "m=+64,t=1,p=1,keyid=MQ"), 0},
		{"an underscore", phc(before, "m=6_4,t=1,p=1,keyid=MQ"), 0},
		{"a space", phc(before, "m=64, t=1,p=1,keyid=MQ"), 0},
		{"other order", phc(before, "t=1,m=64,p=1,keyid=MQ"), 0},
		{"parameter missing", phc(before, "m=64,t=1,p=1"), 0},
		{"parameter more", phc(before, good+",data=MQ"), 0},
		{"keyid 0", phc(before, "m=64,t=1,p=1,keyid=MA"), 0},
		{"keyid 01", phc(before, "m=64,t=1,p=1,keyid=MDE"), 0},
		{"keyid of 33 bits", phc(before, "m=64,t=1,p=1,keyid=NDI5NDk2NzI5Ng"), 0},
		{"keyid no number", phc(before, "m=64,t=1,p=1,keyid=eHg"), 0},
		{"keyid padded", phc(before, "m=64,t=1,p=1,keyid=MQ=="), 0},
		{"keyid with other last bits", phc(before, "m=64,t=1,p=1,keyid=MR"), 0},
		{"keyid empty", phc(before, "m=64,t=1,p=1,keyid="), 0},
		{"argon2i", phc("$argon2i$v=19$", good), 0},
		{"argon2d", phc("$argon2d$v=19$", good), 0},
		{"version 1.0", phc("$argon2id$v=16$", good), 0},
		{"no version", phc("$argon2id$", good), 0},
		{"something before", phc("x$argon2id$v=19$", good), 0},
		{"line break in the salt", "\x02" + before + good + "$" + salt[:4] + "\n" + salt[4:] + "$" + hash, 0},
		{"line break in the hash", "\x02" + before + good + "$" + salt + "$" + hash + "\n", 0},
		{"short salt", "\x02" + before + good + "$" + salt[:20] + "$" + hash, 0},
		{"long salt", "\x02" + before + good + "$" + salt + "AA$" + hash, 0},
		{"short hash", "\x02" + before + good + "$" + salt + "$" + hash[:40], 0},
		{"no hash", "\x02" + before + good + "$" + salt + "$", 0},
		{"URL alphabet", "\x02" + before + good + "$" + salt + "$__" + hash[2:], 0},
		{"field more", phc(before, good) + "$", 0},
	}
	h := cheapHasher(t, 1)
	for _, test := range tests {
		v := secret.Verifier(test.text)
		number, err := v.KeyNumber()
		if number != test.key || (err == nil) != (test.key != 0) || err != nil && !errors.Is(err, secret.ErrVerifier) {
			t.Errorf("%s: key %d, %v", test.name, number, err)
		}
		got, err := h.Check(t.Context(), secret.Use{Kind: "user"}, secret.FromText(hush), v)
		if got.OK || test.key == 0 && !errors.Is(err, secret.ErrVerifier) {
			t.Errorf("%s: %+v, %v", test.name, got, err)
		}
	}
}

func FuzzVerifier(f *testing.F) {
	use := secret.Use{Kind: "user", ID: seven}
	h := cheapHasher(f, 1)
	s := secret.FromText(hush)
	fast := h.Fast(use, s)
	// Made once, since a fuzzer is several processes with a salt of their own.
	slow := []byte("\x02$argon2id$v=19$m=64,t=1,p=1,keyid=MQ$AHyCGociJkirYSMKuEZlSw$6uNuUHf5PoGW/T0AK1KYdcDkMxZRhc83zlMrPZIgniw")
	check(f, h, use, s, slow, right)
	f.Add([]byte(fast))
	f.Add(slow)
	f.Add([]byte("\x02$argon2id$v=19$m=64,t=1,p=1,keyid=MQ$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"))
	f.Add([]byte("\x01\x81\x00"))
	f.Fuzz(func(t *testing.T, stored []byte) {
		v := secret.Verifier(stored)
		number, err := v.KeyNumber()
		if err != nil && (number != 0 || !errors.Is(err, secret.ErrVerifier)) {
			t.Errorf("%q: %d, %v", stored, number, err)
		}
		if err == nil && number == 0 {
			t.Errorf("%q has key 0", stored)
		}
		// Costs that a fuzzer thinks of may be high: only cheap ones are tried.
		if v.Slow() && !bytes.HasPrefix(stored, []byte("\x02$argon2id$v=19$m=64,t=1,p=1,")) {
			return
		}
		result, err := h.Check(t.Context(), use, s, v)
		if result.OK && !bytes.Equal(stored, fast) && !bytes.Equal(stored, slow) {
			t.Errorf("%q checks: %+v, %v", stored, result, err)
		}
	})
}
