package token

import (
	"regexp"
	"slices"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/tokenctl/tokenctl/pkg/secret"
)

// DefaultConnection is the connection that a local store gets on first use.
const DefaultConnection = "default"

// DefaultRoleClaim is the claim that carries the roles in access tokens
// unless the connection names another.
const DefaultRoleClaim = "urn:identify:rest-api:role"

// Algorithm signs access tokens, named as in RFC 7518 §3.1 and RFC 8037 §3.1.
type Algorithm string

// The algorithms on offer.
const (
	EdDSA Algorithm = "EdDSA" // Ed25519, the default
	ES256 Algorithm = "ES256" // for clients that know no Ed25519
	RS256 Algorithm = "RS256" // for clients that know nothing newer
)

// ParseAlgorithm reads the name of an algorithm.
func ParseAlgorithm(s string) (Algorithm, error) {
	switch a := Algorithm(s); a {
	case EdDSA, ES256, RS256:
		return a, nil
	}
	return "", Errorf(ErrUsage, "unknown signing algorithm %q", s).WithHint("algorithms are EdDSA, ES256 and RS256")
}

// Connection is the OAuth settings of a tenant.
type Connection struct {
	Name           string        // the client_id
	EntityID       string        // the aud of its access tokens
	AccessLifetime time.Duration // capped by the policy
	RoleClaim      string        // name of the claim with the roles
	Roles          []Role        // on offer; empty: any
	Algorithm      Algorithm
	// Rotate has each exchange give a new refresh token in the place of the old
	// one (RFC 9700 §2.2.2). Within RetryWindow the old one gets the same new one
	// again, for an answer may be lost; Reuse says what its use means after that.
	Rotate      bool
	Reuse       Reuse
	RetryWindow time.Duration
	// AuthMethod is how its clients show that they are it.
	AuthMethod AuthMethod
	// SecretVerifier checks the client secret; nil: there is none, and a method
	// that wants one refuses every client. It is never shown.
	SecretVerifier secret.Verifier
	SecretSince    time.Time // zero: there is none
	CreatedAt      time.Time
	Revision       uint64
}

// Reuse says what becomes of a refresh token when an old one of it is used that
// was rotated away: whoever uses it, or whoever has the new one, has stolen it.
type Reuse string

// What becomes of it. The use itself is refused in any case.
const (
	ReuseOff    Reuse = "off"    // nothing
	ReuseAlert  Reuse = "alert"  // it is in the audit log
	ReuseRevoke Reuse = "revoke" // it is revoked, with its access tokens
)

// ParseReuse reads the name of a policy for reuse.
func ParseReuse(s string) (Reuse, error) {
	switch r := Reuse(s); r {
	case ReuseOff, ReuseAlert, ReuseRevoke:
		return r, nil
	}
	return "", Errorf(ErrUsage, "unknown policy for reuse %q", s).WithHint("policies are off, alert and revoke")
}

// strictness puts the policies in order.
var strictness = map[Reuse]int{ReuseOff: 0, ReuseAlert: 1, ReuseRevoke: 2}

// RotateNoLess makes the connection rotate as strictly as another does at least.
func (c *Connection) RotateNoLess(other *Connection) {
	switch {
	case !other.Rotate:
	case !c.Rotate:
		c.Rotate, c.Reuse, c.RetryWindow = true, other.Reuse, other.RetryWindow
	default:
		c.RetryWindow = min(c.RetryWindow, other.RetryWindow)
		if strictness[other.Reuse] > strictness[c.Reuse] {
			c.Reuse = other.Reuse
		}
	}
}

// AuthMethod is how a client authenticates at the token endpoint, named as in RFC
// 7591 §2. No other way than the registered one is accepted.
type AuthMethod string

// The methods.
const (
	AuthNone  AuthMethod = "none"                // a public client, with its name alone
	AuthBasic AuthMethod = "client_secret_basic" // id and secret in an Authorization header
	AuthPost  AuthMethod = "client_secret_post"  // id and secret in the form
)

