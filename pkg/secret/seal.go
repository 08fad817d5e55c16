package secret

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"errors"
	"fmt"
)

// ErrSealed says that a sealed text was changed, or that the secret or the
// purpose is not the one that it was sealed for.
var ErrSealed = errors.New("the sealed text cannot be opened")

// SealUnder encrypts a text so that only whoever shows the same secret can read
// it: AES-256-GCM with a random nonce, under a key derived by HKDF-SHA-256 (RFC
// 5869) from the secret and the purpose. The secret must have 112 bits of
// entropy at least: this is no password hash.
func SealUnder(s Secret, purpose string, plain []byte) ([]byte, error) {
	aead, err := aeadUnder(s, purpose)
	if err != nil {
		return nil, err
	}
	return aead.Seal(nil, nil, plain, nil), nil
}

// OpenUnder decrypts what [SealUnder] returned.
func OpenUnder(s Secret, purpose string, sealed []byte) ([]byte, error) {
	aead, err := aeadUnder(s, purpose)
	if err != nil {
		return nil, err
	}
	plain, err := aead.Open(nil, nil, sealed, nil)
	if err != nil {
		return nil, fmt.Errorf("%w: it was changed, or sealed under another secret", ErrSealed)
	}
	return plain, nil
}

func aeadUnder(s Secret, purpose string) (cipher.AEAD, error) {
	key, err := hkdf.Key(sha256.New, []byte(s.Reveal()), nil, "tokenctl seal "+purpose, 32)
	if err != nil {
		return nil, err
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCMWithRandomNonce(block)
}
