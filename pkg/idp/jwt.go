package idp

import (
	"encoding/base64"
	"strings"
	"unicode/utf8"

	strict "github.com/go-jose/go-jose/v4/json"

	"github.com/tokenctl/tokenctl/pkg/token"
)

const (
	// MaxSize is the longest JWT, in bytes.
	MaxSize = 16 << 10
	// maxKeyID is the longest name of a key, in bytes.
	maxKeyID = 256
)

// header is what counts of a JWT's first part. A key in it (jwk, x5c), and an
// address of one (jku, x5u), is never looked at: it would let everybody vouch
// for himself.
type header struct {
	Algorithm string            `json:"alg"`
	KeyID     string            `json:"kid"`
	Type      string            `json:"typ"`
	Critical  strict.RawMessage `json:"crit"`
}

// jwt is a JWT taken apart, of which nothing is proved.
type jwt struct {
	header
	claims claims
}

func malformed(format string, args ...any) *token.Error {
	err := token.Errorf(token.ErrMalformed, format, args...)
	err.Message = "it is no JWT: " + err.Message
	return err
}

// parse takes a JWT apart: compact form (RFC 7519 §7.2), header and payload one
// JSON object each. The decoder refuses a name that comes twice and knows upper
// from lower case, unlike that of the standard library: two readers of one JWT
// must not see two different ones.
func parse(text string) (*jwt, error) {
	h, payload, err := parseSigned(text)
	if err != nil {
		return nil, err
	}
	j := &jwt{header: h}
	if !utf8.Valid(payload) {
		return nil, malformed("its payload is not UTF-8")
	}
	if err := strict.Unmarshal(payload, &j.claims); err != nil || j.claims == nil {
		return nil, malformed("its payload is no JSON object, or has a name twice")
	}
	return j, nil
}

// parseSigned takes a JWS apart: RFC 7515 §7.1.
func parseSigned(text string) (h header, payload []byte, err error) {
	if len(text) > MaxSize {
		return h, nil, malformed("%d bytes are more than %d", len(text), MaxSize)
	}
	parts := strings.Split(text, ".")
	if len(parts) != 3 {
		return h, nil, malformed("it has %d parts, not 3", len(parts))
	}
	var decoded [3][]byte
	for i, part := range parts {
		if decoded[i], err = decode(part); err != nil {
			return h, nil, err
		}
	}
	if !utf8.Valid(decoded[0]) || strict.Unmarshal(decoded[0], &h) != nil || h.Algorithm == "" {
		return h, nil, malformed("its header is no JSON object with an alg, or has a name twice")
	}
	// RFC 7515 §4.1.11: whoever knows no extension refuses those that demand one.
	if h.Critical != nil {
		return h, nil, token.Errorf(token.ErrRefused, "it demands extensions (crit)")
	}
	if len(h.KeyID) > maxKeyID {
		return h, nil, token.Errorf(token.ErrRefused, "the name of its key has %d bytes, more than %d", len(h.KeyID), maxKeyID)
	}
	return h, decoded[1], nil
}

var base64url = base64.RawURLEncoding.Strict()

// decode reads base64url as RFC 7515 §2 has it: in one way of writing only.
// The standard library passes over line breaks.
func decode(part string) ([]byte, error) {
	if part == "" || strings.ContainsAny(part, "\r\n") {
		return nil, malformed("a part is empty or not base64url")
	}
	b, err := base64url.DecodeString(part)
	if err != nil {
		return nil, malformed("a part is not base64url")
	}
	return b, nil
}