// AuthMethods are all of them.
func AuthMethods() []AuthMethod { return []AuthMethod{AuthNone, AuthBasic, AuthPost} }

// ParseAuthMethod reads the name of a method.
func ParseAuthMethod(s string) (AuthMethod, error) {
	if m := AuthMethod(s); slices.Contains(AuthMethods(), m) {
		return m, nil
	}
	return "", Errorf(ErrUsage, "unknown authentication method %q", s).WithHint("methods are none, client_secret_basic and client_secret_post")
}

// Confidential reports whether its clients need a secret (RFC 6749 §2.1).
func (c *Connection) Confidential() bool {
	return c.AuthMethod == AuthBasic || c.AuthMethod == AuthPost
}

// maxRetryWindow bounds how long a rotated refresh token is good for a retry.
const maxRetryWindow = 10 * time.Minute

// NewConnection is a connection with the defaults: 60 minutes, EdDSA, the
// entity id urn:tokenctl:NAME, no rotation, public clients.
func NewConnection(name string) Connection {
	return Connection{
		Name: name, EntityID: "urn:tokenctl:" + name, AccessLifetime: time.Hour,
		RoleClaim: DefaultRoleClaim, Algorithm: EdDSA, Reuse: ReuseRevoke, RetryWindow: 30 * time.Second,
		AuthMethod: AuthNone,
	}
}

// reservedClaims may not carry roles: they mean something else to every reader
// of an access token (RFC 9068 §2.2, RFC 7519 §4.1, RFC 7800 §3.1, RFC 8693 §4).
var reservedClaims = map[string]bool{
	"iss": true, "sub": true, "aud": true, "exp": true, "nbf": true, "iat": true, "jti": true,
	"client_id": true, "scope": true, "tid": true, "idp": true, "idp_sub": true, "cnf": true, "act": true, "may_act": true, "auth_time": true, "acr": true, "amr": true,
}

// Check says what is wrong with the connection as such.
func (c *Connection) Check() error {
	if err := CheckName("connection", c.Name); err != nil {
		return err
	}
	if c.EntityID == "" || len(c.EntityID) > maxText {
		return Errorf(ErrUsage, "the entity id of connection %q is empty or over %d bytes", c.Name, maxText)
	}
	// RFC 8707 §2: a resource is an absolute URI without a fragment.
	if !isAbsoluteURI(c.EntityID) {
		return Errorf(ErrUsage, "entity id %q is not an absolute URI without fragment", c.EntityID).WithHint("for example https://api.example.org or urn:example:api")
	}
	if c.AccessLifetime < time.Second || c.AccessLifetime > MaxLifetime {
		return Errorf(ErrUsage, "access lifetime %s is not between 1s and %s", FormatDuration(c.AccessLifetime), FormatDuration(MaxLifetime))
	}
	if c.RoleClaim == "" || len(c.RoleClaim) > 256 || reservedClaims[c.RoleClaim] || !utf8.ValidString(c.RoleClaim) {
		return Errorf(ErrUsage, "%q cannot be the claim for roles", c.RoleClaim)
	}
	if c.RetryWindow < 0 || c.RetryWindow > maxRetryWindow {
		return Errorf(ErrUsage, "retry window %s is not between 0s and %s", FormatDuration(c.RetryWindow), FormatDuration(maxRetryWindow))
	}
	if _, err := ParseReuse(string(c.Reuse)); err != nil {
		return err
	}
	if _, err := ParseAuthMethod(string(c.AuthMethod)); err != nil {
		return err
	}
	_, err := ParseAlgorithm(string(c.Algorithm))
	return err
}

// absoluteURI follows RFC 3986 §4.3: a scheme, a colon, and characters that
// stand in a URI, with no fragment.
var absoluteURI = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`^[A-Za-z][A-Za-z0-9+.-]*:[A-Za-z0-9._~:/?\[\]@!$&'()*+,;=%-]+$`)
})

func isAbsoluteURI(s string) bool { return absoluteURI().MatchString(s) }
