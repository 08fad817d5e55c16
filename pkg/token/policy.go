package token

import (
	"strings"
	"time"
)

// Policy is the rules that a sysadmin sets. A later change never kills or
// revives tokens that are made already.
type Policy struct {
	UserTokenLifetime       time.Duration // default and maximum; 0: unlimited
	ServiceTokenLifetime    time.Duration // default and maximum; 0: unlimited
	RefreshTokenLifetime    time.Duration // default
	RefreshTokenMaxLifetime time.Duration
	AccessTokenMaxLifetime  time.Duration // caps what a connection asks for
	RefreshTokens           RefreshTokens // who may have refresh tokens
	Issuer                  string        // the iss of access tokens
	Retention               time.Duration // of tombstones, expired tokens and the audit log
	// LongestAccessLifetime is the greatest AccessTokenMaxLifetime that there
	// ever was: how long a key that signed may still be needed.
	LongestAccessLifetime time.Duration
	Revision              uint64
}

// RefreshTokens says who may have refresh tokens.
type RefreshTokens string

// Who may have refresh tokens.
const (
	Administrators RefreshTokens = "administrators" // accounts with the role tokenctl:admin
	Everyone       RefreshTokens = "everyone"
)

// DefaultPolicy is the policy of a new store.
func DefaultPolicy() Policy {
	return Policy{
		RefreshTokenLifetime:    7 * Day,
		RefreshTokenMaxLifetime: 365 * Day,
		AccessTokenMaxLifetime:  Day,
		LongestAccessLifetime:   Day,
		RefreshTokens:           Administrators,
		Issuer:                  "http://127.0.0.1:8470",
		Retention:               400 * Day,
	}
}

// LifetimeFor is the lifetime of a new token of a kind when asked is what the
// request says (0: nothing). 0 means unlimited.
func (p *Policy) LifetimeFor(k Kind, asked time.Duration) (time.Duration, error) {
	normal, limit := p.RefreshTokenLifetime, p.RefreshTokenMaxLifetime
	switch k {
	case User:
		normal, limit = p.UserTokenLifetime, p.UserTokenLifetime
	case Service:
		normal, limit = p.ServiceTokenLifetime, p.ServiceTokenLifetime
	}
	if asked == 0 {
		asked = normal
	} else if err := CheckLifetime(asked); err != nil {
		return 0, err
	}
	if limit > 0 && asked > limit {
		return 0, Errorf(ErrUsage, "lifetime %s is over the %s that policy allows a %s token", FormatDuration(asked), FormatDuration(limit), k).
			WithHint("ask for less, or let a sysadmin change it: tokenctl admin policy set")
	}
	return asked, nil
}

// A PolicyField is one named setting of a [Policy], in the text form that
// commands and the wire use.
type PolicyField struct {
	Name string
	Doc  string
	Get  func(*Policy) string
	Set  func(*Policy, string) error
}

// PolicyFields are all settings of a policy, by name.
func PolicyFields() []PolicyField {
	return []PolicyField{
		duration("access_token_max_lifetime", "longest life of an access token", false, func(p *Policy) *time.Duration { return &p.AccessTokenMaxLifetime }),
		{
			"issuer", "the iss of access tokens, an absolute URI", func(p *Policy) string { return p.Issuer },
			func(p *Policy, s string) error {
				// RFC 8414 §2: no query and no fragment.
				if !isAbsoluteURI(s) || strings.Contains(s, "?") || len(s) > maxText {
					return Errorf(ErrUsage, "issuer %q is not an absolute URI without query and fragment", s).WithHint("for example https://tokens.example.org")
				}
				p.Issuer = s
				return nil
			},
		},
		duration("refresh_token_lifetime", "life of a refresh token that asks for none", false, func(p *Policy) *time.Duration { return &p.RefreshTokenLifetime }),
		duration("refresh_token_max_lifetime", "longest life of a refresh token", false, func(p *Policy) *time.Duration { return &p.RefreshTokenMaxLifetime }),
		{
			"refresh_tokens", "who may have refresh tokens: administrators or everyone", func(p *Policy) string { return string(p.RefreshTokens) },
			func(p *Policy, s string) error {
				if r := RefreshTokens(s); r != Administrators && r != Everyone {
					return Errorf(ErrUsage, "refresh_tokens %q is not administrators or everyone", s)
				}
				p.RefreshTokens = RefreshTokens(s)
				return nil
			},
		},
		duration("retention", "how long tombstones, expired tokens and the audit log are kept", false, func(p *Policy) *time.Duration { return &p.Retention }),
		duration("service_token_lifetime", "default and longest life of a service token", true, func(p *Policy) *time.Duration { return &p.ServiceTokenLifetime }),
		duration("user_token_lifetime", "default and longest life of a user token", true, func(p *Policy) *time.Duration { return &p.UserTokenLifetime }),
	}
}

// Unlimited is the text form of a lifetime without end, where one may be.
const Unlimited = "unlimited"

func duration(name, doc string, mayBeUnlimited bool, field func(*Policy) *time.Duration) PolicyField {
	return PolicyField{
		name, doc,
		func(p *Policy) string {
			if d := *field(p); d != 0 {
				return FormatDuration(d)
			}
			return Unlimited
		},
		func(p *Policy, s string) error {
			if s == Unlimited && mayBeUnlimited {
				*field(p) = 0
				return nil
			}
			d, err := ParseLifetime(s)
			if err != nil {
				return err
			}
			*field(p) = d
			return nil
		},
	}
}

// Set changes one setting by name.
func (p *Policy) Set(name, value string) error {
	for _, f := range PolicyFields() {
		if f.Name == name {
			return f.Set(p, value)
		}
	}
	return Errorf(ErrUsage, "unknown policy setting %q", name).WithHint("tokenctl admin policy show lists them")
}

// MinRetention keeps one command from erasing the trail of another.
const MinRetention = Day

// Check says what is wrong with the policy as a whole.
func (p *Policy) Check() error {
	if p.Retention < MinRetention {
		return Errorf(ErrUsage, "retention %s is under %s", FormatDuration(p.Retention), FormatDuration(MinRetention))
	}
	if p.RefreshTokenLifetime > p.RefreshTokenMaxLifetime {
		return Errorf(ErrUsage, "refresh_token_lifetime %s is over refresh_token_max_lifetime %s",
			FormatDuration(p.RefreshTokenLifetime), FormatDuration(p.RefreshTokenMaxLifetime))
	}
	return nil
}
