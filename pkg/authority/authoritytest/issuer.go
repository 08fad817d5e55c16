package authoritytest

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"maps"
	"math/big"
	"testing"
	"time"

	"github.com/tokenctl/tokenctl/pkg/secret"
	"github.com/tokenctl/tokenctl/pkg/token"
)

// Issuer signs JWTs as an identity provider does whose certificate is known.
type Issuer struct {
	URL         string
	Certificate []byte // DER
	key         ed25519.PrivateKey
	now         func() time.Time
}

// Audience is whom its JWTs are for.
const Audience = "https://tokens.example.org"

// NewIssuer makes one with a key of its own.
func NewIssuer(t testing.TB, url string, now func() time.Time) *Issuer {
	t.Helper()
	public, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	cert := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "issuer"}, NotBefore: now().Add(-time.Hour), NotAfter: now().Add(1000 * token.Day),
	}
	der, err := x509.CreateCertificate(rand.Reader, cert, cert, public, key)
	if err != nil {
		t.Fatal(err)
	}
	return &Issuer{url, der, key, now}
}

// Provider is one that accepts its JWTs.
func (i *Issuer) Provider(name string) token.Provider {
	p := token.NewProvider(name)
	p.Issuer, p.Audiences, p.Certificates = i.URL, []string{Audience}, [][]byte{i.Certificate}
	return p
}

// JWT is one of a subject, for us, that lives ten minutes; more is said over it.
func (i *Issuer) JWT(t testing.TB, subject string, more map[string]any) secret.Secret {
	t.Helper()
	claims := map[string]any{
		"iss": i.URL, "sub": subject, "aud": Audience, "jti": rand.Text(), "iat": i.now().Unix(), "exp": i.now().Add(10 * time.Minute).Unix(),
	}
	maps.Copy(claims, more)
	payload, err := json.Marshal(claims)
	if err != nil {
		t.Fatal(err)
	}
	b64 := base64.RawURLEncoding
	text := b64.EncodeToString([]byte(`{"alg":"EdDSA","typ":"at+jwt"}`)) + "." + b64.EncodeToString(payload)
	return secret.FromText(text + "." + b64.EncodeToString(ed25519.Sign(i.key, []byte(text))))
}
