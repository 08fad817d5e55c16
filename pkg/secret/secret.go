// Package secret makes, recognises, hashes and checks the secrets of tokens,
// and is the only place that does; it knows nothing of files, networks or
// what a token is good for.
package secret

import (
	"crypto/subtle"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"unsafe"
)

// The kinds of error of this package. No error holds any part of a secret.
var (
	// ErrMalformed is a text that cannot be a secret of ours: its length,
	// alphabet, prefix or checksum is wrong. Errors that wrap it say which.
	ErrMalformed = errors.New("malformed secret")
	// ErrBusy says that as many slow hashes run and wait as may; nothing was
	// tried, the caller may come again.
	ErrBusy = errors.New("too many slow hashes at once")
	// ErrUnknownKey is a key number that [Keys] does not have: the key file is
	// older than the verifier, or of another database.
	ErrUnknownKey = errors.New("key number not in the key file")
	// ErrVerifier is a stored verifier that cannot be read.
	ErrVerifier = errors.New("verifier cannot be read")
)

// redacted stands wherever a secret would have been printed.
const redacted = "[redacted]"

// Secret is a text that must not be seen. Whatever prints it (fmt with any
// verb, slog, encoding/json, any user of encoding.TextMarshaler, a panic) gets
// "[redacted]"; only [Secret.Reveal] opens it. It cannot be decoded, so that
// no "[redacted]" comes back as a secret, and it cannot be compared with ==,
// whose time depends on the contents: use [Secret.Equal].
//
// The zero value is no secret.
type Secret struct {
	_ [0]func() // no ==
	// The text is kept as a bare address and a length, not as a string, since
	// fmt walks by reflection through what it cannot call methods on: it would
	// print a string that lies in an unexported field of somebody else's
	// struct, or that was given to %p. Of an unsafe.Pointer it prints the
	// address. A *string would do the same for one allocation per secret.
	data unsafe.Pointer
	size int
}

// FromText takes any text, of any form or none, as a secret.
func FromText(text string) Secret {
	if text == "" {
		return Secret{}
	}
	return Secret{data: unsafe.Pointer(unsafe.StringData(text)), size: len(text)}
}

// Reveal returns the text. Every call of it is a place to look at twice.
func (s Secret) Reveal() string { return unsafe.String((*byte)(s.data), s.size) }

// IsZero reports whether there is no text.
func (s Secret) IsZero() bool { return s.size == 0 }

// Len returns the length of the text in bytes.
func (s Secret) Len() int { return s.size }

// Equal reports whether both are the same text, in a time that depends on
// their lengths only.
func (s Secret) Equal(other Secret) bool {
	return subtle.ConstantTimeCompare(view(s.Reveal()), view(other.Reveal())) == 1
}

// view returns the bytes of text themselves, for functions that only read and
// do not keep them. A copy would be an allocation for each token that is
// parsed, and one more secret in memory.
func view(text string) []byte { return unsafe.Slice(unsafe.StringData(text), len(text)) }

// String returns "[redacted]".
func (s Secret) String() string { return redacted }

// GoString returns "[redacted]".
func (s Secret) GoString() string { return redacted }

// Format prints "[redacted]" for every verb and flag.
func (s Secret) Format(f fmt.State, _ rune) { io.WriteString(f, redacted) }

// LogValue returns "[redacted]".
func (s Secret) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalText returns "[redacted]".
func (s Secret) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// MarshalJSON returns "[redacted]" as a JSON string.
func (s Secret) MarshalJSON() ([]byte, error) { return []byte(`"` + redacted + `"`), nil }

// UnmarshalText always fails: whoever reads a secret from outside says so with
// [FromText], [Parse] or [ParsePlain].
func (s *Secret) UnmarshalText([]byte) error {
	return errors.New("a secret is not decoded from text")
}
