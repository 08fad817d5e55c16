package token

import (
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// Provider is an identity provider: an external issuer whose JWTs are accepted
// beside our own tokens.
type Provider struct {
	// Name is also the realm of the owners that no account is linked to:
	// NAME/SUBJECT.
	Name string
	// Issuer is the iss of its JWTs, compared byte by byte (RFC 7519 §4.1.1).
	Issuer string
	// Audiences are what JWTs for us have in their aud, one of these at least.
	Audiences []string

	// JWKSURL is where its keys are (RFC 7517 §5); Certificates, DER, are in its
	// place for a provider that publishes none. With neither the keys are found
	// by the issuer, as OpenID Connect Discovery §4 has it.
	JWKSURL      string
	Certificates [][]byte
	// Algorithms are what it may sign with. What a JWT says of itself never
	// adds to them.
	Algorithms []Algorithm

	// Claim is the name of the claim that says who it is. A JWT without it is
	// refused, whatever its sub.
	Claim string
	// RoleClaim is the name of the claim that RoleMap reads; empty: no roles.
	RoleClaim string
	// RoleMap says which roles its values stand for. Other values stand for none.
	RoleMap []RoleMapping
	// Require are claims that its JWTs must have beside the audience. Where
	// everybody gets JWTs, and for any audience, they alone say whose it is.
	Require []ClaimValue
	// Unlinked allows subjects that no account is linked to.
	Unlinked bool

	// ClientID is what log-in by device or browser uses; empty: there is none.
	// The client is a public one, that has no secret (RFC 8252 §8.5).
	ClientID string
	// Leeway is how far its clock and ours may differ.
	Leeway time.Duration

	Disabled  bool
	CreatedAt time.Time
	CreatedBy Owner
	Revision  uint64
}

// RoleMapping gives a role to those for whom a provider says something.
type RoleMapping struct {
	From string // a value of the provider's RoleClaim
	Role Role
}

// ClaimValue is a value of a claim that JWTs of a provider must have. Several of
// one claim are alternatives; different claims must all be there.
type ClaimValue struct{ Claim, Value string }

// Verdict is what a JWT of a provider proves.
type Verdict struct {
	Provider string // its name
	Issuer   string
	Claim    string // the name of the claim that says who it is
	Subject  string // its value: with Issuer the identity
	Unlinked bool   // the provider allows subjects that no account is linked to
	Roles    []Role // by the provider's RoleMap, sorted, each once; never nil
	// Delegated: the roles are by what the JWT's client may do, and not by who the
	// subject is: they narrow what the subject has, and give nothing.
	Delegated bool
	// Revision is that of the provider by which the JWT was judged, and RoleRules
	// what the roles were by.
	Revision  uint64
	RoleRules string
	// Audience is which of the provider's Audiences the JWT is for.
	Audience string
	// IssuedAt and ExpiresAt are the iat of the JWT, zero if it has none, and its
	// exp, without leeway.
	IssuedAt  time.Time
	ExpiresAt time.Time
	ID        string // its jti, may be empty
}

// Owner is who the subject is if no account is linked to it.
func (v *Verdict) Owner() Owner { return Owner{v.Provider, v.Subject} }

// Identity is what accounts are linked to. It has no provider's name: whoever
// has that of another one day vouches for others.
func (v *Verdict) Identity() ExternalIdentity { return ExternalIdentity{v.Issuer, v.Claim, v.Subject} }

// Identity is that of a subject of the provider.
func (p *Provider) Identity(subject string) ExternalIdentity {
	return ExternalIdentity{p.Issuer, p.Claim, subject}
}

// Print is a short name for the identity, in which it cannot be read.
func (e ExternalIdentity) Print() string {
	sum := sha256.Sum256([]byte(e.Issuer + "\x00" + e.Claim + "\x00" + e.Subject))
	return base64.RawURLEncoding.EncodeToString(sum[:16])
}

// ExternalIdentity names somebody as an identity provider does: by an issuer, a
// claim of its JWTs, and the value of that.
type ExternalIdentity struct{ Issuer, Claim, Subject string }

// LinkedIdentity is an external identity that stands for an account.
type LinkedIdentity struct {
	ExternalIdentity
	// Roles are what the provider last said of them, which counts until
	// RolesUntil: nobody can be asked whether it still holds. RolesBy are the
	// RoleRules that gave them.
	Roles      []Role
	RolesUntil time.Time
	RolesBy    string
	// SaidAt is the iat of the JWT that said so: an older one says nothing new.
	SaidAt time.Time
}

// Finding is what one check says of a JWT of a provider.
type Finding struct {
	Check string // form, issuer, algorithm, audience, times, kind, required, identity, roles, signature
	OK    bool
	Text  string // plain words, for who may know why
}

const (
	// MaxCertificates is how many certificates a provider may have.
	MaxCertificates = 5
	// MaxLeeway is the longest leeway.
	MaxLeeway = 5 * time.Minute

	maxCertificateSize = 16 << 10
	maxAudiences       = 20
	maxMappings        = 100
	maxRequired        = 20
	maxClaimName       = 256
)

// providerAlgorithms are those of RFC 7518 §3.1 and RFC 8037 §3.1 that a public
// key checks. With HS256 and its like whoever can check can forge, and the
// public key of an RS256 provider would be the secret.
var providerAlgorithms = []Algorithm{RS256, "RS384", "RS512", "PS256", "PS384", "PS512", ES256, "ES384", "ES512", EdDSA}

// ProviderAlgorithms are all that a provider may sign with.
func ProviderAlgorithms() []Algorithm { return slices.Clone(providerAlgorithms) }

// ParseProviderAlgorithm reads the name of an algorithm that a provider may
// sign with.
func ParseProviderAlgorithm(s string) (Algorithm, error) {
	if a := Algorithm(s); slices.Contains(providerAlgorithms, a) {
		return a, nil
	}
	names := make([]string, len(providerAlgorithms))
	for i, a := range providerAlgorithms {
		names[i] = string(a)
	}
	return "", Errorf(ErrUsage, "a provider cannot sign with %q", s).WithHint("algorithms are %s", strings.Join(names, ", "))
}

// NewProvider is a provider with the defaults: RS256, PS256, ES256 and EdDSA,
// the claim sub, a leeway of 60 seconds, linked subjects only.
func NewProvider(name string) Provider {
	return Provider{Name: name, Algorithms: []Algorithm{RS256, "PS256", ES256, EdDSA}, Claim: "sub", Leeway: time.Minute}
}

// Check says what is wrong with the provider as such. It does not read the
// certificates.
func (p *Provider) Check() error {
	if err := CheckName("provider", p.Name); err != nil {
		return err
	}
	if strings.EqualFold(p.Name, LocalRealm) {
		return Errorf(ErrUsage, "a provider cannot have the name %s: it is the realm of our own accounts", LocalRealm)
	}
	for _, check := range []func() error{p.checkIssuer, p.checkKeys, p.checkClaims, p.checkRequire, p.checkRoleMap} {
		if err := check(); err != nil {
			return err
		}
	}
	if p.Leeway < 0 || p.Leeway > MaxLeeway {
		return p.usage("the leeway %s is not between 0s and %s", FormatDuration(p.Leeway), FormatDuration(MaxLeeway))
	}
	return nil
}

func (p *Provider) checkIssuer() error {
	switch {
	case p.Issuer == "" || len(p.Issuer) > maxText || !plainText(p.Issuer):
		return p.usage("the issuer is empty, over %d bytes or holds invisible characters", maxText)
	case p.JWKSURL == "" && len(p.Certificates) == 0 && (!IsFetchable(p.Issuer) || strings.Contains(p.Issuer, "?")):
		return p.usage("keys cannot be found by the issuer %q: it is no https URL without query and fragment", p.Issuer).
			WithHint("name the URL of its key set, or its certificates")
	case len(p.Audiences) == 0:
		return p.usage("no audience says which of its JWTs are for us").WithHint("it is what they have in their aud")
	case len(p.Audiences) > maxAudiences:
		return p.usage("there are %d audiences, more than %d", len(p.Audiences), maxAudiences)
	}
	for _, a := range p.Audiences {
		if a == "" || len(a) > maxText || !plainText(a) {
			return p.usage("the audience %q is empty, over %d bytes or holds invisible characters", a, maxText)
		}
	}
	// An ID token is for the client that asked for it (OpenID Connect Core §2),
	// so such an audience would let every ID token in as an access token.
	if p.ClientID != "" && slices.Contains(p.Audiences, p.ClientID) {
		return p.usage("%q is the client and the audience: its ID tokens would look like access tokens", p.ClientID).
			WithHint("have the provider know tokenctl as an API with an audience of its own")
	}
	if len(p.ClientID) > maxText || !plainText(p.ClientID) {
		return p.usage("the client id is over %d bytes or holds invisible characters", maxText)
	}
	return nil
}

func (p *Provider) checkKeys() error {
	switch {
	case p.JWKSURL != "" && len(p.Certificates) > 0:
		return p.usage("it has certificates, and the URL of a key set in their place").
			WithHint("keep one of them: --certificate none or --jwks-url none takes the other away")
	case p.JWKSURL != "" && !IsFetchable(p.JWKSURL):
		return p.usage("keys cannot be had from %q: it is no https URL", p.JWKSURL)
	case len(p.Certificates) > MaxCertificates:
		return p.usage("there are %d certificates, more than %d", len(p.Certificates), MaxCertificates)
	case len(p.Algorithms) == 0:
		return p.usage("it may sign with no algorithm")
	}
	for _, c := range p.Certificates {
		if len(c) == 0 || len(c) > maxCertificateSize {
			return p.usage("a certificate has %d bytes, not between 1 and %d", len(c), maxCertificateSize)
		}
	}
	for i, a := range p.Algorithms {
		if _, err := ParseProviderAlgorithm(string(a)); err != nil {
			return err
		}
		if slices.Contains(p.Algorithms[:i], a) {
			return p.usage("the algorithm %s is there twice", a)
		}
	}
	return nil
}

// notAnIdentity are claims that say nothing of who it is (RFC 7519 §4.1).
var notAnIdentity = []string{"iss", "aud", "exp", "nbf", "iat", "jti"}

func (p *Provider) checkClaims() error {
	for _, c := range []string{p.Claim, p.RoleClaim} {
		if len(c) > maxClaimName || !plainText(c) || slices.Contains(notAnIdentity, c) {
			return p.usage("%q cannot be the claim for identity or roles", c)
		}
	}
	if p.Claim == "" {
		return p.usage("no claim says who it is").WithHint("mostly it is sub")
	}
	return nil
}

// checkRequire refuses claims that every good JWT has a value of, and those with
// values that nobody can know before.
func (p *Provider) checkRequire() error {
	if len(p.Require) > maxRequired {
		return p.usage("there are %d required claims, more than %d", len(p.Require), maxRequired)
	}
	for i, r := range p.Require {
		switch {
		case slices.Contains(notAnIdentity, r.Claim):
			return p.usage("the claim %q is checked anyway and cannot be required", r.Claim).
				WithHint("name a claim that says whose JWT it is, such as repository_owner_id")
		case r.Claim == "" || len(r.Claim) > maxClaimName || !plainText(r.Claim):
			return p.usage("the required claim %q is empty, over %d bytes or holds invisible characters", r.Claim, maxClaimName)
		case r.Value == "" || len(r.Value) > maxText || !plainText(r.Value):
			return p.usage("the value %q of the required claim %q is empty, over %d bytes or holds invisible characters", r.Value, r.Claim, maxText)
		case slices.Contains(p.Require[:i], r):
			return p.usage("the value %q of the required claim %q is there twice", r.Value, r.Claim)
		}
	}
	return nil
}

// Required are the claims that its JWTs must have, each once, in the order in
// which they were named.
func (p *Provider) Required() (claims []string) {
	for _, r := range p.Require {
		if !slices.Contains(claims, r.Claim) {
			claims = append(claims, r.Claim)
		}
	}
	return claims
}

// Demanded are the values that a claim may have, of those that are required.
func (p *Provider) Demanded(claim string) (values []string) {
	for _, r := range p.Require {
		if r.Claim == claim {
			values = append(values, r.Value)
		}
	}
	return values
}

func (p *Provider) checkRoleMap() error {
	if len(p.RoleMap) > maxMappings {
		return p.usage("there are %d role mappings, more than %d", len(p.RoleMap), maxMappings)
	}
	if (len(p.RoleMap) == 0) != (p.RoleClaim == "") {
		return p.usage("roles need both: a claim and a mapping of its values")
	}
	for i, m := range p.RoleMap {
		if m.From == "" || len(m.From) > maxText || !plainText(m.From) {
			return p.usage("the value %q cannot stand for a role", m.From)
		}
		if _, err := ParseRole(string(m.Role)); err != nil {
			return err
		}
		if slices.Contains(p.RoleMap[:i], m) {
			return p.usage("%q stands for the role %s twice", m.From, m.Role)
		}
	}
	return nil
}

// Delegates reports whether the RoleClaim says what a client may do for its
// subject: scope (RFC 8693 §4.2), or scp as some write it.
func (p *Provider) Delegates() bool { return p.RoleClaim == "scope" || p.RoleClaim == "scp" }

// RoleRules names the rules by which roles are given: others have another name.
func (p *Provider) RoleRules() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%q", p.RoleClaim)
	for _, m := range p.RoleMap {
		fmt.Fprintf(&b, " %q=%q", m.From, m.Role)
	}
	sum := sha256.Sum256([]byte(b.String()))
	return base64.RawURLEncoding.EncodeToString(sum[:12])
}

