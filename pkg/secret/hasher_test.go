package secret_test

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"golang.org/x/crypto/argon2"

	"github.com/tokenctl/tokenctl/pkg/secret"
)

// makers are the two schemes.
var makers = map[string]func(testing.TB, *secret.Hasher, secret.Use, secret.Secret) secret.Verifier{
	"fast": func(_ testing.TB, h *secret.Hasher, use secret.Use, s secret.Secret) secret.Verifier {
		return h.Fast(use, s)
	},
	"slow": mustSlow,
}

func TestFastVerifier(t *testing.T) {
	// The digests were made by another program.
	tests := []struct {
		use    secret.Use
		digest string
	}{
		{secret.Use{Kind: "user", ID: seven, Name: "alice"}, "c87ab0616ee983d694787720ef799b4cd4723b9020a09ba06788d23190700654"},
		{secret.Use{Kind: "client", Name: strings.Repeat("n", 200)}, "31d7fef5435bf454027a8484c6ee432b92f61977865a1455fa24694ace343174"},
	}
	h := cheapHasher(t, 1)
	for _, test := range tests {
		v := h.Fast(test.use, secret.FromText(hush))
		if got := hex.EncodeToString(v); got != "0101"+test.digest {
			t.Errorf("%+v: %s", test.use, got)
		}
		if number, err := v.KeyNumber(); number != 1 || err != nil || v.Slow() {
			t.Errorf("key %d, %v, slow %v", number, err, v.Slow())
		}
		check(t, h, test.use, secret.FromText(hush), v, right)
	}
}

// TestSlowVerifier takes a verifier apart and computes it anew from what the
// documentation of Verifier says.
func TestSlowVerifier(t *testing.T) {
	use := secret.Use{Kind: "service", ID: seven, Name: "imap"}
	v := mustSlow(t, cheapHasher(t, 3), use, secret.FromText("aZ09bY18"))
	fields := strings.Split(string(v), "$")
	if len(fields) != 6 || strings.Join(fields[:4], "$") != "\x02$argon2id$v=19$m=64,t=1,p=1,keyid=Mw" {
		t.Fatalf("%q", v)
	}
	salt, err := base64.RawStdEncoding.DecodeString(fields[4])
	if err != nil || len(salt) != 16 {
		t.Fatal(len(salt), err)
	}
	mac := hmac.New(sha256.New, bytes.Repeat([]byte{3}, 32))
	fmt.Fprintf(mac, "\x02\x07service%s\x04imap\x20%s", seven[:], argon2.IDKey([]byte("aZ09bY18"), salt, 1, 64, 1, 32))
	if want := base64.RawStdEncoding.EncodeToString(mac.Sum(nil)); fields[5] != want {
		t.Errorf("hash %s, not %s", fields[5], want)
	}
	if number, err := v.KeyNumber(); number != 3 || err != nil || !v.Slow() {
		t.Errorf("key %d, %v, slow %v", number, err, v.Slow())
	}
}

func TestDefaultCosts(t *testing.T) {
	h := secret.NewHasher(testKeys(t, 1), secret.HasherOptions{})
	use := secret.Use{Kind: "password", Name: "alice"}
	v := mustSlow(t, h, use, secret.FromText("correct horse"))
	if !strings.HasPrefix(string(v), "\x02$argon2id$v=19$m=19456,t=2,p=1,keyid=MQ$") {
		t.Errorf("%q", v)
	}
	check(t, h, use, secret.FromText("correct horse"), v, right)
	check(t, h, use, secret.FromText("correct house"), v, wrong)
}

