package secret_test

import (
	"bytes"
	"testing"

	"github.com/tokenctl/tokenctl/pkg/secret"
)

// testKeys returns keys 1 to current, each with the same bytes in every call.
func testKeys(t testing.TB, current uint32) *secret.Keys {
	t.Helper()
	keys := map[uint32][]byte{}
	for number := uint32(1); number <= current; number++ {
		keys[number] = bytes.Repeat([]byte{byte(number)}, 32)
	}
	k, err := secret.NewKeys(current, keys)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// cheap makes slow hashes fast enough for tests of everything but their cost.
var cheap = secret.Argon2{Memory: 64, Time: 1, Threads: 1}

func cheapHasher(t testing.TB, current uint32) *secret.Hasher {
	t.Helper()
	return secret.NewHasher(testKeys(t, current), secret.HasherOptions{Params: cheap})
}

// mustSlow makes a slow verifier.
func mustSlow(t testing.TB, h *secret.Hasher, use secret.Use, s secret.Secret) secret.Verifier {
	t.Helper()
	v, err := h.Slow(t.Context(), use, s)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// check fails the test unless the check gives want without error.
func check(t testing.TB, h *secret.Hasher, use secret.Use, s secret.Secret, v secret.Verifier, want secret.Result) {
	t.Helper()
	if got, err := h.Check(t.Context(), use, s, v); err != nil || got != want {
		t.Errorf("Check: %+v, %v; want %+v", got, err, want)
	}
}

var (
	right    = secret.Result{OK: true}
	outdated = secret.Result{OK: true, Outdated: true}
	wrong    = secret.Result{}
)
