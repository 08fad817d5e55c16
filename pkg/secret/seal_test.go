package secret_test

import (
	"bytes"
	"errors"
	"testing"

	"github.com/tokenctl/tokenctl/pkg/secret"
)

func TestSealUnder(t *testing.T) {
	key, other := secret.FromText("key of 128 bits at least"), secret.FromText("another key, just as long")
	plain := []byte("what was answered")
	sealed, err := secret.SealUnder(key, "test", plain)
	if err != nil || bytes.Contains(sealed, plain) {
		t.Fatalf("SealUnder: %q, %v", sealed, err)
	}
	if again, err := secret.SealUnder(key, "test", plain); err != nil || bytes.Equal(again, sealed) {
		t.Errorf("the same text is sealed the same way twice, %v", err)
	}
	if got, err := secret.OpenUnder(key, "test", sealed); err != nil || !bytes.Equal(got, plain) {
		t.Errorf("OpenUnder: %q, %v", got, err)
	}
	for name, open := range map[string]func() ([]byte, error){
		"another secret":  func() ([]byte, error) { return secret.OpenUnder(other, "test", sealed) },
		"another purpose": func() ([]byte, error) { return secret.OpenUnder(key, "tests", sealed) },
		"a part":          func() ([]byte, error) { return secret.OpenUnder(key, "test", sealed[:len(sealed)-1]) },
		"nothing":         func() ([]byte, error) { return secret.OpenUnder(key, "test", nil) },
		"a changed bit": func() ([]byte, error) {
			b := bytes.Clone(sealed)
			b[len(b)/2] ^= 1
			return secret.OpenUnder(key, "test", b)
		},
	} {
		if got, err := open(); !errors.Is(err, secret.ErrSealed) || got != nil {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
}
