package secret

import (
	"context"
	"crypto/rand"
	"fmt"
	"strings"

	"golang.org/x/crypto/bcrypt"
)

// Scheme is how another system keeps a password, named as LDAP servers do (RFC
// 2307 §5.3).
type Scheme string

// The schemes.
const (
	// SchemeARGON2 is argon2id as OpenLDAP's module argon2 reads it:
	// {ARGON2}$argon2id$v=19$m=…,t=…,p=…$salt$hash.
	SchemeARGON2 Scheme = "ARGON2"
	// SchemeCRYPT is bcrypt as libcrypt reads it: {CRYPT}$2b$….
	SchemeCRYPT Scheme = "CRYPT"
	// InsecureClearText is the secret itself: whoever reads the other system
	// has it.
	InsecureClearText Scheme = "insecure-cleartext"
)

// ParseScheme reads the name of a scheme: ARGON2 or CRYPT, in any case and with
// or without braces. Clear text is asked for in no such passing way.
func ParseScheme(name string) (Scheme, error) {
	for _, s := range []Scheme{SchemeARGON2, SchemeCRYPT} {
		if strings.EqualFold(name, string(s)) || strings.EqualFold(name, "{"+string(s)+"}") {
			return s, nil
		}
	}
	return "", fmt.Errorf("unknown scheme %q: schemes are ARGON2 and CRYPT", name)
}

// bcryptCost is 2^10 rounds, the least that OWASP asks for: some 60 ms, and the
// other system pays it for each value that it tries.
const bcryptCost = 10

// maxBcrypt is how much of a password bcrypt reads, in bytes.
const maxBcrypt = 72

// Encode makes the text by which another system knows a secret. It takes a slot
// for slow hashes, and argon2id costs what it costs in [Hasher.Slow]. The error is
// [ErrBusy], that of ctx, or [ErrMalformed] for a secret that the scheme would
// not keep whole.
func (h *Hasher) Encode(ctx context.Context, scheme Scheme, s Secret) ([]byte, error) {
	if s.IsZero() {
		return nil, fmt.Errorf("%w: it is empty", ErrMalformed)
	}
	switch scheme {
	case SchemeARGON2:
		return h.encodeARGON2(ctx, s)
	case SchemeCRYPT:
		return h.encodeCRYPT(ctx, s)
	case InsecureClearText:
		return []byte(s.Reveal()), nil
	}
	return nil, fmt.Errorf("unknown scheme %q", string(scheme))
}

func (h *Hasher) encodeARGON2(ctx context.Context, s Secret) ([]byte, error) {
	p := h.options.Params
	salt := make([]byte, saltLen)
	rand.Read(salt) // never fails: crypto/rand ends the program instead
	hash, err := h.stretch(ctx, p, s, salt)
	if err != nil {
		return nil, err
	}
	return fmt.Appendf(nil, "{ARGON2}$argon2id$v=19$m=%d,t=%d,p=%d$%s$%s",
		p.Memory, p.Time, p.Threads, b64.EncodeToString(salt), b64.EncodeToString(hash)), nil
}

func (h *Hasher) encodeCRYPT(ctx context.Context, s Secret) ([]byte, error) {
	if s.Len() > maxBcrypt || strings.Contains(s.Reveal(), "\x00") {
		return nil, fmt.Errorf("%w: bcrypt reads %d bytes, and none of them zero", ErrMalformed, maxBcrypt)
	}
	if err := h.acquire(ctx); err != nil {
		return nil, err
	}
	defer func() { <-h.slots }()
	hash, err := bcrypt.GenerateFromPassword(view(s.Reveal()), bcryptCost)
	if err != nil {
		return nil, fmt.Errorf("bcrypt: %w", err)
	}
	// Go writes 2a for what others, after a mistake of theirs under that
	// name, write 2b for: the hash is the same.
	return append([]byte("{CRYPT}$2b"), hash[len("$2a"):]...), nil
}