func TestCheckTellsApart(t *testing.T) {
	use := secret.Use{Kind: "user", ID: seven, Name: "alice"}
	s := secret.FromText(hush)
	otherID := seven
	otherID[9] ^= 1
	for scheme, make := range makers {
		t.Run(scheme, func(t *testing.T) {
			h := cheapHasher(t, 1)
			v := make(t, h, use, s)
			for range 2 { // the second time the slow one is remembered
				check(t, h, use, s, v, right)
				for name, other := range map[string]secret.Use{
					"kind": {Kind: "refresh", ID: seven, Name: "alice"},
					"id":   {Kind: "user", ID: otherID, Name: "alice"},
					"name": {Kind: "user", ID: seven, Name: "alicf"},
					// The same bytes in a row, cut elsewhere.
					"border of kind":   {Kind: "use", ID: secret.ID([]byte("r" + string(seven[:9]))), Name: string(seven[9:]) + "alice"},
					"border of id":     {Kind: "user" + string(seven[:1]), ID: secret.ID([]byte(string(seven[1:]) + "a")), Name: "lice"},
					"border of secret": {Kind: "user", ID: seven, Name: "alic"},
					"zero":             {},
				} {
					check(t, h, other, s, v, wrong)
					check(t, h, other, secret.FromText("e"+hush), v, wrong)
					if t.Failed() {
						t.Fatal(name)
					}
				}
				for _, other := range []string{"", hush[:57], hush + "x", strings.ToUpper(hush), hush[1:], strings.Repeat("x", 100000)} {
					check(t, h, use, secret.FromText(other), v, wrong)
				}
			}
		})
	}
}

// TestUsesDoNotRunIntoEachOther makes the fast verifiers of uses and secrets
// whose parts in a row are the same bytes.
func TestUsesDoNotRunIntoEachOther(t *testing.T) {
	h := cheapHasher(t, 1)
	long := strings.Repeat("s", 30)
	pairs := []struct {
		use  secret.Use
		text string
	}{
		{secret.Use{Kind: "k", Name: "name"}, long},
		{secret.Use{Kind: "k", Name: "nam"}, "e" + long},
		{secret.Use{Kind: "k"}, "name" + long},
		{secret.Use{Kind: "k", Name: "name" + long[:10]}, long[:20]},
		{secret.Use{Kind: "k\x00"}, "\x00name" + long},
	}
	seen := map[string]bool{}
	for _, pair := range pairs {
		seen[string(h.Fast(pair.use, secret.FromText(pair.text)))] = true
	}
	if len(seen) != len(pairs) {
		t.Errorf("%d verifiers of %d uses", len(seen), len(pairs))
	}
}

func TestEqualSecretsHaveDifferentVerifiers(t *testing.T) {
	h := cheapHasher(t, 1)
	s := secret.FromText(hush)
	seen := map[string]bool{}
	for i := range 50 {
		id := seven
		id[9] = byte(i)
		seen[string(h.Fast(secret.Use{Kind: "user", ID: id}, s))] = true
		seen[string(h.Fast(secret.Use{Kind: "refresh", ID: id}, s))] = true
		// The same use twice: here it is the salt that differs.
		seen[string(mustSlow(t, h, secret.Use{Kind: "service"}, s))] = true
	}
	if len(seen) != 150 {
		t.Errorf("%d different verifiers of 150", len(seen))
	}
}

func TestOldKeys(t *testing.T) {
	use := secret.Use{Kind: "user", ID: seven}
	s := secret.FromText(hush)
	for scheme, make := range makers {
		t.Run(scheme, func(t *testing.T) {
			h := cheapHasher(t, 1)
			v := make(t, h, use, s)
			h.SetKeys(testKeys(t, 300))
			check(t, h, use, s, v, outdated)
			check(t, h, use, s, v, outdated)
			check(t, h, use, secret.FromText(hush[1:]), v, wrong)
			v = make(t, h, use, s)
			if number, err := v.KeyNumber(); number != 300 || err != nil {
				t.Errorf("key %d, %v", number, err)
			}
			check(t, h, use, s, v, right)

			h.SetKeys(testKeys(t, 299))
			if got, err := h.Check(t.Context(), use, s, v); got != wrong || !errors.Is(err, secret.ErrUnknownKey) {
				t.Errorf("Check: %+v, %v", got, err)
			}
			// The same number, another key: the key file of another database.
			keys, err := secret.NewKeys(300, map[uint32][]byte{300: bytes.Repeat([]byte{7}, 32)})
			if err != nil {
				t.Fatal(err)
			}
			h.SetKeys(keys)
			check(t, h, use, s, v, wrong)
		})
	}
}