// Roles are the roles that values of the provider's RoleClaim stand for,
// sorted, each once; never nil.
func (p *Provider) Roles(values []string) []Role {
	roles := []Role{}
	for _, m := range p.RoleMap {
		if slices.Contains(values, m.From) {
			roles = append(roles, m.Role)
		}
	}
	slices.Sort(roles)
	return slices.Compact(roles)
}

func (p *Provider) usage(format string, args ...any) *Error {
	err := Errorf(ErrUsage, format, args...)
	err.Message = "the provider " + p.Name + ": " + err.Message
	return err
}

// plainText reports whether s shows all that it holds.
func plainText(s string) bool {
	return utf8.ValidString(s) && !strings.ContainsFunc(s, invisible)
}

// IsFetchable reports whether keys may come from a URL: over https, or from
// this machine. Whoever can change them on the way makes the JWTs.
func IsFetchable(url string) bool {
	if !isAbsoluteURI(url) {
		return false
	}
	scheme, rest, _ := strings.Cut(url, "://")
	authority, _, _ := strings.Cut(rest, "/")
	authority, _, _ = strings.Cut(authority, "?")
	if strings.Contains(authority, "@") {
		return false
	}
	host := authority
	if i := strings.LastIndexByte(authority, ':'); i >= 0 && !strings.HasSuffix(authority, "]") {
		host = authority[:i]
	}
	switch strings.ToLower(scheme) {
	case "https":
		return host != ""
	case "http":
		return host == "localhost" || host == "127.0.0.1" || host == "[::1]"
	}
	return false
}
