package signer

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/tokenctl/tokenctl/pkg/token"
)

// Claims is what an access token says (RFC 9068 §2.2). Times have a precision
// of one second. [Signer.Check] gives the claims that [Signer.Sign] was given;
// the Roles that it returns are shared and must not be changed.
type Claims struct {
	Issuer    string // iss
	Subject   string // sub
	Audience  string // aud, always one string
	ID        string // jti
	ClientID  string // client_id: the connection
	IssuedAt  time.Time
	NotBefore time.Time // zero: IssuedAt
	ExpiresAt time.Time
	RoleClaim string       // name of the claim that carries the roles
	Roles     []token.Role // always an array, also of none
	Parent    token.ID     // tid: the refresh token
	Scope     string       // may be empty
	// Provider, idp, is the identity provider that vouched for the subject, in
	// the place of a refresh token; may be empty. Then Parent names what all that
	// comes of one exchange has in common.
	Provider string
	// Identity, idp_sub, is what the provider calls the subject, in a form that
	// nobody can read; empty without a provider.
	Identity string
}

// registered claims never carry roles: they mean something else to every
// reader (RFC 7519 §4.1, RFC 9068 §2.2, RFC 7800 §3.1, RFC 8693 §4).
var registered = map[string]bool{
	"iss": true, "sub": true, "aud": true, "exp": true, "nbf": true, "iat": true, "jti": true,
	"client_id": true, "scope": true, "tid": true, "idp": true, "idp_sub": true, "cnf": true, "act": true, "may_act": true, "auth_time": true, "acr": true, "amr": true,
}

// lastSecond is the end of the year 9999.
const lastSecond = 253402300799

// check refuses claims that no reader should get to see.
func (c *Claims) check() error {
	for _, f := range [...]struct{ name, value string }{
		{"iss", c.Issuer}, {"sub", c.Subject}, {"aud", c.Audience}, {"jti", c.ID}, {"client_id", c.ClientID}, {"name of the role claim", c.RoleClaim}, {"scope", c.Scope}, {"idp", c.Provider},
	} {
		if f.value == "" && f.name != "scope" && f.name != "idp" {
			return token.Errorf(token.ErrUsage, "an access token needs the %s", f.name)
		}
		if !utf8.ValidString(f.value) {
			return token.Errorf(token.ErrUsage, "the %s %q is not valid UTF-8", f.name, f.value)
		}
	}
	if (c.Provider == "") != (c.Identity == "") {
		return token.Errorf(token.ErrUsage, "an access token needs both, idp and idp_sub, or neither")
	}
	if registered[c.RoleClaim] {
		return token.Errorf(token.ErrUsage, "%q cannot be the claim for roles", c.RoleClaim)
	}
	for _, t := range []time.Time{c.IssuedAt, c.ExpiresAt} {
		if s := t.Unix(); s < 1 || s > lastSecond {
			return token.Errorf(token.ErrUsage, "an access token of the time %s", t)
		}
	}
	if c.ExpiresAt.Unix() <= max(c.IssuedAt.Unix(), c.NotBefore.Unix()) {
		return token.Errorf(token.ErrUsage, "the access token would expire at %s, before it begins", c.ExpiresAt.Format(time.RFC3339))
	}
	return nil
}

// appendJSON writes the claims. By hand, because the role claim's name is not
// fixed and encoding/json takes 3 µs for a map of these.
func (c *Claims) appendJSON(b []byte) []byte {
	text := func(name, value string) {
		b = append(appendString(append(b, ','), name), ':')
		b = appendString(b, value)
	}
	number := func(name string, n int64) {
		b = append(appendString(append(b, ','), name), ':')
		b = strconv.AppendInt(b, n, 10)
	}
	b = append(b, `{"iss":`...)
	b = appendString(b, c.Issuer)
	text("sub", c.Subject)
	text("aud", c.Audience)
	text("client_id", c.ClientID)
	number("iat", c.IssuedAt.Unix())
	if c.NotBefore.IsZero() {
		number("nbf", c.IssuedAt.Unix())
	} else {
		number("nbf", c.NotBefore.Unix())
	}
	number("exp", c.ExpiresAt.Unix())
	text("jti", c.ID)
	if !c.Parent.IsZero() {
		text("tid", c.Parent.String())
	}
	if c.Provider != "" {
		text("idp", c.Provider)
		text("idp_sub", c.Identity)
	}
	if c.Scope != "" {
		text("scope", c.Scope)
	}
	b = append(appendString(append(b, ','), c.RoleClaim), ':', '[')
	for i, r := range c.Roles {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendString(b, string(r))
	}
	return append(b, ']', '}')
}

// appendString writes a JSON string; encoding/json sees only what needs it.
func appendString(b []byte, s string) []byte {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c > '~' || c == '"' || c == '\\' {
			quoted, _ := json.Marshal(s) // a string always can
			return append(b, quoted...)
		}
	}
	return append(append(append(b, '"'), s...), '"')
}

// parseClaims reads a payload whose signature is ours. Claims that it does not
// know are passed over (RFC 7519 §4), but of those only one may be an array of
// strings: that is the role claim, whose name every connection chooses.
func parseClaims(payload []byte) (c Claims, err error) {
	seen := map[string]bool{}
	err = members(payload, func(name string, value []byte) error {
		if seen[name] {
			return claimError(name)
		}
		seen[name] = true
		return c.set(name, value)
	})
	if err != nil {
		return Claims{}, err
	}
	for _, name := range []string{"iss", "sub", "aud", "jti", "client_id", "iat", "nbf", "exp"} {
		if !seen[name] {
			return Claims{}, claimError(name)
		}
	}
	if c.RoleClaim == "" {
		return Claims{}, errors.New("it has no claim with roles")
	}
	return c, nil
}

func (c *Claims) set(name string, value []byte) (err error) {
	switch name {
	case "iss":
		c.Issuer, err = textClaim(name, value)
	case "sub":
		c.Subject, err = textClaim(name, value)
	case "aud":
		c.Audience, err = textClaim(name, value)
	case "jti":
		c.ID, err = textClaim(name, value)
	case "client_id":
		c.ClientID, err = textClaim(name, value)
	case "scope":
		c.Scope, err = textClaim(name, value)
	case "idp":
		c.Provider, err = textClaim(name, value)
	case "idp_sub":
		c.Identity, err = textClaim(name, value)
	case "iat":
		c.IssuedAt, err = timeClaim(name, value)
	case "nbf":
		c.NotBefore, err = timeClaim(name, value)
	case "exp":
		c.ExpiresAt, err = timeClaim(name, value)
	case "tid":
		s, ok := text(value)
		if !ok || c.Parent.UnmarshalText([]byte(s)) != nil {
			return claimError(name)
		}
	default:
		roles, ok := texts(value)
		if !ok || registered[name] {
			return nil
		}
		if c.RoleClaim != "" {
			return errors.New("it has two claims with roles")
		}
		c.RoleClaim, c.Roles = name, roles
	}
	return err
}

func claimError(name string) error {
	return fmt.Errorf("its claim %.50q is missing, garbled or there twice", name)
}

func textClaim(name string, value []byte) (string, error) {
	s, ok := text(value)
	if !ok || s == "" {
		return "", claimError(name)
	}
	return s, nil
}

// timeClaim reads a NumericDate (RFC 7519 §2), of which ours are always whole.
func timeClaim(name string, value []byte) (time.Time, error) {
	n, err := strconv.ParseInt(string(value), 10, 64)
	if err != nil || n < 1 || n > lastSecond {
		return time.Time{}, claimError(name)
	}
	return time.Unix(n, 0).UTC(), nil
}