func TestOldCosts(t *testing.T) {
	use := secret.Use{Kind: "service", ID: seven}
	s := secret.FromText("aZ09bY18")
	v := mustSlow(t, cheapHasher(t, 1), use, s)
	for _, params := range []secret.Argon2{{128, 1, 1}, {64, 2, 1}, {64, 1, 2}} {
		h := secret.NewHasher(testKeys(t, 1), secret.HasherOptions{Params: params})
		check(t, h, use, s, v, outdated)
		check(t, h, use, s, v, outdated)
		check(t, h, use, secret.FromText("aZ09bY19"), v, wrong)
		check(t, h, use, s, mustSlow(t, h, use, s), right)
	}
}

func TestFastGuards(t *testing.T) {
	h := cheapHasher(t, 1)
	use := secret.Use{Kind: "user"}
	h.Fast(use, secret.FromText(strings.Repeat("x", 19)))
	for name, call := range map[string]func(){
		"short":        func() { h.Fast(use, secret.FromText(strings.Repeat("x", 18))) },
		"plain15":      func() { h.Fast(use, secret.New(secret.Plain15, seven)) },
		"empty":        func() { h.Fast(use, secret.Secret{}) },
		"no kind":      func() { h.Fast(secret.Use{Name: "alice"}, secret.FromText(hush)) },
		"slow no kind": func() { h.Slow(context.Background(), secret.Use{Name: "alice"}, secret.FromText(hush)) },
		"costs": func() {
			secret.NewHasher(testKeys(t, 1), secret.HasherOptions{Params: secret.Argon2{Memory: 7, Time: 1, Threads: 1}})
		},
	} {
		func() {
			defer func() {
				if r := recover(); r == nil || leaks(fmt.Sprint(r)) {
					t.Errorf("%s: recovered %v", name, r)
				}
			}()
			call()
		}()
	}
	if _, err := h.Slow(t.Context(), use, secret.Secret{}); !errors.Is(err, secret.ErrMalformed) {
		t.Errorf("Slow of nothing: %v", err)
	}
}

func TestNewKeysRefuses(t *testing.T) {
	key := bytes.Repeat([]byte{1}, 32)
	for name, test := range map[string]struct {
		current uint32
		keys    map[uint32][]byte
	}{
		"none":            {1, nil},
		"current missing": {2, map[uint32][]byte{1: key}},
		"current empty":   {1, map[uint32][]byte{1: {}}},
		"zero":            {0, map[uint32][]byte{0: key}},
		"zero too":        {1, map[uint32][]byte{0: key, 1: key}},
		"short":           {1, map[uint32][]byte{1: key[:31]}},
		"long":            {1, map[uint32][]byte{1: append(key, 1)}},
		"old one empty":   {1, map[uint32][]byte{1: key, 2: {}}},
	} {
		if keys, err := secret.NewKeys(test.current, test.keys); err == nil || keys != nil {
			t.Errorf("%s: %v, %v", name, keys, err)
		}
	}
}

func TestKeysAreCopied(t *testing.T) {
	key := bytes.Repeat([]byte{1}, 32)
	keys, err := secret.NewKeys(1, map[uint32][]byte{1: key})
	if err != nil || keys.Current() != 1 {
		t.Fatal(err)
	}
	key[0] = 9
	use := secret.Use{Kind: "user"}
	got := secret.NewHasher(keys, secret.HasherOptions{}).Fast(use, secret.FromText(hush))
	if want := cheapHasher(t, 1).Fast(use, secret.FromText(hush)); !bytes.Equal(got, want) {
		t.Error("the caller's slice is still the key")
	}
}

// TestConcurrent is for the race detector, and for states that get mixed up.
func TestConcurrent(t *testing.T) {
	h := secret.NewHasher(testKeys(t, 2), secret.HasherOptions{Params: cheap, MaxRemembered: 3, Queue: 100})
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for range 50 {
				use := secret.Use{Kind: "user", Name: strings.Repeat("x", i*40)}
				s, other := secret.New(secret.Passcode, seven), secret.New(secret.Passcode, seven)
				for _, make := range makers {
					v := make(t, h, use, s)
					check(t, h, use, s, v, right)
					check(t, h, use, s, v, right)
					check(t, h, use, other, v, wrong)
				}
				h.SetKeys(testKeys(t, 2))
			}
		})
	}
	wg.Wait()
}
