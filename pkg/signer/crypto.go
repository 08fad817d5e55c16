package signer

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"math/big"

	"github.com/go-jose/go-jose/v4"

	"github.com/tokenctl/tokenctl/pkg/token"
)

// rsaBits is the least that RFC 7518 §3.3 allows, and enough until 2030 (NIST
// SP 800-57 part 1). 3072 would take three times as long to sign with.
const rsaBits = 2048

// kidSize is the length of a SHA-256 thumbprint in base64url.
const kidSize = 43

// p256Size is the length of r and of s in an ES256 signature (RFC 7518 §3.4).
const p256Size = 32

func generate(alg token.Algorithm) (crypto.Signer, error) {
	switch alg {
	case token.EdDSA:
		_, k, err := ed25519.GenerateKey(rand.Reader)
		return k, err
	case token.ES256:
		return ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case token.RS256:
		return rsa.GenerateKey(rand.Reader, rsaBits)
	}
	_, err := token.ParseAlgorithm(string(alg))
	return nil, err
}

// algorithmOf is the one algorithm that a public key is for with us.
func algorithmOf(public crypto.PublicKey) token.Algorithm {
	switch k := public.(type) {
	case ed25519.PublicKey:
		return token.EdDSA
	case *ecdsa.PublicKey:
		if k.Curve == elliptic.P256() {
			return token.ES256
		}
	case *rsa.PublicKey:
		if k.N.BitLen() >= rsaBits {
			return token.RS256
		}
	}
	return ""
}

// thumbprint is the key's name: RFC 7638, SHA-256, base64url.
func thumbprint(public crypto.PublicKey) (string, error) {
	sum, err := (&jose.JSONWebKey{Key: public}).Thumbprint(crypto.SHA256)
	return base64.RawURLEncoding.EncodeToString(sum), err
}

// checkKey makes sure that a key is the one of its name and for its algorithm:
// what is kept by the name alone may then be trusted.
func checkKey(id string, alg token.Algorithm, public crypto.PublicKey) error {
	if got := algorithmOf(public); got != alg {
		return fmt.Errorf("is no key for %s", alg)
	}
	got, err := thumbprint(public)
	if err == nil && got != id {
		err = fmt.Errorf("is another key, %s", got)
	}
	return err
}

// A signingKey is a private key ready for use.
type signingKey struct {
	id     string
	alg    token.Algorithm
	header string // of every JWT that it signs, encoded
	size   int    // of a signature, in bytes
	key    crypto.Signer
}

func newSigningKey(id string, alg token.Algorithm, pkcs8 []byte) (*signingKey, error) {
	parsed, err := x509.ParsePKCS8PrivateKey(pkcs8)
	if err != nil {
		return nil, errors.New("what was sealed is no private key") // the cause might tell of it
	}
	key, ok := parsed.(crypto.Signer)
	if !ok {
		return nil, errors.New("what was sealed is no key that signs")
	}
	if err := checkKey(id, alg, key.Public()); err != nil {
		return nil, err
	}
	k := &signingKey{id: id, alg: alg, size: 2 * p256Size, key: key}
	if r, ok := key.(*rsa.PrivateKey); ok {
		k.size = r.Size()
	}
	k.header = headerOf(alg, id)
	return k, nil
}

// headerOf is the first part of every JWT that a key signs.
func headerOf(alg token.Algorithm, id string) string {
	head := fmt.Sprintf(`{"alg":"%s","kid":"%s","typ":"at+jwt"}`, alg, id)
	return base64.RawURLEncoding.EncodeToString([]byte(head))
}

func (k *signingKey) sign(text []byte) ([]byte, error) {
	switch key := k.key.(type) {
	case ed25519.PrivateKey:
		return ed25519.Sign(key, text), nil
	case *ecdsa.PrivateKey:
		sum := sha256.Sum256(text)
		r, s, err := ecdsa.Sign(rand.Reader, key, sum[:])
		if err != nil {
			return nil, err
		}
		sig := make([]byte, 2*p256Size)
		r.FillBytes(sig[:p256Size])
		s.FillBytes(sig[p256Size:])
		return sig, nil
	case *rsa.PrivateKey:
		sum := sha256.Sum256(text)
		return rsa.SignPKCS1v15(rand.Reader, key, crypto.SHA256, sum[:])
	}
	return nil, fmt.Errorf("no way to sign with a %T", k.key)
}

// A verifyingKey is a public key ready for use.
type verifyingKey struct {
	id  string
	alg token.Algorithm
	key crypto.PublicKey
}

func newVerifyingKey(rec publicRecord) (*verifyingKey, error) {
	public, err := x509.ParsePKIXPublicKey(rec.public)
	if err != nil {
		return nil, err
	}
	return &verifyingKey{rec.ID, rec.Algorithm, public}, checkKey(rec.ID, rec.Algorithm, public)
}

func (k *verifyingKey) verify(text, sig []byte) bool {
	switch key := k.key.(type) {
	case ed25519.PublicKey:
		return ed25519.Verify(key, text, sig)
	case *ecdsa.PublicKey:
		if len(sig) != 2*p256Size {
			return false
		}
		sum := sha256.Sum256(text)
		r, s := new(big.Int).SetBytes(sig[:p256Size]), new(big.Int).SetBytes(sig[p256Size:])
		return ecdsa.Verify(key, sum[:], r, s)
	case *rsa.PublicKey:
		sum := sha256.Sum256(text)
		return rsa.VerifyPKCS1v15(key, crypto.SHA256, sum[:], sig) == nil
	}
	return false
}
