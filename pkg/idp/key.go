package idp

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"slices"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
	strict "github.com/go-jose/go-jose/v4/json"

	"github.com/tokenctl/tokenctl/pkg/token"
)

// publicKey is a key of a provider that signatures may be checked with.
type publicKey struct {
	id     string // may be empty
	alg    string // the only one that it is for; empty: all that its type can
	public crypto.PublicKey
	// A certificate's key is good between these; zero: always.
	notBefore, notAfter time.Time
}

const (
	// minRSA is the least that RFC 7518 §3.3 allows; maxRSA bounds the time that
	// a check takes.
	minRSA, maxRSA = 2048, 8192
	// maxKeys is how many keys of a provider are read.
	maxKeys = 100
)

// curves are those of the algorithms of RFC 7518 §3.4: each has its own.
var curves = map[string]elliptic.Curve{"ES256": elliptic.P256(), "ES384": elliptic.P384(), "ES512": elliptic.P521()}

// fits reports whether the key is one for an algorithm.
func (k *publicKey) fits(alg string) bool {
	if k.alg != "" && k.alg != alg {
		return false
	}
	switch public := k.public.(type) {
	case *rsa.PublicKey:
		return strings.HasPrefix(alg, "RS") || strings.HasPrefix(alg, "PS")
	case *ecdsa.PublicKey:
		return public.Curve == curves[alg]
	case ed25519.PublicKey:
		return alg == string(token.EdDSA)
	}
	return false
}

// good reports whether a public key is one that nobody can sign with but who
// has the private one, as far as its looks tell.
func good(public crypto.PublicKey) bool {
	switch k := public.(type) {
	case *rsa.PublicKey:
		bits := k.N.BitLen()
		return bits >= minRSA && bits <= maxRSA
	case *ecdsa.PublicKey:
		return k.Curve != elliptic.P224()
	case ed25519.PublicKey:
		return len(k) == ed25519.PublicKeySize
	}
	return false
}

// pssHashes are those of the RSASSA-PSS algorithms of RFC 7518 §3.5.
var pssHashes = map[string]crypto.Hash{"PS256": crypto.SHA256, "PS384": crypto.SHA384, "PS512": crypto.SHA512}

// saltedRight reports whether a signature that is right has a salt as long as the
// hash, as RFC 7518 §3.5 wants it if it is an RSASSA-PSS one: go-jose takes any.
func (k *publicKey) saltedRight(signature jose.Signature, text string) bool {
	hash, isPSS := pssHashes[signature.Header.Algorithm]
	if !isPSS {
		return true
	}
	public, ok := k.public.(*rsa.PublicKey)
	h := hash.New()
	h.Write([]byte(text[:strings.LastIndexByte(text, '.')]))
	return ok && rsa.VerifyPSS(public, hash, h.Sum(nil), signature.Signature, &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash}) == nil
}

// parseKeySet reads a JWK Set (RFC 7517 §5). A key that cannot be used is passed
// over, as RFC 7517 §5 has it, and so is one that shows its private half, or that
// is a secret.
func parseKeySet(body []byte) ([]publicKey, error) {
	var set struct {
		Keys []strict.RawMessage `json:"keys"`
	}
	if err := strict.Unmarshal(body, &set); err != nil || set.Keys == nil {
		return nil, token.Errorf(token.ErrCannotTell, "what it has is no key set")
	}
	if len(set.Keys) > maxKeys {
		return nil, token.Errorf(token.ErrCannotTell, "its key set has %d keys, more than %d", len(set.Keys), maxKeys)
	}
	var keys []publicKey
	for _, raw := range set.Keys {
		if k, ok := parseKey(raw); ok {
			keys = append(keys, k)
		}
	}
	// Keys that we have are better than none: this is no answer.
	if len(keys) == 0 {
		return nil, token.Errorf(token.ErrCannotTell, "its key set has no key that can be used")
	}
	return keys, nil
}

// parseKey reads a JWK. Of that go-jose sees only the numbers: it would refuse a
// key for a certificate beside it that we do not look at.
func parseKey(raw []byte) (publicKey, bool) {
	var k struct {
		ID         string            `json:"kid"`
		Algorithm  string            `json:"alg"`
		Use        string            `json:"use"`
		Operations []string          `json:"key_ops"`
		Private    strict.RawMessage `json:"d"`
		Secret     strict.RawMessage `json:"k"`
		Type       string            `json:"kty"`
		Curve      string            `json:"crv"`
		N          string            `json:"n"`
		E          string            `json:"e"`
		X          string            `json:"x"`
		Y          string            `json:"y"`
	}
	if strict.Unmarshal(raw, &k) != nil || k.Private != nil || k.Secret != nil || len(k.ID) > maxKeyID {
		return publicKey{}, false
	}
	// RFC 7517 §4.2 and §4.3.
	if k.Use != "" && k.Use != "sig" || k.Operations != nil && !slices.Contains(k.Operations, "verify") {
		return publicKey{}, false
	}
	numbers := map[string]string{"kty": k.Type}
	for name, value := range map[string]string{"crv": k.Curve, "n": k.N, "e": k.E, "x": k.X, "y": k.Y} {
		if value != "" {
			numbers[name] = value
		}
	}
	plain, err := json.Marshal(numbers)
	if err != nil {
		return publicKey{}, false
	}
	var jwk jose.JSONWebKey
	if jwk.UnmarshalJSON(plain) != nil || !good(jwk.Key) {
		return publicKey{}, false
	}
	return publicKey{id: k.ID, alg: k.Algorithm, public: jwk.Key}, true
}

// CheckCertificate reports whether the key in a certificate, DER, is one that a
// provider may sign with; if not, the error is token.ErrUsage.
func CheckCertificate(der []byte) error {
	_, err := parseCertificate(der)
	return err
}

// parseCertificate reads a certificate, DER, for the key in it. Who issued it
// does not count: it is trusted because it is configured.
func parseCertificate(der []byte) (publicKey, error) {
	c, err := x509.ParseCertificate(der)
	if err != nil {
		return publicKey{}, token.Errorf(token.ErrUsage, "a certificate cannot be read: %w", err)
	}
	if !good(c.PublicKey) {
		return publicKey{}, token.Errorf(token.ErrUsage, "the certificate of %.200q has no key that can be used", c.Subject).
			WithHint("usable are RSA with %d to %d bits, ECDSA and Ed25519", minRSA, maxRSA)
	}
	return publicKey{public: c.PublicKey, notBefore: c.NotBefore, notAfter: c.NotAfter}, nil
}
