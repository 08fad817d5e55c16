package secret_test

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"testing"

	"golang.org/x/crypto/argon2"
	"golang.org/x/crypto/bcrypt"

	"github.com/tokenctl/tokenctl/pkg/secret"
)

func TestEncode(t *testing.T) {
	h := cheapHasher(t, 1)
	s := secret.FromText("Passw0rdPasswor")
	for scheme, form := range map[secret.Scheme]string{
		secret.SchemeARGON2:      `^\{ARGON2\}\$argon2id\$v=19\$m=64,t=1,p=1\$[A-Za-z0-9+/]{22}\$[A-Za-z0-9+/]{43}$`,
		secret.SchemeCRYPT:       `^\{CRYPT\}\$2b\$10\$[./A-Za-z0-9]{53}$`,
		secret.InsecureClearText: `^Passw0rdPasswor$`,
	} {
		one, err := h.Encode(t.Context(), scheme, s)
		if err != nil || !regexp.MustCompile(form).Match(one) {
			t.Errorf("%s: %s, %v", scheme, one, err)
		}
		again, err := h.Encode(t.Context(), scheme, s)
		if err != nil || (string(one) == string(again)) != (scheme == secret.InsecureClearText) {
			t.Errorf("%s twice: %s, %s, %v", scheme, one, again, err)
		}
		if _, err := h.Encode(t.Context(), scheme, secret.Secret{}); !errors.Is(err, secret.ErrMalformed) {
			t.Errorf("%s of no secret: %v", scheme, err)
		}
	}
	// Others compute the same.
	text, _ := h.Encode(t.Context(), secret.SchemeARGON2, s)
	parts := strings.Split(string(text), "$")
	salt, _ := base64.RawStdEncoding.DecodeString(parts[4])
	hash := argon2.IDKey([]byte(s.Reveal()), salt, 1, 64, 1, 32)
	if got := base64.RawStdEncoding.EncodeToString(hash); got != parts[5] {
		t.Errorf("the hash is %s, not %s", parts[5], got)
	}
	text, _ = h.Encode(t.Context(), secret.SchemeCRYPT, s)
	hashed := []byte(strings.TrimPrefix(string(text), "{CRYPT}"))
	if err := bcrypt.CompareHashAndPassword(hashed, []byte(s.Reveal())); err != nil {
		t.Error(err)
	}
	if err := bcrypt.CompareHashAndPassword(hashed, []byte(s.Reveal()+"x")); err == nil {
		t.Error("bcrypt takes another password")
	}
	if _, err := h.Encode(t.Context(), "MD5", s); err == nil {
		t.Error("an unknown scheme is taken")
	}
}

// bcrypt would keep the beginning of these only.
func TestEncodeWhole(t *testing.T) {
	h := cheapHasher(t, 1)
	for text, good := range map[string]bool{strings.Repeat("x", 72): true, strings.Repeat("x", 73): false, "a\x00b": false} {
		if _, err := h.Encode(t.Context(), secret.SchemeCRYPT, secret.FromText(text)); (err == nil) != good || err != nil && !errors.Is(err, secret.ErrMalformed) {
			t.Errorf("%d bytes: %v", len(text), err)
		}
	}
}

// Encoding waits for the same slots as checking.
func TestEncodeWaits(t *testing.T) {
	h := secret.NewHasher(testKeys(t, 1), secret.HasherOptions{Params: cheap, Queue: -1})
	release := h.Hold()
	for _, scheme := range []secret.Scheme{secret.SchemeARGON2, secret.SchemeCRYPT} {
		if _, err := h.Encode(context.Background(), scheme, secret.FromText("x")); !errors.Is(err, secret.ErrBusy) {
			t.Errorf("%s while all slots are taken: %v", scheme, err)
		}
	}
	release()
	if _, err := h.Encode(context.Background(), secret.SchemeCRYPT, secret.FromText("x")); err != nil {
		t.Error(err)
	}
}

func TestParseScheme(t *testing.T) {
	for name, want := range map[string]secret.Scheme{"ARGON2": secret.SchemeARGON2, "{argon2}": secret.SchemeARGON2, "crypt": secret.SchemeCRYPT, "{CRYPT}": secret.SchemeCRYPT} {
		if got, err := secret.ParseScheme(name); got != want || err != nil {
			t.Errorf("%s: %s, %v", name, got, err)
		}
	}
	for _, name := range []string{"", "{}", "insecure-cleartext", "SSHA", "ARGON", "{ARGON2", " ARGON2"} {
		if got, err := secret.ParseScheme(name); err == nil {
			t.Errorf("%q: %s, %v", name, got, err)
		}
	}
}

func BenchmarkEncode(b *testing.B) {
	h := secret.NewHasher(testKeys(b, 1), secret.HasherOptions{})
	for _, scheme := range []secret.Scheme{secret.SchemeARGON2, secret.SchemeCRYPT} {
		b.Run(fmt.Sprint(scheme), func(b *testing.B) {
			for b.Loop() {
				if _, err := h.Encode(b.Context(), scheme, secret.FromText("Passw0rdPasswor")); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
