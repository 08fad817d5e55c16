package token

import (
	"time"

	"github.com/tokenctl/tokenctl/pkg/secret"
)

// TokenType is what the passwords of a service look like.
type TokenType string

// The types.
const (
	Plain08 TokenType = "plain08" // 8 letters and digits, for applications that take no more
	Plain15 TokenType = "plain15" // 15 letters and digits
	Strong  TokenType = "strong"  // 58 characters, recognisable and with a checksum
)

var forms = map[TokenType]secret.Form{Plain08: secret.Plain08, Plain15: secret.Plain15, Strong: secret.StrongPassword}

// ParseTokenType reads the name of a type.
func ParseTokenType(s string) (TokenType, error) {
	if _, has := forms[TokenType(s)]; has {
		return TokenType(s), nil
	}
	return "", Errorf(ErrUsage, "unknown token type %q", s).WithHint("token types are plain08, plain15 and strong")
}

// Form is the form of the type's secrets.
func (t TokenType) Form() secret.Form { return forms[t] }

// ServiceConfig is a service: an application for which service tokens can be
// had.
type ServiceConfig struct {
	Name        string
	DisplayName string
	// Enabled: tokens can be generated for it, and those that exist are good.
	Enabled bool
	// TokenType is that of new tokens. Those that exist stay as they are.
	TokenType TokenType
	// Realm is where a user name is from that names none.
	Realm string
	// Provisioners carry its passwords into other systems.
	Provisioners []string
	CreatedAt    time.Time
	CreatedBy    Owner
	Revision     uint64
}

// NewService is a service with the defaults: plain15, the realm local, not yet
// enabled.
func NewService(name string) ServiceConfig {
	return ServiceConfig{Name: name, TokenType: Plain15, Realm: LocalRealm}
}

// maxProvisioners is how many provisioners a service may have.
const maxProvisioners = 16

// Check says what is wrong with the service as such.
func (s *ServiceConfig) Check() error {
	if err := CheckName("service", s.Name); err != nil {
		return err
	}
	if _, err := ParseTokenType(string(s.TokenType)); err != nil {
		return err
	}
	if err := CheckName("realm", s.Realm); err != nil {
		return err
	}
	if len(s.Provisioners) > maxProvisioners {
		return Errorf(ErrUsage, "the service %q has %d provisioners, more than %d", s.Name, len(s.Provisioners), maxProvisioners)
	}
	for i, p := range s.Provisioners {
		if err := CheckName("provisioner", p); err != nil {
			return err
		}
		for _, other := range s.Provisioners[:i] {
			if p == other {
				return Errorf(ErrUsage, "the service %q names the provisioner %q twice", s.Name, p)
			}
		}
	}
	return checkText("display name", s.DisplayName)
}
